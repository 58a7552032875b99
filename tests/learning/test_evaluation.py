import math

import numpy as np

from swarmdem.learning.evaluation import Scores, score_group, score_peer
from swarmdem.learning.learner import Dataset, Evaluation
from swarmdem.learning.softmax import SoftmaxRegression

OWN = Dataset(np.eye(2, dtype=np.float32)[[0, 0, 1]], np.array([0, 0, 0]))
ALL = Dataset(np.eye(2, dtype=np.float32)[[0, 1, 1, 1]], np.array([0, 1, 1, 0]))
KNOWS = {"bias": np.zeros(2, np.float32), "weight": np.eye(2, dtype=np.float32)}


def learner():
    return SoftmaxRegression(2, OWN, OWN)


def test_a_peer_is_scored_on_its_own_and_on_everybodys_test_data():
    one = learner()
    one.load(KNOWS)

    scores = score_peer(one, ALL)

    assert (scores.c_spe.correct, scores.c_spe.count) == (2, 3)
    assert (scores.c_gen.correct, scores.c_gen.count) == (3, 4)


def test_a_groups_model_is_scored_by_level_and_the_learners_own_put_back():
    one = learner()

    group = score_group(one, KNOWS, level=2, root=False, members=OWN, everybody=ALL)
    root = score_group(one, KNOWS, level=4, root=True, members=ALL, everybody=ALL)

    assert not one.parameters()["weight"].any()
    assert group.g_spe[2].correct == 2
    assert group.g_gen[2].correct == 3
    assert group.global_.count == 0
    assert root.global_ == root.g_gen[4] == root.g_spe[4]
    assert root.global_.score == 0.75


def test_scores_are_pooled_by_samples_not_by_peers():
    """1 of 1 and 0 of 3: pooled .25, the mean of the peers' shares would be .5."""
    pooled = Scores(c_spe=Evaluation(1, 1, 0.5), g_spe={1: Evaluation(1, 2, 0.0)}) + Scores(
        c_spe=Evaluation(0, 3, 1.5), g_spe={1: Evaluation(2, 2, 0.0), 3: Evaluation(1, 1, 0.0)}
    )

    assert pooled.c_spe == Evaluation(1, 4, 2.0)
    assert pooled.c_spe.score == 0.25
    assert {level: e.score for level, e in pooled.g_spe.items()} == {1: 0.75, 3: 1.0}
    assert math.isnan(pooled.global_.score)
