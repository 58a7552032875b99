"""Who leads: rendezvous order over peers, the same at every peer from the seed alone.

Everybody who knows the candidates and the seed computes the same order, with no message. Each
candidate draws a number from BLAKE2b of the seed and its own id; the smallest is first (weighted
rendezvous with integer replicas; in version 1 everybody has weight 1). Properties, each with a test
of its name:

- the order of candidates does not matter;
- a departure moves only the departed's duties: all others keep their order;
- duties spread: every peer is first about equally often over many seeds;
- another seed is another order, drawn independently.

The seed is public (a certificate's id), so the order is predictable, not secret: whoever certifies
last could withhold a certificate to draw again, at the price of its turn.
"""

from collections.abc import Iterable
from hashlib import blake2b

from swarmdem.identifiers import GroupId, PeerId
from swarmdem.protocol.hierarchy import Hierarchy

RANKS = 2
"""Aggregators per group: the first leads term 0, the second may take over in term 1."""


def rank(peers: Iterable[PeerId], seed: bytes) -> tuple[PeerId, ...]:
    """Return *peers* (each once) in the order in which *seed* calls on them; equal draws by id."""
    key = blake2b(seed, digest_size=32, person=b"sd/rank").digest()
    return tuple(sorted(set(peers), key=lambda peer: (_draw(key, peer), peer)))


def _draw(key: bytes, peer: PeerId) -> bytes:
    """Return a peer's number under the seed of *key*; compared as big-endian unsigned."""
    return blake2b(peer, key=key, digest_size=8, person=b"sd/rank").digest()


def leaders(hierarchy: Hierarchy, base: bytes) -> dict[GroupId, tuple[PeerId, ...]]:
    """Return the aggregators of every group: rank 0 and, where the group has two members, rank 1.

    Groups are served from the top in canonical order. Each calls on its members in their `rank`
    under (base, group), but whoever has no duty yet comes before those who only stand by, and these
    before those who lead: nobody gets a second group while another member has none.

    Args:
        hierarchy: Tree of the plan.
        base: Id of the certificate the plan follows.
    """
    load: dict[PeerId, int] = {}
    chosen: dict[GroupId, tuple[PeerId, ...]] = {}
    for group in hierarchy.groups:
        order = sorted(rank(group.members, base + group.id), key=lambda peer: load.get(peer, 0))
        chosen[group.id] = tuple(order[:RANKS])
        for place, peer in enumerate(order[:RANKS]):
            load[peer] = max(load.get(peer, 0), RANKS - place)
    return chosen
