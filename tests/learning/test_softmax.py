import numpy as np
import pytest
import torch

from swarmdem.errors import ConfigError, DataError, SchemaError
from swarmdem.learning.learner import Dataset, MovingAnchor, Objective
from swarmdem.learning.softmax import SoftmaxRegression
from swarmdem.learning.training import TorchLearner

X = np.random.default_rng(1).normal(size=(30, 2, 3)).astype(np.float32)
Y = np.digitize(X[:, 0, 0] + X[:, 1, 2], [-0.5, 0.5])


def test_one_step_of_eq_8_is_that_of_torch():
    ours = SoftmaxRegression(3, (X, Y), lr=0.3, epochs=1, batch_size=30)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3))
    theirs = TorchLearner(module, (X, Y), lr=0.3, epochs=1, batch_size=30, device="cpu")
    start = theirs.parameters()
    ours.load({"weight": start["1.weight"].T.copy(), "bias": start["1.bias"]})

    loss = ours.train(
        round=1, objective=Objective(anchor={k: v + 1 for k, v in ours.parameters().items()}, pull=0.4)
    )
    expected = theirs.train(
        round=1, objective=Objective(anchor={k: v + 1 for k, v in start.items()}, pull=0.4)
    )

    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(ours.parameters()["weight"].T, theirs.parameters()["1.weight"], atol=1e-6)
    np.testing.assert_allclose(ours.parameters()["bias"], theirs.parameters()["1.bias"], atol=1e-6)
    assert ours.evaluate(Dataset(X, Y)).correct == theirs.evaluate(Dataset(X, Y)).correct


def test_every_term_of_an_objective_is_that_of_torch():
    skewed = np.where(np.arange(30) % 7, Y, 0) % 2  # class 2 is absent
    ours = SoftmaxRegression(3, (X, skewed), lr=0.3, epochs=1, batch_size=30)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3))
    theirs = TorchLearner(module, (X, skewed), lr=0.3, epochs=1, batch_size=30, device="cpu")
    start = theirs.parameters()
    ours.load({"weight": start["1.weight"].T.copy(), "bias": start["1.bias"]})
    correction = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)

    loss = ours.train(
        round=1, objective=Objective(own=0.5, correction={"weight": correction}, calibration=0.7)
    )
    expected = theirs.train(
        round=1, objective=Objective(own=0.5, correction={"1.weight": correction.T}, calibration=0.7)
    )

    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(ours.parameters()["weight"].T, theirs.parameters()["1.weight"], atol=1e-6)
    np.testing.assert_allclose(ours.parameters()["bias"], theirs.parameters()["1.bias"], atol=1e-6)
    np.testing.assert_allclose(ours.scores(X), theirs.scores(X), atol=1e-5)
    assert ours.labels == theirs.labels
    assert ours.sgd == theirs.sgd


def test_a_moving_anchor_moves_as_that_of_torch():
    ours = SoftmaxRegression(3, (X, Y), lr=0.1, epochs=1, batch_size=30)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3))
    theirs = TorchLearner(module, (X, Y), lr=0.1, epochs=1, batch_size=30, device="cpu")
    start = theirs.parameters()
    own = {"weight": start["1.weight"].T.copy(), "bias": start["1.bias"]}
    ours.load(own)
    ours_moving, theirs_moving = MovingAnchor(rate=0.2, steps=4), MovingAnchor(rate=0.2, steps=4)

    loss = ours.train(round=1, objective=Objective(anchor=own, pull=1.5, moving=ours_moving))
    expected = theirs.train(round=1, objective=Objective(anchor=start, pull=1.5, moving=theirs_moving))

    assert loss == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(own["bias"], start["1.bias"])
    for got, wanted in (
        (ours.parameters(), theirs.parameters()),
        (ours_moving.parameters, theirs_moving.parameters),
    ):
        np.testing.assert_allclose(got["weight"].T, wanted["1.weight"], atol=1e-6)
        np.testing.assert_allclose(got["bias"], wanted["1.bias"], atol=1e-6)


def test_values_are_no_classes():
    with pytest.raises(DataError, match="training data: targets are not classes"):
        SoftmaxRegression(3, (X, Y.astype(np.float32)))


def test_it_learns_and_the_same_seed_and_round_give_the_same_model():
    one, again, other = (SoftmaxRegression(3, (X, Y), (X, Y), lr=0.2, epochs=20, seed=s) for s in (1, 1, 2))

    for each in (one, again, other):
        each.train(round=3, objective=Objective())

    assert one.evaluate().score > 0.85
    assert np.array_equal(one.parameters()["weight"], again.parameters()["weight"])
    assert not np.array_equal(one.parameters()["weight"], other.parameters()["weight"])


def test_it_takes_part_in_a_swarm_by_its_schema_alone():
    one = SoftmaxRegression(3, (X, Y))

    assert {name: array.shape for name, array in one.parameters().items()} == {"bias": (3,), "weight": (6, 3)}
    with pytest.raises(SchemaError, match="'bias'"):
        one.load({"bias": np.zeros(4, np.float32), "weight": np.zeros((6, 3), np.float32)})
    with pytest.raises(SchemaError):
        one.train(round=1, objective=Objective(anchor={"bias": np.zeros(4, np.float32)}, pull=0.1))


def test_parameters_are_copies_and_load_copies():
    one = SoftmaxRegression(3, (X, Y))
    given = {name: array + 1 for name, array in one.parameters().items()}

    one.load(given)
    given["bias"][...] = 9
    one.parameters()["bias"][...] = 9

    assert one.parameters()["bias"].tolist() == [1.0, 1.0, 1.0]


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(DataError, match="class 2, but there are 2 classes"):
        SoftmaxRegression(2, (X, Y))
    with pytest.raises(DataError, match="test data: class 3, but there are 3 classes"):
        SoftmaxRegression(3, (X, Y), (X[:1], [3])).evaluate()
    with pytest.raises(ConfigError, match="lr = 0"):
        SoftmaxRegression(3, (X, Y), lr=0)
    with pytest.raises(ConfigError, match="epochs = 0"):
        SoftmaxRegression(3, (X, Y), epochs=0)
