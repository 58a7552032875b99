"""One run of one system, measured, as a record that can be written down.

Seconds of a round are taken where the system says that a round has ended: at the server, at the last
node, or from the rows of our own run folder. The first round holds starting up everywhere and is told
apart; `steady_s` is the median of the others.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.rivals.systems import PROGRAMS, ROOT, InstallationError, System, fingerprint, python_of
from benchmarks.rivals.watching import Mark, Watched, watch

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a run may take."""

    seconds: float = 300.0
    bytes: int = 12 * 10**9


def measured(
    name: str, system: System, *, peers: int, rounds: int, data: Path, cache: Path, log: Path, bounds: Bounds
) -> Record:
    """Run *system* once and return what it cost; a run that fails is a record that says why."""
    record: Record = {
        "system": name, "title": system.title, "peers": peers, "rounds": rounds, "data": fingerprint(data),
        "shims": system.shims, "load": os.getloadavg()[0], "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }  # fmt: skip
    data, log = data.resolve(), log.resolve()
    try:
        python = python_of(system, cache, log.with_suffix(".pip"))
    except InstallationError as error:
        return {**record, "failed": str(error)}
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as folder:
        run = Path(folder) / "run"
        if system.own is not None:
            command = own_command(system.own, peers=peers, rounds=rounds, data=data, out=run)
        else:
            command = [str(python), str(PROGRAMS / system.program), "--peers", str(peers),
                       "--rounds", str(rounds), "--data", str(data),
                       *(f"--option={option}" for option in system.options)]  # fmt: skip
        watched = watch(
            command, log=log, limit_s=bounds.seconds, limit_bytes=bounds.bytes, cwd=Path(folder),
            env={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROGRAMS if system.own is None else ROOT),
                 "RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0", "TMPDIR": folder},
        )  # fmt: skip
        record |= costs(watched)
        if system.own is not None and not watched.failed:
            record |= own_figures(run)
    if system.own is None:
        record |= rival_figures(watched.marks, rounds)
    if not record["failed"] and len(record["seconds"]) < rounds:
        record["failed"] = f"ended after {len(record['seconds'])} of {rounds} rounds"
    return record


def own_command(flags: tuple[str, ...], *, peers: int, rounds: int, data: Path, out: Path) -> list[str]:
    """Return the command of our own side."""
    return [
        sys.executable, "-m", "swarmdem", "swarm", "--peers", str(peers), "--rounds", str(rounds),
        "--data", str(data), "--model", "mlp", "--optimizer", "adam", "--lr", "0.001", "--epochs", "2",
        "--batch-size", "10", "--evaluate-every", str(rounds), "--broker", "mosquitto", "--out", str(out),
        *flags,
    ]  # fmt: skip


def costs(watched: Watched) -> Record:
    """Return what was counted from outside."""
    return {
        "failed": watched.failed, "whole_s": watched.whole_s, "cpu_s": watched.cpu_s,
        "peak_pss_mb": watched.peak_pss_bytes / 1e6, "processes": watched.processes,
        "left_processes": watched.left, "seconds": [],
    }  # fmt: skip


def own_figures(run: Path) -> Record:
    """Return the figures of a finished run folder of ours."""
    rows = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    seconds = [row["wall_s"] for row in rows]
    steady = rows[1:]
    final = summary["final"]
    return {
        "seconds": seconds,
        "steady_s": statistics.median(row["wall_s"] for row in steady),
        "steady_cpu_s": statistics.mean(row["cpu_s"] for row in steady),
        "bytes_per_round": statistics.mean(row["bytes_sent"] for row in steady),
        "accuracy": final["global"]["after_update"],
        "certified": sum(row["certified"] for row in rows),
        "applied": min(row["applied"] for row in rows),
    }


def rival_figures(marks: list[Mark], rounds: int) -> Record:
    """Return the figures of a rival from what its program told.

    A mark `start` says when the first round begins, `round` when one has ended, `done` the rest.
    """
    ends = [mark for mark in marks if mark.told["event"] == "round"][:rounds]
    begun = [mark.at_s for mark in marks if mark.told["event"] == "start"][:1]
    times = [*begun, *(mark.at_s for mark in ends)]
    seconds = [later - earlier for earlier, later in pairwise(times)]
    figures: Record = {"seconds": seconds}
    if len(ends) > 1:
        figures["steady_s"] = statistics.median(seconds[1:])
        figures["steady_cpu_s"] = (ends[-1].cpu_s - ends[0].cpu_s) / (len(ends) - 1)
    for mark in marks:
        if mark.told["event"] == "done":
            figures |= {key: value for key, value in mark.told.items() if key != "event"}
    return figures
