"""A broker that cannot be reached: the peer says so, keeps trying, and leaves without fuss."""

import asyncio

import numpy as np

from swarmdem import Charter, Degraded, Peer, Recovered, RoundFinished, SoftmaxRegression
from swarmdem.transport.brokers import start_broker


def peer(url):
    y = np.arange(30) % 3
    learner = SoftmaxRegression(3, (np.eye(3, dtype=np.float32)[y], y))
    return Peer(Charter(swarm="s", founders=1, patience=2.0), learner, brokers=[url])


async def test_it_says_so_and_takes_part_once_the_broker_is_there(unused_tcp_port):
    alone = peer(f"mqtt://127.0.0.1:{unused_tcp_port}")
    events = alone.events()
    async with asyncio.timeout(40), alone:
        said = await anext(event async for event in events if isinstance(event, Degraded))
        async with start_broker("embedded", port=unused_tcp_port):
            kinds = set()
            async for event in events:
                kinds.add(type(event))
                if isinstance(event, RoundFinished):
                    break
            await alone.leave()

    assert said.what == f"no connection to the broker: nobody listens at 127.0.0.1:{unused_tcp_port}"
    assert Recovered in kinds


async def test_it_leaves_at_once_when_there_is_no_broker(unused_tcp_port):
    async with asyncio.timeout(4):
        async with peer(f"mqtt://127.0.0.1:{unused_tcp_port}") as alone:
            assert not alone.status().connected

    assert asyncio.all_tasks() == {asyncio.current_task()}
