"""Softmax regression in numpy: a learner for peers without torch, and proof that the seam is one.

Linear scores, cross entropy, plain mini-batch SGD, and the pull of DemLearn eq. 8.
"""

import math

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError, NotFiniteError
from swarmdem.learning.datasets import Examples, as_dataset
from swarmdem.learning.learner import Dataset, Evaluation, MutableParameters, Parameters
from swarmdem.learning.parameters import check_schema, schema_of
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
        if data.y.max() >= classes:
            raise DataError(f"training data: class {data.y.max()}, but there are {classes} classes")
        self._inputs, self._targets = _flat(data), data.y
        self._test = as_dataset(test, "test data", may_be_empty=True) if test is not None else None
        self._lr, self._epochs, self._batch_size, self._seed = lr, epochs, batch_size, seed
        self._weight: Floats = np.zeros((self._inputs.shape[1], classes), np.float32)
        self._bias: Floats = np.zeros(classes, np.float32)

    @property
    def samples(self) -> int:
        """Training samples held."""
        return len(self._inputs)

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

    def train(self, *, round: int, anchor: Parameters | None, pull: float) -> float:
        """Train for one round (DemLearn eq. 8) and return the mean loss over all samples seen.

        Raises:
            SchemaError: The anchor is of another model.
            NotFiniteError: The loss became NaN or infinite.
        """
        if anchor is not None:
            check_schema(anchor, schema_of(self.parameters()))
        order = np.random.Generator(np.random.PCG64(round_seed(self._seed, round)))
        total = 0.0
        for _ in range(self._epochs):
            shuffled = order.permutation(self.samples)
            for start in range(0, self.samples, self._batch_size):
                total += self._step(shuffled[start : start + self._batch_size], anchor, pull)
        loss = total / (self._epochs * self.samples)
        if not math.isfinite(loss):
            raise NotFiniteError(f"training loss of round {round} is {loss}")
        return loss

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the peer's own test data."""
        data = self._test if data is None else data
        if data is None or not len(data):
            return Evaluation(0.0, 0, 0.0)
        likelihood = self._log_likelihood(_flat(data))
        right = likelihood[np.arange(len(data)), data.y]
        correct = (likelihood.argmax(1) == data.y).sum()
        return Evaluation(float(correct), len(data), float(-right.sum(dtype=np.float64)))

    def _step(self, batch: NDArray[np.int64], anchor: Parameters | None, pull: float) -> float:
        """Make one step of SGD on the samples of *batch*; return the sum of their losses."""
        inputs, targets, rows = self._inputs[batch], self._targets[batch], np.arange(len(batch))
        likelihood = self._log_likelihood(inputs)
        loss = -float(likelihood[rows, targets].sum())
        error = np.exp(likelihood)
        error[rows, targets] -= 1.0
        error /= len(batch)
        weight, bias = inputs.T @ error, error.sum(0)
        if anchor is not None and pull > 0:
            weight += pull * (self._weight - anchor["weight"])
            bias += pull * (self._bias - anchor["bias"])
        self._weight -= self._lr * weight
        self._bias -= self._lr * bias
        return loss

    def _log_likelihood(self, inputs: Floats) -> Floats:
        """Return log softmax of the scores, (batch, classes)."""
        scores: Floats = inputs @ self._weight + self._bias
        scores -= scores.max(1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(1, keepdims=True))
        return scores


def _flat(data: Dataset) -> Floats:
    flat: Floats = np.asarray(data.x, np.float32).reshape(len(data), -1)
    return flat
