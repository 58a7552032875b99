"""Who leads: rendezvous order over peers, the same at every peer from the seed alone.

Everybody who knows the candidates and the seed computes the same order, with no message. Each
candidate draws a number from BLAKE2b of the seed and its own id; the smallest is first. A peer of
weight w draws w times and keeps its best (weighted rendezvous with integer replicas): it is first w
times as often as one of weight 1. One of weight 0 comes after all others. Weights are what plans hand
on (`conduct.py`). Properties, each with a test of its name:

- the order of candidates does not matter;
- a departure moves only the departed's duties: all others keep their order;
- duties spread: peers of one weight are first about equally often over many seeds;
- another seed is another order, drawn independently.

The seed is public (a certificate's id), so the order is predictable, not secret: whoever certifies
last could withhold a certificate to draw again, at the price of its turn.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from types import MappingProxyType

from swarmdem.identifiers import GroupId, PeerId
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.recent import Recent

RANKS = 2
"""Aggregators per group: the first leads term 0, the second may take over in term 1."""


NOBODY: Mapping[PeerId, int] = MappingProxyType({})
"""All have weight 1."""


def rank(peers: Iterable[PeerId], seed: bytes, weights: Mapping[PeerId, int] = NOBODY) -> tuple[PeerId, ...]:
    """Return *peers* (each once) in the order in which *seed* calls on them; equal draws by id.

    Args:
        peers: The candidates.
        seed: Draws are independent from seed to seed.
        weights: Of those that do not count once.
    """
    key = blake2b(seed, digest_size=32, person=b"sd/rank").digest()

    def place(peer: PeerId) -> tuple[bool, bytes, PeerId]:
        weight = weights.get(peer, 1)
        return weight == 0, min(_draw(key, peer, turn) for turn in range(max(1, weight))), peer

    return tuple(sorted(set(peers), key=place))


def _draw(key: bytes, peer: PeerId, turn: int) -> bytes:
    """Return a number of a peer under the seed of *key*; compared as big-endian unsigned."""
    drawn = peer + bytes([turn]) if turn else peer
    return blake2b(drawn, key=key, digest_size=8, person=b"sd/rank").digest()


def leaders(
    hierarchy: Hierarchy, base: bytes, weights: Mapping[PeerId, int] = NOBODY
) -> dict[GroupId, tuple[PeerId, ...]]:
    """Return the aggregators of every group: rank 0 and, where the group has two members, rank 1.

    Groups are served from the top in canonical order. Each calls on its members in their `rank`
    under (base, group), but whoever has no duty yet comes before those who only stand by, and these
    before those who lead: nobody gets a second group while another member has none, except that members
    of weight 0 get one only where there are no others.

    Args:
        hierarchy: Tree of the plan.
        base: Id of the certificate the plan follows.
        weights: Of those that do not count once, as that plan hands them on.
    """
    asked = (base, hierarchy, dict(weights))
    return dict(_leaders.get(asked, lambda: _called(hierarchy, base, weights), about=base))


_leaders: Recent[tuple[bytes, Hierarchy, dict[PeerId, int]], dict[GroupId, tuple[PeerId, ...]]] = Recent()


def _called(
    hierarchy: Hierarchy, base: bytes, weights: Mapping[PeerId, int]
) -> dict[GroupId, tuple[PeerId, ...]]:
    load = {peer: RANKS + 1 for peer, weight in weights.items() if weight == 0}
    chosen: dict[GroupId, tuple[PeerId, ...]] = {}
    for group in hierarchy.groups:
        called = rank(group.members, base + group.id, weights)
        order = sorted(called, key=lambda peer: load.get(peer, 0))
        chosen[group.id] = tuple(order[:RANKS])
        for place, peer in enumerate(order[:RANKS]):
            load[peer] = max(load.get(peer, 0), RANKS - place)
    return chosen
