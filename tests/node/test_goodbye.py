"""What still happens while a peer says goodbye."""

import asyncio

import numpy as np

from swarmdem import Charter, Peer, RoundFinished, SoftmaxRegression
from swarmdem.transport.memory import MemoryBus


async def test_a_round_that_ends_during_the_goodbye_does_no_harm(monkeypatch):
    """Its line in the journal needs the counters of a peer that is half gone."""
    learner = SoftmaxRegression(3, (np.eye(3, dtype=np.float32), np.arange(3)), lr=0.01)
    peer = Peer(Charter(swarm="s", founders=1, patience=1.0), learner, link=MemoryBus().link())
    async with asyncio.timeout(30), peer:
        driver = peer._running.driver
        goodbye = driver.leave

        async def leave():
            peer._on_event(RoundFinished(b"p" * 32, 1, True, False, None, None, "late"))
            await goodbye()

        monkeypatch.setattr(driver, "leave", leave)
        await peer.leave()

    assert peer.counters.refused == {}
