"""`swarmdem bench round`: what a round of the peer workload costs beside training.

For each number of peers a bare loop (train, average, no messages) and a swarm over a broker, one after the
other because the speed of a machine drifts: compare within one call. Then one peer by itself, with a
numpy learner and with the network that was asked for.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from swarmdem.apps.bench import launch, tables
from swarmdem.apps.bench.processes import MeasurementError
from swarmdem.apps.bench.workload import Row, measured
from swarmdem.apps.crew import worker_environment
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.table import counted
from swarmdem.learning.building import SOFTMAX
from swarmdem.transport.brokers import available, start_broker

LAUNCHES = 5
START_S, LAUNCH_S = 3.0, 3.0
"""What a bare loop needs before it trains, and a launch of one peer in all, roughly: for who waits."""

COLUMNS = (
    ("peers", "peers", "{}"),
    ("bare_s", "bare s", "{:.3f}"),
    ("round_s", "round s", "{:.3f}"),
    ("train_cpu_s", "train CPU s", "{:.3f}"),
    ("other_ms", "other CPU, ms/peer", "{:.1f}"),
    ("other_share", "of training", "{:.2f}"),
    ("peak_pss_mb", "peak MB", "{:.0f}"),
    ("sent_mb", "sent MB", "{:.2f}"),
    ("sent_least", "of least", "{:.2f}"),
    ("complete", "complete", "{}"),
)


async def run(
    peers: Sequence[int], base: SwarmSettings, *, out: Path | None, launches: int = LAUNCHES
) -> dict[str, Any]:
    """Measure each number of *peers*, print a row for it, and write what there is after each.

    Args:
        peers: N of each swarm.
        base: All other settings.
        out: JSON file to write; None: none.
        launches: Of single peers, over a broker of the same kind; 0: none, and any broker of a swarm will do.

    Raises:
        ConfigError: A setting cannot work, or *out* cannot be written.
        TransportError: The broker is lost.
    """
    tables.require_folder(out)
    kind = available(", ".join(base.all_brokers)) if launches else ""
    typer.echo(f"{base.model} on {base.data}, {base.optimizer}, {base.rounds} rounds, broker {base.broker}")
    typer.echo(tables.heading(COLUMNS))
    told: dict[str, Any] = {"settings": base.as_mapping(), "rows": [], "lone": []}
    for number in peers:
        row = await measured(replace(base, peers=number))
        tables.announce(
            f"the bare loop of {counted(number, 'peer')}", START_S + base.rounds * row["train_cpu_s"]
        )
        row |= await _bare(base, number)
        row["other_share"] = row["other_cpu_s"] / row["train_cpu_s"] if row["train_cpu_s"] else None
        told["rows"].append(row)
        tables.write(out, told)
        typer.echo(tables.line(COLUMNS, row))
    if launches:
        async with start_broker(kind) as broker:
            for model in dict.fromkeys((SOFTMAX, base.model)):
                tables.announce(
                    f"{counted(launches, 'launch', 'launches')} of one peer, {model}", LAUNCH_S * launches
                )
                lone = await launch.measured(broker.url, base.data, model, launches)
                told["lone"].append(lone)
                tables.write(out, told)
                typer.echo(
                    f"one peer, {model}: ready {lone['ready_s']:.2f} s after its launch, "
                    f"{lone['idle_pss_mb']:.0f} MB while it waits"
                )
    return told


async def _bare(base: SwarmSettings, peers: int) -> Row:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "swarmdem.apps.bench.bare", base.data, base.model, base.optimizer, str(peers),
        str(base.rounds), stdout=asyncio.subprocess.PIPE, env=worker_environment(),
    )  # fmt: skip
    data, _ = await process.communicate()
    if process.returncode:
        raise MeasurementError("the bare loop ended, see above")
    told = json.loads(data)
    return {"bare_s": told["round_s"], "bare_cpu_s": told["cpu_s"]}
