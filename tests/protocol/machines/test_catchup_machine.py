"""What a peer does about certificates it does not have: it asks, answers and waits, all within bounds."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmdem.identifiers import PeerId
from swarmdem.protocol.catchup import Catchup
from swarmdem.protocol.events import Send
from swarmdem.protocol.membership import Membership
from swarmdem.simulation.bounds import limit, sizes
from swarmdem.wire.messages import Certificate, Ping, Want
from tests.protocol.machines.examples import case
from tests.protocol.test_catchup import CHARTER, ME, PATIENCE, SEALER, base
from tests.protocol.update_parts import FakeSealer

PEERS = st.integers(0, 30).map(lambda number: PeerId(bytes([number]) * 16))
UNKNOWN = st.integers(0, 5).map(lambda number: bytes([200 + number]) * 32)
SPANS = st.sampled_from([0, 1, PATIENCE // 16, PATIENCE // 8, PATIENCE])


class CatchingUp(RuleBasedStateMachine):
    @initialize(listed=st.booleans())
    def begin(self, listed):
        self.members = Membership(PATIENCE, 40)
        self.catchup = Catchup(ME, SEALER, self.members, PATIENCE, CHARTER)
        peers = (ME,) if listed else (PeerId(b"e" * 16),)
        self.bases = [
            base(letter, before, number, peers=peers)
            for number, (before, letter) in enumerate(zip("0123456", "1234567", strict=True), 1)
        ]
        self.at, self.now = 0, 0
        self.catchup.adopted(self.bases[0], base("0", "z", 0))
        self.asked, self.answered = Counter(), {}
        self.parked = {}

    @property
    def ours(self):
        return self.bases[self.at]

    @rule(span=SPANS)
    def time_passes(self, span):
        self.now += span
        due = self.catchup.deadlines()
        effects = self.catchup.advance(self.now)
        assert all(isinstance(e, Send) and isinstance(e.frame.message, Want) for e in effects)
        assert not effects or min(due) <= self.now
        for effect in effects:
            (wanted,) = effect.frame.message.ids
            assert not self.catchup.knows_older(wanted), "nobody asks for what it stood on before"
            assert wanted != self.ours.id
        assert all(at > self.now for at in self.catchup.deadlines())

    @rule(peer=PEERS, name=UNKNOWN)
    def a_peer_names_an_unknown_base(self, peer, name):
        self.members.hear(peer, name, 1, self.now)
        assert self.catchup.named(peer, name, self.ours, self.now) == []

    @rule(peer=PEERS, back=st.integers(1, 6))
    def a_peer_names_an_older_base(self, peer, back):
        if back > self.at:
            return
        older = self.bases[self.at - back].id
        self.members.hear(peer, older, 1, self.now)
        effects = self.catchup.named(peer, older, self.ours, self.now)
        for effect in effects:
            assert effect.receiver == peer
            assert isinstance(effect.frame.message, Certificate)
            last = self.answered.get((peer, self.at))
            assert last is None or self.now - last >= PATIENCE // 2, "no storm of certificates"
            self.answered[peer, self.at] = self.now

    @rule(peer=PEERS, name=UNKNOWN, count=st.sampled_from([1, 3, 20]))
    def frames_of_an_unknown_base_arrive(self, peer, name, count):
        for number in range(count):
            frame = FakeSealer(peer, {}, session=1 + self.now + number).seal(Ping(name))
            self.catchup.park(frame)
            self.parked[frame.id] = frame

    @rule()
    def a_certificate_is_adopted(self):
        if self.at + 1 == len(self.bases):
            return
        left = self.ours
        self.at += 1
        _, waiting = self.catchup.adopted(self.ours, left)
        assert self.catchup.knows_older(left.id)
        assert not self.catchup.knows_older(self.ours.id)
        assert all(frame.message.base == self.ours.id for frame in waiting)
        assert self.catchup.deadlines() == []

    @invariant()
    def it_remembers_no_more_than_it_may(self):
        for where, size in sizes(self.catchup):
            assert size <= limit(where, 31), where


TestCatchingUp = case(CatchingUp)
