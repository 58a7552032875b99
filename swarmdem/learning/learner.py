"""The seam between a peer and whatever trains: bring any loop by writing these methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError

Parameters = Mapping[str, NDArray[Any]]
"""Named arrays of one model; names, shapes and dtypes are the swarm's schema."""

MutableParameters = dict[str, NDArray[Any]]

Kind = Literal["classification", "regression"]
"""Classes by the largest score, or one number by the model's only output."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs and targets of one peer (or of a whole test set).

    A learner trains towards (y - target_mean) / target_deviation and answers in the unit of y. Both
    constants must be the same at every peer: they give the model's output its meaning.
    """

    x: NDArray[Any]
    """Inputs, shape (n, ...); already standardised, float32."""
    y: NDArray[Any]
    """Targets, shape (n,): integer classes, or float32 values to be predicted (regression), in any unit."""
    target_mean: float = 0.0
    """For a regression: in the unit of y."""
    target_deviation: float = 1.0
    """For a regression: in the unit of y, above 0; 1 and a mean of 0 leave the targets as they are."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on n samples; add them up with `+` before dividing."""

    correct: float
    """Right answers; for regression the sum of absolute errors, in the unit of the targets."""
    count: int
    """n."""
    loss: float
    """Sum of the loss over the n samples; for regression of scaled targets (see `Dataset`)."""

    def __add__(self, other: "Evaluation") -> "Evaluation":
        """Pool two evaluations."""
        return Evaluation(self.correct + other.correct, self.count + other.count, self.loss + other.loss)

    @property
    def score(self) -> float:
        """Accuracy (for regression the mean absolute error); NaN without samples."""
        return self.correct / self.count if self.count else float("nan")


ABSENT_SHARE = 1e-6
"""Share of a class without samples under calibration: its score no longer pushes back in training."""


@dataclass(slots=True)
class MovingAnchor:
    """An anchor that follows the model while it trains (pFedMe, arXiv 2006.08848, Algorithm 1)."""

    rate: float
    """eta: after every `steps` steps, anchor <- anchor - rate * pull * (anchor - model)."""
    steps: int
    """K: steps of the optimiser on each batch."""
    parameters: Parameters | None = None
    """Set by the learner: where the anchor ended; arrays that are not pulled are the model's."""


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
    """tau of the logit adjustment for label skew (Menon et al., arXiv 2007.07314, eq. 10, with the shares
    of one peer): scores + tau log(share of the class) in the training loss.
    A class the peer does not hold counts with the share `ABSENT_SHARE`."""

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


@dataclass(frozen=True, slots=True)
class PlainSgd:
    """What a round of plain gradient steps looks like from outside."""

    rate: float
    """Learning rate of every step."""
    steps: int
    """Steps a round."""


class Learner(Protocol):
    """What a peer needs from a training loop. Called from one worker thread, never concurrently.

    A learner may have more, and some strategies and measurements ask for it: `scores` (see `Scoring`),
    `labels` (training samples by class, 0 for those it lacks), `task` (classification unless it says
    otherwise) and `sgd` (a `PlainSgd`, None when it trains in any other way).
    """

    @property
    def samples(self) -> int:
        """Training samples held (the weight of this peer under `weights = samples`)."""

    def parameters(self) -> MutableParameters:
        """Return a copy of the current model's arrays."""

    def load(self, parameters: Parameters) -> None:
        """Replace the current model's arrays by copies of *parameters*.

        Raises:
            SchemaError: They are of another model.
        """

    def train(self, *, round: int, objective: Objective) -> float:
        """Train the current model for one round and return the mean training loss.

        Args:
            round: Number of the round; seed the order of batches with it.
            objective: What to minimise; a learner that only knows anchor and pull calls
                `objective.require_plain`.

        Raises:
            SwarmError: Training gave nothing (`NotFiniteError`: it diverged). The peer tries again after a
                patience and says why; its swarm goes on without it meanwhile.
        """

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the learner's own test data.

        Returns:
            Sums over the samples; zeros where there are none.
        """


@runtime_checkable
class Scoring(Protocol):
    """A learner whose model answers questions."""

    def scores(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the current model's scores (n, classes) of inputs (n, ...).

        For a regression: predictions (n, 1) in the unit of the targets. Other scores are
        log-probabilities but for a constant of each input.
        """


def task_of(learner: Learner) -> Kind:
    """Return what *learner* predicts."""
    task: Kind = getattr(learner, "task", "classification")
    return task


def device_used(learner: Learner) -> str:
    """Return where *learner* trains, `cpu` or `cuda`; `cpu` when it does not say."""
    device: str = getattr(learner, "device", "cpu")
    return device


def labels_of(learner: Learner) -> Mapping[int, int]:
    """Return training samples by class; empty when *learner* does not say, or predicts no classes."""
    labels: Mapping[int, int] = getattr(learner, "labels", {})
    return labels


def sgd_of(learner: Learner) -> PlainSgd | None:
    """Return the plain gradient steps of *learner*, None when it trains in another way or does not say."""
    sgd: PlainSgd | None = getattr(learner, "sgd", None)
    return sgd
