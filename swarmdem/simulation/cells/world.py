"""A world whose peers hear only their cell, and the region where they speak for one.

All else is as in a flat world. All peers bring the same first model along, the charter's genesis. What
crosses is counted by peer, because at this size it is what matters; models are not among the bytes.
"""

from typing import Any

from swarmdem.identifiers import CellId, ModelHash
from swarmdem.protocol.cells.charters import scopes_of
from swarmdem.protocol.cells.core import CellCore
from swarmdem.protocol.events import Enter, Leave
from swarmdem.simulation import models
from swarmdem.simulation.cells.checkers import CellCheckers
from swarmdem.simulation.channels import Scopes
from swarmdem.simulation.models import ModelBook
from swarmdem.simulation.peer import SimulatedPeer
from swarmdem.simulation.world import Parcel, World
from swarmdem.wire.cells import CELL, cell_settings
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Offline

GENESIS: ModelHash = ModelBook().enter(models.ZERO)
"""The model that every peer brings along."""


class CellWorld(World):
    """A swarm in cells in one thread; arguments as of `World`."""

    checkers: CellCheckers

    def __init__(self, **arguments: Any) -> None:
        self.hearing = Scopes()
        count = arguments["peers"]
        self.sent = [0] * count
        """Bytes said by each peer."""
        self.said = [0] * count
        """Frames said by each peer."""
        self.received = [0] * count
        """Bytes that reached each peer."""
        self.heard = [0] * count
        """Frames that reached each peer."""
        super().__init__(core_factory=CellCore, channels=self.hearing, judges=CellCheckers, **arguments)

    def first_model(self) -> ModelHash:
        """Return the genesis."""
        return self.book.enter(models.ZERO)

    def enter(self, peer: SimulatedPeer, order: Enter) -> None:
        """Let a peer listen under another charter, or only to what is said to itself there."""
        scopes = scopes_of(order.charter)
        self.scopes.update(scopes)
        if not order.to_all:
            self.hearing.leave(peer.index, scopes)
            return
        for scope in self.hearing.join(peer.index, scopes):
            self.network.remind(peer.index, scope)
        settings = cell_settings(order.charter.ext)
        if settings is not None and settings.kind == CELL and peer.sealer is not None:
            self.trace.line(self.now, peer.index, f"! enters cell {settings.cell.hex()[:8]}")
            peer.goodbye = self.parcel(peer.sealer.under(order.charter).seal(Offline(leaving=False)))

    def leave(self, peer: SimulatedPeer, order: Leave) -> None:
        """Let a peer listen under a charter no more."""
        self.hearing.leave(peer.index, scopes_of(order.charter))

    def disconnect(self, peer: SimulatedPeer) -> None:
        """End a peer's session because its process ended, and all that it listened to."""
        self.hearing.leave(peer.index)
        super().disconnect(peer)

    def publish(self, peer: SimulatedPeer, frame: Frame, *, retain: bool) -> None:
        """Carry a peer's frame to everybody who listens."""
        self.sent[peer.index] += len(frame.raw)
        self.said[peer.index] += 1
        super().publish(peer, frame, retain=retain)

    def send(self, peer: SimulatedPeer, receiver: Any, frame: Frame) -> None:
        """Carry a peer's frame to one other."""
        self.sent[peer.index] += len(frame.raw)
        self.said[peer.index] += 1
        super().send(peer, receiver, frame)

    def _deliver(self, index: int, parcel: Parcel) -> None:
        self.received[index] += len(parcel)
        self.heard[index] += 1
        super()._deliver(index, parcel)


def cell_of(peer: SimulatedPeer) -> CellId | None:
    """Return the cell that a simulated peer is in; None while it is in none."""
    return peer.core.cell if isinstance(peer.core, CellCore) else None
