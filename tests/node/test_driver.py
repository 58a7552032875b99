"""The loop of one peer, with a scripted core: what goes before what, and what has a bound."""

import asyncio
import time
from itertools import pairwise

import numpy as np
import pytest

from swarmdem.errors import StoreError
from swarmdem.identifiers import PeerId
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.softmax import SoftmaxRegression
from swarmdem.learning.strategies import strategy_of
from swarmdem.node import driver
from swarmdem.node.counters import REASONS_MAX, NodeCounters
from swarmdem.node.craft import Craft
from swarmdem.node.driver import ASK, INPUTS_MAX, Driver
from swarmdem.node.layout import Layout
from swarmdem.node.models import ModelShelf
from swarmdem.node.store import MemoryStore
from swarmdem.node.trainer import Hooks, Trainer
from swarmdem.protocol.events import (
    LinkChanged,
    Persist,
    Publish,
    Received,
    Recovered,
    Reject,
    Report,
    Send,
    Started,
    Woke,
)
from swarmdem.transport.memory import MemoryBus
from swarmdem.wire import topics
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Ping
from swarmdem.wire.signing import Identity

LEARNER = SoftmaxRegression(2, (np.eye(2, dtype=np.float32), np.array([0, 1])))
CHARTER = Charter(swarm="s", schema=schema_of(LEARNER.parameters()))
STRATEGY = strategy_of(CHARTER)
START = Started(bytes(16))


class Script:
    """A core that answers each input as told, and remembers what it was handed."""

    def __init__(self):
        self.answers = {}
        self.handled = []
        self.wake = None
        self.seen = asyncio.Event()

    def handle(self, event, now):
        if isinstance(event, Woke):
            self.wake = None
        self.handled.append(event)
        self.seen.set()
        if isinstance(event, Woke):
            self.wake = None
        return self.answers.get(type(event), [])

    def next_wakeup(self):
        return self.wake

    async def until(self, kind, count=1):
        async with asyncio.timeout(10):
            while sum(isinstance(event, kind) for event in self.handled) < count:
                self.seen.clear()
                await self.seen.wait()


class Disk(MemoryStore):
    """A store that writes into the same log as the port."""

    in_memory = False

    def __init__(self, log):
        super().__init__()
        self._log = log
        self.full = False

    def write(self, records):
        if self.full:
            raise StoreError("the disk is full")
        time.sleep(0.02)  # whoever does not wait for the disk overtakes it
        self._log.append(dict(records))


class Desk:
    """A driver around a script, and the log of what left it."""

    def __init__(self, bus, port, trainer):
        self.core, self.log = Script(), []
        self.bus, self.port, self.store = bus, port, Disk(self.log)
        self.sealer = FrameSealer(self.store.identity, CHARTER, 1)
        layout = Layout(CHARTER, STRATEGY, LEARNER.parameters())
        self.driver = Driver(
            self.core, sealer=self.sealer, port=port, store=self.store, shelf=ModelShelf(trainer.pool),
            learner=LEARNER, craft=Craft(CHARTER, STRATEGY, layout, {}), trainer=trainer, hooks=Hooks(),
            on_event=self.log.append,
        )  # fmt: skip

    def ping(self):
        return self.sealer.seal(Ping(bytes(32)))


@pytest.fixture
async def desk():
    bus, trainer = MemoryBus(), Trainer()
    desk = Desk(bus, await bus.link().open_port(), trainer)
    publish = desk.port.publish

    async def logged(topic, payload, *, retain=False, bulk=False):
        desk.log.append((topic, payload))
        await publish(topic, payload, retain=retain, bulk=bulk)

    desk.port.publish = logged
    desk.running = asyncio.create_task(desk.driver.run())
    yield desk
    desk.running.cancel()
    await asyncio.gather(desk.running, return_exceptions=True)
    await desk.driver.close()
    await desk.port.close()
    trainer.close()


async def test_what_must_be_kept_is_on_disk_before_anything_later_leaves(desk):
    frame = desk.ping()
    desk.core.answers[Started] = [
        Persist("a", b"1"), Persist("b", b"2"), Publish(frame), Report(Recovered("x")), Persist("c", b""),
    ]  # fmt: skip
    desk.driver.deliver(START)
    await asyncio.wait_for(desk.driver.leave(), 10)

    topic = topics.everyone(charter_hash(CHARTER), Ping, desk.sealer.peer)
    assert desk.log == [{"a": b"1", "b": b"2"}, (topic, frame.raw), Recovered("x"), {"c": b""}]


async def test_a_disk_that_refuses_stops_the_peer_and_nothing_leaves(desk):
    desk.store.full = True
    desk.core.answers[Started] = [Persist("vote", b"1"), Publish(desk.ping())]
    desk.driver.deliver(START)

    with pytest.raises(ExceptionGroup) as broken:
        await asyncio.wait_for(desk.running, 10)
    assert broken.group_contains(StoreError, match="the disk is full")
    assert desk.log == []


async def test_a_due_wake_up_goes_before_any_message(desk, monkeypatch):
    now = [0]
    monkeypatch.setattr(driver, "_now_us", lambda: now[0])
    desk.core.wake = 10**9
    desk.driver.deliver(START)
    await desk.core.until(Started)
    desk.core.handled.clear()
    for _ in range(3):
        desk.driver.deliver(START)
    now[0] = 10**9
    await desk.core.until(Started, 3)

    assert [type(event) for event in desk.core.handled] == [Woke, Started, Started, Started]


async def test_a_peer_that_has_closed_leaves_no_timer_behind(desk):
    desk.core.wake = 10**18
    desk.driver.deliver(START)
    await desk.core.until(Started)
    timer = desk.driver._timer
    desk.running.cancel()
    await asyncio.gather(desk.running, return_exceptions=True)
    await desk.driver.close()

    assert timer.cancelled()


async def test_messages_that_never_end_do_not_starve_wake_ups(desk):
    asked = []
    desk.core.next_wakeup = lambda: asked.append(len(desk.core.handled))
    for _ in range(4 * ASK):
        desk.driver.deliver(START)
    await desk.core.until(Started, 4 * ASK)

    assert len(asked) >= 4
    assert max(after - before for before, after in pairwise(asked)) <= ASK


async def test_wake_ups_that_are_always_due_do_not_starve_messages(desk):
    desk.core.next_wakeup = lambda: 0
    desk.driver.deliver(START)
    await desk.core.until(Started)

    assert START in desk.core.handled


async def test_the_core_is_woken_when_it_asked_to_be(desk):
    await desk.core.until(LinkChanged)
    asked = time.monotonic_ns() // 1000 + 50_000
    desk.core.wake = asked
    desk.driver.deliver(START)
    await desk.core.until(Woke)

    assert asked <= time.monotonic_ns() // 1000 < asked + 5_000_000


async def test_our_own_echoes_reach_the_core_and_so_do_repeats_of_standing_frames(desk):
    await desk.port.subscribe(topics.everyone_all(charter_hash(CHARTER)))
    desk.core.answers[Started] = [Publish(desk.ping())]
    desk.driver.deliver(START)
    await desk.core.until(Received)

    assert desk.core.handled[-1].frame.sender == desk.sealer.peer


async def test_a_message_to_one_peer_goes_to_its_inbox(desk):
    receiver, frame = PeerId(b"r" * 16), desk.ping()
    desk.core.answers[Started] = [Send(receiver, frame)]
    desk.driver.deliver(START)
    await asyncio.wait_for(desk.driver.leave(), 10)

    assert desk.log == [(topics.inbox(charter_hash(CHARTER), receiver, desk.sealer.peer), frame.raw)]


async def test_without_a_link_frames_are_counted_as_unsent(desk):
    desk.bus.stop()
    desk.core.answers[Started] = [Publish(desk.ping())]
    desk.driver.deliver(START)
    await desk.core.until(Started)
    await desk.core.until(LinkChanged, 2)

    assert desk.driver.counters.unsent == 1
    assert LinkChanged(up=False) in desk.core.handled


async def test_frames_wait_in_a_bounded_queue(desk):
    """While the disk is slow the listener stops at its bound instead of piling frames up."""
    inbox = topics.inbox_all(charter_hash(CHARTER), desk.sealer.peer)
    await desk.port.subscribe(inbox)
    stranger = FrameSealer(Identity.generate(), CHARTER, 1)
    topic = topics.inbox(charter_hash(CHARTER), desk.sealer.peer, stranger.peer)
    desk.core.answers[Received] = [Persist("a", b"1")]
    frames = [stranger.seal(Ping(bytes(32))).raw for _ in range(INPUTS_MAX + 500)]
    for frame in frames:
        desk.bus.publish(topic, frame)
    await desk.core.until(Received, 3)

    assert len(desk.driver._inputs) <= INPUTS_MAX
    desk.core.answers.clear()
    await desk.core.until(Received, len(frames))


async def test_refusals_by_the_core_are_counted_by_reason(desk):
    desk.core.answers[Started] = [Reject(PeerId(b"x" * 16), "result of a skipped term")]
    desk.driver.deliver(START)
    await asyncio.wait_for(desk.driver.leave(), 10)

    assert desk.driver.counters.refused == {"result of a skipped term": 1}


def test_reasons_are_counted_apart_only_up_to_a_bound():
    counters = NodeCounters()
    for number in range(REASONS_MAX + 9):
        counters.refuse(f"reason {number}")

    assert len(counters.refused) == REASONS_MAX + 1
    assert counters.refused["other"] == 9
