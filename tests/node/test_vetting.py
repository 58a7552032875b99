"""A reference is held against the sketch its founder gave of it before the core hears of it."""

import asyncio
import struct

import numpy as np
import pytest

from swarmdem import Charter, Degraded, Peer, SoftmaxRegression
from swarmdem.learning import digest
from swarmdem.node.craft import Craft
from swarmdem.node.vetting import Vetting
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed
from swarmdem.protocol.plans import founding_base
from swarmdem.transport.memory import MemoryBus
from tests.node.workshop import Workshop, f32

REFUSED = "its founder gave a sketch that is not of this model"


@pytest.fixture
async def shop():
    shop = Workshop(metric="cosine")
    yield shop
    await shop.close()


def vetting(shop, told):
    craft = Craft(shop.charter, shop.bench._craft.strategy, shop.layout, {})
    return Vetting(craft, shop.trainer, lambda event, model=None: told.put_nowait((event, model)))


def sketch_of(shop, **arrays):
    scale, buckets = digest.sketch16(arrays, seed=founding_base(shop.charter).seed, size=shop.charter.digest)
    return struct.pack("<f", scale) + buckets


@pytest.mark.parametrize("claimed", [3.0, 3.5])
async def test_a_model_that_is_not_what_its_founder_sketched_never_reaches_the_core(shop, claimed):
    told = asyncio.Queue()
    model, vets = shop.model(w=f32(1, 2, 3)), vetting(shop, told)
    vets.expect(Fetch(model.name, 0, (), sketch_of(shop, w=f32(1, 2, claimed))))
    vets.deliver(Fetched(model.name), model)

    async with asyncio.timeout(10):
        event, brought = await told.get()
    true = claimed == 3.0
    assert (event, brought) == (
        (Fetched(model.name), model) if true else (FetchFailed(model.name, REFUSED), None)
    )


async def test_of_a_model_of_which_nothing_is_claimed_nothing_is_computed(shop):
    told = asyncio.Queue()
    model, other, vets = shop.model(w=f32(1, 2, 3)), shop.model(w=f32(4, 5, 6)), vetting(shop, told)
    vets.expect(Fetch(other.name, 0, (), b"a claim about another one"))
    vets.expect(Fetch(model.name, 0, ()))
    vets.deliver(Fetched(model.name), model)
    vets.deliver(FetchFailed(other.name, "NaN"))

    assert told.get_nowait() == (Fetched(model.name), model)
    assert told.get_nowait() == (FetchFailed(other.name, "NaN"), None)


async def test_a_peer_says_in_plain_words_that_the_founder_lied(monkeypatch):
    def lies(craft, initial, honest=Craft.offered):
        offered, scale, sketch = honest(craft, initial)
        return offered, scale, sketch[2:] + sketch[:2]

    monkeypatch.setattr(Craft, "offered", lies)
    charter = Charter(swarm="s", founders=2, patience=1.0, levels=1, metric="cosine", digest=64)
    bus, x = MemoryBus(), np.eye(3, dtype=np.float32)
    peers = [Peer(charter, learner(x, number), link=bus.link()) for number in range(2)]
    events = [peer.events() for peer in peers]

    async def refused(stream):
        return await anext(e.what async for e in stream if isinstance(e, Degraded) and "sketch" in e.what)

    async with asyncio.timeout(30), peers[0], peers[1]:
        heard = [asyncio.create_task(refused(stream)) for stream in events]
        done, others = await asyncio.wait(heard, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
    assert {task.result() for task in done} == {f"the reference model cannot be used: {REFUSED}"}


def learner(x, number):
    made = SoftmaxRegression(3, (np.repeat(x, 10, 0), np.repeat(np.arange(3), 10)), lr=0.01)
    made.load({name: array + np.float32(number + 1) for name, array in made.parameters().items()})
    return made
