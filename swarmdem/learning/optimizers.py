"""The two update rules of the experiments, and any of torch's by a factory.

`torch.optim` is the model for both rules (the tests compare) and is not used for them: the first
step of any of its optimisers imports torch's compiler, which costs 1 to 2 s and 80 MB a process
(measured, torch 2.13 on x86-64); too much for a peer on an edge board.

The state of a rule lives for one round: nothing of it is averaged, sent or stored.
"""

import math
from collections.abc import Callable, Iterable
from typing import Protocol

from swarmdem.errors import ConfigError
from swarmdem.learning.defaults import LEARNING_RATES
from swarmdem.learning.objectives import Tensors
from swarmdem.learning.torch_extra import torch

OptimizerFactory = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]
"""Makes one of torch's optimisers for the parameters given, for example
`functools.partial(torch.optim.AdamW, lr=1e-3)`."""


class Rule(Protocol):
    """One way to change parameters along gradients, in place."""

    def step(self, gradients: Tensors) -> None:
        """Make one step; called without autograd."""

    def narrowed(self, parameters: Tensors) -> "Rule":
        """Return the rule for the first rows of all parameters, which are given: go on with these only."""


class Sgd:
    """w <- w - lr x gradient; no momentum."""

    def __init__(self, parameters: Tensors, lr: float) -> None:
        self._parameters = parameters
        self._lr = lr

    def step(self, gradients: Tensors) -> None:
        """Make one step."""
        torch._foreach_add_(self._parameters, gradients, alpha=-self._lr)

    def narrowed(self, parameters: Tensors) -> "Sgd":
        """Go on with the first rows only."""
        return Sgd(parameters, self._lr)


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980, Algorithm 1) with its usual constants."""

    DECAY_1, DECAY_2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Tensors, lr: float) -> None:
        self._parameters = parameters
        self._lr = lr
        self._first = tuple(torch.zeros_like(p) for p in parameters)
        self._second = tuple(torch.zeros_like(p) for p in parameters)
        self._steps = 0

    def step(self, gradients: Tensors) -> None:
        """Make one step."""
        self._steps += 1
        torch._foreach_lerp_(self._first, gradients, 1 - self.DECAY_1)
        torch._foreach_mul_(self._second, self.DECAY_2)
        torch._foreach_addcmul_(self._second, gradients, gradients, value=1 - self.DECAY_2)
        spread = torch._foreach_sqrt(self._second)
        torch._foreach_div_(spread, math.sqrt(1 - self.DECAY_2**self._steps))
        torch._foreach_add_(spread, self.EPSILON)
        rate = self._lr / (1 - self.DECAY_1**self._steps)
        torch._foreach_addcdiv_(self._parameters, self._first, spread, value=-rate)

    def narrowed(self, parameters: Tensors) -> "Adam":
        """Go on with the first rows only, and what is remembered of them."""
        other = Adam(parameters, self._lr)
        other._first = tuple(a[: len(p)] for a, p in zip(self._first, parameters, strict=True))
        other._second = tuple(a[: len(p)] for a, p in zip(self._second, parameters, strict=True))
        other._steps = self._steps
        return other


class Borrowed:
    """One of torch's own optimisers."""

    def __init__(self, parameters: Tensors, factory: OptimizerFactory) -> None:
        self._parameters = parameters
        self._optimizer = factory(parameters)

    def step(self, gradients: Tensors) -> None:
        """Make one step."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def narrowed(self, parameters: Tensors) -> "Borrowed":
        """Refuse: what the optimiser remembers has no rows."""
        raise ConfigError("an optimizer given as a factory trains one peer at a time")


def check(optimizer: str | OptimizerFactory, lr: float | None) -> None:
    """Refuse an optimiser nobody knows or a rate that cannot work.

    Raises:
        ConfigError: Names the setting.
    """
    if isinstance(optimizer, str) and optimizer not in LEARNING_RATES:
        raise ConfigError(f"optimizer = {optimizer!r}: known are {', '.join(LEARNING_RATES)}")
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise ConfigError(f"lr = {lr!r}: finite and above 0")
    if lr is not None and not isinstance(optimizer, str):
        raise ConfigError("lr: an optimizer given as a factory brings its own rate")


def fresh_rule(optimizer: str | OptimizerFactory, parameters: Tensors, lr: float | None) -> Rule:
    """Return *optimizer* without memory, for one round; *lr* None takes the rule's default."""
    if not isinstance(optimizer, str):
        return Borrowed(parameters, optimizer)
    rate = LEARNING_RATES[optimizer] if lr is None else lr
    return Adam(parameters, rate) if optimizer == "adam" else Sgd(parameters, rate)
