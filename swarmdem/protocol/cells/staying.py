"""A peer's time in one cell: its core there, where it came from, and when it may go elsewhere."""

import struct
from collections.abc import Mapping

from swarmdem.identifiers import CellId, Micros, PeerId, Round
from swarmdem.protocol.cells.charters import scopes_of
from swarmdem.protocol.cells.entries import Origin
from swarmdem.protocol.cells.part import Part
from swarmdem.protocol.cells.reshaping import speakers
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
    """

    def __init__(self, cell: CellId, charter: Charter, sealer: Sealer, records: Mapping[str, bytes]) -> None:
        self.cell = cell
        self.charter = charter
        self.scopes = scopes_of(charter)
        """The hashes that frames of this cell are signed under."""
        self.part = Part(charter, sealer.under(charter), stored=records_of(self.key(""), records))
        self.target: CellId | None = None
        """The cell to go to next; None while this peer stays."""
        self.leaves_by: Micros | None = None
        """When it goes at the latest; None while it takes part in a round here."""
        self._origin: Origin | None = None
        self._fenced = 0
        self._ranked_on: bytes = b""
        self._ranked: tuple[PeerId, ...] = ()
        packed = records.get("origin", b"")
        if len(packed) == _ORIGIN.size:
            origin, last, self._fenced = _ORIGIN.unpack(packed)
            self._origin = Origin(CellId(origin), last)

    def speakers(self) -> tuple[PeerId, ...]:
        """Return who speaks for the cell by its certificate, first the one who does."""
        base = self.part.base
        if base.id != self._ranked_on:
            self._ranked_on, self._ranked = base.id, speakers(base, self.cell)
        return self._ranked

    def key(self, name: str) -> str:
        """Return the key on disk of a record of this stay."""
        return f"cell-{self.cell.hex()[:16]}-{name}"

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


def records_of(prefix: str, records: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the records of one core, whose keys on disk begin with *prefix*, by its own keys."""
    return {key.removeprefix(prefix): value for key, value in records.items() if key.startswith(prefix)}
