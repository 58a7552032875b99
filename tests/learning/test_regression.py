"""Targets in any unit: learned in deviations, answered in their own."""

import numpy as np
import pytest
import torch

from swarmdem.errors import DataError, NotFiniteError
from swarmdem.learning import models
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, as_dataset
from swarmdem.learning.deployment import evaluate, predict
from swarmdem.learning.learner import Dataset, Objective
from swarmdem.learning.samples import Samples
from swarmdem.learning.scaling import standardization, standardization_of
from swarmdem.learning.strategy import Deployment
from swarmdem.learning.training import TorchLearner


def houses(task="float32"):
    """Two devices of 40 houses each, ten of them for testing: 300,000, and 90,000 a room."""
    rooms = np.random.default_rng(1).normal(size=80)
    return Samples(
        x=rooms.astype(np.float32)[:, None],
        y=(300_000 + 90_000 * rooms).astype(task),
        device=np.repeat([0, 1], 40),
        train=np.tile(np.arange(40) < 30, 2),
    )


def learners(samples, kind="global", **settings):
    """Peers of one swarm: the constants go through the charter, nothing else does."""
    data = DeviceData(samples, standardization_of(standardization(samples, kind).to_inputs()))
    return build_learners(
        "mlp",
        [data.device(0), data.device(1)],
        shape=data.shape,
        classes=data.outputs,
        settings=TrainingSettings(device="cpu", **settings),
    )


def line():
    """A model whose output is its input."""
    module = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(module.weight)
    torch.nn.init.zeros_(module.bias)
    return module


def train(one, rounds):
    return [one.train(round=r, objective=Objective()) for r in range(1, rounds + 1)]


def test_prices_are_learned_at_the_default_rate():
    """90,000 is the deviation of the prices; without scaling the loss is not finite after a round."""
    one, other = learners(houses())
    before = one.evaluate().score

    losses = train(one, 10) + train(other, 10)

    assert before > 50_000
    assert max(losses) < 2
    assert one.evaluate().score < 10_000
    assert other.evaluate().score < 10_000


def test_without_constants_they_diverge_and_the_error_says_what_to_do():
    one, _ = learners(houses(), kind="none")

    with pytest.raises(NotFiniteError, match=r"lr = 0\.05; its targets are not scaled: standard"):
        train(one, 3)


def test_a_rate_that_is_too_high_is_named_where_targets_are_scaled():
    one, _ = learners(houses(), lr=1e6)

    with pytest.raises(NotFiniteError, match=r"is (nan|inf) at lr = 1e\+06$"):
        train(one, 3)


def test_outputs_are_deviations_from_the_mean():
    x = np.array([[0.0], [2.0]], np.float32)
    data = Dataset(x, np.array([100.0, 130.0], np.float32), target_mean=100.0, target_deviation=10.0)
    one = TorchLearner(line(), data, data, device="cpu")

    own = one.evaluate()
    elsewhere = one.evaluate(Dataset(x, data.y))

    assert one.scores(x).tolist() == [[100.0], [120.0]]
    assert (own.correct, own.count, own.loss) == (10.0, 2, 1.0), "10 off in the targets' unit, 1 deviation"
    assert elsewhere == own, "the constants are the learner's"


def test_a_step_is_towards_the_scaled_target():
    """w = 1, b = 0: d/db (2 - 3)^2 = -2; d/dw = -2 x 2."""
    data = Dataset(np.array([[2.0]]), np.array([130.0]), target_mean=100.0, target_deviation=10.0)
    one = TorchLearner(line(), data, lr=0.1, epochs=1, device="cpu")

    loss = one.train(round=1, objective=Objective())

    assert loss == pytest.approx(1.0)
    assert one.parameters()["bias"] == pytest.approx([0.2])
    assert one.parameters()["weight"][0] == pytest.approx([1.4])


def test_several_models_answer_in_the_unit_of_the_targets():
    x = np.array([[0.0], [2.0]], np.float32)
    data = Dataset(x, np.array([100.0, 130.0], np.float32), target_mean=100.0, target_deviation=10.0)
    one = TorchLearner(line(), data, data, device="cpu")
    model = one.parameters()
    shifted = {**model, "bias": model["bias"] + 2}
    union = Deployment(models=(model, shifted), weights=(1.0, 1.0))

    measured = evaluate(one, union, data)

    assert predict(one, union, x).tolist() == [[110.0], [130.0]]
    assert (measured.correct, measured.count, measured.loss) == (10.0, 2, 1.0)


def test_test_data_alone_does_not_bring_constants_of_its_own():
    train = Dataset(np.zeros((1, 1)), np.array([5.0]), target_mean=5.0, target_deviation=2.0)
    for test in (np.array([8.0]), np.array([8])):
        assert TorchLearner(line(), train, (np.zeros((1, 1)), test), device="cpu").evaluate().correct == 3.0


def test_a_sibling_takes_the_constants_of_its_own_data():
    head = TorchLearner(line(), (np.zeros((1, 1)), np.array([5.0])), device="cpu")
    other = head.sibling(Dataset(np.zeros((1, 1)), np.array([5.0]), target_mean=5.0, target_deviation=2.0))

    assert head.scores(np.ones((1, 1))).tolist() == [[1.0]]
    assert other.scores(np.ones((1, 1))).tolist() == [[7.0]]


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_constants_that_scale_nothing_are_refused(mean, deviation):
    data = Dataset(np.zeros((1, 1)), np.zeros(1), target_mean=mean, target_deviation=deviation)

    with pytest.raises(DataError, match=r"training data: target_mean = .* scale nothing"):
        as_dataset(data, "training data")


def test_constants_of_a_regression_are_refused_for_classes():
    constants = standardization(houses(), "global")

    with pytest.raises(DataError, match="array 'y' holds classes"):
        DeviceData(houses("int64"), constants)


def test_class_models_know_no_constants():
    data = Dataset(np.zeros((2, 8)), np.array([0, 1]), target_mean=7.0, target_deviation=3.0)
    one = TorchLearner(models.build("mlp", (8,), 2), data, data, device="cpu")
    plain = TorchLearner(models.build("mlp", (8,), 2), (data.x, data.y), device="cpu")

    assert np.array_equal(one.scores(data.x), plain.scores(data.x))
    assert one.evaluate().correct == 1.0
