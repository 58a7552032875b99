"""What a charter says of cells, in its `ext`: the limit of a cell, or which swarm this one is a part of.

A swarm in cells has three kinds of charter. The swarm's own says how many peers a cell has at most. From it
follow, without any message, the charter of each cell and that of the region, in which every cell is one
member; these name the swarm they belong to (`protocol/cells/charters.py`). A flat swarm has none of this,
and its charter is byte for byte what it was before there were cells.
"""

import struct
from dataclasses import dataclass

from swarmdem.identifiers import CellId
from swarmdem.wire.fields import Extensions

CELLS = 1
"""Id of the entry in a charter's `ext`; odd: who does not know it cannot take part."""
LIMIT_MIN, LIMIT_MAX = 4, 256
"""Least and most that a cell's limit may be."""
SWARM, CELL, REGION = range(3)
"""Kinds of charter: that of the whole swarm, of one cell of it, of the region that its cells make up."""

_NONE = CellId(b"")
_SWARM = struct.Struct(">BH")
_PART = struct.Struct(">BH32s16s")


@dataclass(frozen=True, slots=True)
class CellSettings:
    """The entry, read."""

    kind: int
    """`SWARM`, `CELL` or `REGION`."""
    limit: int
    """Most peers of a cell."""
    swarm: bytes = b""
    """Hash of the whole swarm's charter; empty in that one itself."""
    cell: CellId = _NONE
    """Which cell, in a cell's charter; otherwise empty."""

    def ext(self) -> Extensions:
        """Return the `ext` of a charter that says this."""
        if self.kind == SWARM:
            return ((CELLS, _SWARM.pack(self.kind, self.limit)),)
        return ((CELLS, _PART.pack(self.kind, self.limit, self.swarm, self.cell)),)


def cell_settings(ext: Extensions) -> CellSettings | None:
    """Return what a charter's `ext` says of cells; None in a flat swarm, and where it is not well-formed."""
    if len(ext) != 1 or ext[0][0] != CELLS:
        return None
    content = ext[0][1]
    if len(content) == _SWARM.size:
        settings = CellSettings(*_SWARM.unpack(content))
    elif len(content) == _PART.size:
        kind, limit, swarm, cell = _PART.unpack(content)
        settings = CellSettings(kind, limit, swarm, CellId(cell if kind == CELL else b""))
    else:
        return None
    whole = settings.kind == SWARM and not settings.swarm
    part = settings.kind in {CELL, REGION} and bool(settings.swarm)
    return settings if (whole or part) and LIMIT_MIN <= settings.limit <= LIMIT_MAX else None


def founders_max(ext: Extensions, listed_max: int) -> int:
    """Return the most founders of a swarm: as many as a plan lists, in cells as many cells of the limit."""
    settings = cell_settings(ext)
    return listed_max * settings.limit if settings is not None and settings.kind == SWARM else listed_max


def flaw(ext: Extensions) -> str:
    """Return what a charter's `ext` must be where it is not that; empty when it is right."""
    if not ext or cell_settings(ext) is not None:
        return ""
    return (
        f"entry {CELLS} alone, which says how a swarm is divided: cells of {LIMIT_MIN} to {LIMIT_MAX} peers"
    )
