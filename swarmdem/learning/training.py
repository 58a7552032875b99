"""The torch loop on one device: `TorchLearner`.

Learners of one process may take turns in one module (`sibling`): each keeps its parameters as
plain arrays while another trains, so that fifty peers of one process hold one network and one
set of gradients. A round is reproducible whatever ran before it: the order of batches and the
dropout masks follow from (seed, round) alone.

Limits: classification with cross entropy; the training data is kept on the device as one tensor;
layers that cannot take a batch of one sample (batch norm) need a `batch_size` that leaves none.
On CUDA results are reproducible only as far as torch's kernels are.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, NotFiniteError, SchemaError
from swarmdem.learning.datasets import Examples, as_dataset
from swarmdem.learning.learner import Dataset, Evaluation, MutableParameters, Parameters
from swarmdem.learning.objectives import Tensors, local_loss, pulled
from swarmdem.learning.optimizers import OptimizerFactory, check, fresh_rule
from swarmdem.learning.parameters import check_schema, schema_of
from swarmdem.learning.seeds import round_seed
from swarmdem.learning.torch_extra import torch
from swarmdem.wire.charter import TensorSpec

EVALUATION_BATCH = {"cpu": 64, "cuda": 1024}
"""Samples per forward pass. cpu: the paper's network is fastest up to 64 (measured, x86-64)."""

_dropout_turn = threading.Lock()
"""torch draws dropout masks from one generator per process: learners in several threads queue."""


def device_of(name: str) -> torch.device:
    """Return the device *name* stands for; `auto` is CUDA when present, else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in EVALUATION_BATCH:
        raise ConfigError(f"device = {name!r}: known are auto, {', '.join(EVALUATION_BATCH)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = 'cuda': torch finds no CUDA device here")
    return torch.device(name)


class _SharedModule:
    """A module on its device, and whose parameters are in it at the moment."""

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self.module = module.to(device)
        self.device = device
        self.lock = threading.RLock()
        self._state: dict[str, torch.Tensor] = {}
        for name, value in module.state_dict().items():
            if not isinstance(value, torch.Tensor) or value.dtype == torch.bfloat16:
                raise SchemaError(f"{name!r} of the model is not an array that can travel")
            self._state[name] = value
        self.initial: Parameters = self.read()
        self.schema = schema_of(self.initial)
        self._holder: weakref.ref[TorchLearner] | None = None

    def holder(self) -> "TorchLearner | None":
        return self._holder() if self._holder else None

    def hand_to(self, learner: "TorchLearner") -> None:
        self._holder = weakref.ref(learner)

    def read(self) -> MutableParameters:
        return {name: np.array(tensor.cpu().numpy(), order="C") for name, tensor in self._state.items()}

    def write(self, parameters: Parameters) -> None:
        for name, tensor in self._state.items():
            if self.device.type == "cpu":
                np.copyto(tensor.numpy(), parameters[name])
            else:
                tensor.copy_(torch.tensor(parameters[name]))


class TorchLearner:
    """A `Learner` that trains a torch module by plain mini-batches.

    Args:
        model: Maps inputs (batch, ...) to scores (batch, classes). The learner takes it over: its
            arrays change while training.
        train: Training examples, a `Dataset` or (inputs, integer classes).
        test: The peer's own test examples; without them `evaluate()` counts nothing.
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
        self._adopt(_SharedModule(model, device_of(device)), train, test, seed)

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

    def _adopt(self, shared: _SharedModule, train: Examples, test: Examples | None, seed: int) -> None:
        self._shared = shared
        self._seed = seed
        self._stored = shared.initial  # read-only by convention: replaced, never written to
        data = as_dataset(train, "training data")
        self._inputs, self._targets = self._to_device(data)
        self._test = as_dataset(test, "test data", may_be_empty=True) if test is not None else None

    @property
    def samples(self) -> int:
        """Training samples held."""
        return len(self._inputs)

    @property
    def schema(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and dtypes of the model."""
        return self._shared.schema

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

    def train(self, *, round: int, anchor: Parameters | None, pull: float) -> float:
        """Train for one round (DemLearn eq. 8) and return the mean loss over all samples seen.

        Raises:
            SchemaError: The anchor is of another model.
            NotFiniteError: The loss became NaN or infinite.
        """
        if anchor is not None:
            check_schema(anchor, self._shared.schema)
        with self._module() as module:
            module.train()
            named = {name: p for name, p in module.named_parameters() if p.requires_grad}
            anchors = self._like(named, anchor) if anchor is not None and pull > 0 else None
            loss = self._epochs_of(
                module, tuple(named.values()), anchors, pull, round_seed(self._seed, round)
            )
        if not np.isfinite(loss):
            raise NotFiniteError(f"training loss of round {round} is {loss}")
        return loss

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        """Evaluate the current model on *data*, by default on the peer's own test data."""
        data = self._test if data is None else data
        if data is None or not len(data):
            return Evaluation(0.0, 0, 0.0)
        inputs, targets = self._to_device(data)
        size = EVALUATION_BATCH[self._shared.device.type]
        correct = loss = torch.zeros((), device=self._shared.device)
        with self._module() as module, torch.inference_mode():
            module.eval()
            for x, y in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                scores = module(x)
                loss = loss + local_loss(scores, y) * len(y)
                correct = correct + (scores.argmax(1) == y).sum()
        return Evaluation(float(correct), len(data), float(loss))

    def _epochs_of(
        self,
        module: torch.nn.Module,
        parameters: Tensors,
        anchors: Tensors | None,
        pull: float,
        seed: int,
    ) -> float:
        """Run the round's epochs on what is in the module; return the mean loss."""
        device, samples = self._shared.device, self.samples
        rule = fresh_rule(self._optimizer, parameters, self._lr)
        order = torch.Generator().manual_seed(seed)
        total = torch.zeros((), device=device)
        with _dropout_turn, _seeded(seed, device):
            for _ in range(self._epochs):
                shuffled = torch.randperm(samples, generator=order).to(device)
                for batch in torch.split(shuffled, self._batch_size):
                    loss = local_loss(module(self._inputs[batch]), self._targets[batch])
                    gradients: Tensors = torch.autograd.grad(
                        loss, parameters, allow_unused=True, materialize_grads=True
                    )
                    with torch.no_grad():
                        if anchors is not None:
                            gradients = pulled(gradients, parameters, anchors, pull)
                        rule.step(gradients)
                        total += loss * len(batch)
        return float(total) / (self._epochs * samples)

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

    def _like(self, named: dict[str, torch.nn.Parameter], anchor: Parameters) -> Tensors:
        """Return the anchor's arrays in the memory layout of the parameters they pull."""
        with torch.no_grad():
            return tuple(torch.empty_like(p).copy_(torch.tensor(anchor[name])) for name, p in named.items())

    def _to_device(self, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
        return _tensor(data.x).to(self._shared.device), _tensor(data.y).to(self._shared.device)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Share the memory of *array* where torch may, that is, where it is writable."""
    whole = np.ascontiguousarray(array)  # torch knows no negative strides
    return torch.from_numpy(whole) if whole.flags.writeable else torch.tensor(whole)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators for a while; the application finds them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield
