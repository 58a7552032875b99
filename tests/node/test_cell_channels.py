"""What a peer in cells fetches, serves and hears under each of its charters, one part at a time."""

import asyncio

import pytest

from swarmdem.identifiers import ModelHash
from swarmdem.node.cells import CellBulk
from swarmdem.protocol.cells.charters import cell_charter, in_cells, scopes_of
from swarmdem.protocol.events import Fetch
from swarmdem.wire.charter import Charter

SWARM = in_cells(Charter(swarm="s", genesis=bytes(32)), 8)
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
