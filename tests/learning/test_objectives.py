import math

import numpy as np
import pytest
import torch

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import MovingAnchor, Objective
from swarmdem.learning.objectives import Terms, calibrated_loss, local_loss, pulled, squared_error


def test_eq_8_adds_mu_times_the_distance_to_the_anchor():
    gradients = (torch.tensor([1.0, 2.0]), torch.tensor([[0.0]]))
    parameters = (torch.tensor([3.0, 5.0]), torch.tensor([[-1.0]]))
    anchor = (torch.tensor([1.0, 6.0]), torch.tensor([[1.0]]))

    first, second = pulled(gradients, parameters, anchor, 0.5)

    assert first.tolist() == [2.0, 1.5]
    assert second.tolist() == [[-1.0]]


def test_eq_8_is_the_gradient_autograd_gives_for_the_penalty():
    torch.manual_seed(0)
    w, anchor = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    (plain,) = torch.autograd.grad(local_loss(x @ w, y), w)
    whole = local_loss(x @ w, y) + 0.3 / 2 * (w - anchor).square().sum()
    (expected,) = torch.autograd.grad(whole, w)

    (got,) = pulled((plain,), (w.detach(),), (anchor,), 0.3)

    torch.testing.assert_close(got, expected)


def test_nothing_pulls_at_the_anchor():
    gradient, w = torch.tensor([0.1]), torch.tensor([123.456])

    assert torch.equal(pulled((gradient,), (w,), (w.clone(),), 0.7)[0], gradient)


def test_a_gradient_that_autograd_hands_out_twice_is_pulled_once_each():
    shared = torch.tensor([1.0])

    both = pulled((shared, shared), (torch.tensor([2.0]),) * 2, (torch.tensor([0.0]),) * 2, 1.0)

    assert [g.item() for g in both] == [3.0, 3.0]
    assert shared.item() == 1.0


def one(value):
    return {"w": np.full(1, value, np.float32)}


def test_every_term_adds_its_own_gradient():
    """pull x (w - anchor) + correction = .5 x (3 - 1) + .25, beside the gradient .125."""
    named = {"w": torch.tensor([3.0])}
    terms = Terms(Objective(anchor=one(1.0), pull=0.5, correction=one(0.25)), named)

    (got,) = terms.added_to((torch.tensor([0.125]),), (named["w"],))

    assert got.item() == 1.375


def test_arrays_that_the_anchor_does_not_name_are_not_pulled():
    named = {"head": torch.tensor([5.0]), "w": torch.tensor([3.0])}
    gradients = (torch.tensor([1.0]), torch.tensor([1.0]))

    head, w = Terms(Objective(anchor=one(1.0), pull=0.5), named).added_to(gradients, tuple(named.values()))

    assert (head.item(), w.item()) == (1.0, 2.0)
    assert gradients[1].item() == 1.0


def test_without_terms_the_gradients_are_handed_on_as_they_are():
    named = {"w": torch.tensor([3.0])}
    gradients = (torch.tensor([1.0]),)

    assert Terms(Objective(anchor=one(9.0)), named).added_to(gradients, (named["w"],)) is gradients


def test_the_weight_of_the_own_loss_scales_its_gradient_alone():
    w = torch.tensor([2.0], requires_grad=True)
    loss = (w * 3.0).sum()

    (gradient,) = torch.autograd.grad(Terms(Objective(own=0.5), {"w": w}).scaled(loss), w)

    assert gradient.item() == 1.5


def test_a_moving_anchor_goes_towards_the_model_after_each_batch():
    """w <- w - eta lambda (w - theta) = 1 - .1 x 2 x (1 - 6)."""
    moving = MovingAnchor(rate=0.1, steps=3)
    theta = torch.tensor([6.0])
    terms = Terms(Objective(anchor=one(1.0), pull=2.0, moving=moving), {"w": theta})

    terms.batch_done((theta,))
    terms.finish({"w": np.array([6.0], np.float32), "seen": np.array(4)})

    assert terms.inner == 3
    assert moving.parameters["w"].tolist() == [2.0]
    assert moving.parameters["seen"] == 4


def test_calibration_adds_tau_log_of_the_label_shares_to_the_scores():
    """Shares 3/4 and 1/4, equal scores: the loss of the rarer class is -log of its share to the tau."""
    loss = calibrated_loss(torch.tensor([0, 0, 1, 0]), 1.0)

    assert loss(torch.zeros(1, 2), torch.tensor([1])).item() == pytest.approx(-math.log(0.25))
    half = calibrated_loss(torch.tensor([0, 0, 1, 0]), 0.5)(torch.zeros(1, 2), torch.tensor([1]))
    root = math.sqrt(0.75) + math.sqrt(0.25)
    assert half.item() == pytest.approx(-math.log(math.sqrt(0.25) / root))


def test_under_calibration_a_class_without_samples_is_hardly_pushed_down():
    scores = torch.zeros(1, 3, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1])

    (plain,) = torch.autograd.grad(local_loss(scores, torch.tensor([0])), scores)
    (calibrated,) = torch.autograd.grad(calibrated_loss(labels, 1.0)(scores, torch.tensor([0])), scores)

    assert plain[0, 2].item() == pytest.approx(1 / 3)
    assert calibrated[0].tolist() == pytest.approx([-0.5, 0.5, 1e-6], rel=1e-3)


def test_the_squared_error_is_that_of_the_only_output():
    assert squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 1.0])).item() == 2.5
    with pytest.raises(ConfigError, match=r"one output, not \[2\]"):
        squared_error(torch.zeros(3, 2), torch.zeros(3))


@pytest.mark.parametrize(
    ("objective", "named"),
    [
        (Objective(own=0.5), "weight of the own loss"),
        (Objective(correction={}), "correction"),
        (Objective(moving=MovingAnchor(0.1, 1)), "moving anchor"),
        (Objective(calibration=1.0), "calibration"),
    ],
)
def test_a_learner_that_knows_only_the_pull_names_what_it_lacks(objective, named):
    with pytest.raises(ConfigError, match=f"Mine knows no .*{named}"):
        objective.require_plain("Mine")


def test_anchor_and_pull_are_plain():
    assert Objective(anchor=one(1.0), pull=0.5).require_plain("Mine") is None
