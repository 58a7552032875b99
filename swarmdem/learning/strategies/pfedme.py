"""Personal models around a shared one: pFedMe."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Learner, MovingAnchor, Parameters
from swarmdem.learning.strategy import Deployment, Outcome, Strategy, Task
from swarmdem.wire.charter import Charter


class PFedMe(Strategy):
    """Moreau envelopes (pFedMe, Dinh et al., arXiv 2006.08848, Algorithm 1).

    For each batch D the personal model theta is brought near the minimum of
    F_i(theta; D) + lambda/2 |theta - w_i|^2 by `steps` (K) steps of the learner's optimiser (eq. 7), then
    w_i <- w_i - rate lambda (w_i - theta) (line 8). The peer sends w_i; the mean of all is the w of the
    next round, where both start from it. What the peer answers with is theta.

    The server's w(t+1) = (1 - beta) w(t) + beta mean (line 12) is the charter's schedule `gamma` with
    the one value beta; without it beta = 1.

    Deviations: every peer takes part in every round; a pass over the data in batches takes the place
    of R batches drawn at random. K steps a batch are K times the work of the other strategies.
    """

    name: ClassVar[str] = "pfedme"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"update": "tree", "levels": 0, "mixing": 1.0, "pull": 0.0, "weights": "agents"}
    )
    options: ClassVar[Mapping[str, float]] = MappingProxyType({"lambda": 15.0, "steps": 5.0, "rate": 0.05})
    """lambda, K and eta. lambda and K: the authors' for MNIST. In effect w learns at `rate` from the gradient
    at theta: the same as the rate of the other strategies here (theirs is .005)."""

    def __init__(self, charter: Charter) -> None:
        super().__init__(charter)
        pull, steps, rate = (self.option[name] for name in ("lambda", "steps", "rate"))
        if pull <= 0 or rate <= 0 or pull * rate > 1:
            raise ConfigError(
                f"options: lambda = {pull:g} and rate = {rate:g} must be above 0 and their product at most 1"
            )
        if steps < 1 or steps != int(steps):
            raise ConfigError(f"options.steps = {steps:g}: a whole number from 1")

    def train(self, learner: Learner, task: Task) -> Outcome:
        """Train theta, move w: the outcome is w, theta its memory. Arrays that stay are theta's own."""
        learner.load(task.start)
        kept = self.kept(task.start)
        anchor = {name: array for name, array in task.start.items() if name not in kept}
        moving = MovingAnchor(rate=self.option["rate"], steps=int(self.option["steps"]))
        objective = replace(self.objective(task), anchor=anchor, pull=self.option["lambda"], moving=moving)
        loss = learner.train(round=task.round, objective=objective)
        assert moving.parameters is not None
        return Outcome(model=moving.parameters, loss=loss, memory=learner.parameters())

    def deploy(
        self,
        *,
        trained: Parameters,
        applied: Parameters,
        result: Parameters,
        labels: Mapping[int, int],
        memory: Parameters,
    ) -> Deployment:
        """Return theta; the shared model as long as none was trained."""
        return Deployment(models=(memory or applied,))
