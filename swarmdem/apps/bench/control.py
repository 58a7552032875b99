"""`swarmdem bench control`: what a swarm needs to say in order to agree, held against a budget.

Small swarms run for real, over a broker; large ones in virtual time, where every frame has the bytes that it
has on a wire but models are not moved. Control traffic is all but blobs and the wants for them, topics
included, MQTT's own headers not. Counted are the rounds after the first, in calm: what faults cost is not in
it.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from swarmdem.apps.bench import tables
from swarmdem.apps.ledger import ledger_lines, ledger_of
from swarmdem.apps.table import counted
from swarmdem.simulation.runs import Run, Settings

SENT_BYTES = 8_000
"""Most control bytes that the median peer sends a round, whatever the number of peers."""
SENT_MESSAGES = 60
"""Most control messages that it sends a round."""
RECEIVED_BYTES = 600_000
"""Most control bytes that it receives a round, up to 1000 peers in one cell."""


def measure(peers: int, *, rounds: int, tau: int, patience: float, real: bool) -> dict[str, Any]:
    """Return the ledger of one swarm, as in `summary.json`, and how it was made.

    Args:
        peers: N.
        rounds: That are counted, after the first.
        tau: Plans that keep a tree: the charter's.
        patience: The charter's, in seconds; who is silent for a quarter of it says that it is there.
        real: Over a broker, instead of simulated.
    """
    began = time.monotonic()
    made = _real(peers, rounds, tau, patience) if real else _simulated(peers, rounds, tau, patience)
    made |= {"peers": peers, "rounds": rounds, "real": real, "wall_s": round(time.monotonic() - began, 1)}
    return made | {"held": not list(exceeded(made))}


def _simulated(peers: int, rounds: int, tau: int, patience: float) -> dict[str, Any]:
    settings = Settings(seed=0, peers=peers, rounds=rounds + 1, faults=False, patience=patience)
    outcome = Run(settings, charter={"digest": 1024, "tau": tau}).play()
    if outcome.broken:
        return {"control": None, "kinds": {}, "certified": outcome.certified, "failed": outcome.broken}
    return ledger_of(outcome.accounts).as_mapping() | {"certified": outcome.certified}


def _real(peers: int, rounds: int, tau: int, patience: float) -> dict[str, Any]:
    from swarmdem.apps.bench.workload import Progress
    from swarmdem.apps.settings import SwarmSettings
    from swarmdem.apps.swarm import run_swarm

    settings = SwarmSettings(
        peers=peers,
        rounds=rounds + 1,
        tau=tau,
        patience=patience,
        model="softmax",
        evaluate_every=rounds + 1,
    )
    with TemporaryDirectory(prefix="swarmdem-bench-") as folder:
        summary = asyncio.run(run_swarm(settings, Path(folder) / "run", Progress()))
    return {**summary["traffic"], "certified": summary["certified_rounds"]}


def exceeded(measured: dict[str, Any]) -> Iterator[str]:
    """Yield what of the budget a swarm did not keep."""
    control = measured["control"]
    if control is None:
        yield f"{measured['peers']} peers: {measured.get('failed', 'nothing was counted')}"
        return
    limits = (
        ("bytes_sent", SENT_BYTES), ("messages_sent", SENT_MESSAGES), ("bytes_received", RECEIVED_BYTES),
    )  # fmt: skip
    for name, limit in limits:
        if control[name] > limit:
            what = name.replace("_", " ")
            yield f"{measured['peers']} peers: {what} {control[name]:,}, at most {limit:,}"


def run(
    sizes: Sequence[int], *, rounds: int, tau: int, patience: float, real: int, out: Path | None
) -> Iterator[str]:
    """Measure swarms of these *sizes*, yielding lines for people; write *out* after each.

    Args:
        sizes: Numbers of peers.
        rounds: As of `measure`, like the two that follow.
        tau: Plans that keep a tree.
        patience: In seconds.
        real: Up to this many peers a swarm runs for real.
        out: JSON file to write; None: none.

    Raises:
        ConfigError: *out* cannot be written.
    """
    tables.require_folder(out)
    found: list[dict[str, Any]] = []
    over: list[str] = []
    for peers in sizes:
        how = "over a broker" if peers <= real else "simulated"
        tables.announce(f"{counted(peers, 'peer')}, {how}, {counted(rounds + 1, 'round')}")
        measured = measure(peers, rounds=rounds, tau=tau, patience=patience, real=peers <= real)
        found.append(measured)
        over.extend(exceeded(measured))
        tables.write(out, {"tau": tau, "patience": patience, "held": not over, "swarms": found})
        yield f"{peers} peers, {how}, {rounds} rounds, tau {tau}, {measured['wall_s']:.0f} s"
        yield from ledger_lines(measured)
    yield from (f"over the budget: {line}" for line in over)
    if not over:
        yield (
            f"within the budget: at most {SENT_BYTES:,} bytes and {SENT_MESSAGES} messages sent and "
            f"{RECEIVED_BYTES:,} bytes received by the median peer a round"
        )
