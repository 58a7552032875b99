"""Connected time: a clock that stands still while this peer cannot be heard.

Deadlines of a round count connected time only, so that an outage of the broker makes nobody look
dead. A peer is connected when one of its own broadcast frames came back through a broker and none
sent since has waited over `patience` / 8.
"""

from swarmdem.identifiers import FrameId, Micros

PENDING_MAX = 256
"""Broadcasts whose echo is waited for. While connected, later ones are not tracked: the oldest says when
the echo is overdue. While not, the oldest are forgotten: an outage may outlast any number of probes."""


class ConnectedClock:
    """Turns the shell's monotonic time into connected time and back."""

    def __init__(self, patience: Micros) -> None:
        self.connected = False
        self.resumed_at: Micros = 0
        """Connected time at which the last real outage ended."""
        self._echo_limit = max(1, patience // 8)
        self._elapsed: Micros = 0
        self._read_at: Micros = 0
        self._lost_at: Micros | None = None
        self._probed_at: Micros | None = None
        self._pending: dict[FrameId, Micros] = {}

    @property
    def outage(self) -> Micros:
        """For how long nothing had come back when the clock was read last; 0: it does, or nothing is sent."""
        return 0 if self._lost_at is None else self._read_at - self._lost_at

    def read(self, now: Micros) -> Micros:
        """Return connected time at *now*, noticing an echo that is overdue."""
        if self.connected and self._pending:
            overdue_at = next(iter(self._pending.values())) + self._echo_limit
            if now > overdue_at:
                self._elapsed += max(0, overdue_at - self._read_at)
                self._disconnect(now)
        if self.connected:
            self._elapsed += now - self._read_at
        self._read_at = now
        return self._elapsed

    def sent(self, frame: FrameId, now: Micros) -> None:
        """Note a broadcast whose echo proves the connection."""
        if not self.connected and self._lost_at is None:
            self._lost_at = now  # before the first echo: from here on it is missed
        if len(self._pending) >= PENDING_MAX and not self.connected:
            del self._pending[next(iter(self._pending))]
        if len(self._pending) < PENDING_MAX:
            self._pending.setdefault(frame, now)
        self._probed_at = now

    def echoed(self, frame: FrameId, now: Micros) -> bool:
        """Note an echo; return True when it ends a time without connection."""
        if frame not in self._pending:
            return False
        self._pending.clear()
        if self.connected:
            return False
        self.connected = True
        self._read_at = now
        if self._lost_at is None or now - self._lost_at > self._echo_limit:
            self.resumed_at = self._elapsed
        self._lost_at = None
        return True

    def slept(self, since: Micros, now: Micros) -> None:
        """Stop the clock at *since*: from then until *now* this process did not run."""
        if self.connected:
            self._elapsed += max(0, since - self._read_at)
            self._read_at = now
            self._disconnect(since)

    def link_lost(self, now: Micros) -> None:
        """Stop the clock at once: the shell says that the link is down."""
        self.read(now)
        if self.connected:
            self._disconnect(now)

    def link_found(self) -> None:
        """Probe at once: the shell says that the link is up again."""
        self._probed_at = None

    def probe_due(self, now: Micros) -> bool:
        """Return whether a broadcast must be sent to find out if we are connected."""
        return not self.connected and (self._probed_at is None or now >= self._probed_at + self._echo_limit)

    def next_wakeup(self, deadline: Micros | None) -> Micros | None:
        """Return the real time of the next thing to do, given a connected-time *deadline*."""
        if not self.connected:
            return self._read_at if self._probed_at is None else self._probed_at + self._echo_limit
        due: list[Micros] = []
        if deadline is not None:
            due.append(self._read_at + max(0, deadline - self._elapsed))
        if self._pending:
            due.append(next(iter(self._pending.values())) + self._echo_limit + 1)
        return min(due, default=None)

    def _disconnect(self, now: Micros) -> None:
        self.connected = False
        self._lost_at = now
        self._pending.clear()
        self._probed_at = None
