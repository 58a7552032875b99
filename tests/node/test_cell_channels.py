"""What a peer in cells fetches, serves and hears under each of its charters, one part at a time."""

import asyncio

import pytest

from swarmdem.identifiers import ModelHash
from swarmdem.node.cells import CellBulk, Earshot
from swarmdem.protocol.cells.charters import cell_charter, in_cells, scopes_of
from swarmdem.protocol.events import Enter, Fetch, Leave
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.signing import Identity

SWARM = in_cells(Charter(swarm="s", patience=0.8, genesis=bytes(32)), 8)
CELL = cell_charter(SWARM, bytes(16))


class Channel:
    """Stands for a `Bulk`: what it is ordered to fetch, and whether it serves."""

    def __init__(self):
        self.downloads = self
        self.active = set()
        self.serving = asyncio.Event()

    async def run(self):
        self.serving.set()
        await asyncio.Event().wait()

    def fetch(self, order):
        self.active.add(order.model)

    def stop(self, model):
        self.active.discard(model)

    def close(self):
        self.active.clear()


class Channels:
    """A `CellBulk` and the channels that it made, in order."""

    def __init__(self):
        self.made = []
        self.bulk = CellBulk(self._make)

    def _make(self, *, charter, sealer):
        self.made.append(Channel())
        return self.made[-1]


@pytest.fixture
def channels():
    return Channels()


def order(number, charter):
    return Fetch(ModelHash(number.to_bytes(32, "big")), 4, (), scope=scopes_of(charter)[0])


def test_however_many_models_are_fetched_each_one_can_be_stopped(channels):
    channels.bulk.enter(CELL, None)
    orders = [order(number, CELL) for number in range(300)]
    for each in orders:
        channels.bulk.fetch(each)
    assert len(channels.made[0].active) == 300
    for each in orders:
        channels.bulk.stop(each.model)

    assert channels.made[0].active == set()


def test_a_model_is_fetched_under_one_charter_at_a_time(channels):
    channels.bulk.enter(SWARM, None)
    channels.bulk.enter(CELL, None)
    for number in range(300):
        channels.bulk.fetch(order(number, SWARM))
    for number in range(300):
        channels.bulk.fetch(order(number, CELL))

    assert [len(channel.active) for channel in channels.made] == [0, 300]


async def test_a_charter_left_and_entered_again_at_once_is_served(channels):
    channels.bulk.enter(CELL, None)
    running = asyncio.create_task(channels.bulk.run())
    async with asyncio.timeout(5):
        await channels.made[0].serving.wait()
        channels.bulk.leave(CELL)
        channels.bulk.enter(CELL, None)
        await channels.made[1].serving.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class DeafBroker:
    """A port whose subscriptions are answered only once `answers` is set."""

    def __init__(self):
        self.asked = []
        self.dropped = []
        self.answers = asyncio.Event()
        self.dropped_twice = asyncio.Event()

    async def subscribe(self, pattern, *, bulk=False):
        self.asked.append((pattern, bulk))
        await self.answers.wait()

    async def unsubscribe(self, pattern, *, bulk=False):
        self.dropped.append((pattern, bulk))
        if len(self.dropped) == 10:
            self.dropped_twice.set()


@pytest.fixture
def earshot(channels):
    port = DeafBroker()
    sealer = FrameSealer(Identity.generate(), SWARM, 1)
    earshot = Earshot(sealer=sealer, port=port, bulk=channels.bulk, report=lambda _: None)
    yield earshot, port
    earshot.close()


async def test_subscriptions_that_nobody_answers_are_all_asked_for_and_hold_up_no_decision(earshot):
    earshot, port = earshot
    async with asyncio.timeout(5):
        await earshot.perform(Enter(SWARM), ())

    assert len(set(port.asked)) == 5


async def test_a_subscription_granted_after_its_charter_was_left_is_taken_back(earshot):
    earshot, port = earshot
    async with asyncio.timeout(5):
        await earshot.perform(Enter(SWARM), ())
        await earshot.perform(Leave(SWARM), ())
        port.answers.set()
        await port.dropped_twice.wait()

    assert set(port.dropped[5:]) == set(port.asked)
