"""What digests and results say of cells in their `ext`, and the rule that nobody counts twice.

In the region, the digest of a peer that speaks for a cell carries a `CellEntry`: which cell, by which
certificate and round of it, how many peers, how far these scatter. Two peers may both believe that they
speak for one cell (a partition, a failover), so a plan of the region lists a cell once.

A peer may be of a site: then it is in cells of that site alone, which may have a broker of their own.

A peer that moves to another cell says so in its digests there (`Origin`), for as long as an upload of its
old cell that still counts it may be about. From them follow the *fences* of its new cell: cell X up to
round r. A plan lists no cell together with one that its fences name. With both rules no peer's model is
in two uploads of one plan.
"""

import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from swarmdem.identifiers import CellId, PeerId, PlanId, Round
from swarmdem.wire.cells import REGION, cell_settings
from swarmdem.wire.charter import Charter
from swarmdem.wire.extensions import CELL, DOWN, ORIGIN, entry
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import PRESENCE, Digest, Final

FENCES_MAX = 64
"""Cells that one entry names in its fences."""
SCATTER_MAX = 2**64 - 1

NO_SITE = bytes(8)
"""Site of a cell whose peers may be anywhere."""

_ENTRY = struct.Struct(">16s32sIHQ8s")
_FENCE = struct.Struct(">16sI")
_DOWN = struct.Struct(">I16s")

Fences = tuple[tuple[CellId, Round], ...]


@dataclass(frozen=True, slots=True)
class CellEntry:
    """What a digest of the region says of the cell whose root model it offers."""

    cell: CellId
    certificate: PlanId
    """The cell's plan in whose update the root model was made."""
    round: Round
    """Of that plan."""
    peers: int
    """Listed by it."""
    scatter: int
    """Mean squared distance of the peers' sketches to the cell's, in (step / 256)^2 of the latter."""
    fences: Fences = ()
    """Cells that peers of this one came from, with the last round in which one may have counted there."""
    site: bytes = NO_SITE
    """Where its peers are (`site_of`)."""

    def ext(self) -> Extensions:
        """Return the `ext` of a digest that says this."""
        fences = b"".join(_FENCE.pack(cell, number) for cell, number in self.fences[:FENCES_MAX])
        told = (self.cell, self.certificate, self.round, self.peers, self.scatter, self.site)
        packed = _ENTRY.pack(*told)
        return ((CELL, packed + fences),)


def cell_entry(digest: Digest) -> CellEntry | None:
    """Return what *digest* says of a cell; None when it says nothing that can be read."""
    content = entry(digest.ext, CELL)
    if content is None or len(content) < _ENTRY.size:
        return None
    rest = content[_ENTRY.size :]
    if len(rest) % _FENCE.size or len(rest) > FENCES_MAX * _FENCE.size:
        return None
    cell, certificate, number, peers, scatter, site = _ENTRY.unpack(content[: _ENTRY.size])
    fences = tuple((CellId(name), last) for name, last in _FENCE.iter_unpack(rest))
    return CellEntry(CellId(cell), PlanId(certificate), number, peers, scatter, fences, site)


def site_of(name: str) -> bytes:
    """Return what entries say of the site of this *name*, empty for none."""
    return blake2b(name.encode(), digest_size=8, person=b"sd/site").digest() if name else NO_SITE


def entry_refusal(charter: Charter, digest: Digest) -> str:
    """Return why what *digest* says of cells is wrong in the swarm of *charter*; empty when it is not."""
    settings = cell_settings(charter.ext)
    region = settings is not None and settings.kind == REGION
    if not region:
        return "speaks for a cell outside the region" if entry(digest.ext, CELL) is not None else ""
    told = cell_entry(digest)
    return "speaks for no cell" if told is None or not told.peers > 0 else ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a peer was before it came to its cell."""

    cell: CellId
    round: Round
    """Of the last certificate that it stood on there."""

    def ext(self) -> Extensions:
        """Return the `ext` of a digest that says this."""
        return ((ORIGIN, _FENCE.pack(self.cell, self.round)),)


def fences_of(digests: Iterable[Digest]) -> Fences:
    """Return the fences that follow from what the peers of a cell say of their origins."""
    last: dict[CellId, Round] = {}
    for digest in digests:
        content = entry(digest.ext, ORIGIN)
        if content is not None and len(content) == _FENCE.size:
            cell, number = _FENCE.unpack(content)
            last[CellId(cell)] = max(number, last.get(CellId(cell), 0))
    return tuple(sorted(last.items()))[:FENCES_MAX]


def counted_twice(digests: Mapping[PeerId, Digest], electors: Collection[PeerId]) -> frozenset[PeerId]:
    """Return whose *digests* a plan of the region must leave out, so that nobody counts twice.

    Of several that speak for one cell an elector is kept before others, then the one of the highest round
    of the cell, then the lowest id. Of two cells that a fence keeps apart the fenced one stays, which
    will soon have a newer upload; unless only the other's speaker is an elector. In a flat swarm, and
    while founding, nobody is left out.

    Args:
        digests: By sender.
        electors: Of the base; a plan must list half of them.
    """
    told = {peer: found for peer, digest in digests.items() if (found := _of_cell(digest)) is not None}
    best: dict[CellId, PeerId] = {}

    def order(peer: PeerId) -> tuple[bool, Round, PeerId]:
        return peer not in electors, -told[peer].round, peer

    for peer in sorted(told, key=order):
        best.setdefault(told[peer].cell, peer)
    out = set(told) - set(best.values())
    for peer in sorted(best.values()):
        for cell, last in told[peer].fences:
            other = best.get(cell)
            apart = other is None or other == peer or told[other].round > last
            if not apart and other is not None and not {peer, other} & out:
                out.add(other if peer in electors and other not in electors else peer)
    return frozenset(out)


def _of_cell(digest: Digest) -> CellEntry | None:
    return None if digest.kind == PRESENCE or not digest.ext else cell_entry(digest)


@dataclass(frozen=True, slots=True)
class HandedDown:
    """The region's result for a cell, as the cell is told."""

    round: Round
    """Of the region's plan."""
    merge: CellId
    """The cell that this one is merged into; empty: none."""

    def ext(self) -> Extensions:
        """Return the `ext` of the `Final` that says this."""
        return ((DOWN, _DOWN.pack(self.round, self.merge.ljust(16, b"\0"))),)


def handed_down(final: Final) -> HandedDown | None:
    """Return what a `Final` says of the region's result for a cell; None when it is no such one."""
    content = entry(final.ext, DOWN)
    if content is None or len(content) != _DOWN.size:
        return None
    number, merge = _DOWN.unpack(content)
    return HandedDown(number, CellId(merge if any(merge) else b""))
