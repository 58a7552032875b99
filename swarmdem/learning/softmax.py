"""Softmax regression in numpy: a learner for peers without torch, and proof that the seam is one.

Linear scores, cross entropy, plain mini-batch SGD, and all that an `Objective` asks for. Classes only: a
regression needs another learner.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError, NotFiniteError
from swarmdem.learning.datasets import Examples, as_dataset
from swarmdem.learning.learner import (
    ABSENT_SHARE,
    Dataset,
    Evaluation,
    MutableParameters,
    Objective,
    Parameters,
    PlainSgd,
)
from swarmdem.learning.parameters import check_part, check_schema, schema_of
from swarmdem.learning.seeds import round_seed

Floats = NDArray[np.float32]


class SoftmaxRegression:
    """A `Learner` with parameters `weight` (features, classes) and `bias` (classes,), float32.

    Args:
        classes: Number of scores.
        train: Training examples; inputs of any shape are flattened.
        test: The peer's own test examples.
        lr: Learning rate.
        epochs: Passes over the training data per round.
        batch_size: Samples per step; the last batch of an epoch may be smaller.
        seed: Of the order of batches.

    Raises:
        ConfigError: A setting is out of range.
        DataError: The examples do not fit together, hold NaN or a class beyond *classes*.
    """

    def __init__(
        self,
        classes: int,
        train: Examples,
        test: Examples | None = None,
        *,
        lr: float = 0.05,
        epochs: int = 2,
        batch_size: int = 10,
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(lr) and lr > 0):
            raise ConfigError(f"lr = {lr!r}: finite and above 0")
        for setting, value in (("classes", classes), ("epochs", epochs), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"{setting} = {value}: at least 1")
        data = as_dataset(train, "training data")
        if data.y.dtype.kind == "f":
            raise DataError("training data: targets are not classes; softmax regression knows no others")
        if data.y.max() >= classes:
            raise DataError(f"training data: class {data.y.max()}, but there are {classes} classes")
        self._inputs, self._targets = _flat(data), data.y
        self._test = as_dataset(test, "test data", may_be_empty=True) if test is not None else None
        self._lr, self._epochs, self._batch_size, self._seed = lr, epochs, batch_size, seed
        self._shares = np.bincount(data.y, minlength=classes) / len(data)
        self._weight: Floats = np.zeros((self._inputs.shape[1], classes), np.float32)
        self._bias: Floats = np.zeros(classes, np.float32)

    @property
    def samples(self) -> int:
        """Training samples held."""
        return len(self._inputs)

    @property
    def labels(self) -> Mapping[int, int]:
        """Training samples by class, for every class the model knows."""
        return dict(enumerate(np.bincount(self._targets, minlength=len(self._bias)).tolist()))

    @property
    def sgd(self) -> PlainSgd:
        """Rate and number of a round's gradient steps."""
        return PlainSgd(self._lr, self._epochs * -(-self.samples // self._batch_size))

    def parameters(self) -> MutableParameters:
        """Return a copy of the current model's arrays."""
        return {"bias": self._bias.copy(), "weight": self._weight.copy()}

    def load(self, parameters: Parameters) -> None:
        """Replace the current model's arrays by copies of *parameters*.

        Raises:
            SchemaError: They are of another model.
        """
        check_schema(parameters, schema_of(self.parameters()))
        self._bias = np.array(parameters["bias"])
        self._weight = np.array(parameters["weight"])

    def train(self, *, round: int, objective: Objective) -> float:
        """Train for one round (DemLearn eq. 8) and return the mean own loss over all samples seen.

        Raises:
            SchemaError: Anchor or correction are of another model.
            NotFiniteError: The loss became NaN or infinite.
        """
        for part in (objective.anchor, objective.correction):
            check_part(part or {}, schema_of(self.parameters()))
        moving = objective.moving
        if moving is not None:  # the anchor given stays as it is
            anchor = {name: np.array(array) for name, array in (objective.anchor or {}).items()}
            objective = replace(objective, anchor=anchor)
        offset = objective.calibration * np.log(np.maximum(self._shares, ABSENT_SHARE))
        order = np.random.Generator(np.random.PCG64(round_seed(self._seed, round)))
        inner, total = moving.steps if moving is not None else 1, 0.0
        for _ in range(self._epochs):
            shuffled = order.permutation(self.samples)
            for start in range(0, self.samples, self._batch_size):
                batch = shuffled[start : start + self._batch_size]
                for _ in range(inner):
                    total += self._step(batch, objective, offset.astype(np.float32))
                self._move(objective)
        if moving is not None:
            moving.parameters = {**self.parameters(), **(objective.anchor or {})}
        loss = total / (self._epochs * self.samples * inner)
        if not math.isfinite(loss):
            raise NotFiniteError(f"training loss of round {round} is {loss} at lr = {self._lr:g}")
        return loss

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the peer's own test data.

        Returns:
            Right answers, samples and cross entropy in nats, summed; zeros without samples.

        Raises:
            DataError: A class beyond the model's.
        """
        data = self._test if data is None else data
        if data is None or not len(data):
            return Evaluation(0.0, 0, 0.0)
        if data.y.max() >= len(self._bias):
            raise DataError(f"test data: class {data.y.max()}, but there are {len(self._bias)} classes")
        likelihood = _log_softmax(self._linear(_flat(data)))
        right = likelihood[np.arange(len(data)), data.y]
        correct = (likelihood.argmax(1) == data.y).sum()
        return Evaluation(float(correct), len(data), float(-right.sum(dtype=np.float64)))

    def scores(self, x: NDArray[Any]) -> Floats:
        """Return the current model's scores (n, classes), linear in the inputs (n, ...)."""
        return self._linear(np.asarray(x, np.float32).reshape(len(x), -1))

    def _step(self, batch: NDArray[np.int64], objective: Objective, offset: Floats) -> float:
        """Make one step of SGD on the samples of *batch*; return the sum of their losses."""
        inputs, targets, rows = self._inputs[batch], self._targets[batch], np.arange(len(batch))
        likelihood = _log_softmax(self._linear(inputs) + offset)
        loss = -float(likelihood[rows, targets].sum())
        error = np.exp(likelihood)
        error[rows, targets] -= 1.0
        error *= np.float32(objective.own / len(batch))
        weight, bias = inputs.T @ error, error.sum(0)
        self._weight -= self._lr * _whole(objective, "weight", self._weight, weight)
        self._bias -= self._lr * _whole(objective, "bias", self._bias, bias)
        return loss

    def _move(self, objective: Objective) -> None:
        """Move a moving anchor towards the model after a batch (pFedMe, Algorithm 1, line 8)."""
        if objective.moving is not None and objective.anchor is not None:
            model = {"weight": self._weight, "bias": self._bias}
            share = np.float32(objective.moving.rate * objective.pull)
            for name, anchor in objective.anchor.items():
                np.add(anchor, share * (model[name] - anchor), out=anchor)

    def _linear(self, inputs: Floats) -> Floats:
        """Return the scores, (batch, classes)."""
        scores: Floats = inputs @ self._weight + self._bias
        return scores


def _whole(objective: Objective, name: str, model: Floats, gradient: Floats) -> Floats:
    """Return the gradient of the whole objective, given that of the scaled own loss (changed)."""
    if objective.anchor is not None and objective.pull > 0 and name in objective.anchor:
        gradient += objective.pull * (model - objective.anchor[name])
    if objective.correction is not None and name in objective.correction:
        gradient += objective.correction[name]
    return gradient


def _log_softmax(scores: Floats) -> Floats:
    """Turn scores (batch, classes) into log-probabilities, in place."""
    scores -= scores.max(1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    return scores


def _flat(data: Dataset) -> Floats:
    flat: Floats = np.asarray(data.x, np.float32).reshape(len(data), -1)
    return flat
