"""Learners on CUDA: what can be said without a device, and what is skipped without one."""

import numpy as np
import pytest
import torch

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Dataset, MovingAnchor, Objective
from swarmdem.learning.modules import SharedModule, device_of
from swarmdem.learning.training import TorchLearner

CENTRES = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def blobs(count, seed):
    """Three classes around three fixed points in eight dimensions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    return Dataset((CENTRES[y] + rng.normal(size=(count, 8)) * 0.5).astype(np.float32), y)


def network(dropout=0.5):
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(dropout), torch.nn.Linear(16, 3)
    )


def learner(device="cuda", dropout=0.5, **settings):
    return TorchLearner(network(dropout), blobs(200, 1), blobs(100, 2), device=device, **settings)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_learner_stays_on_the_device_that_was_current_when_it_was_made(monkeypatch, name):
    """In a worker thread another device is current, and `cuda` without a number would mean that one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)

    assert device_of(name) == torch.device("cuda", 1)
    assert device_of("cpu") == torch.device("cpu")


def test_without_a_device_auto_is_the_cpu_and_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert device_of("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="torch finds no CUDA device here"):
        device_of("cuda")


def test_a_module_that_is_not_on_the_cpu_takes_read_only_arrays_into_its_own_tensors():
    shared = SharedModule(network(), torch.device("cpu"))
    shared.device = torch.device("cuda", 0)  # takes the way of other devices; its tensors stay here
    place = shared.module[0].weight.data_ptr()
    model = {name: np.full_like(array, 2) for name, array in shared.read().items()}
    for array in model.values():
        array.flags.writeable = False

    shared.write(model)

    assert all(np.array_equal(array, model[name]) for name, array in shared.read().items())
    assert shared.module[0].weight.data_ptr() == place


@needs_cuda
def test_a_cuda_learner_trains_evaluates_and_hands_out_plain_arrays():
    one = learner(lr=0.1, epochs=10)
    other = one.sibling(blobs(100, 3), blobs(100, 4), seed=1)

    for r in range(1, 4):
        for each in (one, other):
            each.train(round=r, objective=Objective(anchor=each.parameters(), pull=0.002))

    assert one.evaluate().score > 0.9
    assert other.evaluate().score > 0.9
    assert all(type(array) is np.ndarray for array in one.parameters().values())
    assert one.scores(blobs(3, 5).x).shape == (3, 3)
    assert sum(one.labels.values()) == 200


@needs_cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adam", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)])
def test_a_round_on_cuda_is_that_on_the_cpu_but_for_rounding(optimizer):
    """Every part of an objective; without dropout, whose masks differ."""
    models = {}
    for device in ("cpu", "cuda"):
        one = learner(device, dropout=0.0, optimizer=optimizer)
        begin = one.parameters()
        anchor = {name: array for name, array in begin.items() if "num_batches" not in name}
        correction = {"3.bias": np.full(3, 0.01, np.float32)}
        moving = MovingAnchor(rate=0.05, steps=2)
        one.train(
            round=2,
            objective=Objective(
                anchor=anchor, pull=0.5, own=0.9, correction=correction, moving=moving, calibration=0.5
            ),
        )
        models[device] = (one.parameters(), moving.parameters)

    for here, there in zip(models["cpu"], models["cuda"], strict=True):
        for name, array in here.items():
            np.testing.assert_allclose(there[name], array, rtol=1e-3, atol=1e-4)


@needs_cuda
def test_on_cuda_too_a_round_is_the_same_whatever_ran_before_and_leaves_the_generators_alone():
    one, again = learner(seed=5), learner(seed=5)
    begin = one.parameters()
    one.train(round=4, objective=Objective())
    torch.manual_seed(99)
    draws = torch.rand(3, device="cuda")
    torch.manual_seed(99)

    again.train(round=9, objective=Objective())
    again.load(begin)
    again.train(round=4, objective=Objective())

    assert torch.equal(torch.rand(3, device="cuda"), draws)
    for name, array in one.parameters().items():
        np.testing.assert_allclose(again.parameters()[name], array, rtol=1e-5, atol=1e-6)
