"""Gradients corrected for the drift of each peer: SCAFFOLD."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Learner, MutableParameters, Parameters, PlainSgd, sgd_of
from swarmdem.learning.strategy import NONE, Outcome, Strategy, Task
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.encodings import is_statistic

PREFIX = "control/"
"""Begins the names under which control variates travel."""


class Scaffold(Strategy):
    """Stochastic controlled averaging (SCAFFOLD, Karimireddy et al., arXiv 1910.06378, Algorithm 1).

    Every step of peer i is y <- y - eta (g_i(y) - c_i + c) (eq. 3); after K steps from x its control
    variate becomes c_i+ = c_i - c + (x - y) / (K eta) (eq. 4, option II). Models and control variates are
    both averaged, c = mean c_i, so that the corrections c - c_i of all peers add up to zero. Control
    variates are 0 at first. They travel beside the model, under `control/NAME`: twice the bytes.

    Deviations: every peer takes part in every round and the server's rate is 1, so that x and c are
    plain means. Where a peer is missing, c is the mean over those who sent (the paper keeps in c what an
    absent one last gave). Running statistics have no gradient and get no control variate.

    The equations hold for plain gradient steps of one rate: any other optimiser is refused.
    """

    name: ClassVar[str] = "scaffold"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"update": "tree", "levels": 0, "mixing": 1.0, "pull": 0.0, "weights": "agents"}
    )

    def __init__(self, charter: Charter) -> None:
        super().__init__(charter)
        for name in ("gamma", "gain"):
            if name in dict(charter.schedules):
                raise ConfigError(f"schedules.{name}: strategy = 'scaffold' takes plain means only")

    def check(self, learner: Learner) -> None:
        """Refuse a learner that does not take plain gradient steps."""
        super().check(learner)
        _plain(learner)

    def extra(self, travelling: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """Return a control variate for every array with a gradient."""
        return tuple(
            TensorSpec(PREFIX + spec.name, spec.shape, spec.dtype)
            for spec in travelling
            if spec.dtype.startswith("float") and not is_statistic(spec.name)
        )

    def train(self, learner: Learner, task: Task) -> Outcome:
        """Train with the correction c - c_i; the new c_i travels and is remembered."""
        plain = _plain(learner)
        learner.load(task.start)
        common, own = task.extras, task.memory or _zeros(task.extras)
        correction = {name.removeprefix(PREFIX): common[name] - own[name] for name in common}
        loss = learner.train(round=task.round, objective=replace(self.objective(task), correction=correction))
        model = learner.parameters()
        control: MutableParameters = {}
        for name, drift in correction.items():
            moved = (task.start[name] - model[name]) / np.float64(plain.rate * plain.steps)
            control[PREFIX + name] = (moved - drift).astype(model[name].dtype)
        return Outcome(model=model, loss=loss, extras=control, memory=control)


def _plain(learner: Learner) -> PlainSgd:
    plain = sgd_of(learner)
    if plain is None:
        raise ConfigError("strategy = 'scaffold': needs plain gradient steps (optimizer = 'sgd')")
    return plain


def _zeros(parameters: Parameters) -> Parameters:
    return {name: np.zeros_like(array) for name, array in parameters.items()} or NONE
