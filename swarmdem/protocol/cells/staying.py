"""A peer's time in one cell: its core there, where it came from, and when it may go elsewhere."""

import struct

from swarmdem.identifiers import CellId, Micros, PeerId, PlanId, Round
from swarmdem.protocol.cells.charters import limit_of, new_cell, scopes_of
from swarmdem.protocol.cells.entries import Origin
from swarmdem.protocol.cells.part import Part
from swarmdem.protocol.cells.records import Records
from swarmdem.protocol.cells.reshaping import movers, speakers
from swarmdem.protocol.events import Persist
from swarmdem.protocol.restart import DOUBT
from swarmdem.wire.charter import Charter
from swarmdem.wire.fields import Extensions
from swarmdem.wire.frame import Sealer

FENCED_ROUNDS = 16
"""Certificates of the new cell for which a peer names the one it came from: an upload of that one that
counts it is long outdated by then."""

_ORIGIN = struct.Struct(">16sIB")


class Staying:
    """One stay in *cell*.

    Args:
        cell: The cell.
        charter: The cell's.
        sealer: Signs for this peer, under whatever charter.
        records: What is on disk of all of this peer's cores.
        capability: This peer's.
    """

    def __init__(
        self, cell: CellId, charter: Charter, sealer: Sealer, records: Records, capability: int = 1
    ) -> None:
        self.cell = cell
        self.charter = charter
        self.scopes = scopes_of(charter)
        """The hashes that frames of this cell are signed under."""
        stored = records.of(self.key(""))
        self.part = Part(charter, sealer.under(charter), stored=stored, capability=capability)
        self.target: CellId | None = None
        """The cell to go to next; None while this peer stays."""
        self.leaves_by: Micros | None = None
        """When it goes at the latest; None while it takes part in a round here."""
        self._origin: Origin | None = None
        self._fenced = 0
        self._ranked_on: bytes = b""
        self._ranked: tuple[PeerId, ...] = ()
        packed = records.get("origin")
        if len(packed) == _ORIGIN.size:
            origin, last, self._fenced = _ORIGIN.unpack(packed)
            self._origin = Origin(CellId(origin), last)

    def speakers(self) -> tuple[PeerId, ...]:
        """Return who speaks for the cell by its certificate, first the one who does.

        Nobody does before the cell's first round: its founding lists only those who came first, and among
        all who come after them another is the first in rank. A region founded by the former would have lost
        its majority by the time it begins.
        """
        base = self.part.base
        if base.id != self._ranked_on:
            self._ranked_on = base.id
            self._ranked = () if base.hierarchy is None else speakers(base, self.cell)
        return self._ranked

    def key(self, name: str) -> str:
        """Return the key on disk of a record of this stay."""
        return key_of(self.cell, name)

    def adopted(self, number: Round) -> None:
        """Take note of a new certificate of the cell: the origin is forgotten in time."""
        if self._fenced and number:
            self._fenced -= 1
            self._origin = self._origin if self._fenced else None

    def origin_ext(self) -> Extensions:
        """Return what digests say of this peer's origin."""
        return self._origin.ext() if self._origin is not None else ()

    def origin_there(self) -> bytes:
        """Return the record for the next stay: this cell, the last round, how long it counts."""
        return _ORIGIN.pack(self.cell, self.part.base.round, FENCED_ROUNDS)

    def written(self, records: Records, order: Persist) -> list[Persist]:
        """Return what to write for a record of the core here, under the key it has on disk."""
        if order.key == DOUBT:
            return records.cell_reassured()
        return [records.write(self.key(order.key), order.value)]

    def moved(self, records: Records) -> list[Persist]:
        """Return what to write when this peer goes to `target`: rounds are counted on from here."""
        assert self.target is not None
        there = [(key_of(self.target, key), records.get(self.key(key))) for key in ("round", "applied")]
        there += [("origin", self.origin_there()), ("cell", self.target)]  # a crash in between fences nobody
        return [records.write(key, value) for key, value in there if value] + records.drop(self.key(""))

    def divide(self, me: PeerId) -> None:
        """Leave for a new cell if the cell's certificate divides it and says so."""
        base = self.part.base
        if base.certificate is not None and me in movers(base, limit_of(self.charter)):
            self.leave(new_cell(PlanId(base.id)))

    def leave(self, target: CellId) -> None:
        """Go to *target* after this round."""
        if target != self.cell:
            self.target = target

    def held_back(self, now: Micros, patience: Micros) -> bool:
        """Return whether the next training is not begun, because this peer leaves instead."""
        if self.target is None:
            return False
        self.leaves_by = now + patience
        return True

    def ready(self, now: Micros) -> bool:
        """Return whether to leave now: no digest is open here, and no duty or no time is left."""
        return self.leaves_by is not None and (self.part.idle or now >= self.leaves_by)


def key_of(cell: CellId, name: str) -> str:
    """Return the key on disk of a record of a stay in *cell*."""
    return f"cell-{cell.hex()[:16]}-{name}"
