"""How well a broker carries what we send, judged by what comes back.

A peer hears its own broadcasts, so every broker tells by its echoes how fast it is and whether it
still delivers: an acknowledgement proves neither, since a broker whose queue is full acknowledges
what it throws away. Times are seconds of the event loop's clock, given by the caller.
"""

import math
from collections import OrderedDict

PENDING_MAX = 256
"""Echoes waited for; further ones are not."""
LOST_S = 10.0
"""An echo that did not come within this time will not come: the broker loses messages."""
FAULT_S = 0.5
"""What one fault adds to a broker's score; it counts half after `FORGIVEN_S`, a quarter after twice that."""
FORGIVEN_S = 30.0
BLAME_MAX_S = 4.0
"""More faults than that is worth are not held against a broker: it has to be tried again one day."""
SMOOTHING = 0.25
"""Share of the newest delay in the mean."""


class Health:
    """One broker's record."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        """Moving mean of the time from publishing to hearing it; 0 before the first echo."""
        self.faults = 0
        """Connections lost, stalls, echoes that never came."""
        self._blame_s = 0.0
        self._blamed_at = 0.0
        self._pending: OrderedDict[bytes, float] = OrderedDict()

    def sent(self, name: bytes, now: float) -> None:
        """Note a message whose echo is to come."""
        self._expire(now)
        if len(self._pending) < PENDING_MAX:
            self._pending.setdefault(name, now)

    def echoed(self, name: bytes, now: float) -> None:
        """Note an echo, if it is one."""
        sent_at = self._pending.pop(name, None)
        if sent_at is not None:
            delay_s = now - sent_at
            self.delay_s += SMOOTHING * (delay_s - self.delay_s) if self.delay_s else delay_s

    def fault(self, now: float) -> None:
        """Note that the connection was lost, or took nothing for a while."""
        self._blame_s = min(BLAME_MAX_S, self._blame(now) + FAULT_S)
        self._blamed_at = now
        self.faults += 1

    def reset(self) -> None:
        """Wait for no echo of what went over a connection that is gone."""
        self._pending.clear()

    def score(self, now: float) -> float:
        """Return how long a message may take over this broker, in seconds; faults make it worse."""
        self._expire(now)
        behind_s = now - next(iter(self._pending.values()), now)
        return max(self.delay_s, behind_s) + self._blame(now)

    def _expire(self, now: float) -> None:
        while self._pending and now - next(iter(self._pending.values())) > LOST_S:
            self._pending.popitem(last=False)
            self.fault(now)

    def _blame(self, now: float) -> float:
        return self._blame_s * math.exp2((self._blamed_at - now) / FORGIVEN_S)
