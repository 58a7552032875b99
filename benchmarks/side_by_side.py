"""Ours beside others on the same work: `python -m benchmarks.side_by_side --out DIR`.

N nodes with 64 training samples each, an MLP of 109,386 parameters, Adam .001, batches of 10, 2 local
epochs, 5 rounds. swarmdem runs real peers over mosquitto; Flower, gossipy, p2pfl and SDFLMQ are
installed from PyPI into environments of their own (`--cache`; some gigabytes, once) and run by the programs
in `rivals/programs`. They take turns in one call, because times drift; compare within one.

Printed and written to DIR/table.md: seconds and CPU of a steady round, peak memory (PSS) of all processes,
bytes sent where they can be counted, each also as a multiple of swarmdem's. A system that fails,
hangs or takes too much memory is a row that says so. Every run is kept in DIR as JSON, and what is there
is not run again: a call that was broken off goes on, and one with everything there only prints.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rivals import workload
from benchmarks.rivals.runs import Bounds, Record, measured
from benchmarks.rivals.systems import SYSTEMS, chosen
from benchmarks.rivals.tables import table
from swarmdem.errors import ConfigError

SYNTHETIC = "synthetic"
CACHE = Path.home() / ".cache" / "swarmdem-side-by-side"


def records_of(out: Path) -> list[Record]:
    """Return all runs kept in a folder."""
    return [json.loads(path.read_text()) for path in sorted(out.glob("*-*-*.json"))]


def measure(options: argparse.Namespace, systems: Sequence[str]) -> None:
    """Run what is asked for and not there yet."""
    options.out.mkdir(parents=True, exist_ok=True)
    bounds = Bounds(seconds=options.limit, bytes=int(options.memory * 1e9))
    with tempfile.TemporaryDirectory(prefix="side-by-side-data-") as folder:
        data = Path(options.data)
        if options.data == SYNTHETIC:
            data = Path(folder) / "workload.npz"
            workload.write(data, devices=max(options.peers))
        elif not data.is_file():
            raise ConfigError(f"--data {data}: there is no such file")
        for repetition in range(1, options.repeat + 1):
            for peers in options.peers:
                for name in systems:
                    kept = options.out / f"{name}-{peers}-{repetition}.json"
                    if kept.exists() and not options.again:
                        continue
                    record = measured(
                        name, SYSTEMS[name], peers=peers, rounds=options.rounds, data=data,
                        cache=options.cache.absolute(), log=kept.with_suffix(".log"), bounds=bounds,
                    )  # fmt: skip
                    kept.write_text(json.dumps(record, indent=1))
                    tell(record)


def tell(record: Record) -> None:
    """Say on standard error how one run went."""
    if record["failed"]:
        text = f"failed: {record['failed']}"
    else:
        text = (
            f"{record['steady_s']:.2f} s, {record['steady_cpu_s']:.2f} s of CPU a round, "
            f"{record['peak_pss_mb']:.0f} MB (load {record['load']:.1f} before)"
        )
    print(f"{record['title']}, N = {record['peers']}: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--peers", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the table has medians")
    parser.add_argument("--data", default=SYNTHETIC, help="an .npz as `swarmdem swarm --data` takes it")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the others' environments")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds a run may take")
    parser.add_argument("--memory", type=float, default=12.0, help="GB a run may take")
    parser.add_argument("--reference", default="swarmdem", help="whose figures are 1 in the ratios")
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    options = parser.parse_args(arguments)
    try:
        measure(options, chosen(options.systems))
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    text = table(records_of(options.out), tuple(SYSTEMS), options.reference)
    (options.out / "table.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
