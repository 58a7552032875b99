"""What a study measures inside a worker: the five measures of the paper (DemLearn, arXiv 2007.03278, IV).

All are correct answers over samples, added up before dividing: a peer with more test samples counts
for more. For a regression they are absolute errors over samples.

- **C-SPE** (client specialisation): what each peer deploys on its own test data.
- **C-GEN** (client generalisation): what each peer deploys on the test data of all peers.
- **G-SPE** (group specialisation): each group's model on its members' test data, by level.
- **G-GEN** (group generalisation): each group's model on the test data of all peers, by level.
- **Global**: the root's model on the test data of all peers.

Only a run that owns everybody's data can measure this; a real peer reports its own test alone.

A forward pass over everybody's test data is what measuring costs, so each model gets one: C-SPE and
G-SPE are read off the same scores, and a model that several peers deploy (the root's, or a mean that
replaced everybody's) is scored once a process while it is remembered. Models are known by the hash of
their content, which costs a hundredth of a pass. A learner without `scores` is asked to `evaluate`
instead, once for each kind of data.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from swarmdem.apps.pipes import Score
from swarmdem.errors import ConfigError
from swarmdem.learning.datasets import DeviceData
from swarmdem.learning.deployment import combined, evaluation_of
from swarmdem.learning.learner import Evaluation, Learner, Parameters, Scoring, task_of
from swarmdem.learning.strategy import Deployment

AFTER_TRAINING = ".after_training"
"""Ending of a score's name when it was measured before the update."""
NOTHING = Score(0.0, 0)
_REMEMBERED_BYTES = 2**26
"""Scores kept: of 2,000 models on the test parts of 50 MNIST devices; fewer where classes are more."""

Scores = NDArray[np.float32]


class HeldOut:
    """The test data of a run's peers: everybody's, and which part of it is whose.

    Args:
        data: Of all devices.
        peers: How many peers there are; peer i has device i, modulo the number of devices.
    """

    def __init__(self, data: DeviceData, peers: int) -> None:
        self._devices = min(peers, data.devices)
        tests = [data.device(number)[1] for number in range(self._devices)]
        ends = np.cumsum([0, *(len(test) for test in tests)])
        self._parts = [np.arange(first, end) for first, end in pairwise(ends)]
        x, y = (np.concatenate([getattr(test, name) for test in tests]) for name in ("x", "y"))
        self.everybody = replace(tests[0], x=x, y=y)  # the constants of a regression are the same everywhere

    def of(self, peers: Iterable[int]) -> NDArray[np.int64]:
        """Return the places in `everybody` of these peers' test data, each device once."""
        devices = sorted({number % self._devices for number in peers})
        return np.concatenate([self._parts[number] for number in devices] or [np.zeros(0, np.int64)])


class Meter:
    """Measures models on the test data of a run; used in one thread.

    Args:
        tests: The data.
        peers: Ids by number.
    """

    def __init__(self, tests: HeldOut, peers: Sequence[str]) -> None:
        self._tests = tests
        self._numbers = {peer: number for number, peer in enumerate(peers)}
        self._known: OrderedDict[bytes, Scores] = OrderedDict()

    def measure_peer(
        self, learner: Learner, peer: str, deployed: Deployment, ending: str = ""
    ) -> dict[str, Score]:
        """Return C-SPE and C-GEN of what a peer deploys by name, each name with *ending*.

        Raises:
            ConfigError: More than one plain model is deployed, and the learner has no `scores`.
        """
        own, all_ = self._measure(learner, deployed, self._tests.of([self._numbers[peer]]))
        return {f"c_spe{ending}": own, f"c_gen{ending}": all_}

    def measure_group(
        self, learner: Learner, model: Parameters, members: Sequence[str]
    ) -> tuple[Score, Score]:
        """Return G-SPE and G-GEN of a group's model; the root's G-GEN is Global.

        Both are empty when the model is not whole: arrays that stay with the peers are missing.
        Arrays that are not the model's, a strategy's extra ones, are left out. The learner's own model
        is put back.
        """
        own = learner.parameters()
        if own.keys() - model.keys():
            return NOTHING, NOTHING
        whole = {name: model[name] for name in own}
        try:
            numbers = [self._numbers[peer] for peer in members if peer in self._numbers]
            return self._measure(learner, Deployment(models=(whole,)), self._tests.of(numbers))
        finally:
            learner.load(own)

    def _measure(
        self, learner: Learner, deployed: Deployment, places: NDArray[np.int64]
    ) -> tuple[Score, Score]:
        """Return the scores on the *places* of everybody's test data, and on all of it."""
        everybody = self._tests.everybody
        if isinstance(learner, Scoring):
            kind = task_of(learner)
            answers = combined([self._scores(learner, m) for m in deployed.models], deployed, kind)
            some = evaluation_of(answers[places], everybody.y[places], kind)
            return _score(some), _score(evaluation_of(answers, everybody.y, kind))
        if len(deployed.models) != 1 or deployed.boost:
            raise ConfigError("a learner without `scores` cannot be measured with this strategy")
        learner.load(deployed.models[0])
        own = replace(everybody, x=everybody.x[places], y=everybody.y[places])
        return _score(learner.evaluate(own)), _score(learner.evaluate(everybody))

    def _scores(self, learner: Learner, model: Parameters) -> Scores:
        """Return the scores of a model on everybody's test data, shape (n, classes)."""
        name = _name_of(model)
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name]
        learner.load(model)
        assert isinstance(learner, Scoring)
        scores = learner.scores(self._tests.everybody.x)
        self._known[name] = scores
        while len(self._known) * scores.nbytes > _REMEMBERED_BYTES:
            self._known.popitem(last=False)
        return scores


def _name_of(model: Parameters) -> bytes:
    """Return the hash of a model's content; its schema is the run's."""
    content = sha256()
    for name in sorted(model):
        content.update(np.ascontiguousarray(model[name]).data)
    return content.digest()


def _score(evaluation: Evaluation) -> Score:
    return Score(evaluation.correct, evaluation.count)
