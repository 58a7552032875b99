import numpy as np
import pytest

from swarmdem.errors import ConfigError
from swarmdem.learning.deployment import combined, evaluate, evaluation_of, predict
from swarmdem.learning.learner import Dataset, Evaluation
from swarmdem.learning.softmax import SoftmaxRegression
from swarmdem.learning.strategy import Deployment

X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
Y = np.array([0, 1, 1])
LEFT = {"weight": np.array([[4.0, 0.0], [0.0, 0.0]], np.float32), "bias": np.zeros(2, np.float32)}
RIGHT = {"weight": np.array([[0.0, 0.0], [0.0, 2.0]], np.float32), "bias": np.zeros(2, np.float32)}


def learner():
    return SoftmaxRegression(2, (X, Y), (X, Y))


def probabilities(*values):
    return np.log(np.array(values, np.float32))


def both(**settings):
    return Deployment(models=(LEFT, RIGHT), weights=(0.5, 0.5), **settings)


def test_a_union_answers_with_the_weighted_mean_of_its_models_probabilities():
    scores = [probabilities([0.9, 0.1]), probabilities([0.2, 0.8]) + 5]

    got = combined(scores, Deployment(models=({}, {}), weights=(1.0, 3.0)))

    np.testing.assert_allclose(np.exp(got), [[0.375, 0.625]], rtol=1e-6)


def test_a_boost_raises_a_class_in_log_probabilities_that_still_add_up_to_one():
    got = combined([probabilities([0.2, 0.8])], Deployment(models=({},), boost={0: np.log(4.0)}))

    np.testing.assert_allclose(np.exp(got), [[0.5, 0.5]], rtol=1e-6)


def test_a_model_of_no_weight_is_not_heard():
    scores = [probabilities([0.9, 0.1]), np.array([[np.nan, 0.0]], np.float32)]

    got = combined(scores, Deployment(models=({}, {}), weights=(2.0, 0.0)))

    np.testing.assert_allclose(np.exp(got), [[0.9, 0.1]], rtol=1e-6)


def test_scores_of_any_size_give_finite_answers():
    got = combined([np.array([[1e4, -1e4]], np.float32)] * 2, Deployment(models=({}, {}), weights=(1.0, 1.0)))

    assert got.tolist() == [[0.0, -20000.0]]


def test_a_regression_answers_with_the_mean_of_its_models_values():
    scores = [np.array([[1.0], [2.0]], np.float32), np.array([[3.0], [6.0]], np.float32)]

    got = combined(scores, Deployment(models=({}, {}), weights=(1.0, 1.0)), "regression")

    assert got.tolist() == [[2.0], [4.0]]
    assert evaluation_of(got, np.array([2.5, 4.0]), "regression") == Evaluation(0.5, 2, 0.25)


def test_answers_are_counted_as_the_learner_counts_its_own():
    one = learner()
    one.load(RIGHT)

    assert one.evaluate() == evaluate(learner(), Deployment(models=(RIGHT,)), Dataset(X, Y))
    alone = evaluation_of(predict(learner(), Deployment(models=(RIGHT,)), X), Y)
    assert (alone.correct, alone.count) == (one.evaluate().correct, 3)
    assert alone.loss == pytest.approx(one.evaluate().loss)


def test_measuring_a_deployment_leaves_the_learners_model_alone():
    one = learner()
    one.load(LEFT)

    union = evaluate(one, both(boost={1: 3.0}), Dataset(X, Y))

    assert (union.correct, union.count) == (2.0, 3)
    assert np.array_equal(one.parameters()["weight"], LEFT["weight"])


@pytest.mark.parametrize(
    ("models", "weights"), [((), ()), ((LEFT,), (0.5, 0.5)), ((LEFT,), (0.0,)), ((LEFT, RIGHT), (2.0, -1.0))]
)
def test_a_deployment_that_cannot_answer_is_refused(models, weights):
    with pytest.raises(ConfigError, match="deployment"):
        Deployment(models=models, weights=weights)


def test_a_boost_for_an_unknown_class_is_refused():
    with pytest.raises(ConfigError, match="a boost for class 2, but there are 2 classes"):
        predict(learner(), Deployment(models=(LEFT,), boost={2: 1.0}), X)


def test_a_learner_without_scores_cannot_answer_and_says_so():
    class Mute:
        pass

    with pytest.raises(ConfigError, match=r"Mute has no scores\(x\)"):
        predict(Mute(), both(), X)


def test_several_models_need_test_data_that_is_handed_over():
    with pytest.raises(ConfigError, match="handed over"):
        evaluate(learner(), both())
