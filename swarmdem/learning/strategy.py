"""The seam between a strategy and the machinery: what a peer does with its model around an update.

The machinery (agreement, groups, aggregators, transfer, checkpoints) is one for all strategies. A
strategy says which charter settings it means, which arrays of the model travel, what is minimised in
local training, how a group's result becomes the peer's model and what the peer answers questions
with. All of it works on named numpy arrays; tensors stay in the learner.

    class Mine(Strategy):
        name = "mine"
        fixes = {"levels": 0}
        def train(self, learner, task):
            ...

`--strategy module:Mine` uses it; nothing has to be registered.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from swarmdem.learning.aggregation import mix
from swarmdem.learning.learner import Learner, MutableParameters, Objective, Parameters
from swarmdem.learning.parameters import schema_of
from swarmdem.wire.charter import Charter, TensorSpec

NONE: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One round's local work."""

    round: int
    start: Parameters
    """The whole model that training starts from: arrays that travel and those that stay."""
    anchor: Parameters | None
    """What the pull pulls towards: the parent's model of the last update (of eq. 8), or the weighted
    mean of all groups' above (`pull_to = all`); arrays that travel only. None before the first."""
    pull: float
    """mu of eq. 8, by the schedule."""
    own: float = 1.0
    """Weight of the own loss, alpha_t of Dem-AI eq. 2, by the schedule."""
    extras: Parameters = NONE
    """The extra arrays that came with the parent's result, zeros before the first."""
    memory: Parameters = NONE
    """What `Outcome.memory` of the last applied round was; empty at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What local training gave."""

    model: Parameters
    """The whole trained model."""
    loss: float
    """Mean training loss."""
    extras: Parameters = NONE
    """Arrays to travel beside the model, as `Strategy.extra` announced them."""
    memory: Parameters = NONE
    """What this peer wants back in its next `Task` once the round was applied; any arrays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a peer answers questions with: one model or several that answer together (Dem-AI's union)."""

    models: tuple[Parameters, ...]
    """Whole models."""
    weights: tuple[float, ...] = (1.0,)
    """Share of each in the mean of their class probabilities."""
    boost: Mapping[int, float] = field(default_factory=dict)
    """Added to the log-probability of a class before the largest is taken: a personal prior."""


class Strategy:
    """DemLearn itself (arXiv 2007.03278): eq. 8 in training, eq. 10 at the peer. Override what differs."""

    name: ClassVar[str] = "demlearn"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Charter settings that this strategy means; contradicting them is refused."""
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Charter settings it sets unless they are chosen."""
    options: ClassVar[Mapping[str, float]] = MappingProxyType({})
    """Settings of its own with their defaults; `charter.options` changes them."""

    def __init__(self, charter: Charter) -> None:
        self.charter = charter
        self.option: dict[str, float] = {**self.options, **dict(charter.options)}

    def private(self, model: Parameters) -> Collection[str]:
        """Return the names of arrays that stay with the peer; *model* is in the learner's own order."""
        return ()

    def extra(self, travelling: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """Return what travels beside the model's *travelling* arrays, under names no model uses."""
        return ()

    def train(self, learner: Learner, task: Task) -> Outcome:
        """Train for one round. Called in the training thread."""
        learner.load(task.start)
        objective = Objective(anchor=task.anchor, pull=task.pull, own=task.own)
        loss = learner.train(round=task.round, objective=objective)
        return Outcome(model=learner.parameters(), loss=loss)

    def apply(self, *, trained: Parameters, result: Parameters, mixing: float) -> MutableParameters:
        """Return the peer's model after the update: eq. 10 with its parent's *result*.

        Args:
            trained: The arrays of the trained model that travel, without extras.
            result: The same arrays of the parent's result.
            mixing: alpha of eq. 10, by the schedule.
        """
        assert schema_of(trained) == schema_of(result)
        return mix(trained, result, mixing)

    def deploy(
        self, *, trained: Parameters, applied: Parameters, result: Parameters, labels: Mapping[int, int]
    ) -> Deployment:
        """Return what the peer answers with after an update.

        Args:
            trained: The whole model before the update.
            applied: The whole model after it.
            result: The parent's result, completed by the peer's private arrays.
            labels: Training samples by class; empty when the learner does not say.
        """
        return Deployment(models=(applied,))
