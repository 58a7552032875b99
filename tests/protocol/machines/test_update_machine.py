"""One peer's update of a small tree: whatever is announced, fetched or answered, everything counts once."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmdem.identifiers import GroupId, ModelHash, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.wire.messages import Ack, Final, GroupSkip, Mean
from tests.protocol.machines.examples import case
from tests.protocol.update_parts import MODEL_BYTES, PLAN_ID, SECOND, FakeSealer, peer_name
from tests.protocol.update_swarm import Swarm

SHAPE = [[[0, 1, 2], [3, 4]], [5, 6, 7], 8]
PEERS = st.integers(0, 8)
GROUPS = st.integers(0, 4)
MODELS = st.integers(0, 12)
SPANS = st.sampled_from([0, 1, SECOND // 10, SECOND, 2 * SECOND, 8 * SECOND])


class Updating(RuleBasedStateMachine):
    @initialize(me=PEERS, unknown=st.sets(PEERS, max_size=3), apart=st.sets(PEERS, max_size=1))
    def begin(self, me, unknown, apart):
        self.swarm = Swarm(SHAPE, apart=apart)
        self.tree: Hierarchy = self.swarm.hierarchy
        self.me = peer_name(me)
        known = {
            p: d
            for p, d in self.swarm.digests.items()
            if p == self.me or p not in {peer_name(i) for i in unknown}
        }
        self.update = self.swarm.machine(self.me, known)
        self.sealers = {p: FakeSealer(p, self.swarm.registry) for p in self.tree.root.members}
        uploads = [self.swarm.uploads[peer_name(i)] for i in range(9)]
        self.models = [*uploads, *(ModelHash(bytes([i]) * 32) for i in range(1, 5))]
        self.now, self.made = 0, 0
        self.held, self.fetching = {self.swarm.uploads[self.me]}, set()
        self.counted, self.finishes, self.mixes, self.applies, self.skips, self.ended = [], [], [], [], [], []
        self.announced = {}
        self.perform(self.update.begin())

    # The shell

    def perform(self, effects):
        for effect in effects:
            match effect:
                case events.Fetch(model):
                    self.fetching.add(model)
                case events.StopFetching(model):
                    self.fetching.discard(model)
                case events.Accumulate(plan, group, model):
                    assert plan == PLAN_ID
                    assert model in self.held, "what is counted is here"
                    self.counted.append((group, model))
                case events.FinishMean(_, group):
                    self.finishes.append(group)
                case events.Mix(_, group, mean, parent):
                    assert {mean, parent} <= self.held
                    self.mixes.append(group)
                case events.Apply(_, _, _, parent):
                    assert parent in self.held
                    self.applies.append(effect)
                case events.Keep(models):
                    self.held &= {*models, self.swarm.uploads[self.me]}
                case events.Publish(frame):
                    self.said(frame)
                case events.Report(events.RoundFinished() as finished):
                    self.ended.append(finished)

    def said(self, frame):
        message = frame.message
        if isinstance(message, Mean | Final):
            key = (type(message), message.group, message.term)
            assert self.announced.setdefault(key, frame.raw) == frame.raw, "one result a group and term"
            assert self.swarm.leaders[message.group][message.term] == self.me
        elif isinstance(message, GroupSkip):
            self.skips.append(message)

    @rule(which=MODELS)
    def a_model_arrives(self, which):
        model = self.models[which]
        if model in self.fetching:
            self.fetching.remove(model)
            self.held.add(model)
            self.perform(self.update.on_fetched(model, self.now))
        else:
            assert self.update.on_fetched(model, self.now) == []

    @rule()
    def everything_ordered_arrives(self):
        for model in sorted(self.fetching):
            if model in self.fetching:
                self.a_model_arrives_by_name(model)

    def a_model_arrives_by_name(self, model):
        self.fetching.remove(model)
        self.held.add(model)
        self.perform(self.update.on_fetched(model, self.now))

    @rule(which=MODELS)
    def a_model_must_not_be_used(self, which):
        model = self.models[which]
        self.fetching.discard(model)
        self.perform(self.update.on_fetch_failed(model, self.now))

    @rule(kind=st.sampled_from(["mean", "mix"]), again=st.booleans(), stale=st.booleans())
    def the_shell_answers(self, kind, again, stale):
        orders = self.finishes if kind == "mean" else self.mixes
        if not orders:
            return
        self.made += not again
        model = ModelHash(b"made" * 7 + self.made.to_bytes(4, "big"))
        self.held.add(model)
        plan = PlanId(b"?" * 32) if stale else PLAN_ID
        if kind == "mean":
            self.perform(
                self.update.on_averaged(events.Averaged(plan, orders[-1], model, MODEL_BYTES), self.now)
            )
        else:
            self.perform(self.update.on_mixed(events.Mixed(plan, orders[-1], model, MODEL_BYTES), self.now))

    @rule(ours=st.booleans())
    def a_result_is_installed(self, ours):
        if self.applies or not ours:
            plan = PLAN_ID if ours else PlanId(b"?" * 32)
            self.perform(self.update.on_applied(events.Applied(plan, ModelHash(b"o" * 32)), self.now))

    @rule(span=SPANS)
    def time_passes(self, span):
        self.now += span
        wake = self.update.next_wakeup()
        if wake is not None and wake <= self.now:
            self.perform(self.update.on_wake(self.now))
            again = self.update.next_wakeup()
            assert again is None or again > self.now

    # The others

    def group(self, which):
        groups = self.tree.groups
        return groups[which] if which < len(groups) else None

    def hear(self, sender, message):
        self.perform(self.update.on_frame(self.sealers[sender].seal(message), self.now))

    @rule(which=GROUPS, term=st.integers(0, 1), model=MODELS, missing=st.integers(0, 3), right=st.booleans())
    def a_mean_is_announced(self, which, term, model, missing, right):
        group = self.group(which)
        if group is None:
            return
        sender = self.swarm.leaders[group.id][min(term, len(self.swarm.leaders[group.id]) - 1)]
        if sender == self.me:
            return
        included = tuple(p for p in group.members if p not in self.swarm.apart)[missing:]
        weight = len(included) if right else 99
        proof = self.proof(group) if term else ()
        name = self.models[model] if included else b""
        mean = Mean(PLAN_ID, 0, group.id, term, weight, included, name, MODEL_BYTES if included else 0, proof)
        self.hear(sender, mean)

    @rule(which=GROUPS, term=st.integers(0, 1), model=MODELS, cut=st.booleans())
    def a_result_is_announced(self, which, term, model, cut):
        group = self.group(which)
        if group is None:
            return
        sender = self.swarm.leaders[group.id][min(term, len(self.swarm.leaders[group.id]) - 1)]
        if sender != self.me:
            proof = self.proof(group) if term else ()
            final = Final(PLAN_ID, 0, group.id, term, cut, self.models[model], MODEL_BYTES, proof)
            self.hear(sender, final)

    def proof(self, group):
        skip = GroupSkip(PLAN_ID, 0, group.id, 0)
        return tuple(self.sealers[p].seal(skip).raw for p in group.members if p != self.me)

    @rule(which=GROUPS, who=PEERS)
    def a_leader_is_accused(self, which, who):
        group = self.group(which)
        if group is not None and peer_name(who) != self.me:
            self.hear(peer_name(who), GroupSkip(PLAN_ID, 0, group.id, 0))

    @rule(which=GROUPS)
    def a_leader_is_accused_by_all(self, which):
        for who in range(9):
            self.a_leader_is_accused(which, who)

    @rule(who=PEERS, stale=st.booleans())
    def nonsense_arrives(self, who, stale):
        if peer_name(who) == self.me:
            return
        plan, group = (PlanId(b"?" * 32), self.tree.root.id) if stale else (PLAN_ID, GroupId(b"?" * 16))
        self.hear(peer_name(who), Mean(plan, 0, group, 0, 2**63, (), b"m" * 32, 2**63, ()))
        self.hear(peer_name(who), GroupSkip(plan, 0, group, 0))
        self.hear(peer_name(who), Ack(b"?" * 32))

    @rule(who=PEERS)
    def a_digest_arrives(self, who):
        peer = peer_name(who)
        self.perform(self.update.on_digest(peer, self.swarm.digests[peer], self.now))

    # What holds

    @invariant()
    def everything_counts_once(self):
        assert len(set(self.finishes)) == len(self.finishes)
        assert len(self.applies) <= 1
        assert len(self.ended) <= 1
        assert (self.update.applied is None) == (not self.ended)
        assert len(set(self.skips)) <= len(self.tree.groups)

    @invariant()
    def uploads_of_peers_are_counted_once_a_group(self):
        uploads = set(self.swarm.uploads.values())
        counted = [pair for pair in self.counted if pair[1] in uploads]
        announced = {model for _, model in self.counted} - uploads
        if not announced:  # a lying leader may announce an upload as its mean
            for group in {group for group, _ in counted}:
                models = [model for name, model in counted if name == group]
                leaves = {self.swarm.uploads[p] for p in self.tree.group(group).leaves}
                assert all(models.count(model) == 1 for model in leaves & set(models))

    @invariant()
    def the_round_ends_in_time(self):
        if self.now > 40 * SECOND and not self.applies:
            assert self.ended


TestUpdating = case(Updating)
