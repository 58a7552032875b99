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

    Of several CUDA devices it is the one that is current in the calling thread, by its number: which one is
    current is a matter of each thread, and a learner trains in another thread than the one that made it.

    Raises:
        ConfigError: There is no such device here.
    """
    if name != "auto" and name not in EVALUATION_BATCH:
        raise ConfigError(f"device = {name!r}: known are auto, {', '.join(EVALUATION_BATCH)}")
    if name == "cpu" or not torch.cuda.is_available():
        if name == "cuda":
            raise ConfigError("device = 'cuda': torch finds no CUDA device here")
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


class SharedModule:
    """A module on its device, and whose parameters are in it at the moment.

    Args:
        module: Moved to *device*. Its parameters and buffers are read and written where they lie: a module
            that puts new tensors in their place, rather than new values into them, is not followed.
        device: From `device_of`.

    Raises:
        SchemaError: An entry of the module's state is no array, or of a dtype that cannot travel.
    """

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
        """Return the learner whose parameters are in the module; None when it is gone, or was never there."""
        return self._holder() if self._holder else None

    def hand_to(self, learner: "TorchLearner") -> None:
        """Note that the parameters of *learner* are in the module now."""
        self._holder = weakref.ref(learner)

    def read(self) -> MutableParameters:
        """Return copies of parameters and buffers, in the memory layout of numpy."""
        return {name: np.array(tensor.cpu().numpy(), order="C") for name, tensor in self._state.items()}

    def write(self, parameters: Parameters) -> None:
        """Put the values of *parameters*, which fit the schema, into the module's own tensors."""
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
            with torch.cuda.device(device):  # `manual_seed` seeds the thread's current device
                torch.cuda.manual_seed(seed)
        yield
