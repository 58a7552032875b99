"""Real peers on a bus that loses control messages: what `python -m benchmarks.growth loss` measures.

MQTT over TCP loses nothing while a connection holds; brokers do when a client's queue is full or it
reconnects without a session, radio links and UDP bridges do all the time. Here a message on the control
lane is lost for each receiver by itself, with the given probability, drawn from a seed; chunks of models
on the bulk lane are not. Everything else is as in any swarm: ten peers of one process, each with its own
port, the default timings (`patience` 8 s), softmax regression on the packaged digits, so that a round is
messages and waiting and hardly any training.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

from swarmdem import Charter, Peer, SoftmaxRegression
from swarmdem.learning.datasets import DIGITS, DeviceData, load
from swarmdem.learning.scaling import standardization
from swarmdem.protocol.events import RoundFinished
from swarmdem.transport.base import Arrival
from swarmdem.transport.memory import MemoryBus

FIRST = 2
"""Round from which lengths count: founding and the first certificate are left out."""


class LossyBus(MemoryBus):
    """A bus that loses control messages.

    Args:
        loss: Share of deliveries that do not arrive.
        seed: Of the dice.
    """

    def __init__(self, loss: float, seed: int = 0) -> None:
        super().__init__()
        self.loss = loss
        self.lost = self.delivered = 0
        self._dice = random.Random(seed)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Deliver to those for whom the dice say so; retained messages as they are."""
        if retain:
            super().publish(topic, payload, retain=retain)
            return
        arrival = Arrival(topic, payload)
        for lane, routes in enumerate(self.routes):
            for port in routes.match(topic):
                if not lane and self._dice.random() < self.loss:
                    self.lost += 1
                    continue
                self.delivered += not lane
                port.accept(arrival, bulk=bool(lane))


def measured(loss: float, *, peers: int, rounds: int, limit_s: float, seed: int = 0) -> dict[str, Any]:
    """Return the row of one rate: lengths of rounds, and how many were certified and applied.

    Args:
        loss: Share of control messages that are lost.
        peers: N.
        rounds: Rounds each peer should end.
        limit_s: The run is broken off after that, and what it has is counted.
        seed: Of the dice.
    """
    return asyncio.run(_run(loss, peers, rounds, limit_s, seed))


async def _run(loss: float, count: int, rounds: int, limit_s: float, seed: int) -> dict[str, Any]:
    samples = load(DIGITS, devices=count)
    data = DeviceData(samples, standardization(samples, "global"))
    bus, charter = LossyBus(loss, seed), Charter(swarm="lossy", founders=count)
    ended: list[list[tuple[float, RoundFinished]]] = [[] for _ in range(count)]
    async with AsyncExitStack() as stack:
        peers = []
        for number in range(count):
            training, testing = data.device(number)
            learner = SoftmaxRegression(10, (training.x, training.y), (testing.x, testing.y), seed=number)
            peers.append(Peer(charter, learner, link=bus.link()))
        listeners = [peer.events() for peer in peers]
        for peer in peers:
            await stack.enter_async_context(peer)

        async def follow(number: int) -> None:
            async for event in listeners[number]:
                if isinstance(event, RoundFinished):
                    ended[number].append((time.monotonic(), event))
                    if event.round >= rounds:
                        return

        tasks = [asyncio.create_task(follow(number)) for number in range(count)]
        await asyncio.wait(tasks, timeout=limit_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"loss": loss, "peers": count, "lost": bus.lost, "delivered": bus.delivered, **figures(ended)}


def figures(ended: Sequence[Sequence[tuple[float, RoundFinished]]]) -> dict[str, Any]:
    """Return the figures of the rounds that peers ended; `failed` says why there are none.

    Args:
        ended: For each peer (seconds, report) of every round it ended.
    """
    reports = [report for own in ended for _, report in own if report.round >= FIRST]
    lengths = [
        later - earlier
        for own in ended
        for (earlier, before), (later, report) in pairwise(own)
        if before.round >= FIRST - 1 and report.round == before.round + 1
    ]
    if not lengths:
        return {"rounds": 0, "seconds": None, "failed": "no peer ended two rounds in a row in time"}
    return {
        "rounds": max(report.round for report in reports),
        "seconds": statistics.median(lengths),
        "seconds_90": statistics.quantiles(lengths, n=10)[-1] if len(lengths) > 1 else lengths[0],
        "seconds_mean": statistics.mean(lengths),
        "certified": sum(report.certified for report in reports) / len(reports),
        "applied": sum(report.applied for report in reports) / len(reports),
    }
