"""What a study measures inside a worker: the paper's five metrics, in the training thread.

Only a run that owns everybody's data can do this; a real peer reports its own test alone.
"""

from collections.abc import Sequence

import numpy as np

from swarmdem.apps.pipes import Score
from swarmdem.identifiers import Level
from swarmdem.learning.datasets import DeviceData
from swarmdem.learning.evaluation import score_group, score_peer
from swarmdem.learning.learner import Dataset, Evaluation, Learner, Parameters

AFTER_TRAINING = ".after_training"
"""Ending of a score's name when it was measured before the update."""


class TestSets:
    """The test data of a run's peers: a group's, or everybody's."""

    def __init__(self, data: DeviceData, peers: Sequence[str]) -> None:
        self._device = {peer: number % data.devices for number, peer in enumerate(peers)}
        self._tests = [data.device(number)[1] for number in sorted(set(self._device.values()))]
        self.everybody: Dataset = data.pooled_test(len(peers))

    def of(self, members: Sequence[str]) -> Dataset:
        """Return the test data of these peers, each device once."""
        devices = sorted({self._device[peer] for peer in members if peer in self._device})
        tests = [self._tests[number] for number in devices]
        return Dataset(np.concatenate([test.x for test in tests]), np.concatenate([test.y for test in tests]))


def measure_peer(
    learner: Learner, model: Parameters, everybody: Dataset, ending: str = ""
) -> dict[str, Score]:
    """Return C-SPE and C-GEN of a peer's model by name, each name with *ending*."""
    learner.load(model)
    scores = score_peer(learner, everybody)
    return {f"c_spe{ending}": _score(scores.c_spe), f"c_gen{ending}": _score(scores.c_gen)}


def measure_group(
    learner: Learner, model: Parameters, *, level: Level, root: bool, members: Dataset, everybody: Dataset
) -> tuple[Score, Score]:
    """Return G-SPE and G-GEN of a group's model; the root's G-GEN is Global."""
    scores = score_group(learner, model, level=level, root=root, members=members, everybody=everybody)
    return _score(scores.g_spe[level]), _score(scores.g_gen[level])


def _score(evaluation: Evaluation) -> Score:
    return Score(evaluation.correct, evaluation.count)
