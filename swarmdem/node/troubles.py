"""What is not as it should be at one peer, and since when: for people, and for monitoring.

The times are of this machine's wall clock; nothing is decided by them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from swarmdem.identifiers import Round
from swarmdem.node.driver import NodeEvent
from swarmdem.protocol.events import Degraded, Recovered, RoundFinished
from swarmdem.protocol.status import Status

TROUBLES_MAX = 32
"""Troubles listed at once; the oldest make room."""
ENDED_MAX = 32
"""Troubles remembered that are over."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not as it should be."""

    what: str
    """In plain words, as the `Degraded` said it."""
    since: float
    """Seconds since the epoch."""
    round: Round
    """The last round this peer had finished when it began."""
    passing: bool = False
    """A single mishap: listed until the next round goes well."""
    until: float | None = None
    """When it was over; None: it is not."""

    def lasted(self, now: float) -> float:
        """Return for how many seconds it has lasted, at *now* if it is not over."""
        return max(0.0, (now if self.until is None else self.until) - self.since)

    def __str__(self) -> str:
        return f"{self.what} (since {moment(self.since)}, after round {self.round})"


@dataclass(frozen=True, slots=True)
class PeerStatus(Status):
    """A peer at one moment, with what troubles it."""

    troubles: tuple[Trouble, ...] = ()
    """What is not as it should be, the oldest first; empty: all is well."""


class Troubles:
    """Follows one peer's events.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[str, Trouble] = {}
        self._over: list[Trouble] = []
        self._round: Round = 0

    @property
    def open(self) -> tuple[Trouble, ...]:
        """What is not as it should be now, the oldest first."""
        return tuple(sorted(self._open.values(), key=lambda trouble: trouble.since))

    def note(self, event: NodeEvent) -> None:
        """Take an event into account."""
        match event:
            case Degraded(what, passing, lasted_s):
                if what not in self._open:
                    if len(self._open) >= TROUBLES_MAX:
                        self._close(self.open[0].what)
                    since = self._clock() - lasted_s
                    self._open[what] = Trouble(what, since, self._round, passing)
            case Recovered(what):
                self._close(what)
            case RoundFinished(round=round, applied=applied):
                self._round = max(self._round, round)
                if applied:
                    for what in [trouble.what for trouble in self.open if trouble.passing]:
                        self._close(what)

    def since(self, moment: float) -> tuple[Trouble, ...]:
        """Return the troubles there were at any time after *moment*, the oldest first."""
        over = (trouble for trouble in self._over if trouble.until is not None and trouble.until >= moment)
        return (*over, *self.open)

    def _close(self, what: str) -> None:
        trouble = self._open.pop(what, None)
        if trouble is not None:
            over = Trouble(trouble.what, trouble.since, trouble.round, trouble.passing, self._clock())
            self._over = [*self._over[1 - ENDED_MAX :], over]


def moment(seconds: float) -> str:
    """Return a time of the wall clock as the journal and people read it: `2026-05-01T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
