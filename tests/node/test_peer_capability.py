"""Whole peers that say what they can do for others: who asks to be spared does not lead."""

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest

from swarmdem import Charter, ConfigError, Peer, SoftmaxRegression
from swarmdem.protocol.events import Elected
from swarmdem.transport.memory import MemoryBus


def learner():
    y = np.arange(30) % 3
    return SoftmaxRegression(3, (np.eye(3, dtype=np.float32)[y], y), lr=0.01)


def new_peer(bus, **settings):
    return Peer(
        Charter(swarm="s", founders=3, patience=4.0, levels=0), learner(), link=bus.link(), **settings
    )


async def test_a_peer_that_asks_to_be_spared_is_never_the_first_aggregator():
    bus = MemoryBus()
    peers = [new_peer(bus, capability=capability) for capability in (0, 1, 3)]
    streams = [peer.events() for peer in peers]
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        for peer in peers:
            await stack.enter_async_context(peer)
        await asyncio.gather(*(peer.run(6) for peer in peers))
    led = [
        [event.round async for event in stream if isinstance(event, Elected) and event.rank == 0]
        for stream in streams
    ]

    assert led[0] == []
    assert sorted(led[1] + led[2])[:6] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("capability", [-1, 4])
@pytest.mark.parametrize("make", [Peer, Peer.blocking])
def test_another_number_is_refused_in_one_line(make, capability):
    with pytest.raises(ConfigError, match=rf"^capability = {capability}: 0 \(asks to be spared\), 1"):
        make(Charter(swarm="s"), learner(), brokers=["mqtt://a"], capability=capability)
