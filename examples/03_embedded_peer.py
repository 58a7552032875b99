"""A peer inside an asyncio application that goes on predicting while the swarm learns.

`peer.model` is a whole snapshot at any moment, from any task or thread; the peer trains in a thread of
its own, so the application's loop stays free. Two neighbours and a broker are started here as well,
so that the example runs by itself; on a device there is only `sensor_application`.
"""

import asyncio

import numpy as np

from swarmdem import Charter, Dataset, Degraded, Peer, RoundFinished, SoftmaxRegression
from swarmdem.transport.brokers import start_broker

CHARTER = Charter(swarm="plant-7", levels=1, founders=3, patience=1.0)
ROUNDS = 8


def readings(seed: int, count: int = 200) -> Dataset:
    """Return made-up readings of two sensors and whether the machine was about to fail."""
    random = np.random.default_rng(seed)
    failing = random.integers(0, 2, count)
    x = random.normal(0, 1, (count, 2)) + np.where(failing[:, None], [1.0, -1.0], [-1.0, 1.0])
    return Dataset(x.astype(np.float32), failing)


def about_to_fail(model: dict[str, np.ndarray], reading: np.ndarray) -> bool:
    """Predict with a snapshot of the peer's model."""
    return bool((reading @ model["weight"] + model["bias"]).argmax())


async def sensor_application(broker: str) -> None:
    """Learn with the swarm and predict at the same time."""
    learner = SoftmaxRegression(2, readings(seed=1), readings(seed=100))
    predictions = 0
    async with Peer(CHARTER, learner, brokers=[broker]) as peer:

        async def predict() -> None:
            nonlocal predictions
            while True:
                about_to_fail(peer.model, np.array([0.4, -0.2], np.float32))
                predictions += 1
                await asyncio.sleep(0.01)

        predicting = asyncio.create_task(predict())
        async for event in peer.events():
            if isinstance(event, RoundFinished):
                print(f"round {event.round}: {'applied' if event.applied else event.reason}")
                if event.round >= ROUNDS:
                    break
            elif isinstance(event, Degraded):
                print(event.what)
        predicting.cancel()
        alarm = about_to_fail(peer.model, np.array([2.0, -2.0], np.float32))
        print(f"{predictions} predictions while learning; alarm for a bad reading: {alarm}")


async def neighbour(broker: str, seed: int) -> None:
    """Another machine of the plant."""
    async with Peer(CHARTER, SoftmaxRegression(2, readings(seed)), brokers=[broker]) as peer:
        await peer.run(rounds=ROUNDS)


async def main() -> None:
    """Run broker, neighbours and application."""
    async with start_broker() as broker:
        await asyncio.gather(
            sensor_application(broker.url), neighbour(broker.url, 2), neighbour(broker.url, 3)
        )


if __name__ == "__main__":
    asyncio.run(main())
