"""What a running `Peer` consists of, and what may be believed of its past after a restart."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.node.driver import Driver
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.store import Store
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Slot
from swarmdem.transport.base import Port


@dataclass(frozen=True, slots=True)
class PeerCounters:
    """What one peer did since it started, counted as if it had its own connection."""

    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    dropped: int
    """Arrivals thrown away because this peer did not keep up."""
    unsent: int
    """Frames not sent because the link was down."""
    refused: Mapping[str, int]
    """Arrivals refused, by reason."""
    train_cpu_s: float
    evaluate_cpu_s: float


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a peer that runs; what they know outlives its leaving."""

    core: Core
    store: Store
    shelf: ModelShelf
    port: Port
    driver: Driver
    task: asyncio.Task[None]
    initial: Model

    def model(self) -> Model:
        """Return the model after the last update, before the first the one training started from."""
        return self.shelf.slot(Slot.OWN) or self.shelf.slot(Slot.REFERENCE) or self.initial

    def counters(self) -> PeerCounters:
        """Return what the peer did so far."""
        port, own, cost = self.port.counters, self.driver.counters, self.driver.bench.counters
        return PeerCounters(
            port.messages_sent, port.messages_received, port.bytes_sent, port.bytes_received, port.dropped,
            own.unsent, dict(own.refused), cost.train_cpu_s, cost.evaluate_cpu_s,
        )  # fmt: skip


def trusted_records(records: Mapping[str, bytes], shelf: ModelShelf) -> dict[str, bytes]:
    """Return the *records* without those that speak of a model which was found damaged.

    Without its reference the core fetches it again, without its digest it trains again.
    """
    trusted = dict(records)
    reference = shelf.slot(Slot.REFERENCE)
    if reference is None or trusted.get("reference") != reference.name:
        trusted.pop("reference", None)
    if shelf.slot(Slot.UPLOAD) is None:
        trusted.pop("digest", None)
    return trusted
