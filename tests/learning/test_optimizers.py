import functools

import pytest
import torch

from swarmdem.errors import ConfigError
from swarmdem.learning.optimizers import check, fresh_rule


def descend(step, parameters):
    """Twelve steps on a bent bowl; *step* takes the gradients."""
    for _ in range(12):
        loss = sum((p**4).sum() + (p * (i + 1)).sum() for i, p in enumerate(parameters))
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            step(gradients)
    return [p.detach().clone() for p in parameters]


def start():
    torch.manual_seed(4)
    return tuple(torch.randn(shape, requires_grad=True) for shape in ((3,), (2, 2)))


REFERENCES = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.01),
    "adam": functools.partial(torch.optim.Adam, lr=0.01),
}


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_our_rules_are_those_of_torch(name):
    theirs = start()
    expected = descend(fresh_rule(REFERENCES[name], theirs, None).step, theirs)

    ours = start()
    got = descend(fresh_rule(name, ours, 0.01).step, ours)

    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_without_a_rate_each_rule_has_its_own():
    for name, rate in (("sgd", 0.05), ("adam", 0.001)):
        implied, stated = start(), start()
        descend(fresh_rule(name, implied, None).step, implied)
        descend(fresh_rule(name, stated, rate).step, stated)
        assert all(torch.equal(a, b) for a, b in zip(implied, stated, strict=True))


@pytest.mark.parametrize(
    ("optimizer", "lr", "named"),
    [
        ("rmsprop", None, "optimizer = 'rmsprop': known are sgd, adam"),
        ("sgd", 0.0, "lr = 0.0"),
        ("sgd", float("nan"), "lr = nan"),
        (torch.optim.Adam, 0.1, "brings its own rate"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(optimizer, lr, named):
    with pytest.raises(ConfigError, match=named):
        check(optimizer, lr)
