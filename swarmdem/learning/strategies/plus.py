"""`demlearn-plus`: DemLearn whose group models have momentum and whose peers know what they hold."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Learner, MutableParameters, Parameters
from swarmdem.learning.strategy import Deployment, Outcome, Strategy, Task
from swarmdem.wire.charter import Charter
from swarmdem.wire.encodings import is_statistic

BEFORE = "before/"
"""Prefix of the group's model before the last, in the strategy's memory."""
ROUND = "round"
"""The round in which that memory was made."""


class DemLearnPlus(Strategy):
    r"""Momentum on the group's model, and a personal prior over labels.

    **Momentum.** Every peer starts a round ahead of its group's model, in the direction of its last step:

    .. math:: s_{t+1} = r_t + \beta (r_t - r_{t-1})

    r is the group's result (eq. 10 of DemLearn, arXiv 2007.03278, with alpha = 1), r_0 the genesis model,
    beta the option `momentum`. This is Nesterov's method with the mean of the peers' local training as its
    gradient step: server momentum (FedAvgM, Hsu et al., arXiv 1909.06335) without a server. Each peer
    computes it from two results it holds, so nothing more travels and no aggregator keeps any state. A peer
    that missed a round, or has just joined, starts from r itself.

    **Prior.** A peer answers with the group's model and what it knows of itself: to the log-probability of
    class c it adds

    .. math:: b \kappa^2 \log(n_c + 1), \quad \kappa = 1 - H(n / \sum n) / \log C

    n_c are its training samples of c, C the number of classes, H the entropy, b the option `prior` (label
    shift: Saerens et al., Neural Computation 14(1), 2002). The skew kappa is 1 with one class and 0 with all
    classes alike, where there is nothing to specialise in. `share` is the weight of the peer's own
    just-trained model beside the group's in the mean of probabilities (Dem-AI's union, arXiv 2003.09301).
    Without labels (a regression, a learner that does not say) there is no prior.

    Defaults: one group (with alpha = 1 and a weight of 1 per agent the tree does not change the root's
    model; groups of other levels only share out the aggregators' load). docs/tuning.md says how the values
    were chosen.
    """

    name: ClassVar[str] = "demlearn-plus"
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"levels": 0, "mixing": 1.0})
    options = MappingProxyType({"momentum": 0.9, "prior": 2.0, "share": 0.0})

    def __init__(self, charter: Charter) -> None:
        super().__init__(charter)
        for option, low, high in (("momentum", 0.0, 0.99), ("prior", 0.0, 100.0), ("share", 0.0, 1.0)):
            if not low <= self.option[option] <= high:
                raise ConfigError(f"options.{option} = {self.option[option]:g}: from {low:g} to {high:g}")

    def train(self, learner: Learner, task: Task) -> Outcome:
        """Train from ahead of the group's model."""
        # Else the start is older than the group's last result: a round was missed, or all before it.
        follows = task.round == 1 or (bool(task.memory) and int(task.memory[ROUND]) == task.round - 1)
        learner.load(self._ahead(task) if follows else task.start)
        loss = learner.train(round=task.round, objective=self.objective(task))
        memory: MutableParameters = {ROUND: np.array(task.round)}
        if follows:
            kept = self.kept(task.start)  # what stays with the peer is no result of the group's
            memory |= {
                BEFORE + name: array
                for name, array in task.start.items()
                if name not in kept and _moves(name, array.dtype)
            }
        return Outcome(model=learner.parameters(), loss=loss, memory=memory)

    def deploy(
        self,
        *,
        trained: Parameters,
        applied: Parameters,
        result: Parameters,
        labels: Mapping[int, int],
        memory: Parameters,
    ) -> Deployment:
        """Answer with the group's model under the peer's own prior."""
        boost = label_prior(labels, self.option["prior"])
        share = self.option["share"]
        if share == 0.0:
            return Deployment(models=(applied,), boost=boost)
        return Deployment(models=(applied, trained), weights=(1.0 - share, share), boost=boost)

    def _ahead(self, task: Task) -> MutableParameters:
        start = dict(task.start)
        for name, array in task.start.items():
            before = task.memory.get(BEFORE + name)
            if before is not None:
                start[name] = array + array.dtype.type(self.option["momentum"]) * (array - before)
        return start


def label_prior(labels: Mapping[int, int], strength: float) -> dict[int, float]:
    """Return strength x kappa^2 x log(n_c + 1) for every class c of *labels* that has samples.

    Args:
        labels: Samples n_c of all classes, those without any too.
        strength: b; the result is in nats.
    """
    total, classes = sum(labels.values()), len(labels)
    if total == 0 or classes < 2:  # one class leaves nothing to choose
        return {}
    shares = [count / total for count in labels.values() if count]
    skew = 1.0 + sum(share * math.log(share) for share in shares) / math.log(classes)
    return {label: strength * skew**2 * math.log1p(count) for label, count in labels.items() if count}


def _moves(name: str, dtype: np.dtype[Any]) -> bool:
    """Tell whether an array is learned: counters and running statistics have no momentum."""
    return dtype.kind == "f" and not is_statistic(name)
