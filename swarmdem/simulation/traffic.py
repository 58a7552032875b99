"""What simulated peers say and hear, counted by kind as real ones do it: the topic is in it, models are not.

A peer's account begins with its first certificate after the founding and ends with its last.
"""

from dataclasses import dataclass, field

from swarmdem.wire.ledger import Account, Counts, less
from swarmdem.wire.messages import FOUNDING

_TOPIC_ALL = len("swarmdem/1//all//") + 32 + 32
_TOPIC_ONE = len("swarmdem/1//to//") + 32 + 32 + 32


def size_to_all(payload: bytes, kind: str) -> int:
    """Return the bytes of a frame for everybody, as `wire.topics` would send it."""
    return _TOPIC_ALL + len(kind) + len(payload)


def size_to_one(payload: bytes) -> int:
    """Return the bytes of a frame for one peer on the control connection."""
    return _TOPIC_ONE + len(payload)


@dataclass(slots=True)
class Traffic:
    """One device's running totals, over all lives of its process."""

    _sent: dict[str, list[int]] = field(default_factory=dict)
    _received: dict[str, list[int]] = field(default_factory=dict)
    _from: tuple[Counts, Counts] = field(default_factory=lambda: ({}, {}))
    _to: tuple[Counts, Counts] = field(default_factory=lambda: ({}, {}))
    _rounds: int = -1

    def sent(self, kind: str, size: int) -> None:
        """Count a frame that leaves."""
        counted = self._sent.setdefault(kind, [0, 0])
        counted[0] += 1
        counted[1] += size

    def received(self, kind: str, size: int) -> None:
        """Count a frame that arrives."""
        counted = self._received.get(kind)
        if counted is None:
            self._received[kind] = [1, size]
        else:
            counted[0] += 1
            counted[1] += size

    def certified(self, mode: int) -> None:
        """Note that the peer has adopted a certificate of this *mode*."""
        if mode == FOUNDING:
            return
        self._rounds += 1
        self._to = (_frozen(self._sent), _frozen(self._received))
        if not self._rounds:
            self._from = self._to

    def account(self) -> Account:
        """Return what was counted between the first and the last certificate; of 0 rounds: nothing."""
        pairs = zip(self._to, self._from, strict=True)
        sent, received = (less(now, before) for now, before in pairs)
        return Account(max(0, self._rounds), sent, received)


def _frozen(counts: dict[str, list[int]]) -> Counts:
    return {kind: (messages, size) for kind, (messages, size) in counts.items()}
