"""The seam between a peer and whatever trains: bring any loop by writing these methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from swarmdem.errors import ConfigError

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


@dataclass(slots=True)
class MovingAnchor:
    """An anchor that follows the model while it trains (pFedMe, arXiv 2006.08848, Algorithm 1)."""

    rate: float
    """eta: after every `steps` steps, anchor <- anchor - rate * pull * (anchor - model)."""
    steps: int
    """K: steps of the optimiser on each batch."""
    parameters: Parameters | None = None
    """Set by the learner: where the anchor ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a peer minimises in one round: own x F(w) + pull/2 |w - anchor|^2 + <correction, w>."""

    anchor: Parameters | None = None
    """w^(1) of DemLearn eq. 8; arrays it does not name are not pulled."""
    pull: float = 0.0
    """mu of eq. 8."""
    own: float = 1.0
    """alpha_t of Dem-AI eq. 2: weight of the own loss, in effect a factor on the learning rate."""
    correction: Parameters | None = None
    """Constant added to every gradient (SCAFFOLD, arXiv 1910.06378, eq. 3: c - c_i)."""
    moving: MovingAnchor | None = None
    """Makes the anchor move (pFedMe)."""
    calibration: float = 0.0
    """tau of the logit adjustment for label skew (arXiv 2007.07314): scores + tau log(label share)."""

    def require_plain(self, learner: str) -> None:
        """Raise `ConfigError` unless only anchor and pull are asked for: what every learner can do."""
        asked = [
            name
            for name, used in (
                ("a weight of the own loss", self.own != 1.0),
                ("a correction", self.correction is not None),
                ("a moving anchor", self.moving is not None),
                ("calibration", self.calibration != 0.0),
            )
            if used
        ]
        if asked:
            raise ConfigError(f"{learner} knows no {asked[0]}: this strategy needs another learner")


class Learner(Protocol):
    """What a peer needs from a training loop. Called from one worker thread, never concurrently."""

    @property
    def samples(self) -> int:
        """Training samples held (the weight of this peer under `weights = samples`)."""

    def parameters(self) -> MutableParameters:
        """Return a copy of the current model's arrays."""

    def load(self, parameters: Parameters) -> None:
        """Replace the current model's arrays by copies of *parameters*."""

    def train(self, *, round: int, objective: Objective) -> float:
        """Train the current model for one round and return the mean training loss.

        Args:
            round: Number of the round; seed the order of batches with it.
            objective: What to minimise; a learner that only knows anchor and pull calls
                `objective.require_plain`.
        """

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the learner's own test data."""
