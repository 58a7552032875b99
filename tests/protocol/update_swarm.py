"""A swarm of `Update` machines in virtual time, with pretended models that can be checked exactly.

A model is a mapping from peer to the share (a Fraction) that this peer's upload has in it; its hash
is that of its content. Frames are signed by being known to the registry. Faults are hooks: who is
dead, which deliveries are lost, doubled or late, what dies at which of its own effects.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b, sha256

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import FrameId, GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.election import leaders
from swarmdem.protocol.hierarchy import Group, Hierarchy, group_id, plan_groups
from swarmdem.protocol.starting import Start
from swarmdem.protocol.update import Update
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import (
    NORMAL,
    PARAMETERS,
    STANDING,
    Digest,
    Entry,
    Final,
    GroupSkip,
    Mean,
    Message,
    Plan,
    SignedVote,
)

Model = tuple[tuple[PeerId, Fraction], ...]
SECOND = 1_000_000
BASE = b"b" * 32
PLAN_ID = PlanId(b"p" * 32)
MODEL_BYTES = 1000


def peer_name(index: int) -> PeerId:
    return PeerId(blake2b(b"peer %d" % index, digest_size=16).digest())


def mixture(parts: Iterable[tuple[Fraction, Model]]) -> Model:
    shares: dict[PeerId, Fraction] = {}
    for factor, model in parts:
        for peer, share in model:
            shares[peer] = shares.get(peer, Fraction(0)) + factor * share
    return tuple(sorted((peer, share) for peer, share in shares.items() if share))


class Models:
    """Content by hash: the truth behind every hash in the swarm."""

    def __init__(self) -> None:
        self._contents: dict[ModelHash, Model] = {}

    def add(self, model: Model) -> ModelHash:
        name = ModelHash(sha256(repr(model).encode()).digest())
        self._contents[name] = model
        return name

    def __getitem__(self, name: ModelHash) -> Model:
        return self._contents[name]


class FakeSealer:
    """Signs by registering: a frame is genuine if this swarm's registry knows its bytes."""

    def __init__(self, peer: PeerId, registry: dict[bytes, Frame], session: int = 1) -> None:
        self.peer = peer
        self.session = session
        self._registry = registry
        self._sequence = 0

    def seal(self, message: Message) -> Frame:
        standing = isinstance(message, STANDING)
        self._sequence += not standing
        session, sequence = (0, 0) if standing else (self.session, self._sequence)
        raw = sha256(repr((self.peer, session, sequence, message)).encode()).digest()
        frame = Frame(
            raw=raw,
            id=FrameId(raw),
            sender=self.peer,
            public_key=self.peer * 2,
            session=session,
            sequence=sequence,
            scope=b"s" * 32,
            signature=raw * 2,
            message=message,
        )
        self._registry[raw] = frame
        return frame

    def open(self, raw: bytes) -> Frame:
        if raw not in self._registry:
            raise MalformedFrameError("not a frame")
        return self._registry[raw]

    def proves(self, vote: SignedVote, content: Message) -> PeerId | None:
        raise NotImplementedError


Shape = Sequence["int | Shape"]
"""A tree as nested lists: a number is a peer, a list is a group."""


def tree(shape: Shape) -> Hierarchy:
    groups: list[Group] = []

    def grow(node: Shape) -> tuple[int, GroupId, list[PeerId]]:
        leaves = [peer_name(part) for part in node if isinstance(part, int)]
        grown = [grow(part) for part in node if not isinstance(part, int)]
        members = sorted(leaves + [peer for _, _, below in grown for peer in below])
        level = 1 + max((level for level, _, _ in grown), default=0)
        name = group_id(BASE, level, members)
        children = tuple(sorted(child for _, child, _ in grown))
        groups.append(Group(name, level, None, tuple(sorted(leaves)), children, tuple(members)))
        return level, name, members

    grow(shape)
    parents = {child: group.id for group in groups for child in group.children}
    rooted = [Group(g.id, g.level, parents.get(g.id), g.leaves, g.children, g.members) for g in groups]
    return Hierarchy(tuple(sorted(rooted, key=lambda g: (-g.level, g.id))))


@dataclass
class Node:
    """One peer: its machine, its shell and what it did."""

    peer: PeerId
    update: Update
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
    ) -> None:
        self.chance = random.Random(seed)
        self.charter = charter or Charter(swarm="test")
        self.hierarchy = tree(shape)
        self.models = Models()
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
        self.uploads = {peer: self.models.add(((peer, Fraction(1)),)) for peer in members}
        self.bad = {self.uploads[peer_name(i)] for i in bad}
        self.digests = {peer: self._digest(peer) for peer in members}
        self.plan = self._plan()
        self.leaders = leaders(self.hierarchy, BASE)
        unknown = {peer_name(k): {peer_name(i) for i in v} for k, v in (unknown_digests or {}).items()}
        self.nodes: dict[PeerId, Node] = {}
        for peer in members:
            known = {k: v for k, v in self.digests.items() if k not in unknown.get(peer, set())}
            update = self.machine(peer, known)
            self.nodes[peer] = Node(peer, update, models={self.uploads[peer]})
        for i in dead:
            self.nodes[peer_name(i)].alive = False

    def machine(self, peer: PeerId, digests: Mapping[PeerId, Digest]) -> Update:
        return Update(
            Start(
                charter=self.charter,
                sealer=FakeSealer(peer, self.registry),
                plan_id=PLAN_ID,
                plan=self.plan,
                hierarchy=self.hierarchy,
                digests=digests,
                upload=self.uploads.get(peer),
                now=0,
            )
        )

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
            Entry(peer, self.digest_id(peer), self.hierarchy.parent_of(peer), True, True)
            for peer in self.hierarchy.root.members
        )
        return Plan(BASE, 1, NORMAL, (), 0, 0, b"", 0, 1, entries, plan_groups(self.hierarchy))

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
                node.models &= {*models, self.uploads[node.peer]}
            case events.StopFetching(model=model):
                del node.fetching[model]
            case events.Accumulate(group=group, model=model, weight=weight):
                total, parts = node.sums.get(group, (0, []))
                assert model in node.models
                node.sums[group] = (total + weight, [*parts, (Fraction(weight), self.models[model])])
            case events.FinishMean(group=group):
                total, parts = node.sums.pop(group)
                mean = self.models.add(mixture((weight / total, model) for weight, model in parts))
                self._computed(
                    node,
                    mean,
                    lambda: node.update.on_averaged(
                        events.Averaged(PLAN_ID, group, mean, MODEL_BYTES), self.now
                    ),
                )
            case events.Mix(group=group, mean=mean, parent=parent):
                assert {mean, parent} <= node.models
                mixed = self.mix(mean, parent)
                self._computed(
                    node,
                    mixed,
                    lambda: node.update.on_mixed(events.Mixed(PLAN_ID, group, mixed, MODEL_BYTES), self.now),
                )
            case events.Apply(parent=parent, upload=upload):
                assert parent in node.models
                assert upload == self.uploads[node.peer]
                node.applied.append((self.now, effect))
                result = self.mix(upload, parent)
                self._computed(
                    node, result, lambda: node.update.on_applied(events.Applied(PLAN_ID, result), self.now)
                )
            case events.Report(event=event):
                self.reports.append((self.now, node.peer, event))
                if isinstance(event, events.RoundFinished):
                    node.finished.append((self.now, event))
            case events.Reject():
                self.rejected.append(effect)

    def mix(self, mean: ModelHash, parent: ModelHash) -> ModelHash:
        alpha = Fraction(self.charter.mixing).limit_denominator(1000)
        return self.models.add(mixture([(alpha, self.models[parent]), (1 - alpha, self.models[mean])]))

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
