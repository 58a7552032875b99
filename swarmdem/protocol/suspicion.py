"""Who is taken for gone, and how far this peer may trust its own impatience.

Nobody pings anybody: a live peer broadcasts something every patience / 4 (in a crowd at least every
patience / 2, `packing`), so silence for a whole patience
is suspicious, and a last will (a broker's word, which anybody's broker can fire) is after half of that.
A goodbye is the peer's own word and counts at once. Any later frame of the peer takes all of it back.
Silence counts connected time only, from the end of this peer's last own outage at the earliest.

Being suspected costs a peer little and proves nothing: others stop waiting for its digest or its upload,
skip its turn or its office, and expect no result of it. Certificates never depend on it.

A peer that is slow itself sees others late. As in Lifeguard (arXiv 1707.00788) it keeps a score of its own
health, from two things that only it can be blamed for: wake-ups that came late, and broadcasts of its
own that came back late. A late one adds 1 (8 at most), a broadcast that came back in time takes 1 away;
every score of 4 makes each suspicion take as long again. A peer that did not run at all for longer
than patience / 8 is not merely slow: its clock stands still until a broadcast comes back (`watch`), and
with it whatever had queued up behind.
"""

from swarmdem.identifiers import FrameId, Micros, PeerId
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.membership import Membership

SCORE_MAX = 8
SCORE_PER_SPAN = 4
"""Score at which everything takes twice as long; at `SCORE_MAX` it takes three times as long."""
ECHOES_MAX = 64
"""Own broadcasts on their way that are timed; of more the oldest are forgotten."""


class LocalHealth:
    """How late this peer has been lately."""

    def __init__(self, patience: Micros) -> None:
        self.score = 0
        """0: healthy."""
        self._late = max(1, patience // 16)
        self._sent: dict[FrameId, Micros] = {}

    def woke(self, late: Micros) -> None:
        """Note by how much a wake-up was late."""
        if late > self._late:
            self.score = min(SCORE_MAX, self.score + 1)

    def sent(self, frame: FrameId, now: Micros) -> None:
        """Note a broadcast of this peer's own."""
        if len(self._sent) >= ECHOES_MAX:
            del self._sent[next(iter(self._sent))]
        self._sent.setdefault(frame, now)

    def echoed(self, frame: FrameId, now: Micros) -> None:
        """Note that one came back."""
        sent = self._sent.pop(frame, None)
        if sent is None:
            return
        late = now - sent > self._late
        self.score = min(SCORE_MAX, self.score + 1) if late else max(0, self.score - 1)

    def stretch(self, span: Micros) -> Micros:
        """Return how long to wait instead of *span*."""
        return span + span * self.score // SCORE_PER_SPAN


class Suspicion:
    """Tells who is taken for gone; asked anew each time, it remembers nothing itself."""

    def __init__(
        self, membership: Membership, clock: ConnectedClock, health: LocalHealth, patience: Micros
    ) -> None:
        self._membership = membership
        self._clock = clock
        self._patience = patience
        self.health = health

    def gone_at(self, peer: PeerId, since: Micros) -> Micros:
        """Return the connected time from which *peer* counts as gone, unless it is heard before.

        Args:
            peer: Another peer.
            since: When it was last known to take part, in case it was never heard directly.
        """
        seen = self._membership.sighting(peer)
        if seen is not None and seen.left:
            return seen.lost_at
        at = since if seen is None else seen.at
        silent = max(at, self._clock.resumed_at) + self.health.stretch(self._patience)
        if seen is None or not seen.away:
            return silent
        return min(silent, seen.lost_at + self.health.stretch(self._patience // 2))

    def turn_ends(self, began: Micros, leader: PeerId | None) -> Micros:
        """Return when to give up on a term that began at *began*: at once when its leader is gone.

        Args:
            began: When the term began.
            leader: Who is still to propose something; None: it has.
        """
        ends = began + self.health.stretch(self._patience // 4)
        return ends if leader is None else max(began, min(ends, self.gone_at(leader, began)))

    def lonely_from(self, frozen_at: Micros) -> Micros:
        """Return when this peer may find that the majority is gone, its digests frozen at *frozen_at*."""
        return max(frozen_at, self._clock.resumed_at) + self.health.stretch(self._patience)

    def gone(self, peer: PeerId, since: Micros, now: Micros) -> bool:
        """Return whether *peer* counts as gone by *now*."""
        return now >= self.gone_at(peer, since)
