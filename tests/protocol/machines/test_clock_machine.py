"""The connected clock against the simplest account of connection, in any order of events."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarmdem.identifiers import FrameId
from swarmdem.protocol.clock import ConnectedClock
from tests.protocol.machines.examples import case

PATIENCE = 8000
LIMIT = PATIENCE // 8


class Clock(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock = ConnectedClock(PATIENCE)
        self.now = 0
        self.count = 0
        self.last = 0
        self.unanswered = {}

    @rule(span=st.sampled_from([0, 1, 10, LIMIT - 1, LIMIT, LIMIT + 1, 5 * PATIENCE]))
    def time_passes(self, span):
        before, connected = self.last, self.clock.connected
        self.now += span
        read = self.clock.read(self.now)
        assert before <= read <= before + span
        if not connected:
            assert read == before
        elif not self.unanswered or self.now <= min(self.unanswered.values()) + LIMIT:
            assert read == before + span
        else:
            assert not self.clock.connected
            self.unanswered.clear()

    @rule(frames=st.integers(1, 3))
    def say(self, frames):
        self.time_passes(0)
        for _ in range(frames):
            self.count += 1
            name = FrameId(self.count.to_bytes(32, "big"))
            self.clock.sent(name, self.now)
            self.unanswered[name] = self.now

    @rule(latest=st.booleans())
    def hear_oneself(self, latest):
        self.time_passes(0)
        if not self.unanswered:
            return
        name = max(self.unanswered) if latest else min(self.unanswered)
        before = self.clock.connected
        ends = self.clock.echoed(name, self.now)
        assert self.clock.connected
        assert ends is not before
        self.unanswered.clear()

    @rule(number=st.integers(10**6, 10**7))
    def hear_a_stranger(self, number):
        self.clock.read(self.now)
        before = self.clock.connected
        assert not self.clock.echoed(FrameId(number.to_bytes(32, "big")), self.now)
        assert self.clock.connected is before

    @rule()
    def lose_the_link(self):
        self.time_passes(0)
        if self.clock.connected:
            self.unanswered.clear()
        self.clock.link_lost(self.now)
        assert not self.clock.connected

    @rule()
    def find_the_link(self):
        before = self.clock.connected
        self.clock.link_found()
        assert self.clock.connected is before
        assert before or self.clock.probe_due(self.now)

    @invariant()
    def connected_time_neither_falls_nor_outruns_time(self):
        read = self.clock.read(self.now)
        assert self.last <= read <= self.now
        self.last = read
        assert self.clock.resumed_at <= read

    @invariant()
    def it_wakes_up_for_what_is_due(self):
        if self.clock.connected:
            wake = self.clock.next_wakeup(self.last + 5)
            assert wake is not None
            assert self.now <= wake <= self.now + 5
        else:
            assert self.clock.next_wakeup(None) is not None


TestClock = case(Clock)
