"""Whole swarms under every codec, on a bus in memory: they learn, agree, and send fewer bytes."""

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest

from swarmdem import Charter, Peer, RoundFinished, SoftmaxRegression
from swarmdem.learning.encoded import NESTED, SPARSE
from swarmdem.protocol.events import Slot
from swarmdem.transport.memory import MemoryBus
from swarmdem.wire.blobs import CHUNK
from swarmdem.wire.frame import MAGIC, WIRE_VERSION

FEATURES = 300
RAW = 4 * FEATURES * 4 + 16
"""Bytes of a model."""
HEAD = MAGIC + bytes((WIRE_VERSION, CHUNK))
"""How frames with pieces of models begin."""
CENTRES = np.random.default_rng(7).normal(0, 0.4, (4, FEATURES))


def learner(number):
    """Return softmax regression on 40 noisy points of four classes, two of which this peer sees often."""
    random = np.random.default_rng(number)
    y = random.choice(4, 60, p=np.roll([0.45, 0.45, 0.05, 0.05], number))
    x = (CENTRES[y] + random.normal(0, 0.5, (60, FEATURES))).astype(np.float32)
    return SoftmaxRegression(4, (x[:40], y[:40]), (x[40:], y[40:]), lr=0.02, seed=number)


class Bus(MemoryBus):
    """Remembers how long the frames are in which models travel."""

    def __init__(self):
        super().__init__()
        self.chunks = []

    def publish(self, topic, payload, *, retain=False):
        if payload[: len(HEAD)] == HEAD:
            self.chunks.append(len(payload))
        super().publish(topic, payload, retain=retain)


class Swarm:
    """Peers of one charter that enter together and leave with the test."""

    def __init__(self, stack, codec, founders=4):
        self.bus, self.stack = Bus(), stack
        self.charter = Charter(
            swarm="codec", founders=founders, levels=1, patience=4.0, gather=60.0, codec=codec
        )

    async def enter(self, *numbers, **settings):
        peers = [
            Peer(self.charter, learner(number), link=self.bus.link(), **settings) for number in numbers
        ]  # a link each: no peer takes models from a neighbour in its process
        for peer in peers:
            await self.stack.enter_async_context(peer)
        return peers


@pytest.fixture
async def stack():
    async with AsyncExitStack() as stack:
        yield stack


async def rounds(peers, last):
    async with asyncio.timeout(30):
        await asyncio.gather(*(peer.run(rounds=last) for peer in peers))


@pytest.mark.parametrize(
    ("codec", "share"), [("raw", 1.0), ("fp16", 0.52), ("int8", 0.27), ("topk", 0.08), ("600", 0.14)]
)
async def test_four_peers_learn_under_every_codec(stack, codec, share):
    swarm = Swarm(stack, codec)
    peers = await swarm.enter(0, 1, 2, 3)
    streams = [peer.events() for peer in peers]
    await rounds(peers, 1)
    swarm.bus.chunks.clear()
    await rounds(peers, 5)

    for peer, stream in zip(peers, streams, strict=True):
        finished = [event async for event in _until(stream, 5)]
        assert [(event.applied, event.certified) for event in finished] == [(True, True)] * 5
        assert peer.counters.refused == {}
        judge = learner(0)
        judge.load(peer.model)
        assert judge.evaluate().score > 0.8
    sizes = sorted(swarm.bus.chunks)
    assert len(sizes) >= 4 * 6, "each of the others sends its model and receives one, every round"
    # Who heard of a result late, on a machine that stood still, may fetch a model as it is.
    assert sizes[-4] <= share * RAW + 100, "and no peer sends as it is what it trained in these four rounds"


async def _until(stream, last):
    async with asyncio.timeout(20):
        async for event in stream:
            if isinstance(event, RoundFinished):
                yield event
                if event.round == last:
                    return


async def test_all_peers_of_a_sparse_swarm_stand_on_one_base(stack):
    swarm = Swarm(stack, "topk")
    peers = await swarm.enter(0, 1, 2, 3)
    await rounds(peers, 3)

    shelves = [peer._running.shelf for peer in peers]
    assert len({shelf.slot(Slot.BASE).name for shelf in shelves}) == 1
    uploads = [shelf.slot(Slot.UPLOAD).head for shelf in shelves]
    assert {head.kind for head in uploads} == {SPARSE}
    assert len({head.base for head in uploads}) == 1
    assert {shelf.slot(Slot.ANCHOR).head.kind for shelf in shelves} <= {SPARSE, NESTED}


async def test_who_joins_a_sparse_swarm_late_fetches_its_base_and_takes_part(stack):
    swarm = Swarm(stack, "topk", founders=3)
    peers = await swarm.enter(0, 1, 2)
    await rounds(peers, 4)
    peers += await swarm.enter(3)
    await rounds(peers, 7)

    assert all(peer.status().round == 7 for peer in peers)
    assert len({peer._running.shelf.slot(Slot.BASE).name for peer in peers}) == 1
    judge = learner(3)
    judge.load(peers[3].model)
    assert judge.evaluate().score > 0.8


async def test_a_sparse_swarm_goes_on_after_all_were_restarted(tmp_path):
    for last in (3, 5):
        async with AsyncExitStack() as stack:
            swarm = Swarm(stack, "topk", founders=2)
            peers = [(await swarm.enter(number, state=tmp_path / str(number)))[0] for number in range(2)]
            bases = [peer._running.shelf.slot(Slot.BASE) for peer in peers]
            await rounds(peers, last)
            assert [peer.status().round for peer in peers] == [last, last]
            assert [peer.counters.refused for peer in peers] == [{}, {}]
            kept = [peer._running.shelf.slot(Slot.KEPT) for peer in peers]

    assert bases[0].name == bases[1].name, "found on disk at the second start"
    assert all(any(name.startswith("residual/") for name in aside.parameters) for aside in kept)
