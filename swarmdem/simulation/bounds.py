"""How much a core may remember: the sizes of all its collections, held against stated bounds.

Everything reachable from a core within the protocol's own objects is walked; whatever a collection is
called, it may not outgrow what `limit` allows. The walk costs about as much as ten to twenty frames, so it
is made at every `EVERY`-th event of a peer, in a swarm of more than `CROWD` at every fourth: what has
no bound keeps growing and is found a little later.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from swarmdem.protocol.catchup import ANSWERS_MAX, HELD_MAX, PARKED_MAX
from swarmdem.protocol.clock import PENDING_MAX
from swarmdem.protocol.lineages import REMEMBERED_MAX
from swarmdem.protocol.proposals import PROPOSALS_MAX
from swarmdem.simulation.evidence import Broken

EVERY = 256
"""Events of a peer between two walks."""
CROWD = 64
BOUNDS = {
    "Catchup._parked": PARKED_MAX,
    "Catchup._wanted": PARKED_MAX,
    "Catchup._answers": ANSWERS_MAX,
    "Catchup._held": HELD_MAX,
    "Lineages._places": REMEMBERED_MAX,
    "Lineages.older": REMEMBERED_MAX,
    "Situation.barred": REMEMBERED_MAX,
    "ConnectedClock._pending": PENDING_MAX,
    "Proposals._offered": PROPOSALS_MAX,
    "Proposals._plans": PROPOSALS_MAX,
    "Proposals._unknown": PROPOSALS_MAX,
}
"""Bounds that do not depend on the number of peers, by class and attribute."""
PER_PEER = 64
"""Things remembered of one peer at most, of all kinds (votes of one: 16, digests of one: 4)."""
SPARE = 256
"""Things remembered beside: of peers that were invented, came and went."""
_INTEREST = ("swarmdem.protocol",)
_SEQUENCES = (list, tuple, set, frozenset, deque)


def limit(where: str, peers: int) -> int:
    """Return the most items that the collection *where* (class.attribute) may have in a swarm of *peers*."""
    return BOUNDS.get(where, PER_PEER * peers + SPARE)


def sizes(core: object) -> Iterator[tuple[str, int]]:
    """Yield every collection below *core* as (class.attribute, items)."""
    seen: set[int] = {id(core)}
    open_ones: list[tuple[str, Any]] = list(_attributes(core))
    while open_ones:
        where, value = open_ones.pop()
        kind = type(value)
        if kind in _PLAIN or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            yield where, len(value)
            open_ones.extend((where, item) for item in value.values())
        elif isinstance(value, _SEQUENCES):
            yield where, len(value)
            open_ones.extend((where, item) for item in value)
        elif kind.__module__.startswith(_INTEREST):
            open_ones.extend(_attributes(value))


_PLAIN = frozenset({int, bytes, str, float, bool, type(None)})


def _attributes(owner: object) -> Iterator[tuple[str, Any]]:
    """Yield what *owner* holds: its dictionary, or its slots."""
    name = type(owner).__name__
    if hasattr(owner, "__dict__"):
        yield from ((f"{name}.{key}", value) for key, value in vars(owner).items())
        return
    for base in type(owner).__mro__:
        for slot in getattr(base, "__slots__", ()):
            if hasattr(owner, slot):
                yield f"{name}.{slot}", getattr(owner, slot)


class Bounds:
    """The check, for the peers of one world.

    Args:
        peers: How many there are.
    """

    def __init__(self, peers: int) -> None:
        self._peers = peers
        self._every = EVERY if peers <= CROWD else 4 * EVERY
        self._events: dict[bytes, int] = {}

    def on_state(self, peer: bytes, core: object) -> None:
        """Look at the state *core* is in after an event of *peer*, when it is time to.

        Raises:
            Broken: A collection has outgrown its bound.
        """
        count = self._events.get(peer, 0) + 1
        self._events[peer] = count
        if count % self._every:
            return
        for where, size in sizes(core):
            if size > limit(where, self._peers):
                raise Broken(
                    "queues and memory stay within bounds",
                    f"{where} has {size} items, not at most {limit(where, self._peers)}",
                )
