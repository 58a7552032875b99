"""A swarm of update machines in virtual time, with pretended models that can be checked exactly.

Faults are hooks: who is dead, which deliveries are lost, doubled or late, what dies at which of its own
effects. One swarm may follow on another: the same peers one plan later, with what the first left.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256

from swarmdem.identifiers import FrameId, GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.election import leaders
from swarmdem.protocol.gossip import GossipUpdate
from swarmdem.protocol.hierarchy import plan_groups
from swarmdem.protocol.starting import Legacy, Start
from swarmdem.protocol.update import Update
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import NORMAL, PARAMETERS, Digest, Entry, Final, GroupSkip, Mean, Plan
from tests.protocol.update_parts import (
    BASE,
    MODEL_BYTES,
    PLAN_ID,
    SECOND,
    FakeSealer,
    Model,
    Models,
    Shape,
    mixture,
    peer_name,
    plain,
    sums,
    tree,
    with_sums,
)


@dataclass
class Node:
    """One peer: its machine, its shell and what it did."""

    peer: PeerId
    update: Update | GossipUpdate
    alive: bool = True
    begun: bool = False
    models: set[ModelHash] = field(default_factory=set)
    fetching: dict[ModelHash, tuple[PeerId, ...]] = field(default_factory=dict)
    sums: dict[GroupId, tuple[int, list[tuple[Fraction, Model]]]] = field(default_factory=dict)
    applied: list[tuple[int, events.Apply]] = field(default_factory=list)
    finished: list[tuple[int, events.RoundFinished]] = field(default_factory=list)
    fetches: int = 0
    performed: list[events.Effect] = field(default_factory=list)


class Swarm:
    """All peers of one plan, one heap of what happens next."""

    def __init__(
        self,
        shape: Shape,
        *,
        seed: int = 0,
        charter: Charter | None = None,
        weights: Mapping[int, int] | None = None,
        dead: Iterable[int] = (),
        loss: float = 0.0,
        duplicates: float = 0.0,
        delay_us: tuple[int, int] = (20_000, 150_000),
        unknown_digests: Mapping[int, Iterable[int]] | None = None,
        bad: Iterable[int] = (),
        apart: Iterable[int] = (),
        without_upload: Iterable[int] = (),
        time: int = 0,
        after: "Swarm | None" = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.charter = charter or Charter(swarm="test")
        self.hierarchy = tree(shape)
        self.after_swarm = after
        self.models = after.models if after else Models()
        self.base = bytes(after.plan_id) if after else BASE
        self.plan_id = PlanId(sha256(after.plan_id).digest()) if after else PLAN_ID
        self.time = time
        self.registry: dict[bytes, Frame] = {}
        self.loss, self.duplicates, self.delay_us = loss, duplicates, delay_us
        self.now = 0
        self.reports: list[tuple[int, PeerId, events.Event]] = []
        self.rejected: list[events.Reject] = []
        self.published: list[Frame] = []
        self.on_effect: Callable[[Node, events.Effect], bool] = lambda node, effect: True
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        members = self.hierarchy.root.members
        index = {peer_name(i): i for i in range(1000) if peer_name(i) in set(members)}
        self.weights = {peer: (weights or {}).get(index[peer], 1) for peer in members}
        self.apart = frozenset(peer_name(i) for i in apart)
        lost = {peer_name(i) for i in without_upload}
        self.uploads = {
            peer: self.models.add(((self.label(peer), Fraction(1)),)) for peer in members if peer not in lost
        }
        self.bad = {self.uploads[peer_name(i)] for i in bad}
        self.digests = {peer: self._digest(peer) for peer in self.uploads}
        self.plan = self._plan()
        self.leaders = leaders(self.hierarchy, self.base)
        unknown = {peer_name(k): {peer_name(i) for i in v} for k, v in (unknown_digests or {}).items()}
        self.nodes: dict[PeerId, Node] = {}
        for peer in members:
            known = {k: v for k, v in self.digests.items() if k not in unknown.get(peer, set())}
            update = self.machine(peer, known)
            self.nodes[peer] = Node(peer, update, models=self._kept(peer, update))
        for i in dead:
            self.nodes[peer_name(i)].alive = False

    def label(self, peer: PeerId) -> bytes:
        """What the upload of this round is called in models."""
        return peer if self.after_swarm is None else self.after_swarm.label(peer) + b"'"

    def machine(self, peer: PeerId, digests: Mapping[PeerId, Digest]) -> Update | GossipUpdate:
        start = Start(
            charter=self.charter,
            sealer=FakeSealer(peer, self.registry),
            plan_id=self.plan_id,
            plan=self.plan,
            hierarchy=self.hierarchy,
            digests=digests,
            upload=self.uploads.get(peer),
            now=0,
            time=self.time,
            apart=self.apart,
            legacy=self._legacy(peer),
        )
        return GossipUpdate(start) if self.charter.update == "gossip" else Update(start)

    def _legacy(self, peer: PeerId) -> Legacy | None:
        before = self.after_swarm.nodes.get(peer) if self.after_swarm else None
        if before is None or not before.alive:
            return None  # it was not there, or was started anew since
        assert before.update.legacy is None or before.update.legacy.held <= before.models
        return before.update.legacy

    def _kept(self, peer: PeerId, update: Update | GossipUpdate) -> set[ModelHash]:
        """What the shell still has when the update begins: what it is told to keep, and its slots."""
        before = self.after_swarm.nodes.get(peer) if self.after_swarm else None
        slots = {self.uploads[peer]} if peer in self.uploads else set()
        if before is None:
            return slots
        anchors = {order.parent for _, order in before.applied}
        return slots | anchors | (before.models & set(update.models))

    def _digest(self, peer: PeerId) -> Digest:
        return Digest(
            base=BASE,
            round=1,
            kind=PARAMETERS,
            seed=0,
            reference=b"",
            weight=self.weights[peer],
            model=self.uploads[peer],
            model_bytes=MODEL_BYTES,
            age=0,
            training_ms=0,
            scale=1.0,
            sketch=b"",
        )

    def _plan(self) -> Plan:
        entries = tuple(
            Entry(peer, self.digest_id(peer), self.hierarchy.parent_of(peer), elector=True, listed=True)
            for peer in self.hierarchy.root.members
        )
        return Plan(self.base, 1, NORMAL, (), 0, 0, b"", 0, 1, entries, plan_groups(self.hierarchy))

    @staticmethod
    def digest_id(peer: PeerId) -> FrameId:
        return FrameId(sha256(peer).digest())

    # Running

    def at(self, when: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, self._order, what))
        self._order += 1

    def after(self, delay: int, what: Callable[[], None]) -> None:
        self.at(self.now + delay, what)

    def run(self, until_s: float = 600.0) -> "Swarm":
        """Start everybody within 100 ms and run until nothing is left to happen."""
        for peer in sorted(self.nodes):
            node = self.nodes[peer]
            self.at(self.chance.randrange(100_000), lambda node=node: self._begin(node))
        while self._heap and self._heap[0][0] <= until_s * SECOND:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        return self

    def _begin(self, node: Node) -> None:
        node.begun = True
        self.perform(node, node.update.begin())

    def _delay(self) -> int:
        return self.chance.randint(*self.delay_us)

    def perform(self, node: Node, effects: Sequence[events.Effect]) -> None:
        if not node.alive:
            return
        for effect in effects:
            node.alive = node.alive and self.on_effect(node, effect)
            if not node.alive and not isinstance(effect, events.Report):
                continue  # reports are no acts: the checks must know what had been decided
            node.performed.append(effect)
            self._perform(node, effect)
        if not node.alive:
            return
        wake = node.update.next_wakeup()
        if wake is not None:
            self.at(max(wake, self.now), lambda: self._wake(node))

    def _wake(self, node: Node) -> None:
        wake = node.update.next_wakeup()
        if node.alive and wake is not None and wake <= self.now:
            effects = node.update.on_wake(self.now)
            after = node.update.next_wakeup()
            assert after is None or after > self.now, "a wake-up must make progress"
            self.perform(node, effects)

    def _perform(self, node: Node, effect: events.Effect) -> None:
        match effect:
            case events.Publish(frame=frame):
                self.published.append(frame)
                for other in self.nodes.values():
                    self.deliver(frame, other)
            case events.Send(receiver=receiver, frame=frame):
                self.deliver(frame, self.nodes[receiver])
            case events.Fetch(model=model, sources=sources):
                assert model not in node.models, "fetched what it holds"
                assert node.peer not in sources
                fresh = model not in node.fetching
                node.fetching[model] = sources
                node.fetches += fresh
                if fresh:
                    self.after(self._delay(), lambda: self._fetch(node, model))
            case events.Keep(models=models):
                node.models &= {*models, self.uploads.get(node.peer)}
            case events.StopFetching(model=model):
                del node.fetching[model]
            case events.Accumulate(group=group, model=model, weight=weight):
                total, parts = node.sums.get(group, (0, []))
                assert model in node.models
                node.sums[group] = (total + weight, [*parts, (Fraction(weight), self.models[model])])
            case events.FinishMean():
                self._finish_mean(node, effect)
            case events.Mix():
                self._mix(node, effect)
            case events.Apply():
                self._apply(node, effect)
            case events.Report(event=event):
                self.reports.append((self.now, node.peer, event))
                if isinstance(event, events.RoundFinished):
                    node.finished.append((self.now, event))
            case events.Reject():
                self.rejected.append(effect)

    def _finish_mean(self, node: Node, order: events.FinishMean) -> None:
        assert (order.plan, order.time) == (self.plan_id, self.time)
        total, parts = node.sums.pop(order.group)
        mean = mixture((weight / total, model) for weight, model in parts)
        if order.previous is not None:
            assert order.previous in node.models
            mean = self.averaged_over_time(order.previous, mean)
        name = self.models.add(mean)
        answer = events.Averaged(self.plan_id, order.group, name, MODEL_BYTES)
        self._computed(node, name, lambda: node.update.on_averaged(answer, self.now))

    def averaged_over_time(self, previous: ModelHash, mean: Model) -> Model:
        """Dem-AI eq. 3."""
        gamma = Fraction(self.charter.scheduled("gamma", self.time)).limit_denominator(1000)
        return mixture([(1 - gamma, self.models[previous]), (gamma, mean)])

    def _mix(self, node: Node, order: events.Mix) -> None:
        """Eq. 10; under `pull_to = all` with the sum over the groups above, this one's share added."""
        assert {order.mean, order.parent} <= node.models
        assert order.time == self.time
        mixed, size = self.mix(order.mean, order.parent, agents=order.agents, above=order.above), MODEL_BYTES
        if self.charter.pull_to == "all":
            size = 2 * MODEL_BYTES
        answer = events.Mixed(self.plan_id, order.group, mixed, size)
        self._computed(node, mixed, lambda: node.update.on_mixed(answer, self.now))

    def _apply(self, node: Node, order: events.Apply) -> None:
        assert order.parent in node.models
        assert order.upload == self.uploads.get(node.peer)
        assert order.time == self.time
        node.applied.append((self.now, order))
        if order.upload is None:
            result = order.parent
        elif order.alone:
            assert order.parent == order.upload
            result = order.upload
        else:
            alpha = Fraction(self.charter.mixing).limit_denominator(1000)
            parent, own = plain(self.models[order.parent]), self.models[order.upload]
            result = self.models.add(mixture([(alpha, parent), (1 - alpha, own)]))
        answer = events.Applied(self.plan_id, result)
        self._computed(node, result, lambda: node.update.on_applied(answer, self.now))

    def mix(self, mean: ModelHash, parent: ModelHash, *, agents: int = 0, above: int = 0) -> ModelHash:
        alpha = Fraction(self.charter.mixing).limit_denominator(1000)
        over = self.models[parent]
        mixed = mixture([(alpha, plain(over)), (1 - alpha, self.models[mean])])
        if self.charter.pull_to != "all" or not agents:
            return self.models.add(mixed)
        summed = sums(over) or mixture([(Fraction(1, above), over)])
        return self.models.add(
            with_sums(mixed, mixture([(Fraction(1), summed), (Fraction(1, agents), mixed)]))
        )

    def _computed(self, node: Node, model: ModelHash, then: Callable[[], list[events.Effect]]) -> None:
        def arrive() -> None:
            node.models.add(model)
            if node.alive:
                self.perform(node, then())

        self.after(5_000, arrive)

    def deliver(self, frame: Frame, other: Node) -> None:
        copies = 1 + (self.chance.random() < self.duplicates)
        for _ in range(copies):
            if self.chance.random() < self.loss:
                continue
            self.after(self._delay(), lambda: self._receive(frame, other))

    def _receive(self, frame: Frame, other: Node) -> None:
        """Hand a frame over; before its update began a peer does not know the plan and loses it."""
        if other.alive and other.begun:
            self.perform(other, other.update.on_frame(frame, self.now))

    def _fetch(self, node: Node, model: ModelHash) -> None:
        """Ask every source in turn; a dead one, or one without the model, gives nothing."""
        if not node.alive or model not in node.fetching:
            return
        if any(self.nodes[s].alive and model in self.nodes[s].models for s in node.fetching[model]):
            del node.fetching[model]
            if model in self.bad:
                self.perform(node, node.update.on_fetch_failed(model, self.now))
            else:
                node.models.add(model)
                self.perform(node, node.update.on_fetched(model, self.now))
        else:
            self.after(100_000, lambda: self._fetch(node, model))

    # Looking

    def averaged(self) -> list[events.GroupAveraged]:
        return [event for _, _, event in self.reports if isinstance(event, events.GroupAveraged)]

    def group_results(self) -> list[events.GroupFinished]:
        return [event for _, _, event in self.reports if isinstance(event, events.GroupFinished)]

    def living(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.alive]

    def frames(self, kind: type[Mean | Final | GroupSkip]) -> list[Frame]:
        return [frame for frame in self.published if isinstance(frame.message, kind)]
