"""What a round costs as a swarm in cells grows: `python benchmarks/cells.py --cells 64 --peers 256 512 1024`.

Each number of peers is simulated once (`swarmdem simulate --cells`), without faults: when all cells were
certified and in one round of the region for the first time, how long the region takes to agree, and the
control bytes and frames of the median peer and of the busiest, who speaks for its cell, per round of its
cell after that.
At the end the exponent b of cost = a x peers^b, fitted to all rows by least squares: 0 is flat, 1 is linear.
With `--json FILE` the rows are written there as well. Models are not among the bytes: they do not grow.
"""

import argparse
import json
import math
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from swarmdem.apps.cell_report import quantile
from swarmdem.identifiers import SECOND
from swarmdem.simulation.cells.runs import CellRun
from swarmdem.simulation.runs import Settings

COSTS = (
    "first_in_common_s",
    "agreement_s",
    "sent",
    "sent_most",
    "frames_sent",
    "received",
    "received_most",
    "frames",
    "cpu_s",
)
"""Columns that an exponent is fitted to."""


def measured(
    peers: int, limit: int, rounds: int, *, seed: int = 0, digest: int = 64, tau: int = 1
) -> dict[str, float]:
    """Return the row of one swarm; raises `SystemExit` when an invariant is broken.

    Args:
        peers: In all.
        limit: Most peers of a cell.
        rounds: Of the region.
        seed: Decides all chance.
        digest: Buckets of a sketch.
        tau: Rounds a tree is kept for; only the digest before a new one has a sketch.
    """
    begun = time.process_time()
    settings = Settings(seed=seed, peers=peers, rounds=rounds, cells=limit, faults=False)
    outcome = CellRun(settings, charter={"digest": digest, "tau": tau}).play()
    figures = outcome.cells
    if outcome.broken or figures is None:
        raise SystemExit(f"{peers} peers: {outcome.broken}")
    agreement = sorted(figures.agreement)
    return {
        "peers": peers,
        "cells": len(figures.sizes),
        "largest_cell": figures.sizes[-1],
        "region_rounds": figures.region_rounds,
        "cell_rounds": round(figures.rounds, 2),
        "first_in_common_s": round(figures.first_in_common / SECOND, 2),
        "agreement_s": round(quantile(agreement, 0.5) / SECOND, 3) if agreement else 0.0,
        "sent": round(quantile(figures.sent, 0.5)),
        "sent_most": round(figures.sent[-1]),
        "frames_sent": round(quantile(figures.said, 0.5), 1),
        "received": round(quantile(figures.received, 0.5)),
        "received_most": round(figures.received[-1]),
        "frames": round(quantile(figures.heard, 0.5)),
        "cpu_s": round(time.process_time() - begun, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }


def exponent(rows: Sequence[dict[str, float]], cost: str) -> float:
    """Return b of cost = a x peers^b, by least squares over the logarithms; NaN for fewer than two rows."""
    points = [(math.log(row["peers"]), math.log(row[cost])) for row in rows if row[cost] > 0]
    if len({x for x, _ in points}) < 2:
        return math.nan
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=64, help="most peers of a cell")
    parser.add_argument("--peers", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the region")
    parser.add_argument("--digest", type=int, default=64, help="buckets of a sketch")
    parser.add_argument("--tau", type=int, default=1, help="rounds a tree is kept for")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    rows: list[dict[str, float]] = []
    for peers in asked.peers:
        rows.append(measured(peers, asked.cells, asked.rounds, digest=asked.digest, tau=asked.tau))
        if len(rows) == 1:
            print("  ".join(rows[0]))
        print("  ".join(f"{value:>{len(name)}g}" for name, value in rows[-1].items()), flush=True)
    exponents = {cost: round(exponent(rows, cost), 2) for cost in COSTS}
    print("exponents: " + ", ".join(f"{cost} {b}" for cost, b in exponents.items()))
    if asked.json is not None:
        asked.json.write_text(
            json.dumps({"limit": asked.cells, "rows": rows, "exponents": exponents}, indent=1)
        )


if __name__ == "__main__":
    main()
