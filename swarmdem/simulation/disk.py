"""What of a simulated peer outlives its process, and what does not.

A write is durable when it returns, so a crash loses at most the write it interrupts, and that one wholly:
records and checkpoints carry hashes, and what is torn is cut off at the next start. A disk that lies
(`Kind.FORGET`) loses writes that it had confirmed; it is told so with `forget`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmdem.identifiers import GroupId, ModelHash, PlanId
from swarmdem.protocol.events import Fetch, Slot
from swarmdem.simulation.models import Vector

UNDOABLE = 8
"""Last writes that a lying disk can still lose."""


@dataclass(slots=True)
class Disk:
    """What survives a crash."""

    records: dict[str, bytes] = field(default_factory=dict)
    slots: dict[Slot, ModelHash] = field(default_factory=dict)
    sessions: int = 0
    _last: deque[Callable[[], None]] = field(default_factory=lambda: deque(maxlen=UNDOABLE))
    """What undoes the last writes, the latest at the end."""

    def write(self, key: str, value: bytes) -> None:
        """Write a record; an empty value deletes it."""
        before = self.records.get(key, b"")
        self._last.append(lambda: self._put(key, before))
        self._put(key, value)

    def save(self, slots: dict[Slot, ModelHash]) -> None:
        """Put models into their slots, all or none."""
        before = dict(self.slots)
        self._last.append(lambda: self.slots.update(before))
        self.slots.update(slots)

    def forget(self, writes: int) -> None:
        """Lose the last *writes*, though they were confirmed."""
        for _ in range(min(writes, len(self._last))):
            self._last.pop()()

    def _put(self, key: str, value: bytes) -> None:
        if value:
            self.records[key] = value
        else:
            self.records.pop(key, None)


@dataclass(slots=True)
class Memory:
    """What does not."""

    models: set[ModelHash] = field(default_factory=set)
    sums: dict[tuple[PlanId, GroupId], list[tuple[Vector, int]]] = field(default_factory=dict)
    fetching: dict[ModelHash, Fetch] = field(default_factory=dict)
