"""Two peers learn together in one process, over a bus in memory: the smallest swarm there is.

Each holds half of the digits 0-9 (one the even, one the odd ones) and ends up knowing both halves.
"""

import asyncio

from swarmdem import Charter, Dataset, Peer, SoftmaxRegression
from swarmdem.learning.datasets import digits
from swarmdem.transport.memory import MemoryBus

ROUNDS = 15


def half_of_the_digits(odd: bool) -> tuple[Dataset, Dataset]:
    """Return this peer's training data, and test data of all ten digits."""
    samples = digits(devices=10)
    x = samples.x.astype("float32").reshape(len(samples.x), -1) / 255
    mine = samples.train & (samples.y % 2 == odd)
    return Dataset(x[mine], samples.y[mine]), Dataset(x[~samples.train], samples.y[~samples.train])


async def main() -> None:
    """Run both peers and print what each knows of all ten digits."""
    bus = MemoryBus()
    charter = Charter(swarm="two", levels=1, patience=1.0)

    async def one_peer(odd: bool) -> None:
        train, everything = half_of_the_digits(odd)
        learner = SoftmaxRegression(10, train, everything)
        async with Peer(charter, learner, link=bus.link()) as peer:
            await peer.run(rounds=ROUNDS)
            learner.load(peer.model)
            name = "odd" if odd else "even"
            print(f"the peer with the {name} digits gets {learner.evaluate().score:.0%} of all digits right")

    await asyncio.gather(one_peer(odd=False), one_peer(odd=True))


if __name__ == "__main__":
    asyncio.run(main())
