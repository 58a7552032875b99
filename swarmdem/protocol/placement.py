"""Where a peer may stand: newcomers start at the top, peers far from all groups are set apart.

A peer is *far* when its distance to the nearest group's mean, itself left out of it, exceeds the
upper quartile of all clustered peers by more than three times the quartiles' difference (integers).
Groups are those without groups below them. Who is too loud to be clustered is far too. Nobody is far
from fewer than `FEWEST` clustered peers: so those set apart come back when they are left alone.

- A newcomer hangs under the root first and may go one level further down each certificate in which it
  is not far (Dem-AI, arXiv 2003.09301: new agents enter at the top).
- A peer far for `outliers` certificates in a row is set apart: right under the root, weight 0, out of
  the clustering. Once it has been back inside for as many in a row it comes in like a newcomer.

A peer that cannot be compared keeps its standing. One byte per listed peer of a plan hands it on; a
peer that misses a certificate begins anew, unless it was far or apart (`absence`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import Level
from swarmdem.protocol.sketches import Floats, centre, roots, squares

DEPTH_FREE = 255
"""No limit: the peer stands where its digest puts it."""

FEWEST = 4
"""Clustered peers from which one can be far."""

_DEPTH_FREE_PACKED = 15
_IQR_TIMES = 3


@dataclass(frozen=True, slots=True, order=True)
class Standing:
    """What a plan remembers about one of its listed peers."""

    depth: int = DEPTH_FREE
    """Levels that the peer may go below the root; below 15, or `DEPTH_FREE`."""
    streak: int = 0
    """Certificates in a row far from all groups; once apart: certificates inside still wanted. 0 to 3."""
    apart: bool = False
    """Set apart: directly under the root, weight 0, not clustered."""

    def pack(self) -> bytes:
        """Return one byte: 4 bits depth (15: no limit), 2 bits streak, 1 bit apart, 1 bit 0."""
        depth = _DEPTH_FREE_PACKED if self.depth == DEPTH_FREE else self.depth
        return bytes([depth << 4 | self.streak << 2 | self.apart << 1])

    @classmethod
    def unpack(cls, byte: int) -> Self:
        """Return the standing that `pack` made *byte* of.

        Raises:
            MalformedFrameError: The last bit is set.
        """
        if byte & 1:
            raise MalformedFrameError(f"Plan.ext: {byte:#04x} is no standing of a peer")
        depth = byte >> 4
        return cls(DEPTH_FREE if depth == _DEPTH_FREE_PACKED else depth, byte >> 2 & 3, bool(byte & 2))

    def next(self, *, far: bool | None, levels: Level, outliers: int) -> "Standing":
        """Return the standing one certificate later.

        Args:
            far: Whether the peer was far from all groups; None when that cannot be told.
            levels: Levels of groups below the root.
            outliers: The charter's setting; 0: nobody is set apart.
        """
        if far is None:
            return self
        if self.apart:
            streak = outliers if far else self.streak - 1
            return Standing(0, streak, apart=True) if streak > 0 else _below(0, levels)
        if not far:
            return _below(self.depth if self.depth == DEPTH_FREE else self.depth + 1, levels)
        if self.streak + 1 < outliers:
            return replace(self, streak=self.streak + 1)
        return Standing(0, outliers, apart=True) if outliers else self


NEWCOMER = Standing(depth=0)


def _below(depth: int, levels: Level) -> Standing:
    return Standing(depth if depth < min(levels, _DEPTH_FREE_PACKED) else DEPTH_FREE)


def far_points(
    points: Floats, groups: Sequence[Sequence[int]], others: Floats
) -> tuple[list[bool], list[bool]]:
    """Return which of *points* and which of *others* are far from all *groups*.

    Args:
        points: [N, m] of the clustered peers, whole coordinates.
        groups: Rows of *points* by group; a point is in one group at most. At least one group.
        others: [M, m] of peers that were not clustered.
    """
    if len(points) < FEWEST:
        return [False] * len(points), [False] * len(others)
    centres = np.stack([centre(points[list(rows)]) for rows in groups])
    distances = roots(squares(points, centres))
    for column, rows in enumerate(groups):
        if len(rows) > 1:
            # Without p the mean of n points lies n / (n - 1) as far from p.
            distances[list(rows), column] = distances[list(rows), column] * len(rows) // (len(rows) - 1)
    nearest = distances.min(axis=1)
    ordered = sorted(nearest.tolist())
    lower, upper = ordered[(len(ordered) - 1) // 4], ordered[3 * (len(ordered) - 1) // 4]
    limit = upper + _IQR_TIMES * (upper - lower)
    beyond = [False] * len(others)
    if len(others):
        beyond = [distance > limit for distance in roots(squares(others, centres)).min(axis=1).tolist()]
    return [distance > limit for distance in nearest.tolist()], beyond
