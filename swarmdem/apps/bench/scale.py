"""`swarmdem bench scale`: how a swarm of real processes over a real broker grows with its peers.

Each swarm is an ordinary `swarmdem swarm` with what a person gets who asks for that many peers. A growth
exponent is the slope of a straight line through the logarithms: 1 is as much for each further peer as for
those before, 2 as the square of the peers.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from swarmdem.apps.bench import tables
from swarmdem.apps.bench.workload import Row, measured
from swarmdem.apps.ledger import ledger_lines
from swarmdem.apps.settings import SwarmSettings

COLUMNS = (
    ("peers", "peers", "{}"),
    ("certified_of", "certified", "{}"),
    ("complete_of", "complete", "{}"),
    ("found_s", "round 1 s", "{:.1f}"),
    ("round_s", "round s", "{:.1f}"),
    ("train_cpu_s", "train CPU s", "{:.1f}"),
    ("other_ms", "other CPU, ms/peer", "{:.1f}"),
    ("peak_pss_mb", "peak MB", "{:.0f}"),
    ("peer_mb", "MB/peer", "{:.2f}"),
    ("sent_kb", "sent kB/peer", "{:.0f}"),
    ("control_sent_kb", "control sent kB", "{:.1f}"),
    ("control_received_kb", "received kB", "{:.1f}"),
)
GROWN = {
    "round_s": "seconds a round",
    "other_cpu_s": "CPU beside training, all peers",
    "peak_pss_mb": "memory",
    "sent_mb": "bytes sent, all peers",
    "control_received_kb": "control received by one peer",
}
"""What growth is told of: key in a row, words."""


async def run(peers: Sequence[int], base: SwarmSettings, *, out: Path | None) -> dict[str, Any]:
    """Run a swarm for each number of *peers*, print a row and its ledger, and write all of them.

    Args:
        peers: N of each swarm.
        base: All other settings.
        out: JSON file to write; None: none.

    Raises:
        ConfigError: A setting cannot work, or *out* cannot be written.
        TransportError: The broker is lost.
    """
    tables.require_folder(out)
    typer.echo(
        f"{base.model} on {base.data}, {base.optimizer}, {base.rounds} rounds, tau {base.tau or 1}, "
        f"broker {base.broker}"
    )
    rows: list[Row] = []
    for number in peers:
        rows.append(_row(await measured(replace(base, peers=number))))
        tables.write(out, {"settings": base.as_mapping(), "rows": rows, "exponents": exponents(rows)})
        for line in ledger_lines(rows[-1]):
            typer.echo(line)
        typer.echo(tables.heading(COLUMNS))
        for row in rows:
            typer.echo(tables.line(COLUMNS, row))
    for line in told(exponents(rows)):
        typer.echo(line)
    return {"rows": rows, "exponents": exponents(rows)}


def _row(figures: Row) -> Row:
    control = figures["control"] or {"bytes_sent": 0, "bytes_received": 0}
    return {
        **figures,
        "certified_of": f"{figures['certified']}/{figures['rounds']}",
        "complete_of": f"{figures['complete']}/{figures['rounds']}",
        "peer_mb": figures["peak_pss_mb"] / figures["peers"],
        "sent_kb": 1000 * figures["sent_mb"] / figures["peers"],
        "control_sent_kb": control["bytes_sent"] / 1000,
        "control_received_kb": control["bytes_received"] / 1000,
    }


def exponents(rows: Sequence[Row]) -> dict[str, float]:
    """Return the growth exponents of `GROWN` over the peers; nothing for fewer than two sizes."""
    found = {}
    for key in GROWN:
        points = [(math.log(row["peers"]), math.log(row[key])) for row in rows if row[key] > 0]
        if len({x for x, _ in points}) > 1:
            found[key] = statistics.linear_regression(*zip(*points, strict=True)).slope
    return found


def told(found: dict[str, float]) -> Iterator[str]:
    """Yield the growth exponents in words."""
    for key, exponent in found.items():
        yield f"growth with the peers, {GROWN[key]}: exponent {exponent:.2f}"
