"""One measured run of the peer workload: an ordinary `swarm`, and what its rows say it cost.

A round counts as steady after the first `WARM_ROUNDS`: the first of a run holds the founding and the first
training of every process, which imports the optimiser.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from swarmdem.apps.bench import tables
from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm import run_swarm
from swarmdem.apps.table import counted, duration, megabytes

WARM_ROUNDS = 2
Row = dict[str, Any]


class Progress:
    """A view of a run: a line a round on standard error, so that the table can be kept by itself."""

    def say(self, message: str) -> None:
        """Show what a person should know."""
        typer.echo(f"  {message}", err=True)

    def row(self, row: Mapping[str, Any], groups: int, left_s: float | None) -> None:
        """Show a finished round."""
        certified = "certified" if row["certified"] else "not certified"
        typer.echo(
            f"  round {row['round']} {certified} at {row['applied']} of {counted(row['peers'], 'peer')}, "
            f"{row['wall_s']:.1f} s, {megabytes(row['bytes_sent'])} sent, {duration(left_s)} left",
            err=True,
        )

    def close(self) -> None:
        """Do nothing."""


async def measured(settings: SwarmSettings) -> Row:
    """Run a swarm in a folder that is thrown away, and return its figures.

    Returns:
        `found_s` (seconds from the first peer's start to the end of round 1), medians and means of steady
        rounds (`round_s`; `train_cpu_s`, `other_cpu_s` of all peers; `other_ms` of one peer, milliseconds of
        CPU that are neither training nor evaluation; `sent_mb` of all), of the whole run `cpu_s`,
        `other_ms_whole`, `peak_pss_mb`, `wall_s`, `rounds`, `certified` (rounds), `complete` (rounds whose
        result every peer installed) and the ledger's `control` and `kinds`. `sent_least` is what was sent
        over the least that one aggregator of all needs: every model to it, and one back.

    Raises:
        ConfigError: A setting cannot work.
        TransportError: The broker is lost.
    """
    tables.announce(f"a swarm of {counted(settings.peers, 'peer')}, {settings.rounds} rounds")
    with TemporaryDirectory(prefix="swarmdem-bench-") as folder:
        run = Path(folder) / "run"
        summary = await run_swarm(settings, run, Progress())
        kept = RunFolder(run)
        rows, (_, charter) = kept.rows(), kept.load()
    model_bytes = sum(4 * math.prod(spec.shape) for spec in charter.schema)
    return figures(rows, summary, settings.peers, model_bytes)


def figures(rows: Sequence[Row], summary: Row, peers: int, model_bytes: int) -> Row:
    """Return what `measured` does, of the *rows* and the *summary* of a run of so many *peers*."""
    steady = rows[WARM_ROUNDS:] or rows[-1:]
    other = [_other(row) for row in steady]
    sent = statistics.mean(row["bytes_sent"] for row in steady)
    traffic = summary["traffic"]
    return {
        "peers": peers,
        "rounds": len(rows),
        "certified": sum(row["certified"] for row in rows),
        "complete": sum(row["certified"] and row["applied"] == peers for row in rows),
        "found_s": rows[0]["wall_s"],
        "round_s": statistics.median(row["wall_s"] for row in steady),
        "train_cpu_s": statistics.mean(row["train_cpu_s"] for row in steady),
        "other_cpu_s": statistics.mean(other),
        "other_ms": 1000 * statistics.mean(other) / peers,
        "other_ms_whole": 1000 * _other(summary) / peers / len(rows),
        "sent_mb": sent / 1e6,
        "sent_least": sent / (2 * peers * model_bytes),
        "cpu_s": summary["cpu_s"],
        "wall_s": summary["wall_s"],
        "peak_pss_mb": summary["peak_pss_mb"],
        "control": traffic["control"],
        "kinds": traffic["kinds"],
    }


def _other(costs: Row) -> float:
    return float(costs["cpu_s"] - costs["train_cpu_s"] - costs["evaluate_cpu_s"])
