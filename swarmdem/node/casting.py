"""A blob for several receivers: each chunk is published once, to all who listen on the blob's topic.

A source that is asked for a blob by a second peer while it serves the first invites both to listen, and
waits `GATHER_S` for more; the first gets nothing alone any more until it listens, or `GATHER_MOST_S` have
passed. From then on leaves that were not published yet are published to all; what a listener lost, or what
was published before it listened, is sent to it alone, or once more to all when `REPAIR_ALL` asked for it.

The pace is that of the slowest listener that still asks: nothing is published more than `LEAD_LEAVES` beyond
what it has asked for. One that was silent for `LAG_S` holds nobody up.
"""

from collections import Counter
from dataclasses import dataclass, field

from swarmdem.identifiers import PeerId

LEAST_BYTES = 2**20
"""For smaller blobs a subscription costs more than it spares."""
GATHER_S = 0.02
"""After the last invitation; members of a group ask within a few milliseconds of each other."""
GATHER_MOST_S = 0.1
RECENT_S = 1.0
"""Who asked within this time is still fetching."""
LEAD_LEAVES = 128
LAG_S = 2.0
REPAIR_ALL = 3


@dataclass(slots=True)
class _Listener:
    joined: int
    """How many leaves had been published when it began to listen."""
    asked: int = 0
    """It asked for leaves below this one."""
    at: float = 0.0


@dataclass(slots=True)
class Cast:
    """What one source has published of one blob, and for whom.

    Args:
        leaves: How many the blob has.
    """

    leaves: int
    asked_at: dict[PeerId, float] = field(default_factory=dict)
    """Everybody who asked lately."""
    listeners: dict[PeerId, _Listener] = field(default_factory=dict)
    starts_at: float = 0.0
    """Not before."""
    first_invited: float = 0.0
    _alone: dict[PeerId, bytearray] = field(default_factory=dict)
    """Which leaves somebody who does not listen was sent; one byte a leaf."""
    _published: list[int] = field(default_factory=list)
    """Of each leaf: the how manieth publication it was last, from 1; 0: none."""
    _count: int = 0
    _missed: Counter[int] = field(default_factory=Counter)
    """How often each leaf was asked for in vain since it was published."""

    def shared(self, receiver: PeerId, now: float) -> bool:
        """Note that *receiver* asks; return whether others do, too."""
        self.asked_at = {peer: at for peer, at in self.asked_at.items() if now - at <= RECENT_S}
        self.asked_at[receiver] = now
        return len(self.asked_at) > 1

    def begins(self, receiver: PeerId) -> None:
        """Note that *receiver* has nothing of the blob and does not listen."""
        self.listeners.pop(receiver, None)
        self._alone.pop(receiver, None)

    def ends(self, receiver: PeerId) -> None:
        """Note that *receiver* was sent the last leaf: as far as is known it is fetching no longer."""
        self.asked_at.pop(receiver, None)
        self._alone.pop(receiver, None)

    def send_alone(self, receiver: PeerId, first: int, stop: int) -> None:
        """Note that leaves are sent to one who does not listen yet."""
        sent = self._alone.setdefault(receiver, bytearray(self.leaves))
        sent[first:stop] = b"\1" * (stop - first)

    def invite(self, now: float) -> None:
        """Wait a little for those who are invited now."""
        if self._count == 0:
            self.first_invited = self.first_invited or now
            self.starts_at = min(now + GATHER_S, self.first_invited + GATHER_MOST_S)

    def wants(
        self, receiver: PeerId, ranges: tuple[tuple[int, int], ...], now: float, *, again: bool
    ) -> list[int]:
        """Note what a listener asks for; return the leaves that are not on their way to it already."""
        listener = self.listeners.setdefault(receiver, _Listener(self._count))
        sent = self._alone.pop(receiver, None) or bytes(self.leaves)
        listener.at = now
        published = self._published or [0] * self.leaves
        self._published = published
        found: list[int] = []
        for start, end in ranges:
            stop = min(end, self.leaves)
            listener.asked = max(listener.asked, stop)
            owed = [n for n in range(start, stop) if published[n] <= listener.joined and not sent[n]]
            found += range(start, stop) if again else owed
            if again:
                self._missed.update(n for n in range(start, stop) if published[n])
        return found

    def listens(self, receiver: PeerId) -> bool:
        """Return whether *receiver* hears what is published."""
        return receiver in self.listeners

    def is_new(self, leaf: int) -> bool:
        """Return whether *leaf* was never published."""
        return not self._published[leaf]

    def missed(self, leaf: int) -> bool:
        """Return whether so many asked for a published leaf again that it should go to all once more."""
        return self._missed[leaf] >= REPAIR_ALL

    def publish(self, first: int, stop: int) -> None:
        """Note that leaves are published now."""
        for leaf in range(first, stop):
            self._count += 1
            self._published[leaf] = self._count
            self._missed.pop(leaf, None)

    def may_publish(self, leaf: int, now: float) -> bool:
        """Return whether the slowest of the listeners can follow."""
        slowest = min((each.asked for each in self.listeners.values() if now - each.at < LAG_S), default=leaf)
        return leaf < slowest + LEAD_LEAVES
