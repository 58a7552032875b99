"""Where a peer may stand: newcomers start at the top, peers far from all groups are set apart.

One byte per peer of a plan says so (`Standing`).
"""

from dataclasses import dataclass
from typing import Self

from swarmdem.errors import MalformedFrameError

DEPTH_FREE = 255
"""No limit: the peer stands where its digest puts it."""
STREAK_MAX = 3

_DEPTH_FREE_PACKED = 15


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
