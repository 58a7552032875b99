"""What a running `Peer` consists of, and what may be believed of its past after a restart."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.errors import ConfigError, WireError
from swarmdem.learning.learner import Parameters
from swarmdem.learning.strategies import strategy_of
from swarmdem.learning.strategy import Strategy
from swarmdem.node.cells import AnyCore
from swarmdem.node.counters import PeerCounters
from swarmdem.node.driver import Driver
from swarmdem.node.models import ModelShelf
from swarmdem.node.store import Store
from swarmdem.protocol.events import Slot
from swarmdem.transport.base import Port
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import Digest


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a peer that runs; what they know outlives its leaving."""

    core: AnyCore
    store: Store
    shelf: ModelShelf
    port: Port
    driver: Driver
    task: asyncio.Task[None]

    def model(self) -> Parameters:
        """Return the whole model after the last update, before the first the one training starts from."""
        return self.driver.bench.standing[0]

    def counters(self) -> PeerCounters:
        """Return what the peer did so far."""
        port, own, cost = self.port.counters, self.driver.counters, self.driver.bench.counters
        shared = own.shared
        return PeerCounters(
            port.messages_sent + shared.messages_sent, port.messages_received + shared.messages_received,
            port.bytes_sent + shared.bytes_sent, port.bytes_received + shared.bytes_received, port.dropped,
            own.unsent, dict(own.refused), cost.train_cpu_s, cost.evaluate_cpu_s,
            {kind: (frames, own.frame_bytes[kind]) for kind, frames in own.frames.items()},
            shared.bytes_received,
            {kind: (frames, own.arrival_bytes[kind]) for kind, frames in own.arrivals.items()},
        )  # fmt: skip


def trusted_records(
    records: Mapping[str, bytes], shelf: ModelShelf, sealer: Sealer, slot: Slot = Slot.UPLOAD
) -> dict[str, bytes]:
    """Return the *records* without those that speak of a model which is not here, or was found damaged.

    Without its reference the core fetches it again, without its digest it trains again.

    Args:
        records: Of one core.
        shelf: What is here.
        sealer: The core's.
        slot: Where the model is that its digest names.
    """
    trusted = dict(records)
    reference = shelf.slot(Slot.REFERENCE)
    if reference is None or trusted.get("reference") != reference.name:
        trusted.pop("reference", None)
    upload = shelf.slot(slot)
    try:
        digest = sealer.open(trusted.get("digest", b"")).message
    except WireError:
        digest = None
    if upload is None or not isinstance(digest, Digest) or digest.model not in {b"", upload.name}:
        trusted.pop("digest", None)
    return trusted


def strategy_for(charter: Charter, given: type[Strategy] | None) -> Strategy:
    """Return the strategy that the charter names, or the application's own.

    Raises:
        ConfigError: There is none of this name, the charter contradicts it, or names another.
    """
    if given is None:
        return strategy_of(charter)
    if charter.strategy not in {given.name, f"{given.__module__}:{given.__qualname__}"}:
        raise ConfigError(f"strategy: {given.name!r} is given, the charter says {charter.strategy!r}")
    return given(charter)
