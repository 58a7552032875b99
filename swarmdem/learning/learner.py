"""The seam between a peer and whatever trains: bring any loop by writing these methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Parameters = Mapping[str, NDArray[Any]]
"""Named arrays of one model; names, shapes and dtypes are the swarm's schema."""

MutableParameters = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs and targets of one peer (or of a whole test set)."""

    x: NDArray[Any]
    """Inputs, shape (n, ...); already standardised, float32."""
    y: NDArray[Any]
    """Targets, shape (n,): integer classes."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on n samples; add them up with `+` before dividing."""

    correct: float
    """Right answers (for regression: the sum of absolute errors)."""
    count: int
    """n."""
    loss: float
    """Sum of the loss over the n samples."""

    def __add__(self, other: "Evaluation") -> "Evaluation":
        """Pool two evaluations."""
        return Evaluation(self.correct + other.correct, self.count + other.count, self.loss + other.loss)

    @property
    def score(self) -> float:
        """Correct over samples; NaN when there are none."""
        return self.correct / self.count if self.count else float("nan")


class Learner(Protocol):
    """What a peer needs from a training loop. Called from one worker thread, never concurrently."""

    @property
    def samples(self) -> int:
        """Training samples held (the weight of this peer under `weights = samples`)."""

    def parameters(self) -> MutableParameters:
        """Return a copy of the current model's arrays."""

    def load(self, parameters: Parameters) -> None:
        """Replace the current model's arrays by copies of *parameters*."""

    def train(self, *, round: int, anchor: Parameters | None, pull: float) -> float:
        """Train the current model for one round and return the mean training loss.

        Args:
            round: Number of the round; seed the order of batches with it.
            anchor: The parent group's model w^(1) of eq. 8, or None before the first.
            pull: mu of eq. 8.
        """

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the learner's own test data."""
