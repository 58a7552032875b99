"""Peers that were far from all groups when they were last listed: what plans remember of them meanwhile.

Without this a peer that is set apart, or about to be, would clear itself by missing one certificate. It is
remembered for `REMEMBERED_FOR` plans, at most `ABSENT_MAX` peers at a time. Limits: an absence that
lasts longer clears it, and so does a new key: version 1 admits every key.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.placement import Standing

REMEMBERED_FOR = 32
"""Plans that remember an absent peer."""
ABSENT_MAX = 200
"""Absent peers that a plan remembers, those who left last: 18 bytes each fit one entry of `ext`."""
_ITEM = 18


class Absence(NamedTuple):
    """What is remembered of one peer."""

    standing: Standing
    """When it was last listed."""
    left: int
    """Plans that go on remembering it, this one included."""


def still_absent(
    absent: Mapping[PeerId, Absence], standing: Mapping[PeerId, Standing], listed: Collection[PeerId]
) -> dict[PeerId, Absence]:
    """Return whom the next plan remembers.

    Args:
        absent: As the plan before remembers them.
        standing: Of those that the plan before lists.
        listed: Peers of the next plan.
    """
    found = {
        peer: Absence(known.standing, known.left - 1) for peer, known in absent.items() if known.left > 1
    }
    gone = {peer: place for peer, place in standing.items() if place.apart or place.streak}
    found |= {peer: Absence(place, REMEMBERED_FOR) for peer, place in gone.items()}
    away = sorted((peer for peer in found if peer not in listed), key=lambda peer: (-found[peer].left, peer))
    return {peer: found[peer] for peer in sorted(away[:ABSENT_MAX])}


def pack_absent(absent: Mapping[PeerId, Absence]) -> bytes:
    """Return 18 bytes a peer, ascending: id, standing, plans left."""
    return b"".join(
        peer + known.standing.pack() + bytes([known.left]) for peer, known in sorted(absent.items())
    )


def unpack_absent(content: bytes) -> dict[PeerId, Absence]:
    """Return what `pack_absent` was given.

    Raises:
        MalformedFrameError: It never gives such bytes.
    """
    items = [content[at : at + _ITEM] for at in range(0, len(content), _ITEM)]
    if not items or len(items[-1]) != _ITEM or len(items) > ABSENT_MAX:
        raise MalformedFrameError(f"Plan.ext: {len(content)} bytes of absent peers")
    if not all(a[:16] < b[:16] for a, b in pairwise(items)):
        raise MalformedFrameError("Plan.ext: absent peers not sorted or not unique")
    found = {PeerId(i[:16]): Absence(Standing.unpack(i[16]), i[17]) for i in items}
    if not all(1 <= known.left <= REMEMBERED_FOR for known in found.values()):
        raise MalformedFrameError("Plan.ext: absent peers that are forgotten")
    return found
