"""Who is in sight, against a plain record of everything heard."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarmdem.identifiers import PeerId
from swarmdem.protocol.membership import Membership
from tests.protocol.machines.examples import case

PATIENCE, CAPACITY = 100, 5
PEERS = st.integers(0, 7).map(lambda number: PeerId(bytes([number]) * 16))
BASES = st.sampled_from([b"a" * 32, b"b" * 32, b"c" * 32])
SESSIONS = st.sampled_from([1, 2, 3, 2**63])


class Members(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.members = Membership(PATIENCE, CAPACITY)
        self.now = 0
        self.heard = {}  # peer -> [at, base, session, away], the one silent for longest first

    @rule(span=st.sampled_from([0, 1, PATIENCE - 1, PATIENCE, PATIENCE + 1]))
    def time_passes(self, span):
        self.now += span

    @rule(peer=PEERS, base=BASES, session=SESSIONS)
    def hear(self, peer, base, session):
        before = self.heard.pop(peer, None)
        fresh = before is None or before[3] or self.now - before[0] > PATIENCE
        if before is None and len(self.heard) >= CAPACITY:
            del self.heard[next(iter(self.heard))]
        known = before[2] if before else 0
        self.heard[peer] = [self.now, base, max(known, session), False]
        assert self.members.hear(peer, base, session, self.now) is fresh

    @rule(peer=PEERS, session=SESSIONS)
    def lose(self, peer, session):
        record = self.heard.get(peer)
        lost = record is not None and not record[3] and session >= record[2]
        assert self.members.lose(peer, session) is lost
        if lost:
            record[3] = True

    @invariant()
    def it_says_what_was_heard(self):
        here = {p for p, (at, _, _, away) in self.heard.items() if not away and self.now - at <= PATIENCE}
        assert set(self.members.in_sight(self.now)) == here
        assert list(self.members.in_sight(self.now)) == sorted(here)
        assert self.members.bases(self.now) == {peer: self.heard[peer][1] for peer in here}
        for base in (b"a" * 32, b"b" * 32, b"c" * 32):
            assert self.members.naming(base, self.now) == {p for p in here if self.heard[p][1] == base}
        for number in range(8):
            peer = PeerId(bytes([number]) * 16)
            assert self.members.session_of(peer) == self.heard.get(peer, [0, b"", 0, False])[2]
            assert self.members.away(peer) == self.heard.get(peer, [0, b"", 0, False])[3]


TestMembers = case(Members)
