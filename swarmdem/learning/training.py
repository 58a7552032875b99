"""The torch loop on one device: `TorchLearner`.

Learners of one process may take turns in one module (`sibling`): each keeps its parameters as
plain arrays while another trains, so that fifty peers of one process hold one network and one
set of gradients. A round is reproducible whatever ran before it: the order of batches and the
dropout masks follow from (seed, round) alone.

Targets of integers are classes, learned by cross entropy; targets of floats are values to predict
with the model's only output, learned by the mean squared error and evaluated by the absolute one. The
model's output stands for (target - mean) / deviation by the constants of the training data (`Dataset`; 0
and 1 unless it says otherwise): losses are in these units, scores and errors in the targets' own.

Limits: the training data is kept on the device as one tensor; layers that cannot take a batch of one
sample (batch norm) need a `batch_size` that leaves none. On CUDA results are reproducible only as far
as torch's kernels are.

Siblings that meet in a training (`meeting.py`) may train in one pass (`vectorised.py`).
"""

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError, NotFiniteError
from swarmdem.learning import cohort, meeting
from swarmdem.learning.datasets import Examples, as_dataset
from swarmdem.learning.defaults import LEARNING_RATES
from swarmdem.learning.learner import (
    Dataset,
    Evaluation,
    Kind,
    MutableParameters,
    Objective,
    Parameters,
    PlainSgd,
)
from swarmdem.learning.modules import EVALUATION_BATCH, SharedModule, device_of, seeded
from swarmdem.learning.objectives import Loss, Tensors, Terms, calibrated_loss, local_loss, squared_error
from swarmdem.learning.optimizers import OptimizerFactory, check, fresh_rule
from swarmdem.learning.parameters import check_part, check_schema
from swarmdem.learning.seeds import round_seed
from swarmdem.learning.torch_extra import torch
from swarmdem.learning.vectorised import Recipe, Share
from swarmdem.wire.charter import TensorSpec

UNSCALED = 30.0
"""Targets beyond it make the usual rates diverge."""

_dropout_turn = threading.Lock()
"""torch draws dropout masks from one generator per process: learners in several threads queue."""


class TorchLearner:
    """A `Learner` that trains a torch module by plain mini-batches.

    Args:
        model: Maps inputs (batch, ...) to scores (batch, classes), for regression to (batch, 1). The
            learner takes it over: its arrays change while training.
        train: Training examples, a `Dataset` or (inputs, targets); float targets mean regression.
        test: The peer's own test examples; without them `evaluate()` counts nothing. Targets are in the
            unit of those in *train*, whose constants scale all.
        optimizer: `sgd`, `adam` or a factory of one of torch's. Its state is fresh each round.
        lr: Learning rate; by default that of the optimiser (.05 and .001).
        epochs: Passes over the training data per round.
        batch_size: Samples per step; the last batch of an epoch may be smaller.
        device: `auto`, `cpu` or `cuda`.
        seed: Of the order of batches and of dropout.
        threads: CPU threads of torch, for the whole process.

    Raises:
        ConfigError: A setting is unknown or out of range.
        DataError: The examples do not fit together or hold NaN.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        train: Examples,
        test: Examples | None = None,
        *,
        optimizer: str | OptimizerFactory = "sgd",
        lr: float | None = None,
        epochs: int = 2,
        batch_size: int = 10,
        device: str = "auto",
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        check(optimizer, lr)
        for setting, value in (("epochs", epochs), ("batch_size", batch_size), ("threads", threads)):
            if value < 1:
                raise ConfigError(f"{setting} = {value}: at least 1")
        self._optimizer, self._lr, self._threads = optimizer, lr, threads
        self._epochs, self._batch_size = epochs, batch_size
        self._adopt(SharedModule(model, device_of(device)), train, test, seed)

    def sibling(self, train: Examples, test: Examples | None = None, *, seed: int = 0) -> Self:
        """Return the learner of another peer of this process: same module and settings, other data.

        It starts from the module's first parameters. Siblings may be used in any order and from
        any thread; they wait for each other.
        """
        other = object.__new__(type(self))
        other._optimizer, other._lr, other._threads = self._optimizer, self._lr, self._threads
        other._epochs, other._batch_size = self._epochs, self._batch_size
        other._adopt(self._shared, train, test, seed)
        return other

    def _adopt(self, shared: SharedModule, train: Examples, test: Examples | None, seed: int) -> None:
        self._shared = shared
        self._seed = seed
        self._stored = shared.initial  # read-only by convention: replaced, never written to
        data = as_dataset(train, "training data")
        self._regression = data.y.dtype.kind == "f"
        self._target_mean, self._target_deviation = data.target_mean, data.target_deviation
        self._inputs, self._targets = self._to_device(data)
        self._highest = self._highest_class(data)
        self._test = as_dataset(test, "test data", may_be_empty=True) if test is not None else None

    @property
    def samples(self) -> int:
        """Training samples held."""
        return len(self._inputs)

    @property
    def schema(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and dtypes of the model."""
        return self._shared.schema

    @property
    def task(self) -> Kind:
        """What is predicted: classes, or values when the training targets are floats."""
        return "regression" if self._regression else "classification"

    @property
    def labels(self) -> Mapping[int, int]:
        """Training samples by class, for every class the model knows; empty for a regression."""
        if self.task == "regression":
            return {}
        classes = self.scores(self._inputs[:1].cpu().numpy()).shape[1]
        counts = np.bincount(self._targets.cpu().numpy(), minlength=classes)
        return dict(enumerate(counts.tolist()))

    @property
    def sgd(self) -> PlainSgd | None:
        """Rate and number of a round's plain gradient steps; None with another optimiser."""
        if self._optimizer != "sgd":
            return None
        steps = self._epochs * -(-self.samples // self._batch_size)
        return PlainSgd(LEARNING_RATES["sgd"] if self._lr is None else self._lr, steps)

    def parameters(self) -> MutableParameters:
        """Return a copy of the current model's arrays (buffers included)."""
        with self._shared.lock:
            if self._shared.holder() is self:
                return self._shared.read()
            return {name: array.copy() for name, array in self._stored.items()}

    def load(self, parameters: Parameters) -> None:
        """Replace the current model's arrays by copies of *parameters*.

        Raises:
            SchemaError: They are of another model.
        """
        check_schema(parameters, self._shared.schema)
        with self._shared.lock:
            if self._shared.holder() is self:
                self._shared.write(parameters)
            else:
                self._stored = {name: np.array(array) for name, array in parameters.items()}

    def train(self, *, round: int, objective: Objective) -> float:
        """Train for one round (DemLearn eq. 8) and return the mean own loss over all samples seen.

        Raises:
            SchemaError: Anchor or correction are of another model.
            ConfigError: Calibration of a regression, or a model with several outputs for one.
            DataError: A class of the training data that the model gives no score for.
            NotFiniteError: The loss became NaN or infinite.
        """
        check_part(objective.anchor or {}, self._shared.schema)
        check_part(objective.correction or {}, self._shared.schema)
        together = meeting.current()
        if together is None:
            return self.train_alone(round, objective)
        return together.train(meeting.Call(self, round, objective), cohort.train_all)

    def train_alone(self, round: int, objective: Objective) -> float:
        """Train as `train` does, whoever else is about to."""
        loss_of = self._loss(objective)
        with self._module() as module:
            module.train()
            named = {name: p for name, p in module.named_parameters() if p.requires_grad}
            terms = Terms(objective, named)
            loss = self._epochs_of(
                module, tuple(named.values()), loss_of, terms, round_seed(self._seed, round)
            )
            if objective.moving is not None:
                terms.finish(self._shared.read())
        return self._finite(loss, round)

    @property
    def shared(self) -> SharedModule:
        """The module, which siblings have in common."""
        return self._shared

    @property
    def device(self) -> str:
        """Where it trains: `cpu` or `cuda`."""
        return self._shared.device.type

    @property
    def recipe(self) -> Recipe | None:
        """How this learner and its siblings train; None when no pass knows their optimiser."""
        if not isinstance(self._optimizer, str):
            return None
        return Recipe(self._optimizer, self._lr, self._batch_size, self._regression)

    @property
    def highest_class(self) -> int:
        """Highest class among the training targets, -1 for a regression."""
        return self._highest

    def share(self, round: int, objective: Objective) -> Share:
        """Return this learner's part in a pass."""
        seed = round_seed(self._seed, round)
        return Share(self.parameters(), self._inputs, self._targets, seed, self._epochs, objective)

    def excerpt(self, samples: int) -> Self:
        """Return a learner of the first *samples*, with the same model, that trains for one epoch."""
        other = copy.copy(self)
        other._epochs = 1
        other._inputs, other._targets = self._inputs[:samples], self._targets[:samples]
        other._stored = self.parameters()
        return other

    def take(self, parameters: Parameters, loss: float, round: int) -> float:
        """Take over *parameters* that a pass gave, which nobody will write to, and return its loss.

        Raises:
            NotFiniteError: The loss became NaN or infinite.
        """
        with self._shared.lock:
            if self._shared.holder() is self:
                self._shared.write(parameters)
            else:
                self._stored = parameters
        return self._finite(loss, round)

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the peer's own test data.

        Args:
            data: Inputs standardised like the training data; targets in the unit of the training targets.

        Returns:
            Sums over the samples; zeros without any.

        Raises:
            DataError: A class that the model gives no score for.
        """
        data = self._test if data is None else data
        if data is None or not len(data):
            return Evaluation(0.0, 0, 0.0)
        inputs, targets = self._to_device(data)
        size, highest = EVALUATION_BATCH[self._shared.device.type], self._highest_class(data)
        correct = loss = torch.zeros((), device=self._shared.device)
        mean_loss, right = (local_loss, _right) if self.task == "classification" else (squared_error, _errors)
        with self._module() as module, torch.inference_mode():
            module.eval()
            for x, y in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                scores = module(x)
                _require_scores(scores, highest, "test data")
                loss = loss + mean_loss(scores, y) * len(y)
                correct = correct + right(scores, y)
        unit = self._target_deviation if self._regression else 1.0
        return Evaluation(float(correct) * unit, len(data), float(loss))

    def scores(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the current model's scores (n, classes) of inputs (n, ...).

        For a regression: predictions (n, 1) in the unit of the targets.
        """
        inputs = _tensor(np.asarray(x, np.float32)).to(self._shared.device)
        size = EVALUATION_BATCH[self._shared.device.type]
        with self._module() as module, torch.inference_mode():
            module.eval()
            parts = [module(part).float().cpu() for part in torch.split(inputs, size)]
        scores: NDArray[np.float32] = torch.cat(parts).numpy()
        if self._regression:
            scores = scores * np.float32(self._target_deviation) + np.float32(self._target_mean)
        return scores

    def _loss(self, objective: Objective) -> Loss:
        if self.task == "regression":
            if objective.calibration:
                raise ConfigError("calibration is for classes, not for the values of a regression")
            return squared_error
        return calibrated_loss(self._targets, objective.calibration) if objective.calibration else local_loss

    def _epochs_of(
        self, module: torch.nn.Module, parameters: Tensors, loss_of: Loss, terms: Terms, seed: int
    ) -> float:
        """Run the round's epochs on what is in the module; return the mean loss."""
        device, samples = self._shared.device, self.samples
        rule = fresh_rule(self._optimizer, parameters, self._lr)
        order = torch.Generator().manual_seed(seed)
        total = torch.zeros((), device=device)
        with _dropout_turn, seeded(seed, device):
            for _ in range(self._epochs):
                shuffled = torch.randperm(samples, generator=order).to(device)
                for batch in torch.split(shuffled, self._batch_size):
                    inputs, targets = self._inputs[batch], self._targets[batch]
                    for _ in range(terms.inner):
                        outputs = module(inputs)
                        _require_scores(outputs, self._highest, "training data")
                        loss = loss_of(outputs, targets)
                        gradients: Tensors = torch.autograd.grad(
                            terms.scaled(loss), parameters, allow_unused=True, materialize_grads=True
                        )
                        with torch.no_grad():
                            rule.step(terms.added_to(gradients, parameters))
                            total += loss * len(batch)
                    with torch.no_grad():
                        terms.batch_done(parameters)
        return float(total) / (self._epochs * samples * terms.inner)

    @contextmanager
    def _module(self) -> Iterator[torch.nn.Module]:
        """Give the module with this learner's parameters in it; siblings wait meanwhile."""
        shared = self._shared
        with shared.lock:
            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            holder = shared.holder()
            if holder is not self:
                if holder is not None:
                    holder._stored = shared.read()
                shared.write(self._stored)
                shared.hand_to(self)
                self._stored = shared.initial
            yield shared.module

    def _to_device(self, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
        y = data.y
        if self._regression:
            y = ((y - np.float64(self._target_mean)) / self._target_deviation).astype(np.float32)
        return _tensor(data.x).to(self._shared.device), _tensor(y).to(self._shared.device)

    def _highest_class(self, data: Dataset) -> int:
        """Return the highest class among the targets, -1 for a regression."""
        return -1 if self._regression else int(data.y.max())

    def _finite(self, loss: float, round: int) -> float:
        if not np.isfinite(loss):
            raise NotFiniteError(f"training loss of round {round} is {loss}{self._circumstances()}")
        return loss

    def _circumstances(self) -> str:
        """Return what a loss that is not finite may come from; the same words at every peer."""
        rate = LEARNING_RATES.get(str(self._optimizer)) if self._lr is None else self._lr
        told = "" if rate is None else f" at lr = {rate:g}"
        raw = (self._target_mean, self._target_deviation) == (0.0, 1.0)
        if self._regression and raw and float(self._targets.abs().max()) > UNSCALED:
            told += (
                "; its targets are not scaled: standardize other than none, or give their Dataset "
                "target_mean and target_deviation"
            )
        return told


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Share the memory of *array* where torch may, that is, where it is writable."""
    whole = np.ascontiguousarray(array)  # torch knows no negative strides
    return torch.from_numpy(whole) if whole.flags.writeable else torch.tensor(whole)


def _require_scores(outputs: torch.Tensor, highest: int, what: str) -> None:
    """Refuse a class without a score: asked for its loss, CUDA would serve this process no more."""
    if outputs.shape[-1] <= highest:
        raise DataError(f"{what}: class {highest}, but the model gives {outputs.shape[-1]} scores")


def _right(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (scores.argmax(1) == targets).sum()


def _errors(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs[:, 0] - targets).abs().sum()
