"""One simulated peer: a real core, a disk that survives crashes, and a shell that pretends.

`perform` does with every effect what `node` does with it, in virtual time. A crash takes the
process's memory (models, sums, downloads, pending answers) and leaves the disk; it may strike
between any two effects, so "disk before wire" is put to the test. Answers of a former life never
reach a later one.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from swarmdem.identifiers import MILLISECOND, SECOND, GroupId, Micros, ModelHash, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.events import Effect, Input, Slot
from swarmdem.simulation import models
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.models import Vector
from swarmdem.simulation.signatures import VERIFIER, PretendedIdentity
from swarmdem.simulation.trace import record
from swarmdem.simulation.weather import transfer_time
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import Offline, Proposal, Vote

if TYPE_CHECKING:
    from swarmdem.simulation.world import Parcel, World

TENSOR_WORK: Micros = 5 * MILLISECOND
"""Time that averaging, mixing or applying takes."""
RETRY: Micros = SECOND // 2
"""Pause before a download that found no holder looks again."""


class AnyCore(Protocol):
    """What a simulated peer drives: `protocol.core.Core`, or a sabotaged one in a test."""

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        """Take one input, return what is to be done."""

    def next_wakeup(self) -> Micros | None:
        """Return when `Woke` is due."""


class CoreFactory(Protocol):
    """Makes the core of one life of a peer."""

    def __call__(self, charter: Charter, sealer: Sealer, *, stored: Mapping[str, bytes]) -> AnyCore:
        """Return a new core."""


@dataclass(slots=True)
class Disk:
    """What survives a crash."""

    records: dict[str, bytes] = field(default_factory=dict)
    slots: dict[Slot, ModelHash] = field(default_factory=dict)
    sessions: int = 0


@dataclass(slots=True)
class Memory:
    """What does not."""

    models: set[ModelHash] = field(default_factory=set)
    sums: dict[tuple[PlanId, GroupId], list[tuple[Vector, int]]] = field(default_factory=dict)
    fetching: dict[ModelHash, events.Fetch] = field(default_factory=dict)


class SimulatedPeer:
    """Peer number *index* of a world."""

    def __init__(self, world: "World", index: int) -> None:
        self.world = world
        self.index = index
        self.identity = PretendedIdentity(index)
        self.id = self.identity.peer
        self.disk = Disk()
        self.memory = Memory()
        self.core: AnyCore | None = None
        self.life = 0
        """Counts starts and ends of the process; an answer of another life is dropped."""
        self.slowness = 1.0
        self.failing = False
        self.stumbles_in: int | None = None
        """Effects between a vote and the crash that follows it; None: it votes and lives."""
        self.dies_in: int | None = None
        """Effects left until a planned crash strikes."""
        self.said = 0
        """Frames published or sent so far."""
        self.goodbye: Any = None
        """Parcel of the last will, sealed at the start."""
        self._clock_offset: Micros = 0
        self._wake_at: Micros | None = None
        self._first = world.book.enter(models.initial(world.rng))
        self._do: dict[type[Any], Callable[[Any], None]] = {
            events.Publish: self._publish, events.Send: self._send, events.Persist: self._persist,
            events.SaveModel: self._save, events.Keep: self._keep, events.Train: self._train,
            events.Fetch: self._fetch, events.StopFetching: self._stop_fetching,
            events.Accumulate: self._accumulate, events.FinishMean: self._finish_mean,
            events.Mix: self._mix, events.Apply: self._apply, events.EndUpdate: self._end_update,
        }  # fmt: skip

    # Life and death

    def start(self) -> None:
        """Boot from disk: a new session, a new clock."""
        assert self.core is None
        world = self.world
        self.life += 1
        self.disk.sessions += 1
        self.memory = Memory(models={self._first, *self.disk.slots.values()})
        self._wake_at = None
        self._clock_offset = world.rng.randrange(10**9) - world.now
        sealer = FrameSealer(self.identity, world.charter, self.disk.sessions, VERIFIER, reader=world.reader)
        self.core = world.core_factory(world.charter, sealer, stored=dict(self.disk.records))
        self.goodbye = world.parcel(sealer.seal(Offline(leaving=False)))
        self.feed(events.Started(world.rng.randbytes(16)))
        self.feed(self._offered())
        world.connect(self)

    def _offered(self) -> events.ModelOffered:
        scale, sketch = 0.0, b""
        if self.world.charter.metric == "cosine":
            first = self.world.book[self._first]
            scale, sketch = models.sketch(first, models.ZERO, self.world.charter.digest, bits=16)
        return events.ModelOffered(self._first, models.MODEL_BYTES, sketch, scale)

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.core = None
        self.life += 1
        self.dies_in = None
        self.memory = Memory()
        self.world.disconnect(self)

    @property
    def alive(self) -> bool:
        """The process runs."""
        return self.core is not None

    def holds(self, model: ModelHash) -> bool:
        """Say whether others can fetch *model* here."""
        return self.alive and model in self.memory.models

    # The core's one door in and its one timer

    def receive(self, parcel: "Parcel") -> None:
        """Hand a frame that arrived to the core."""
        self._handle(parcel.received, parcel.label)

    def feed(self, event: Input) -> None:
        """Hand *event* to the core and perform what it answers."""
        self._handle(event, record(event))

    def _handle(self, event: Input, line: str) -> None:
        core = self.core
        if core is None:
            return
        now = self.world.now
        self.world.trace.line(now, self.index, line)
        try:
            effects = core.handle(event, now + self._clock_offset)
        except Exception as error:
            raise Broken("the core never raises", traceback.format_exc()) from error
        for effect in effects:
            if self.dies_in is not None:
                self.dies_in -= 1
                if self.dies_in < 0:
                    self.world.trace.line(now, self.index, "! dies")
                    self.crash()
                    if self.stumbles_in is not None:
                        self.world.restart_soon(self)
                    return
            self.perform(effect)
        self._rearm()

    def _rearm(self) -> None:
        assert self.core is not None
        due = self.core.next_wakeup()
        if due is None:
            return
        at = max(due - self._clock_offset, self.world.now)
        if self._wake_at is None or at < self._wake_at:
            self._wake_at = at
            self.world.after(at - self.world.now, self._wake, self.life, at)

    def _wake(self, life: int, at: Micros) -> None:
        if life != self.life or at != self._wake_at or self.core is None:
            return
        self._wake_at = None
        due = self.core.next_wakeup()
        if due is not None and due - self._clock_offset <= self.world.now:
            self.feed(events.Woke())
            self._check_progress()
        else:
            self._rearm()

    def _check_progress(self) -> None:
        """A core that was woken and wants to be woken at the same moment again would spin for ever."""
        if self.core is None:
            return
        due = self.core.next_wakeup()
        if due is not None and due - self._clock_offset <= self.world.now:
            raise Broken("a wake-up makes progress", f"peer {self.index} asks for the moment it was woken at")

    def _later(self, delay: Micros, answer: Callable[..., None], *arguments: Any) -> None:
        """Call *answer* after *delay* of virtual time, unless this life has ended by then."""
        life = self.life

        def unless_dead() -> None:
            if self.life == life:
                answer(*arguments)

        self.world.after(delay, unless_dead)

    # Effects

    def perform(self, effect: Effect) -> None:
        """Do one effect, after the checkers have seen it."""
        self.world.checkers.on_effect(self.id, effect, self.world.now)
        self.world.observe(self, effect)
        action = self._do.get(type(effect))
        if action is not None:
            action(effect)
        elif isinstance(effect, events.Report):
            self.world.trace.line(self.world.now, self.index, record(effect.event))
        elif isinstance(effect, events.Reject):
            self.world.on_reject(self.index, effect)

    def _publish(self, effect: events.Publish) -> None:
        self.said += 1
        if self.stumbles_in is not None and isinstance(effect.frame.message, Vote | Proposal):
            self.dies_in = self.stumbles_in
        self.world.publish(self, effect.frame, retain=effect.retain)

    def _send(self, effect: events.Send) -> None:
        self.said += 1
        self.world.send(self, effect.receiver, effect.frame)

    def _persist(self, effect: events.Persist) -> None:
        if effect.value:
            self.disk.records[effect.key] = effect.value
        else:
            self.disk.records.pop(effect.key, None)

    def _save(self, effect: events.SaveModel) -> None:
        self._must_hold(effect.model, effect)
        self.disk.slots[effect.slot] = effect.model

    def _keep(self, effect: events.Keep) -> None:
        self.memory.models &= {*effect.models, *self.disk.slots.values()}

    def _must_hold(self, model: ModelHash, effect: Effect) -> None:
        if model not in self.memory.models:
            raise Broken("an effect names only models at hand", f"peer {self.index}: {record(effect)}")

    def _train(self, order: events.Train) -> None:
        self._must_hold(order.reference, order)
        slots, start_slot = self.disk.slots, Slot.OWN if self.world.charter.start == "own" else Slot.ANCHOR
        start = slots.get(start_slot, order.reference)
        if order.pull and Slot.ANCHOR not in slots:
            raise Broken("no pull before the first anchor", f"peer {self.index}: {record(order)}")
        low, high = self.world.training
        duration = int((low + self.world.rng.random() * (high - low)) * self.slowness)
        self._later(duration, self._trained, order, start, duration)

    def _trained(self, order: events.Train, start: ModelHash, duration: Micros) -> None:
        if self.failing:
            self.feed(events.TrainingFailed(order.base, "loss is NaN"))
            return
        book = self.world.book
        vector = models.trained(book[start], self.index, self.world.rng)
        model = book.enter(vector)
        self.memory.models.add(model)
        charter = self.world.charter
        origin = start if charter.basis == "updates" else order.reference
        scale, sketch = models.sketch(vector, book[origin], charter.digest)
        weight = 1 if charter.weights == "agents" else (self.index + 1) % 4 * 10  # one in four has no samples
        loss = self.world.rng.randrange(200, 800) if charter.drift else 0
        self.feed(
            events.Trained(order.base, model, models.MODEL_BYTES, weight, scale, sketch, duration, loss)
        )

    def _fetch(self, order: events.Fetch) -> None:
        known = order.model in self.memory.fetching
        self.memory.fetching[order.model] = order
        if not known:
            self._later(self.world.network.delay(), self._look, order.model, 0)

    def _stop_fetching(self, order: events.StopFetching) -> None:
        self.memory.fetching.pop(order.model, None)

    def _look(self, model: ModelHash, turn: int) -> None:
        """Ask the holders in turn; the first that lives, is reachable and has the model serves it."""
        order = self.memory.fetching.get(model)
        if order is None:
            return
        if model in self.memory.models:
            self._arrived(model)
            return
        for offset in range(len(order.sources)):
            source = self.world.by_id.get(order.sources[(turn + offset) % len(order.sources)])
            if source and source.holds(model) and self.world.network.reachable(self.index, source.index):
                span = transfer_time(models.MODEL_BYTES) + 2 * self.world.network.delay()
                self._later(span, self._transferred, model, source, source.life, turn)
                return
        self._later(RETRY, self._look, model, turn + 1)

    def _transferred(self, model: ModelHash, source: "SimulatedPeer", life: int, turn: int) -> None:
        if source.life != life or not self.world.network.reachable(self.index, source.index):
            self._look(model, turn + 1)
        elif model in self.memory.fetching:
            self._arrived(model)

    def _arrived(self, model: ModelHash) -> None:
        del self.memory.fetching[model]
        self.memory.models.add(model)
        self.feed(events.Fetched(model))

    def _accumulate(self, order: events.Accumulate) -> None:
        self._must_hold(order.model, order)
        self.memory.sums.setdefault((order.plan, order.group), []).append(
            (self.world.book[order.model], order.weight)
        )

    def _finish_mean(self, order: events.FinishMean) -> None:
        inputs = self.memory.sums.get((order.plan, order.group), [])
        if not sum(weight for _, weight in inputs):
            raise Broken("a mean has inputs", f"peer {self.index}: {record(order)}")
        vector = models.amplified(models.mean(inputs), self._scheduled("gain", order.time))
        if order.previous is not None:
            self._must_hold(order.previous, order)
            before = self.world.book[order.previous]
            vector = models.moved(before, vector, self._scheduled("gamma", order.time))
        self._later(TENSOR_WORK, self._averaged, order, vector)

    def _averaged(self, order: events.FinishMean, vector: Vector) -> None:
        model = self.world.book.enter(vector)
        self.memory.models.add(model)
        self.feed(events.Averaged(order.plan, order.group, model, models.MODEL_BYTES))

    def _mix(self, order: events.Mix) -> None:
        self._must_hold(order.mean, order)
        self._must_hold(order.parent, order)
        book = self.world.book
        alpha = self._scheduled("mixing", order.time)
        vector = models.mixed(book[order.parent], book[order.mean], alpha)
        self._later(TENSOR_WORK, self._mixed, order, vector)

    def _mixed(self, order: events.Mix, vector: Vector) -> None:
        model = self.world.book.enter(vector)
        self.memory.models.add(model)
        self.feed(events.Mixed(order.plan, order.group, model, models.MODEL_BYTES))

    def _apply(self, order: events.Apply) -> None:
        self._must_hold(order.parent, order)
        if order.upload is not None:
            self._must_hold(order.upload, order)
        self._later(TENSOR_WORK, self._applied, order)

    def _applied(self, order: events.Apply) -> None:
        book = self.world.book
        model = order.parent
        if order.upload is not None and not order.alone:
            alpha = self._scheduled("mixing", order.time)
            model = book.enter(models.mixed(book[order.parent], book[order.upload], alpha))
        self.memory.models |= {model, order.parent}
        self.disk.slots[Slot.OWN], self.disk.slots[Slot.ANCHOR] = model, order.parent
        self.world.checkers.on_applied(self.id, order)
        self.feed(events.Applied(order.plan, model))

    def _end_update(self, order: events.EndUpdate) -> None:
        self.memory.sums = {key: value for key, value in self.memory.sums.items() if key[0] != order.plan}

    def _scheduled(self, name: str, time: int) -> Fraction:
        """Return a schedule's value as the decimal fraction a person wrote."""
        return Fraction(str(self.world.charter.scheduled(name, time)))
