"""One peer's sense of time: connected time, its own lateness, and what it says about either.

Puts `clock` (does what I say come back?) and `suspicion.LocalHealth` (am I on time?) behind one door. A
peer that was not run for longer than patience / 8 (its machine suspended, stopped or overloaded) must
not judge others by what it missed: its clock stands still from the moment it should have woken until a
broadcast of its own comes back, and with it what others said meanwhile.
"""

from swarmdem.identifiers import SECOND, Micros
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.events import Degraded, Effect, Recovered, Report
from swarmdem.protocol.suspicion import LocalHealth
from swarmdem.wire.frame import Frame

LOOK_US = 1_000
"""How long the core's look at everything that may be due answers for what it hears next."""


class Watch:
    """What the core knows of time."""

    def __init__(self, patience: Micros) -> None:
        self.clock = ConnectedClock(patience)
        self.health = LocalHealth(patience)
        self.spoke_at: Micros = 0
        """Connected time of the last broadcast that proves this peer's presence, its own or a pack."""
        self._patience = patience
        self.due: Micros = 0
        """When the core asked to be woken, unless it took an input since; 0: it did not."""
        self.looked_at: Micros = -LOOK_US
        """When the core last looked at everything that may be due."""
        self._degraded = ""

    def set(self, due: Micros | None) -> Micros | None:
        """Note when the core asks to be woken; return that."""
        self.due = due or 0
        return due

    def calm(self, now: Micros) -> bool:
        """Say whether nothing can have fallen due that the core has not looked at.

        Of many inputs that wait, the core is asked only after some when to wake it: for that moment its
        last look is new enough.
        """
        return now < self.due or now < self.looked_at + LOOK_US

    def woke(self, now: Micros) -> list[Effect]:
        """Note an input at *now*, and how late it is looked at."""
        due, self.due = self.due, 0
        if not due or now <= due:
            return []
        self.health.woke(now - due)
        self.clock.read(due)
        if now - due <= self._patience // 8 or not self.clock.connected:
            return []
        self.clock.slept(due, now)
        return self._degrade(f"this peer stood still for {(now - due) / SECOND:.1f} s")

    def sent(self, frame: Frame, now: Micros, time: Micros) -> None:
        """Note a broadcast at *now*, connected *time*."""
        self.clock.sent(frame.id, now)
        self.health.sent(frame.id, now)
        if frame.session:  # a standing frame of no session may be anybody's copy: it proves no presence
            self.spoke_at = time

    def echoed(self, frame: Frame, now: Micros) -> list[Effect]:
        """Note that a broadcast came back."""
        self.health.echoed(frame.id, now)
        if not self.clock.echoed(frame.id, now):
            return []
        what, self._degraded = self._degraded, ""
        return [Report(Recovered(what))] if what else []

    def unheard(self) -> list[Effect]:
        """Note that what this peer says does not come back; told once it has lasted for a patience."""
        outage = self.clock.outage
        if outage < self._patience:
            return []
        return self._degrade("no broker brings back what this peer sends", outage)

    def _degrade(self, what: str, lasted: Micros = 0) -> list[Effect]:
        if self._degraded:
            return []
        self._degraded = what
        return [Report(Degraded(what, lasted_s=lasted / SECOND))]
