"""A torch module that learners of one process take turns in, and the device it is on."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from swarmdem.errors import ConfigError, SchemaError
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.torch_extra import torch

if TYPE_CHECKING:
    from swarmdem.learning.training import TorchLearner

EVALUATION_BATCH = {"cpu": 64, "cuda": 1024}
"""Samples per forward pass. cpu: the paper's network is fastest up to 64 (measured, x86-64)."""


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


class SharedModule:
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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators for a while; the application finds them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield
