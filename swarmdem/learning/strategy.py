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
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar

from swarmdem.errors import ConfigError
from swarmdem.learning.aggregation import mix
from swarmdem.learning.learner import Learner, MutableParameters, Objective, Parameters, task_of
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
    extras: Parameters = field(default_factory=dict)
    """The extra arrays that came with the parent's result, zeros before the first."""
    memory: Parameters = field(default_factory=dict)
    """What `Outcome.memory` of the last applied round was; empty at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What local training gave."""

    model: Parameters
    """The whole trained model."""
    loss: float
    """Mean training loss."""
    extras: Parameters = field(default_factory=dict)
    """Arrays to travel beside the model, as `Strategy.extra` announced them."""
    memory: Parameters = field(default_factory=dict)
    """What this peer wants back in its next `Task` once the round was applied; any arrays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a peer answers questions with: one model or several that answer together (Dem-AI's union).

    `swarmdem.learning.deployment` says how. The files in a run folder's `models/` are not deployments but
    the models that peers applied: a union's other models, weights and boosts are in `Peer.deployment` only.
    """

    models: tuple[Parameters, ...]
    """Whole models."""
    weights: tuple[float, ...] = (1.0,)
    """Share of each in the mean of their class probabilities."""
    boost: Mapping[int, float] = field(default_factory=dict)
    """Added to the log-probability of a class before the largest is taken: a personal prior."""

    def __post_init__(self) -> None:
        """Refuse what cannot answer."""
        if not self.models or len(self.models) != len(self.weights):
            raise ConfigError(f"a deployment of {len(self.models)} models and {len(self.weights)} weights")
        if min(self.weights) < 0 or not 0 < sum(self.weights) < float("inf"):
            raise ConfigError(f"weights of a deployment: {self.weights}; not negative, not all zero")


class Strategy:
    """DemLearn itself (arXiv 2007.03278): eq. 8 in training, eq. 10 at the peer. Override what differs.

    Args:
        charter: Of the swarm.

    Raises:
        ConfigError: The charter contradicts the strategy, or has options that it does not know.
    """

    name: ClassVar[str] = "demlearn"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Charter settings that this strategy means; contradicting them is refused."""
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Charter settings it sets unless they are chosen."""
    options: ClassVar[Mapping[str, float]] = MappingProxyType({"calibration": 0.0})
    """Settings of its own with their defaults, beside those of its bases; `charter.options` changes them.
    `calibration`: tau of the logit adjustment for label skew (`Objective.calibration`)."""

    def __init__(self, charter: Charter) -> None:
        self.charter = charter
        known = self.settings(
            {name: getattr(charter, name) for name in (*self.fixes, "schedules", "options")}
        )
        self.option: dict[str, float] = {**self.known_options(), **dict(known["options"])}
        if (tau := self.option["calibration"]) < 0:
            raise ConfigError(f"options.calibration = {tau:g}: not negative")

    @classmethod
    def known_options(cls) -> dict[str, float]:
        """Return the options of this strategy and its bases, with their defaults."""
        known: dict[str, float] = {}
        for base in reversed(cls.__mro__):
            known |= vars(base).get("options", {})
        return known

    @classmethod
    def settings(cls, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return charter settings: the defaults, the *chosen* ones and those that are fixed.

        Raises:
            ConfigError: A chosen setting contradicts the strategy, or an option is not known.
        """
        for setting, value in cls.fixes.items():
            if setting in chosen and chosen[setting] != value:
                raise ConfigError(
                    f"{setting} = {chosen[setting]!r} contradicts strategy = {cls.name!r}, "
                    f"which means {setting} = {value!r}"
                )
            if setting in dict(chosen.get("schedules", {})):
                raise ConfigError(
                    f"schedules.{setting} contradicts strategy = {cls.name!r}, which means "
                    f"{setting} = {value!r} throughout"
                )
        known = cls.known_options()
        for option in dict(chosen.get("options", {})):
            if option not in known:
                raise ConfigError(
                    f"options.{option}: strategy = {cls.name!r} knows {', '.join(sorted(known))}"
                )
        return {**cls.defaults, **chosen, **cls.fixes}

    def check(self, learner: Learner) -> None:
        """Refuse a *learner* that this strategy cannot work with; called once, before the first round.

        Raises:
            ConfigError: Says what is missing.
        """
        self.kept(learner.parameters())
        if self.option["calibration"] and task_of(learner) == "regression":
            raise ConfigError("options.calibration: is for classes, not for the values of a regression")

    def private(self, model: Parameters) -> Collection[str]:
        """Return the names of arrays that stay with the peer.

        Args:
            model: All arrays, in the learner's own order.

        Raises:
            ConfigError: The model has not what this strategy would keep.
        """
        return ()

    def kept(self, model: Parameters) -> frozenset[str]:
        """Return all arrays that stay with the peer: those of `private` and the charter's patterns.

        Raises:
            ConfigError: A name or pattern fits no array, or nothing is left to travel.
        """
        kept = set(self.private(model))
        if unknown := sorted(kept - model.keys()):
            raise ConfigError(f"strategy = {self.name!r}: the model has no array {unknown[0]!r} to keep")
        for pattern in self.charter.private:
            matching = [name for name in model if fnmatchcase(name, pattern)]
            if not matching:
                raise ConfigError(f"charter.private: {pattern!r} fits no array of the model")
            kept.update(matching)
        if len(kept) == len(model):
            raise ConfigError(f"strategy = {self.name!r}: all {len(model)} arrays of the model stay private")
        return frozenset(kept)

    def extra(self, travelling: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """Return the arrays that travel beside the model, under names no model uses.

        Aggregators average them as they do the model; `Outcome.extras` holds a peer's.

        Args:
            travelling: The model's arrays that travel, sorted by name.
        """
        return ()

    def objective(self, task: Task) -> Objective:
        """Return what DemLearn minimises in a round: eq. 8, weighted as the charter's schedules say."""
        return Objective(
            anchor=task.anchor, pull=task.pull, own=task.own, calibration=self.option["calibration"]
        )

    def train(self, learner: Learner, task: Task) -> Outcome:
        """Train for one round. Called in the training thread.

        Raises:
            SwarmError: Training gave nothing; see `Learner.train`.
        """
        learner.load(task.start)
        loss = learner.train(round=task.round, objective=self.objective(task))
        return Outcome(model=learner.parameters(), loss=loss)

    def apply(self, *, trained: Parameters, result: Parameters, mixing: float) -> MutableParameters:
        """Return the peer's model after the update: eq. 10 with its parent's *result*. Called in a thread.

        Args:
            trained: The arrays of the trained model that travel, without extras.
            result: The same arrays of the parent's result.
            mixing: alpha of eq. 10, by the schedule.

        Returns:
            New arrays in the dtypes of *trained*.
        """
        assert schema_of(trained) == schema_of(result)
        return mix(trained, result, mixing)

    def deploy(
        self,
        *,
        trained: Parameters,
        applied: Parameters,
        result: Parameters,
        labels: Mapping[int, int],
        memory: Parameters,
    ) -> Deployment:
        """Return what the peer answers with after an update.

        Args:
            trained: The whole model before the update.
            applied: The whole model after it.
            result: The parent's result, completed by the peer's private arrays.
            labels: Training samples by class, 0 for those it lacks; empty when the learner does not say.
            memory: `Outcome.memory` of the round that *trained* is of; empty when there was none.
        """
        return Deployment(models=(applied,))


def layer_of(name: str) -> str:
    """Return the layer an array belongs to: its name without the last part."""
    return name.rpartition(".")[0]
