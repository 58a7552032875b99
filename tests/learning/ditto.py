# ruff: noqa: RUF012 - as short as a user would write it
"""A strategy written from the README alone: Ditto (Li et al., arXiv 2012.04221, Algorithm 1).

Peers average one shared model, as FedAvg does. Beside it each keeps a personal model, trained with a
pull towards the shared one, and answers with that. It never travels.
"""

from dataclasses import replace

from swarmdem import Deployment, Objective, Strategy


class Ditto(Strategy):
    name = "ditto"
    fixes = {"levels": 0, "mixing": 1.0, "weights": "samples", "pull": 0.0}
    options = {"lambda": 0.5}

    def train(self, learner, task):
        shared = super().train(learner, task)
        learner.load(task.memory or task.start)
        towards_shared = Objective(anchor=task.start, pull=self.option["lambda"])
        learner.train(round=task.round, objective=towards_shared)
        return replace(shared, memory=learner.parameters())

    def deploy(self, *, applied, memory, **others):
        return Deployment(models=(memory or applied,))
