import torch

from swarmdem.learning.objectives import local_loss, pulled


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
