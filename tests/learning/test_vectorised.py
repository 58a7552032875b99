"""Training in one pass gives every peer the model that it would have trained alone."""

import numpy as np
import pytest
import torch

from swarmdem.errors import DataError, NotFiniteError
from swarmdem.learning import cohort, models
from swarmdem.learning.learner import Dataset, MovingAnchor, Objective
from swarmdem.learning.meeting import Call, run_together
from swarmdem.learning.training import TorchLearner

SIZES = (23, 10, 31, 4, 40, 17)


class Doubled(torch.nn.Module):
    """No chain of layers: the input is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 3), torch.nn.Linear(8, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.first(x) + torch.sin(self.second(self.dropout(x)))


def dropping():
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3, bias=False)
    )


def convolving():
    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (2, 2, 2)), torch.nn.Conv2d(2, 4, 2, padding=1), torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.3), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)),
    )  # fmt: skip


def peers(network=dropping, sizes=SIZES, *, regression=False, **settings):
    """Siblings of unequal sample counts around one network."""
    torch.manual_seed(3)
    data = []
    for number, size in enumerate(sizes):
        rng = np.random.default_rng(number)
        y = rng.normal(size=size).astype(np.float32) if regression else rng.integers(0, 3, size)
        data.append(Dataset(rng.normal(size=(size, 8)).astype(np.float32), y))
    head = TorchLearner(network(), data[0], device="cpu", seed=1, **settings)
    return [head, *(head.sibling(some, seed=10 + number) for number, some in enumerate(data[1:]))]


def together(learners, objective, round=1, mode="on"):
    told = []
    answers = cohort.train_all([Call(one, round, objective) for one in learners], mode, told.append)
    return answers, told


def assert_as_alone(make, objective, *, in_a_pass=True, **tolerance):
    """Two rounds, so that the second starts from unequal models."""
    one_by_one, at_once = make(), make()
    for round in (1, 2):
        losses = [one.train(round=round, objective=objective) for one in one_by_one]
        answers, told = together(at_once, objective, round)
        np.testing.assert_allclose(answers, losses, rtol=1e-4, atol=1e-6)
        assert [verdict.together for verdict in told] == ([in_a_pass] if round == 1 else [])
    for one, other in zip(one_by_one, at_once, strict=True):
        for name, array in one.parameters().items():
            np.testing.assert_allclose(other.parameters()[name], array, **(tolerance or {"atol": 1e-5}))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("network", [dropping, convolving], ids=lambda network: network.__name__)
def test_a_pass_trains_every_peer_as_if_it_were_alone(network, optimizer):
    """Dropout, batches that are not full, and peers that are done earlier included."""
    atol = 1e-5 if optimizer == "sgd" else 1e-3  # adam divides small sums by small sums
    assert_as_alone(lambda: peers(network, optimizer=optimizer, lr=0.02), Objective(), atol=atol)


def test_any_other_network_is_mapped():
    assert_as_alone(lambda: peers(Doubled), Objective())


def test_pull_correction_and_weight_of_the_loss_are_those_of_each_peer():
    anchor = {name: array + 1 for name, array in peers()[0].parameters().items() if name != "3.weight"}
    correction = {"0.bias": np.full(16, 0.3, np.float32), "0.weight": np.full((16, 8), -0.1, np.float32)}

    assert_as_alone(peers, Objective(anchor=anchor, pull=0.5, own=0.7, correction=correction))


def test_peers_may_be_pulled_to_different_models_or_to_none():
    one_by_one, at_once = peers(), peers()
    objectives = [
        Objective(anchor={name: array + number for name, array in one.parameters().items()}, pull=number % 3)
        for number, one in enumerate(one_by_one)
    ]
    for one, objective in zip(one_by_one, objectives, strict=True):
        one.train(round=1, objective=objective)

    calls = [Call(one, 1, objective) for one, objective in zip(at_once, objectives, strict=True)]
    cohort.train_all(calls, "on", lambda verdict: None)

    for one, other in zip(one_by_one, at_once, strict=True):
        np.testing.assert_allclose(one.parameters()["0.weight"], other.parameters()["0.weight"], atol=1e-5)


def test_a_regression_is_trained_in_a_pass_too():
    assert_as_alone(lambda: peers(lambda: torch.nn.Linear(8, 1), regression=True), Objective())


def test_frozen_parameters_stay():
    def network():
        module = dropping()
        module[0].weight.requires_grad_(False)
        return module

    assert_as_alone(lambda: peers(network), Objective())


def test_the_papers_network_is_trained_in_a_pass():
    def make():
        rng = np.random.default_rng(0)
        data = [(rng.normal(size=(n, 8, 8)).astype(np.float32), rng.integers(0, 10, n)) for n in (12, 10, 7)]
        head = TorchLearner(models.build("cnn", (8, 8), 10), data[0], device="cpu")
        return [head, *(head.sibling(some, seed=number) for number, some in enumerate(data[1:]))]

    assert_as_alone(make, Objective(), atol=1e-4)


def normalising():
    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))


def tied():
    layer = torch.nn.Linear(8, 8)
    return torch.nn.Sequential(layer, layer, torch.nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("network", "why"), [(normalising, "has buffers"), (tied, "uses parameters twice")], ids=["norm", "tied"]
)
def test_networks_that_no_pass_knows_are_trained_one_by_one(network, why):
    learners = peers(network, sizes=(20, 20, 20))

    answers, told = together(learners, Objective())

    assert [type(answer) for answer in answers] == [float] * 3
    assert [(verdict.together, why in verdict.why) for verdict in told] == [(False, True)]


def test_a_network_that_looks_at_its_whole_batch_is_found_out_by_the_trial():
    class Centred(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 3)

        def forward(self, x):
            return self.layer(x - 5 * x.mean(0))

    assert_as_alone(lambda: peers(Centred, lr=0.5), Objective(), in_a_pass=False)


@pytest.mark.parametrize("objective", [Objective(calibration=1.0), None], ids=["calibration", "moving"])
def test_objectives_that_no_pass_knows_are_trained_one_by_one(objective):
    moving = Objective(anchor=peers()[0].parameters(), pull=1.0, moving=MovingAnchor(rate=0.1, steps=2))

    answers, told = together(peers(), objective or moving)

    assert [type(answer) for answer in answers] == [float] * len(SIZES)
    assert told == []


def test_a_peer_whose_loss_is_not_finite_or_whose_class_is_unknown_fails_alone():
    learners = peers()
    bad = learners[0].sibling((np.zeros((20, 8)), np.full(20, 7)), seed=5)
    wild = {name: array * np.float32(1e30) for name, array in learners[2].parameters().items()}
    learners[2].load(wild)

    answers, _ = together([*learners, bad], Objective())

    assert isinstance(answers[2], NotFiniteError)
    assert isinstance(answers[-1], DataError)
    assert [type(answer) for answer in (*answers[:2], *answers[3:-1])] == [float] * 5


def test_a_pass_that_memory_does_not_suffice_for_is_made_smaller_and_nobody_notices(monkeypatch):
    learners, passes = peers(sizes=(20,) * 12), []
    together(learners, Objective())
    known = cohort._modules[learners[0].shared]
    whole = known.ensemble.train

    def scarce(shares):
        passes.append(len(shares))
        if len(shares) > 4:
            raise RuntimeError("out of memory")
        return whole(shares)

    monkeypatch.setattr(known.ensemble, "train", scarce)
    known.peers_max = 12
    for round in (2, 3, 4):
        answers, _ = together(learners, Objective(), round)
        assert [type(answer) for answer in answers] == [float] * 12

    assert passes == [12, 6, 6, 3, 3, 3, 3]


def test_one_by_one_is_kept_when_asked_for_and_for_two():
    assert together(peers(), Objective(), mode="off")[1] == []
    assert together(peers(sizes=(10, 10)), Objective())[1] == []


def test_learners_in_a_meeting_train_together_and_elsewhere_alone():
    at_once, one_by_one, told, failures = peers(), peers(), [], []

    run_together(
        [lambda one=one: one.train(round=1, objective=Objective()) for one in at_once],
        "on",
        told.append,
        lambda number, failed: failures.append(failed),
    )
    for one in one_by_one:
        one.train(round=1, objective=Objective())

    assert failures == [None] * len(SIZES)
    assert told[0].together
    for one, other in zip(at_once, one_by_one, strict=True):
        np.testing.assert_allclose(one.parameters()["0.weight"], other.parameters()["0.weight"], atol=1e-5)


def test_torchs_own_generator_is_left_as_it_was():
    learners = peers()
    torch.manual_seed(99)
    draws = torch.rand(3)
    torch.manual_seed(99)

    together(learners, Objective())

    assert torch.equal(torch.rand(3), draws)
