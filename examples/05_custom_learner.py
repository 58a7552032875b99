"""A learner of your own: any model that can hand out and take in named arrays can join a swarm.

Here a linear regression fits y = 3 x - 1 by least squares with the pull of eq. 8 in closed form; it
needs no torch. Each peer sees another range of x, too narrow and noisy to learn the line alone.
"""

import asyncio

import numpy as np

from swarmdem import Charter, Dataset, Evaluation, Objective, Peer
from swarmdem.transport.memory import MemoryBus

ROUNDS = 10
PEERS = 4


class LinearRegression:
    """Implements `swarmdem.Learner`."""

    def __init__(self, train: Dataset) -> None:
        self._x = np.c_[train.x, np.ones(len(train.x))]
        self._y = train.y
        self._line = np.zeros(2)

    @property
    def samples(self) -> int:
        """Training samples held: this peer's weight under `weights = samples`."""
        return len(self._y)

    def parameters(self) -> dict[str, np.ndarray]:
        """Return a copy of the model's arrays."""
        return {"line": self._line.copy()}

    def load(self, parameters: dict[str, np.ndarray]) -> None:
        """Replace the model's arrays."""
        self._line = np.array(parameters["line"])

    def train(self, *, round: int, objective: Objective) -> float:
        """Minimise the mean squared error / 2 + pull / 2 |w - anchor|^2; return the loss."""
        objective.require_plain("LinearRegression")  # an anchor and its pull are all it knows
        pull = objective.pull
        toward = np.zeros(2) if objective.anchor is None else objective.anchor["line"]
        count = self.samples
        normal = self._x.T @ self._x / count + pull * np.eye(2)
        self._line = np.linalg.solve(normal, self._x.T @ self._y / count + pull * toward)
        return float(np.mean((self._x @ self._line - self._y) ** 2) / 2)

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Return the sum of absolute errors, as regression does."""
        x, y = (self._x, self._y) if data is None else (np.c_[data.x, np.ones(len(data.x))], data.y)
        errors = np.abs(x @ self._line - y)
        return Evaluation(float(errors.sum()), len(y), float((errors**2).sum()))


def narrow_view(number: int) -> Dataset:
    """Return 30 noisy points of y = 3 x - 1 on a range of x that this peer alone sees."""
    random = np.random.default_rng(number)
    x = random.uniform(number, number + 0.3, 30)
    return Dataset(x.astype(np.float32)[:, None], 3 * x - 1 + random.normal(0, 0.5, 30))


async def main() -> None:
    """Run four peers and print the line that each ends up with."""
    bus = MemoryBus()
    charter = Charter(
        swarm="line", levels=1, founders=PEERS, mixing=1.0, pull=1.0, start="group", patience=1.0
    )

    async def one_peer(number: int) -> str:
        learner = LinearRegression(narrow_view(number))
        learner.train(round=0, objective=Objective())
        alone = learner.parameters()["line"]
        async with Peer(charter, learner, link=bus.link()) as peer:
            await peer.run(rounds=ROUNDS)
            line = peer.model["line"]
        return f"alone {alone[0]:6.2f} x {alone[1]:+6.2f}, in the swarm {line[0]:5.2f} x {line[1]:+5.2f}"

    for text in await asyncio.gather(*(one_peer(number) for number in range(PEERS))):
        print(text)


if __name__ == "__main__":
    asyncio.run(main())
