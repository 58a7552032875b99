"""One peer's update by gossip: whatever arrives in whatever order, each neighbour counts once."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmdem.identifiers import GroupId, ModelHash, PlanId
from swarmdem.protocol import events
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import Ack, GroupSkip, Mean
from tests.protocol.machines.examples import case
from tests.protocol.update_parts import PLAN_ID, FakeSealer, peer_name
from tests.protocol.update_swarm import Swarm

PEERS = 6
CHARTER = Charter(swarm="test", levels=0, update="gossip", neighbours=4)
SPANS = st.sampled_from([0, 1, 1000, CHARTER.patience_us // 4, CHARTER.patience_us])


class Gossip(RuleBasedStateMachine):
    @initialize(
        known=st.sets(st.integers(0, PEERS - 1)), apart=st.sets(st.integers(0, PEERS - 1), max_size=2)
    )
    def begin(self, known, apart):
        self.swarm = Swarm([*range(PEERS)], charter=CHARTER, apart=apart)
        self.me = peer_name(0)
        digests = {peer_name(i): self.swarm.digests[peer_name(i)] for i in known | {0}}
        self.update = self.swarm.machine(self.me, digests)
        self.now, self.ended = 0, 0
        self.accumulated, self.orders, self.applied, self.fetching = [], [], [], set()
        self.held = {self.swarm.uploads[self.me]}
        self.perform(self.update.begin())

    def perform(self, effects):
        for effect in effects:
            match effect:
                case events.Fetch(model):
                    self.fetching.add(model)
                case events.StopFetching(model):
                    self.fetching.remove(model)
                case events.Accumulate(_, _, model, weight):
                    assert model in self.held, "what is counted is here"
                    assert weight == 1
                    self.accumulated.append(model)
                case events.FinishMean():
                    self.orders.append(effect)
                case events.Apply():
                    self.applied.append(effect)
                case events.Keep(models):
                    self.held &= set(models)
                case events.Report(events.RoundFinished()):
                    self.ended += 1

    @rule(which=st.integers(0, PEERS - 1))
    def a_model_arrives(self, which):
        model = self.swarm.uploads[peer_name(which)]
        if model in self.fetching:
            self.fetching.remove(model)
            self.held.add(model)
        self.perform(self.update.on_fetched(model, self.now))

    @rule(which=st.integers(0, PEERS - 1))
    def a_model_must_not_be_used(self, which):
        model = self.swarm.uploads[peer_name(which)]
        self.fetching.discard(model)
        self.perform(self.update.on_fetch_failed(model, self.now))

    @rule(which=st.integers(0, PEERS - 1))
    def a_digest_arrives(self, which):
        peer = peer_name(which)
        self.perform(self.update.on_digest(peer, self.swarm.digests[peer], self.now))

    @rule(ours=st.booleans(), stale=st.booleans())
    def a_mean_is_computed(self, ours, stale):
        group = self.orders[0].group if self.orders and ours else GroupId(b"?" * 16)
        plan = PlanId(b"old" * 10 + b"--") if stale else PLAN_ID
        model = ModelHash(b"m" * 32)
        if self.orders or not ours:
            self.held.add(model)
            self.perform(self.update.on_averaged(events.Averaged(plan, group, model, 1000), self.now))

    @rule(ours=st.booleans())
    def a_result_is_installed(self, ours):
        if self.applied or not ours:
            plan = PLAN_ID if ours else PlanId(b"?" * 32)
            self.perform(self.update.on_applied(events.Applied(plan, ModelHash(b"o" * 32)), self.now))

    @rule(who=st.integers(0, PEERS + 2), kind=st.sampled_from(["ack", "skip", "mean"]))
    def a_frame_arrives(self, who, kind):
        message = {
            "ack": Ack(self.swarm.plan.entries[0].digest),
            "skip": GroupSkip(PLAN_ID, 0, GroupId(b"?" * 16), 0),
            "mean": Mean(PLAN_ID, 0, GroupId(b"?" * 16), 0, 1, (self.me,), b"m" * 32, 1000, ()),
        }[kind]
        frame = FakeSealer(peer_name(who), self.swarm.registry).seal(message)
        self.perform(self.update.on_frame(frame, self.now))

    @rule(span=SPANS)
    def time_passes(self, span):
        self.now += span
        wake = self.update.next_wakeup()
        if wake is not None and wake <= self.now:
            self.perform(self.update.on_wake(self.now))
            again = self.update.next_wakeup()
            assert again is None or again > self.now

    @invariant()
    def each_neighbour_counts_once_and_the_round_ends_once(self):
        assert len(set(self.accumulated)) == len(self.accumulated)
        apart = {self.swarm.uploads[peer] for peer in self.swarm.apart - {self.me}}
        assert not apart & set(self.accumulated)
        assert len(self.orders) <= 1
        assert len(self.applied) <= 1
        assert self.ended <= 1
        assert (self.update.applied is None) == (self.ended == 0)

    @invariant()
    def it_ends_in_time(self):
        patience = CHARTER.patience_us
        waiting_for_the_shell = bool(self.applied) and self.ended == 0
        if self.now > 3 * patience and not waiting_for_the_shell:
            assert self.ended == 1


TestGossip = case(Gossip)
