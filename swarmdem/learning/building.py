"""From names to learners: what a command line or a settings file asks for.

torch is imported only when a torch network is asked for.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from swarmdem.errors import ConfigError
from swarmdem.learning.defaults import LEARNING_RATES
from swarmdem.learning.learner import Dataset, Learner
from swarmdem.learning.softmax import SoftmaxRegression

SOFTMAX = "softmax"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """How every learner of a run trains."""

    optimizer: str = "sgd"
    lr: float | None = None
    """None: .05 for sgd, .001 for adam."""
    epochs: int = 2
    """From the paper: local epochs per round."""
    batch_size: int = 10
    """From the paper."""
    device: str = "auto"
    threads: int = 1
    """CPU threads of torch per process; more pay only for networks far larger than the paper's."""


def build_learners(
    model: str,
    parts: Sequence[tuple[Dataset, Dataset]],
    *,
    shape: tuple[int, ...],
    classes: int,
    settings: TrainingSettings,
    seed: int = 0,
    first: int = 0,
) -> list[Learner]:
    """Return one learner per part (training, test); those of torch share one module.

    Args:
        model: `softmax`, or a network by name or as `module:function` (see `models.build`).
        parts: Training and test data of each peer.
        shape: Of one input.
        classes: Number of scores; 1 for a regression.
        settings: The same for all.
        seed: Of the first parameters, the same for all; peer i's batches follow from seed and i.
        first: Number i of the first part, so that a run is the same however it is spread out.

    Raises:
        ConfigError: A setting is unknown, out of range or contradicts the model.
        MissingExtraError: A torch model without torch installed.
    """
    if not parts:
        return []
    seeds = [(seed << 20) + number for number in range(first, first + len(parts))]
    if model == SOFTMAX:
        return _softmax_learners(parts, seeds, classes=classes, settings=settings)
    models = importlib.import_module("swarmdem.learning.models")
    training = importlib.import_module("swarmdem.learning.training")
    module = models.build(model, shape, classes, seed=seed)
    (train, test), others = parts[0], parts[1:]
    head = training.TorchLearner(
        module,
        train,
        test,
        optimizer=settings.optimizer,
        lr=settings.lr,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        device=settings.device,
        seed=seeds[0],
        threads=settings.threads,
    )
    siblings = zip(others, seeds[1:], strict=True)
    return [head, *(head.sibling(train, test, seed=own) for (train, test), own in siblings)]


def _softmax_learners(
    parts: Sequence[tuple[Dataset, Dataset]],
    seeds: Sequence[int],
    *,
    classes: int,
    settings: TrainingSettings,
) -> list[Learner]:
    if settings.optimizer != "sgd":
        raise ConfigError(f"optimizer = {settings.optimizer!r} contradicts model = 'softmax', which uses sgd")
    return [
        SoftmaxRegression(
            classes,
            train,
            test,
            lr=LEARNING_RATES["sgd"] if settings.lr is None else settings.lr,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=own,
        )
        for (train, test), own in zip(parts, seeds, strict=True)
    ]
