"""Feeds the core and performs its effects: the only place where one peer's inputs meet.

    port ──arrivals──> listen ──frames──> inputs ──> decide ──effects──> port, store, bench, bulk
                          └──chunks, offers, wants──> bulk

One task decides, so nothing needs a lock. Effects are performed in order, and a `Persist` or
`SaveModel` is on disk before a later effect leaves. Bounds: `INPUTS_MAX` frames wait to be
handled; beyond that the port's own queue fills up and drops the oldest.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from swarmdem.errors import LearningError, StoreError, TransportError, WireError
from swarmdem.identifiers import Micros, PeerId, Round, brief
from swarmdem.learning.learner import Learner
from swarmdem.node.bench import Bench
from swarmdem.node.bulk import Bulk
from swarmdem.node.cells import AnyCore, CellEvent, InRegion, channels
from swarmdem.node.counters import NodeCounters
from swarmdem.node.craft import Craft
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.resuming import Parts
from swarmdem.node.store import Store
from swarmdem.node.trainer import Hooks, Trainer, TrainingFinished
from swarmdem.node.unpacking import Unpacking
from swarmdem.node.vetting import Vetting
from swarmdem.node.watching import LinkWatch
from swarmdem.protocol.events import (
    Accumulate,
    Apply,
    Degraded,
    Effect,
    EndUpdate,
    Enter,
    Event,
    Fetch,
    FinishMean,
    Input,
    Keep,
    Leave,
    LeaveRequested,
    Mix,
    Persist,
    Publish,
    Received,
    Reject,
    Report,
    SaveModel,
    Send,
    StopFetching,
    Train,
    Woke,
)
from swarmdem.transport.base import Arrival, LinkState, Port
from swarmdem.wire import topics
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import BlobOffer, BlobWant, Hello
from swarmdem.wire.replay import ReplayWindow

_log = logging.getLogger("swarmdem.node.driver")

INPUTS_MAX = 1024
TURN = 32
"""Inputs handled before other peers of the process get their turn."""
ASK = 8
"""Inputs after which the core is asked for its next wake-up, however many wait."""
NodeEvent = Event | TrainingFinished | CellEvent
_BLOBS = (BlobWant, BlobOffer)


class Driver:
    """One peer's loop.

    Args:
        core: The protocol.
        sealer: Signs for this peer and opens what others signed.
        port: Subscribed and closed by the caller.
        store: Where records and slots are kept.
        shelf: The models in memory.
        learner: The training loop.
        craft: The arithmetic of models around an update.
        trainer: Worker threads.
        hooks: An experiment's measurements.
        on_event: Called on the loop with everything that is reported.
        on_hello: Called on the loop with every greeting, for what it says beside the protocol.
        parts: Where large models are kept until they are whole.
    """

    def __init__(
        self,
        core: AnyCore,
        *,
        sealer: FrameSealer,
        port: Port,
        store: Store,
        shelf: ModelShelf,
        learner: Learner,
        craft: Craft,
        trainer: Trainer,
        hooks: Hooks,
        on_event: Callable[[NodeEvent], None],
        on_hello: Callable[[Frame, Hello], None] | None = None,
        parts: Parts | None = None,
    ) -> None:
        charter = craft.charter
        self._core = core
        self._sealer = sealer
        self._port = port
        self._store = store
        self._shelf = shelf
        self._trainer = trainer
        self._on_event = on_event
        self._on_hello = on_hello
        self._loop = asyncio.get_running_loop()
        self._window = ReplayWindow()
        self._inputs: deque[tuple[Input, tuple[Model, ...]]] = deque()
        self._signal = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at: Micros = 0
        self._room = asyncio.Event()
        self._retained: set[str] = set()
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._round_limit: Round | None = None
        self._held: Train | None = None
        self._left = asyncio.Event()
        self.moved = asyncio.Event()
        """Set when something came of an input, while `watched` after each one; whoever waits clears it."""
        self.watched = False
        self.counters = NodeCounters()
        self.bench = Bench(
            craft=craft, learner=learner, shelf=shelf, store=store, trainer=trainer, hooks=hooks,
            deliver=self.deliver, report=on_event, failed=self._order_failed,
        )  # fmt: skip
        self._vetting = Vetting(craft, trainer, self.deliver)
        self._unpacking = Unpacking(
            charter=charter, packing=craft.packing, shelf=shelf, trainer=trainer,
            fetch=lambda order: self.bulk.downloads.fetch(order),  # noqa: PLW0108 - made below
            stop=lambda model: self.bulk.downloads.stop(model),  # noqa: PLW0108
            deliver=self._vetting.deliver,
        )  # fmt: skip
        make = partial(
            Bulk, schemas=craft.layout.schemas, port=port, shelf=shelf, trainer=trainer,
            counters=self.counters, deliver=self._unpacking.arrived, parts=parts,
        )  # fmt: skip
        self.bulk, self._earshot = channels(make, charter, sealer, port, on_event)
        self._link = LinkWatch(deliver=self.deliver, downloads=self.bulk.downloads, report=on_event)

    @property
    def held_back(self) -> bool:
        """Whether the core waits for a training beyond the limit of rounds."""
        return self._held is not None

    def deliver(self, event: Input, model: Model | None = None, /, *beside: Model) -> None:
        """Queue an input; the shelf takes *model* and those *beside* in the moment the core hears of it."""
        self._inputs.append((event, () if model is None else (model, *beside)))
        self._signal.set()

    def limit_rounds(self, last: Round | None) -> None:
        """Hold back training for rounds after *last*; None: never."""
        self._round_limit = last
        held = self._held
        if held is not None and (last is None or held.round <= last):
            self._held = None
            self.bench.train(held)

    async def run(self) -> None:
        """Drive the core until cancelled.

        Raises:
            ExceptionGroup: The store failed, or there is a bug; a remote peer cannot cause it.
        """
        me = brief(self._sealer.peer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name=f"swarmdem[{me}].listen")
            tasks.create_task(self._decide(), name=f"swarmdem[{me}].decide")
            tasks.create_task(self.bulk.run(), name=f"swarmdem[{me}].upload")
            tasks.create_task(self._until_broken(), name=f"swarmdem[{me}].watch")

    async def leave(self) -> None:
        """Say goodbye and clear what this peer left with the broker; needs `run` to be running."""
        self.deliver(LeaveRequested())
        await self._left.wait()
        await self._take_back(self._retained)

    async def close(self) -> None:
        """Stop what works for this peer; afterwards nothing touches its learner."""
        if self._timer is not None:  # the loop would keep all of this peer until it goes off
            self._timer.cancel()
        self.bulk.close()
        if self._earshot is not None:
            self._earshot.close()
        await self.bench.close()
        self._broken.cancel()

    # Outgoing

    def _topic(self, frame: Frame, receiver: PeerId | None = None) -> str:
        return topics.topic_of(frame.message, frame.scope, self._sealer.peer, receiver)

    async def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        try:
            await self._port.publish(topic, payload, retain=retain)
        except TransportError:
            self.counters.unsent += 1  # the protocol repeats what still matters
        else:
            self.counters.sent(topic, payload)

    # Incoming

    async def _listen(self) -> None:
        async for item in self._port.arrivals():
            if isinstance(item, LinkState):
                self._link.changed(item)
                continue
            if item.payload:  # an empty one only clears a retained message
                self._arrived(item)
            if len(self._inputs) >= INPUTS_MAX:
                self._room.clear()
                await self._room.wait()

    def _arrived(self, arrival: Arrival) -> None:
        payload = arrival.payload
        self.counters.received(arrival.topic, payload)
        try:
            if self.bulk.took(arrival):
                return
            frame = (self._sealer if self._earshot is None else self._earshot).open(bytes(payload))
            blob = isinstance(frame.message, _BLOBS)
            if not self._window.admits(frame, "bulk" if blob else "control"):
                self.counters.refuse("replayed")
            elif blob:
                self.bulk.on_frame(frame)
            else:
                if self._on_hello is not None and isinstance(frame.message, Hello):
                    self._on_hello(frame, frame.message)
                self._inputs.append((Received(frame), ()))
                self._signal.set()
        except WireError as error:
            self.counters.refuse(type(error).__name__)
            _log.debug("frame_refused topic=%s reason=%s", arrival.topic, error)

    # Deciding

    async def _decide(self) -> None:
        woke, turn, wake, asked = False, 0, None, False
        while True:
            # Asking the core what is due costs as much as an input: not after each one of many that wait.
            if not asked and (not self._inputs or turn % ASK == 0):
                wake, asked = self._core.next_wakeup(), True
            now = _now_us()
            event: Input
            models: tuple[Model, ...] = ()
            # A due wake-up goes before any message, but two in a row never keep messages waiting.
            if asked and wake is not None and wake <= now and not (woke and self._inputs):
                event = Woke()
            elif self._inputs:
                event, models = self._inputs.popleft()
                if len(self._inputs) == INPUTS_MAX // 2:
                    self._room.set()
            else:
                await self._wait_until(wake)
                continue
            woke = isinstance(event, Woke)
            for model in models:
                self._shelf.put(model)
            effects, asked = self._core.handle(event, now), False
            if effects or self.watched:
                await self._perform(effects)
                self.moved.set()
            if isinstance(event, LeaveRequested):
                self._left.set()
            turn += 1
            if turn % TURN == 0:
                await asyncio.sleep(0)

    async def _wait_until(self, wake: Micros | None) -> None:
        self._signal.clear()
        if wake is not None:
            self._ring_by(wake)
        await self._signal.wait()

    def _ring_by(self, wake: Micros) -> None:
        """Set the timer; one that goes off earlier stays: most wake-ups only move on before they are due."""
        if self._timer is not None:
            if self._rings_at <= wake:
                return
            self._timer.cancel()
        self._rings_at = wake
        self._timer = self._loop.call_later(max(0, wake - _now_us()) / 1e6, self._rang)

    def _rang(self) -> None:
        self._timer = None
        self._signal.set()

    async def _perform(self, effects: list[Effect]) -> None:
        records: dict[str, bytes] = {}
        for effect in effects:
            if isinstance(effect, Persist):
                records[effect.key] = effect.value
                continue
            if records:
                await self._write(records)
                records = {}
            await self._perform_one(effect)
        if records:
            await self._write(records)

    async def _perform_one(self, effect: Effect) -> None:  # noqa: PLR0912 - one case per effect
        match effect:
            case Publish(frame) | Send(_, frame) if self._store.withholds(frame.message):
                self.counters.unsent += 1
                if isinstance(effect, Publish) and self._link.up:
                    self.deliver(Received(effect.crossing))  # its echo: the disk is to blame, not the link
            case Publish(_, retain):
                topic = self._topic(effect.crossing)
                if retain:
                    self._retained.add(topic)
                await self._publish(topic, effect.crossing.raw, retain=retain)
            case Send(receiver, frame):
                await self._publish(self._topic(frame, receiver), frame.raw)
            case Report(event, region):
                self._on_event(InRegion(event) if region else event)
            case Enter() | Leave():
                await self._listen_as(effect)
            case Reject(sender, reason):
                self.counters.refuse(reason)
                _log.debug("frame_rejected sender=%s reason=%s", brief(sender), reason)
            case SaveModel():
                await self.bench.save(effect)
            case Keep(models):
                self._shelf.keep(models)
            case Train():
                self._train(effect)
            case Fetch():
                self._vetting.expect(effect)
                self._unpacking.fetch(effect)
            case StopFetching(model):
                self._unpacking.stop(model)
            case Accumulate():
                self.bench.accumulate(effect)
            case FinishMean():
                self.bench.finish_mean(effect)
            case Mix():
                self.bench.mix(effect)
            case Apply():
                self.bench.apply(effect)
            case EndUpdate(plan):
                self.bench.end_update(plan)
            case Persist():
                raise AssertionError("written by _perform")

    async def _listen_as(self, order: Enter | Leave) -> None:
        assert self._earshot is not None
        left = await self._earshot.perform(order, self._retained)
        await self._take_back(left)
        self._retained -= left

    async def _take_back(self, retained: Iterable[str]) -> None:
        """Clear what this peer left with the broker."""
        for topic in sorted(retained):
            await self._publish(topic, b"", retain=True)

    def _train(self, order: Train) -> None:
        if self._round_limit is not None and order.round > self._round_limit:
            self._held = order
            return
        self._held = None
        self.bench.train(order)

    async def _write(self, records: dict[str, bytes]) -> None:
        if self._store.quick:
            self._store.write(records)
        else:
            await self._loop.run_in_executor(self._trainer.disk, self._store.write, records)

    def _order_failed(self, error: BaseException) -> None:
        if isinstance(error, StoreError):
            self._break(error)
            return
        if not isinstance(error, LearningError):  # a strategy's, and logged where it happened
            _log.error("order_failed error=%r", error, exc_info=error)
        self._on_event(Degraded(f"{type(error).__name__}: {error}", passing=True))

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    async def _until_broken(self) -> None:
        await self._broken


def _now_us() -> Micros:
    return time.monotonic_ns() // 1_000
