"""What a peer answers with: one model, or several that answer together (Dem-AI's union).

The log-probability of class c for input x under a `Deployment` of models k with weights a_k and boosts
b is, but for the constant that makes the probabilities add up to 1,

    log( sum_k a_k softmax(f_k(x))_c / sum_k a_k ) + b_c

For a regression it is the weighted mean of the models' predictions, and there are no boosts.

Scores are dear and combining them is not: whoever measures many deployments of the same models keeps
the scores of each model and calls `combined`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Dataset, Evaluation, Kind, Learner, Parameters, Scoring, task_of
from swarmdem.learning.strategy import Deployment

Floats = NDArray[np.float32]


def scores_of(learner: Learner, model: Parameters, x: NDArray[Any]) -> Floats:
    """Return the scores (n, classes) of *model* on inputs (n, ...); the learner's own model is put back.

    Raises:
        ConfigError: The learner has no `scores`.
    """
    if not isinstance(learner, Scoring):
        raise ConfigError(f"{type(learner).__name__} has no scores(x): it cannot answer questions")
    own = learner.parameters()
    learner.load(model)
    try:
        return learner.scores(x)
    finally:
        learner.load(own)


def combined(scores: Sequence[Floats], deployment: Deployment, kind: Kind = "classification") -> Floats:
    """Return what *deployment* answers, given the scores of each of its models.

    Args:
        scores: (n, classes) of each model, in its order; for a regression (n, 1).
        deployment: Weights and boosts.
        kind: What is predicted.

    Returns:
        Log-probabilities (n, classes), for a regression values (n, 1).

    Raises:
        ConfigError: A boost for a class that the models do not know, or for a regression.
    """
    total = sum(deployment.weights)
    shares = [weight / total for weight in deployment.weights]
    used = [(share, each) for share, each in zip(shares, scores, strict=True) if share > 0]
    if kind == "regression":
        if deployment.boost:
            raise ConfigError("a regression knows no classes to boost")
        return np.asarray(sum(share * each for share, each in used), np.float32)
    if len(used) == 1:
        log_shares = _log_softmax(used[0][1])
    else:
        log_shares = np.logaddexp.reduce([np.log(share) + _log_softmax(each) for share, each in used])
    if not deployment.boost:
        return log_shares.astype(np.float32)
    return _log_softmax(log_shares + _boosts(deployment.boost, log_shares.shape[1])).astype(np.float32)


def predict(learner: Learner, deployment: Deployment, x: NDArray[Any]) -> Floats:
    """Return what *deployment* answers to inputs (n, ...): see `combined`.

    Raises:
        ConfigError: The learner has no `scores`, or a boost is for a class it does not know.
    """
    scores = [scores_of(learner, model, x) for model in deployment.models]
    return combined(scores, deployment, task_of(learner))


def evaluation_of(
    answers: Floats, y: NDArray[Any], kind: Kind = "classification", *, deviation: float = 1.0
) -> Evaluation:
    """Return how answers do against targets.

    The loss is the cross entropy in nats, for a regression the squared error in squares of *deviation*.

    Args:
        answers: As `combined` gives them: log-probabilities (n, classes), or values (n, 1).
        y: Targets (n,): classes, or values in the unit of *answers*.
        kind: What is predicted.
        deviation: By which the learner scales the targets of a regression.
    """
    if not len(y):
        return Evaluation(0.0, 0, 0.0)
    if kind == "regression":
        errors = answers[:, 0].astype(np.float64) - y
        return Evaluation(float(np.abs(errors).sum()), len(y), float(np.square(errors / deviation).sum()))
    right = answers[np.arange(len(y)), y].astype(np.float64)
    return Evaluation(float((answers.argmax(1) == y).sum()), len(y), float(-right.sum()))


def evaluate(learner: Learner, deployment: Deployment, data: Dataset | None = None) -> Evaluation:
    """Evaluate *deployment* on *data*, by default the learner's own test data; its model is put back.

    One model alone takes the learner's own `evaluate`: it needs no `scores`.

    Raises:
        ConfigError: Several models, or boosts, without `scores` or without *data*.
    """
    if len(deployment.models) == 1 and not deployment.boost:
        own = learner.parameters()
        learner.load(deployment.models[0])
        try:
            return learner.evaluate(data)
        finally:
            learner.load(own)
    if data is None:
        raise ConfigError("a deployment of several models is measured on test data that is handed over")
    answers = predict(learner, deployment, data.x)
    return evaluation_of(answers, data.y, task_of(learner), deviation=data.target_deviation)


def _boosts(boost: Mapping[int, float], classes: int) -> NDArray[np.float64]:
    row = np.zeros(classes)
    for label, value in boost.items():
        if not 0 <= label < classes:
            raise ConfigError(f"a boost for class {label}, but there are {classes} classes")
        row[label] = value
    return row


def _log_softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    wide = scores.astype(np.float64)
    wide -= wide.max(1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(1, keepdims=True))
    return wide
