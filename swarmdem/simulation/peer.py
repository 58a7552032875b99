"""One simulated peer: a real core, a disk that survives crashes, and a shell that pretends.

`perform` does with every effect what `node` does with it, in virtual time (models: `craft`). A crash
takes the process's memory (models, sums, downloads, pending answers) and leaves the disk; it may strike
between any two effects, so "disk before wire" is put to the test. Answers of a former life never reach a
later one. A stopped process does nothing; what reaches it waits, as far as the socket holds it.
"""

import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from swarmdem.identifiers import Micros, ModelHash
from swarmdem.protocol import events
from swarmdem.protocol.events import Effect, Input
from swarmdem.simulation import models
from swarmdem.simulation.craft import Craft
from swarmdem.simulation.disk import Disk, Memory
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.signatures import VERIFIER, PretendedIdentity
from swarmdem.simulation.trace import record
from swarmdem.simulation.traffic import Traffic
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import Offline, Proposal, Vote

if TYPE_CHECKING:
    from swarmdem.simulation.liars import Liar
    from swarmdem.simulation.world import Parcel, World

SOCKET_FRAMES = 1000
"""Frames that wait for a stopped process; the newest are lost beyond that."""
GENERATION = 2**20
"""Distance of the key numbers of a device's successive owners."""


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
        self.liar: Liar | None = None
        """Speaks in its place while a fault makes it a liar."""
        self.life = 0
        """Counts starts and ends of the process; an answer of another life is dropped."""
        self.slowness = 1.0
        self.failing = False
        self.stopped = False
        self.disowned = False
        """Its brokers have given it up while it was stopped."""
        self.forgets = 0
        """Last writes that its disk loses with every death."""
        self.stumbles_in: int | None = None
        """Effects between a vote and the crash that follows it; None: it votes and lives."""
        self.dies_in: int | None = None
        """Effects left until a planned crash strikes."""
        self.dies_writing: int | None = None
        """Writes left until one is lost with the process."""
        self.said = 0
        """Frames published or sent so far."""
        self.traffic = Traffic()
        self.goodbye: Any = None
        """Parcel of the last will, sealed at the start."""
        self.sealer: FrameSealer | None = None
        self._generation = 0
        self._waiting: deque[Callable[[], None]] = deque()
        """What reached the process while it was stopped."""
        self._clock_offset: Micros = 0
        self._wake_at: Micros | None = None
        self._first = world.first_model()
        craft = Craft(self)
        self._do: dict[type[Any], Callable[[Any], None]] = {
            events.Publish: self._publish, events.Send: self._send, events.Persist: self._persist,
            events.SaveModel: craft.save, events.Keep: craft.keep, events.Train: craft.train,
            events.Fetch: craft.fetch, events.StopFetching: craft.stop_fetching,
            events.Accumulate: craft.accumulate, events.FinishMean: craft.finish_mean,
            events.Mix: craft.mix, events.Apply: craft.apply, events.EndUpdate: craft.end_update,
            events.Enter: self._enter, events.Leave: self._leave,
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
        self.sealer = sealer
        self.core = world.core_of(self, sealer)
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
        """Lose everything but the disk, and of a lying disk the last writes."""
        self.core = None
        self.life += 1
        self.dies_in = self.dies_writing = None
        self.stopped = False
        self._waiting.clear()
        self.memory = Memory()
        self.disk.forget(self.forgets)
        self.world.disconnect(self)

    def replace(self) -> None:
        """Give the device to another: a new key, an empty disk, the same data."""
        assert self.core is None
        self._generation += 1
        self.identity = PretendedIdentity(self.index + self._generation * GENERATION)
        self.id = self.identity.peer
        self.disk = Disk()
        self._first = self.world.first_model()

    @property
    def alive(self) -> bool:
        """The process runs, or is stopped."""
        return self.core is not None

    def holds(self, model: ModelHash) -> bool:
        """Say whether others can fetch *model* here."""
        return self.alive and not self.stopped and model in self.memory.models

    def stop(self) -> None:
        """Freeze the process, as SIGSTOP does."""
        self.stopped = self.alive

    def resume(self) -> None:
        """Let it go on: what waited comes first, then its timers notice how late it is."""
        if not self.stopped:
            return
        self.stopped = False
        life = self.life
        while self._waiting and self.life == life:
            self._waiting.popleft()()
        if self.core is not None:
            self._wake_at = None
            self._rearm()

    # The core's one door in and its one timer

    def receive(self, parcel: "Parcel") -> None:
        """Hand a frame that arrived to the core."""
        if self.liar is not None:
            self.liar.hear(parcel.frame)
        if not self.stopped:
            self._handle(parcel.received, parcel.label)
        elif len(self._waiting) < SOCKET_FRAMES:
            self._waiting.append(lambda: self._handle(parcel.received, parcel.label))

    def feed(self, event: Input) -> None:
        """Hand *event* to the core and perform what it answers."""
        if self.stopped:
            self._waiting.append(lambda: self._handle(event, record(event)))
        else:
            self._handle(event, record(event))

    def _handle(self, event: Input, line: str) -> None:
        core = self.core
        if core is None:
            return
        world, now = self.world, self.world.now
        world.trace.line(now, self.index, line)
        try:
            effects = core.handle(event, now + self._clock_offset)
        except Exception as error:
            raise Broken("the core never raises", traceback.format_exc()) from error
        for effect in effects:
            if self._dies_before(effect):
                world.trace.line(now, self.index, "! dies")
                self.crash()
                if self.stumbles_in is not None:
                    world.restart_soon(self)
                return
            self.perform(effect)
        world.checkers.on_state(self.id, core)
        self._rearm()

    def _dies_before(self, effect: Effect) -> bool:
        """Count towards a planned death; return whether it strikes now."""
        if self.dies_writing is not None and isinstance(effect, events.Persist | events.SaveModel):
            self.dies_writing -= 1
            if self.dies_writing <= 0:
                return True
        if self.dies_in is not None:
            self.dies_in -= 1
            return self.dies_in < 0
        return False

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
        if life != self.life or at != self._wake_at or self.core is None or self.stopped:
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

    def later(self, delay: Micros, answer: Callable[..., None], *arguments: Any) -> None:
        """Call *answer* after *delay* of virtual time, unless this life has ended by then."""
        life = self.life

        def unless_dead() -> None:
            if self.life != life:
                return
            if self.stopped:
                self._waiting.append(unless_dead)
            else:
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
        if self.liar is not None:
            self.liar.publish(effect)
        else:
            self.world.publish(self, effect.crossing, retain=effect.retain)

    def _send(self, effect: events.Send) -> None:
        self.said += 1
        if self.liar is None or self.liar.speaks_to(effect.receiver):
            self.world.send(self, effect.receiver, effect.frame)

    def _enter(self, effect: events.Enter) -> None:
        self.world.enter(self, effect)

    def _leave(self, effect: events.Leave) -> None:
        self.world.leave(self, effect)

    def _persist(self, effect: events.Persist) -> None:
        self.disk.write(effect.key, effect.value)
