"""One core among four others whose every word is drawn: what it signs stays true, also over restarts.

The core is driven through its doors alone. The others' digests, proposals, votes, skips and certificates
come in any order, early, late, twice, contradicting each other, for the right base or a wrong one; echoes
may be missing, and the process may end at any moment and begin again from what was on disk.
"""

from functools import cache

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.protocol.ballots import TERM_MAX
from swarmdem.protocol.core import Core
from swarmdem.protocol.election import rank
from swarmdem.protocol.plans import make_plan
from swarmdem.simulation.bounds import limit, sizes
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.codec import FrameSealer, decode_body, decode_plan, encode_plan, plan_id
from swarmdem.wire.messages import (
    NORMAL,
    PARAMETERS,
    PROVISIONAL,
    Bundle,
    Certificate,
    Digest,
    Ping,
    Proposal,
    SignedVote,
    Skip,
    Summary,
    Vote,
)
from tests.protocol.core_swarm import CoreSwarm, name
from tests.protocol.machines.examples import case

PEERS = 5
OTHERS = st.integers(1, PEERS - 1)
TERMS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 7, TERM_MAX])
MODES = st.sampled_from([NORMAL, NORMAL, NORMAL, PROVISIONAL])


@cache
def founded():
    """Return charter, disk and base of peer 0 in a swarm of five that has finished its first round."""
    swarm = CoreSwarm(PEERS)
    swarm.start(*range(PEERS))
    assert swarm.run(swarm.all_finished(1))
    return swarm.charter, swarm.disks[0], swarm.cores[0].round_record().base


class Agreement(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.charter, disk, self.base = founded()
        self.disk = dict(disk)
        self.now, self.session, self.deaf = 0, 1, False
        self.sealers = [
            FrameSealer(PretendedIdentity(i), self.charter, 50, PretendedVerifier()) for i in range(PEERS)
        ]
        self.me = self.sealers[0].peer
        self.cast, self.skipped, self.published = {}, {}, {}
        self.stood_on = [self.base.id]
        self.forget_the_base()
        self.restart()

    def forget_the_base(self):
        self.digests, self.skips, self.plans = {}, [], {}

    # The shell

    @rule()
    def restart(self):
        self.session += 1
        sealer = FrameSealer(PretendedIdentity(0), self.charter, self.session, PretendedVerifier())
        self.core = Core(self.charter, sealer, stored=dict(self.disk))
        self.train = None
        self.give(events.Started(bytes(16)))
        self.give(events.ModelOffered(name("first"), 100))

    def give(self, event):
        echoes = []
        for effect in self.core.handle(event, self.now):
            match effect:
                case events.Persist(key, value):
                    self.disk[key] = value
                case events.Train():
                    self.train = effect
                case events.Publish(frame) | events.Send(_, frame):
                    self.hold_against_it(frame)
                    if isinstance(effect, events.Publish):
                        echoes.append(effect.crossing)
                case events.Report(events.Certified() as certified):
                    self.certified(certified)
        if not self.deaf:
            for frame in echoes:
                self.give(events.Received(frame))

    def hold_against_it(self, frame):
        message = frame.message
        match message:
            case Vote():
                key = (message.base, message.mode)
                mine = self.cast.setdefault(key, {})
                assert mine.setdefault(message.term, message.plan) == message.plan, "one vote a term"
                skip = self.skipped.get(key)
                if skip is not None and message.term <= skip.term:
                    assert (skip.voted_term, skip.voted_plan) >= (message.term, message.plan)
            case Skip():
                key = (message.base, message.mode)
                if key not in self.skipped or self.skipped[key].term < message.term:
                    self.skipped[key] = message
                voted = [(t, plan) for t, plan in self.cast.get(key, {}).items() if t <= message.term]
                assert (message.voted_term, message.voted_plan) >= max(voted, default=(-1, b""))
            case Proposal():
                said = self.published.setdefault(
                    ("plan", message.mode, message.term, decode_plan(message.plan).base), message.plan
                )
                assert said == message.plan, "one plan a term"
            case Digest():
                said = self.published.setdefault(("digest", message.base), frame.raw)
                assert said == frame.raw, "one digest a base"

    def certified(self, event):
        certificate = decode_body(Certificate, self.disk["certificate"])
        plan = decode_plan(certificate.plan)
        assert plan_id(certificate.plan) == event.plan
        assert event.plan not in self.stood_on, "nobody goes back"
        content = Vote(plan.base, plan.mode, certificate.term, event.plan)
        voters = {self.sealers[1].proves(vote, content) for vote in certificate.votes} - {None}
        entitled = {e.peer for e in plan.entries if (e.elector if plan.mode == NORMAL else e.listed)}
        assert 2 * len(voters & entitled) > len(entitled)
        self.stood_on.append(event.plan)
        self.base = self.core.round_record().base
        self.forget_the_base()

    @rule()
    def training_ends(self):
        if self.train is not None:
            model, sketch = name("mine", self.train.base), bytes(range(16))
            order, self.train = self.train, None
            self.give(events.Trained(order.base, model, 100, 1, 1.0, sketch, 3 * SECOND))

    @rule(deaf=st.booleans())
    def echoes(self, deaf):
        self.deaf = deaf

    @rule(span=st.sampled_from([1, SECOND // 4, SECOND, 2 * SECOND, 9 * SECOND]))
    def time_passes(self, span):
        end = self.now + span
        for _ in range(50):
            wake = self.core.next_wakeup()
            if wake is None or wake > end:
                break
            self.now = max(self.now, wake)
            self.give(events.Woke())
        else:
            raise AssertionError("it wakes up for ever")
        self.now = end

    # The others

    def hear(self, who, message):
        self.give(events.Received(self.sealers[who].seal(message)))

    @rule(who=OTHERS, variant=st.integers(0, 2), forwarded=st.booleans())
    def digest(self, who, variant, forwarded):
        frame = self.digests.get((who, variant))
        if frame is None:
            base, sketch = self.base, bytes([(16 * who + variant + i) % 128 for i in range(16)])
            model = name("theirs", who, variant, base.id)
            digest = Digest(
                base.id,
                base.round + 1,
                PARAMETERS,
                base.seed,
                base.reference,
                1,
                model,
                100,
                0,
                3000,
                1.0,
                sketch,
            )
            frame = self.digests[who, variant] = self.sealers[who].seal(digest)
        if forwarded:
            self.hear(1 + who % (PEERS - 1), Bundle((frame.raw,)))
        else:
            self.give(events.Received(frame))

    @rule(mode=MODES, term=TERMS, others=st.sets(OTHERS, min_size=1), right=st.booleans())
    def propose(self, mode, term, others, right):
        held = {
            self.sealers[who].peer: frame for (who, _), frame in sorted(self.digests.items()) if who in others
        }
        if not held:
            return
        plan = encode_plan(make_plan(self.charter, self.base, mode, held, reference=self.base.reference))
        self.plans[plan_id(plan)] = plan
        leader = rank(self.base.electorate, self.base.id)[term % len(self.base.electorate)]
        by = next((who for who in range(1, PEERS) if self.sealers[who].peer == leader), 1) if right else 1
        skips = tuple(f.raw for f in self.skips if f.message.term >= term - 1) if term else ()
        self.hear(by, Proposal(mode, term, plan, skips))

    def a_plan(self, which):
        plans = sorted(self.plans)
        return plans[which % len(plans)] if plans else bytes(32)

    @rule(who=OTHERS, mode=MODES, term=TERMS, which=st.integers(0, 5))
    def vote(self, who, mode, term, which):
        self.hear(who, Vote(self.base.id, mode, term, self.a_plan(which)))

    @rule(mode=MODES, term=TERMS, which=st.integers(0, 5))
    def everybody_votes(self, mode, term, which):
        for who in range(1, PEERS):
            self.vote(who, mode, term, which)

    @rule(who=st.sets(OTHERS, min_size=1), term=TERMS, voted=st.booleans(), which=st.integers(0, 5))
    def skip(self, who, term, voted, which):
        for peer in sorted(who):
            plan = self.a_plan(which) if voted else b""
            frame = self.sealers[peer].seal(Skip(self.base.id, NORMAL, term, term if voted else -1, plan))
            self.skips.append(frame)
            self.give(events.Received(frame))

    @rule(count=st.integers(1, PEERS - 1), term=TERMS, which=st.integers(0, 5), forged=st.booleans())
    def certificate(self, count, term, which, forged):
        if not self.plans:
            return
        body = self.plans[self.a_plan(which)]
        plan = decode_plan(body)
        content = Vote(plan.base, plan.mode, term, plan_id(body))
        votes = []
        for who in sorted(range(1, count + 1), key=lambda who: self.sealers[who].peer):
            frame = self.sealers[who].seal(content)
            votes.append(SignedVote(frame.public_key, bytes(64) if forged else frame.signature))
        self.hear(1, Certificate(body, term, tuple(votes)))

    @rule(who=OTHERS, known=st.booleans())
    def ping(self, who, known):
        self.hear(who, Ping(self.stood_on[0] if known else bytes(32)))

    @rule(who=OTHERS, ids=st.lists(st.binary(min_size=16, max_size=16), max_size=3, unique=True))
    def summary(self, who, ids):
        self.hear(who, Summary(self.base.id, tuple(sorted(ids)), reply=True))

    @invariant()
    def it_remembers_no_more_than_it_may(self):
        for where, size in sizes(self.core):
            assert size <= limit(where, PEERS), where


TestAgreement = case(Agreement)
