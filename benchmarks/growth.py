"""How the cost of a round grows: `python -m benchmarks.growth peers|size|loss|draw --out DIR`.

- `peers`: swarms of 10, 20, 50 (`--values 10 20 50 200`) peers with the peer workload's MLP over mosquitto;
- `size`: ten peers whose model has .44, 3.3, 10 and 50 MB, over mosquitto; `--values 100`: 12 GB of memory
  and 10 GB of disk;
- `loss`: ten peers while 0, 2, 5 and 10 % of all control messages are lost (see `lossy.py`);
- `draw`: figures (SVG) of what DIR holds, into `--figures`, and the rows as tables in Markdown.

Each writes DIR/peers.json and so on, row by row; rows that are there are not measured again. Seconds are the
median length of a round without the first, CPU and bytes means over the same rounds. Every run is an
ordinary `swarmdem swarm`, but for `loss`.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import lossy
from benchmarks.rivals import workload
from benchmarks.rivals.runs import own_command
from benchmarks.rivals.systems import ROOT
from benchmarks.rivals.watching import watch
from swarmdem.apps import figures

Row = dict[str, Any]
MODELS = {0.44: "mb044", 3.3: "mb3", 10.0: "mb10", 50.0: "mb50", 100.0: "mb100"}
VALUES = {"peers": (10, 20, 50), "size": (0.44, 3.3, 10, 50), "loss": (0, 0.02, 0.05, 0.1)}
PEERS = 10
"""Peers of the curves that are not about their number."""
PANELS: Mapping[str, tuple[str, tuple[tuple[str, str, float], ...]]] = {
    "peers": (
        "peers",
        (
            ("seconds a round", "seconds", 1.0),
            ("CPU s beside training", "other_cpu_s", 1.0),
            ("control, kB a peer", "control_kb", 1.0),
        ),
    ),
    "size": (
        "MB of the model",
        (
            ("seconds a round", "seconds", 1.0),
            ("CPU s beside training", "other_cpu_s", 1.0),
            ("MB sent a peer", "sent_mb", 1.0),
        ),
    ),
    "loss": (
        "% of control messages lost",
        (
            ("seconds a round, median", "seconds", 1.0),
            ("seconds a round, 90 %", "seconds_90", 1.0),
            ("% certified", "certified", 100.0),
        ),
    ),
}
"""For each curve: what is along the x axis, and (title, key in a row, factor) of its panels."""


def swarm_row(peers: int, rounds: int, data: Path, flags: Sequence[str], limit_s: float) -> Row:
    """Run a swarm and return its figures; `failed` says why there are none."""
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        run = Path(folder) / "run"
        command = own_command(tuple(flags), peers=peers, rounds=rounds, data=data, out=run)
        watched = watch(
            command, log=Path(folder) / "log", limit_s=limit_s, limit_bytes=14 * 10**9,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if watched.failed:
            return {"failed": watched.failed}
        rows = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
        summary = json.loads((run / "summary.json").read_text())
    return {"failed": "", **row_figures(rows, summary, peers), "peak_pss_mb": watched.peak_pss_bytes / 1e6}


def row_figures(rows: Sequence[Row], summary: Mapping[str, Any], peers: int) -> Row:
    """Return the figures of a run from its rows and its summary, or `failed`, why there are none."""
    steady, control = rows[1:], summary["traffic"]["control"]
    if not steady or control is None:
        return {"failed": "no round after the first" if not steady else "no peer told what it sent"}

    def mean(key: str) -> float:
        return statistics.mean(row[key] for row in steady)

    return {
        "rounds": len(rows),
        "certified": sum(row["certified"] for row in rows) / len(rows),
        "complete": sum(row["applied"] == peers for row in rows) / len(rows),
        "seconds": statistics.median(row["wall_s"] for row in steady),
        "cpu_s": mean("cpu_s"),
        "other_cpu_s": mean("cpu_s") - mean("train_cpu_s") - mean("evaluate_cpu_s"),
        "sent_mb": mean("bytes_sent") / peers / 1e6,
        "control_kb": control["bytes_sent"] / 1e3,
        "control_received_kb": control["bytes_received"] / 1e3,
    }


def measure(curve: str, value: float, options: argparse.Namespace, data: Path) -> Row:
    """Return one row of a curve."""
    if curve == "loss":
        row = lossy.measured(value, peers=PEERS, rounds=options.rounds, limit_s=options.limit)
    elif curve == "size":
        flags = ("--model", f"benchmarks.sized_models:{MODELS[value]}")
        row = swarm_row(PEERS, options.rounds, data, flags, options.limit)
    else:
        row = swarm_row(int(value), options.rounds, data, (), options.limit)
    return {"value": value, "load": os.getloadavg()[0], **row}


def fill(curve: str, options: argparse.Namespace) -> None:
    """Measure the rows of a curve that are not there, and print all."""
    options.out.mkdir(parents=True, exist_ok=True)
    kept, values = options.out / f"{curve}.json", options.values or VALUES[curve]
    rows: list[Row] = json.loads(kept.read_text()) if kept.exists() else []
    with tempfile.TemporaryDirectory(prefix="growth-data-") as folder:
        data = Path(options.data) if options.data else Path(folder) / "workload.npz"
        if not options.data:
            workload.write(data, devices=int(max(values)) if curve == "peers" else PEERS)
        for value in values:
            if value in [row["value"] for row in rows]:
                continue
            rows.append(measure(curve, value, options, data.resolve()))
            rows.sort(key=lambda row: row["value"])
            kept.write_text(json.dumps(rows, indent=1))
    print(table(rows))


def table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "failed"))
    lines = [names, ["---"] * len(names)]
    for row in rows:
        cells = [_cell(row.get(name, "")) for name in names]
        lines.append(cells if not row.get("failed") else [cells[0], row["failed"], *[""] * (len(names) - 2)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(out: Path, folder: Path) -> list[Path]:
    """Draw every curve that *out* holds into *folder* and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for curve, (x_label, panels) in PANELS.items():
        kept = out / f"{curve}.json"
        if not kept.exists():
            continue
        rows = [row for row in json.loads(kept.read_text()) if row.get("seconds") is not None]
        if not rows:
            continue
        x = [row["value"] * (100 if curve == "loss" else 1) for row in rows]
        lines = {
            title: [figures.Line(label="swarmdem", x=x, y=[factor * row[key] for row in rows])]
            for title, key, factor in panels
        }
        figure = figures.curves(lines, x_label=x_label, markers=True)
        figure.legends[0].remove()
        for axes in figure.axes:
            if curve == "loss":
                axes.set_ylim(bottom=0)
            else:
                axes.set_xscale("log")
                axes.set_yscale("log")
                axes.set_xticks(x, [f"{value:g}" for value in x], minor=False)
                axes.minorticks_off()
        path, bitmap = figures.save(figure, folder / f"growth-{curve}")
        bitmap.unlink()
        written.append(path)
        print(f"{path}\n{table(rows)}{exponents(rows, curve)}\n")
    return written


def exponents(rows: Sequence[Row], curve: str) -> str:
    """Return a line with b of cost = a x value^b for a curve's panels; none for `loss`."""
    if curve == "loss" or len(rows) < 2:
        return ""
    parts = [
        f"{title} {slope([(row['value'], row[key]) for row in rows]):.2f}"
        for title, key, _ in PANELS[curve][1]
    ]
    return "\n\nexponents: " + ", ".join(parts)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a straight line through the logarithms, by least squares."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    middle_x, middle_y = (statistics.mean(values) for values in zip(*logs, strict=True))
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / sum((x - middle_x) ** 2 for x, _ in logs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a curve, or draw all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curve", choices=[*VALUES, "draw"])
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--values", type=float, nargs="+", help="points of the curve")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--data", help="an .npz; default: a made-up workload of the same shapes")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds a point may take")
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "figures")
    options = parser.parse_args(arguments)
    if options.data and not Path(options.data).is_file():
        print(f"--data {options.data}: there is no such file", file=sys.stderr)
        raise SystemExit(2)
    if options.rounds < 2:
        print(f"--rounds {options.rounds}: at least 2, the first does not count", file=sys.stderr)
        raise SystemExit(2)
    if options.curve == "size" and not set(options.values or ()) <= MODELS.keys():
        print(f"--values: the sizes are {', '.join(map(str, MODELS))} MB", file=sys.stderr)
        raise SystemExit(2)
    act: Callable[[], object] = (
        (lambda: draw(options.out, options.figures))
        if options.curve == "draw"
        else (lambda: fill(options.curve, options))
    )
    act()


if __name__ == "__main__":
    main()
