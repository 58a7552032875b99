"""What a study measures, and how few passes it takes."""

from dataclasses import replace

import numpy as np
import pytest

from swarmdem.apps.measure import HeldOut, Meter
from swarmdem.apps.pipes import Score
from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Dataset, Evaluation
from swarmdem.learning.strategy import Deployment

PEERS = ("a", "b", "c")
LABELS = ((0, 1), (1, 1, 1), (0,))
"""Of the test data of devices 0, 1 and 2."""


class Data:
    """Three devices; inputs are their labels."""

    devices = 3

    def device(self, number):
        y = np.array(LABELS[number])
        return Dataset(np.zeros((1, 1), np.float32), np.zeros(1, int)), Dataset(
            y[:, None].astype(np.float32), y
        )


class Counting:
    """Scores class 1 by the model's one number, class 0 by zero; counts its passes."""

    def __init__(self, task="classification"):
        self.task = task
        self.passes = 0
        self.loaded = {"w": np.array([7.0], np.float32)}

    def parameters(self):
        return dict(self.loaded)

    def load(self, parameters):
        self.loaded = dict(parameters)

    def scores(self, x):
        self.passes += 1
        ones = np.full((len(x), 1), self.loaded["w"][0], np.float32)
        return ones if self.task == "regression" else np.hstack([np.zeros_like(ones), ones])


class Plain:
    """A learner of an application that only evaluates."""

    def load(self, parameters):
        self.loaded = parameters

    def parameters(self):
        return {"w": np.zeros(1, np.float32)}

    def evaluate(self, data):
        return Evaluation(float((data.y == 1).sum()), len(data), 0.0)


def model(value, **more):
    return {"w": np.array([value], np.float32)} | more


@pytest.fixture
def meter():
    return Meter(HeldOut(Data(), len(PEERS)), PEERS)


def measured(meter, learner, peer, *models, **more):
    return meter.measure_peer(learner, peer, Deployment(models=models, **more))


def test_both_scores_of_a_peer_come_from_one_pass(meter):
    learner = Counting()

    assert measured(meter, learner, "a", model(1.0)) == {"c_spe": Score(1, 2), "c_gen": Score(4, 6)}
    assert measured(meter, learner, "b", model(-1.0)) == {"c_spe": Score(0, 3), "c_gen": Score(2, 6)}
    assert learner.passes == 2


def test_a_model_that_peers_share_is_scored_once(meter):
    learners = Counting(), Counting()

    first = measured(meter, learners[0], "a", model(1.0))
    second = measured(meter, learners[1], "c", model(1.0))
    root = meter.measure_group(learners[1], model(1.0), PEERS)

    assert [learner.passes for learner in learners] == [1, 0]
    assert first["c_gen"] == second["c_gen"] == root[1] == Score(4, 6)
    assert second["c_spe"] == Score(0, 1)


def test_a_union_of_models_is_measured_as_one(meter):
    learner = Counting()

    measured(meter, learner, "a", model(-3.0))
    both = measured(meter, learner, "a", model(-3.0), model(9.0), weights=(0.4, 0.6))

    assert both["c_gen"] == Score(4, 6), "class 1: .4 x .05 + .6 x 1 is more than half"
    assert learner.passes == 2, "the first model was scored before"
    assert measured(meter, learner, "a", model(1.0), boost={0: 2.0})["c_gen"] == Score(2, 6)


def test_a_group_is_measured_on_its_members_and_the_learner_keeps_its_model(meter):
    learner = Counting()

    special, general = meter.measure_group(learner, model(1.0, extra=np.zeros(3)), ("a", "b"))

    assert (special, general) == (Score(4, 5), Score(4, 6))
    assert learner.loaded["w"][0] == 7.0


def test_a_group_model_without_the_private_arrays_is_not_measured(meter):
    assert meter.measure_group(Counting(), {"other": np.zeros(1)}, PEERS) == (Score(0, 0), Score(0, 0))


def test_values_are_measured_by_their_absolute_error(meter):
    found = measured(meter, Counting("regression"), "a", model(3.0))

    assert found == {"c_spe": Score(5.0, 2), "c_gen": Score(14.0, 6)}


def test_a_learner_without_scores_is_asked_to_evaluate(meter):
    assert measured(meter, Plain(), "a", model(1.0)) == {"c_spe": Score(1, 2), "c_gen": Score(4, 6)}
    with pytest.raises(ConfigError, match="without `scores`"):
        measured(meter, Plain(), "a", model(1.0), model(2.0), weights=(1.0, 1.0))


def test_devices_are_counted_once_however_many_peers_share_them():
    tests = HeldOut(Data(), 4)  # the last trains on device 0, as the first does

    assert len(tests.everybody) == 6
    assert tests.of([0, 3]).tolist() == [0, 1]
    assert tests.of([]).tolist() == []


class InDegrees(Data):
    """The same as values, with a swarm's constants."""

    def device(self, number):
        return tuple(replace(part, target_mean=20.0, target_deviation=5.0) for part in super().device(number))


def test_a_learner_that_evaluates_is_given_the_constants_of_a_regression():
    seen = []

    class Told(Plain):
        def evaluate(self, data):
            seen.append((len(data), data.target_mean, data.target_deviation))
            return Evaluation(0.0, len(data), 0.0)

    measured(Meter(HeldOut(InDegrees(), len(PEERS)), PEERS), Told(), "a", model(1.0))

    assert seen == [(2, 20.0, 5.0), (6, 20.0, 5.0)]
