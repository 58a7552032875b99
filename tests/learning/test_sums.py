import numpy as np
import pytest

from swarmdem.errors import MisuseError, SchemaError
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.sums import accumulated, joined, pull_target, split, with_sums

CHAIN = ((12, 3.0), (4, -1.0), (2, 10.0))
"""Agents and model of the groups above a peer, from the root down."""


def model(value):
    return {"w": np.full((2, 2), value, np.float32), "seen": np.array(7, np.int64)}


def handed_down():
    sums = None
    for agents, value in CHAIN:
        sums = accumulated(sums, model(value), agents)
    return sums


def test_the_chain_adds_up_w_over_n():
    """3/12 - 1/4 + 10/2."""
    assert handed_down()["w"].tolist() == [[5.0, 5.0], [5.0, 5.0]]


def test_the_one_pull_is_the_gradient_of_all_of_eq_2():
    """Sum over k of (2 beta / N_k)(w - w_k) = 2 beta c (w - a / c)."""
    beta, w = 0.3, 1.7
    every = sum(2 * beta / agents * (w - value) for agents, value in CHAIN)

    target, share = pull_target(handed_down(), [2, 4, 12])

    assert share == pytest.approx(1 / 2 + 1 / 4 + 1 / 12)
    assert 2 * beta * share * (w - target["w"][0, 0]) == pytest.approx(every, rel=1e-6)


def test_under_the_root_alone_the_target_is_the_roots_model():
    target, share = pull_target(accumulated(None, model(3.0), 12), [12])

    assert target["w"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert share == 1 / 12


def test_nothing_is_summed_of_integers():
    assert handed_down()["seen"] == 0
    assert handed_down()["seen"].dtype == np.int64


def test_a_result_and_its_sums_travel_as_one_model_of_twice_the_schema():
    whole = joined(model(1.0), handed_down())

    assert schema_of(whole) == with_sums(schema_of(model(1.0)))
    assert [spec.name for spec in with_sums(schema_of(model(1.0)))] == ["pull/seen", "pull/w", "seen", "w"]
    result, sums = split(whole)
    assert np.array_equal(result["w"], model(1.0)["w"])
    assert np.array_equal(sums["w"], handed_down()["w"])


def test_sums_of_another_model_are_refused():
    with pytest.raises(SchemaError, match="sums of 1 arrays beside a result of 2"):
        joined(model(1.0), {"w": np.zeros(2, np.float32)})


def test_groups_of_nobody_are_refused():
    with pytest.raises(MisuseError, match="0 agents"):
        accumulated(None, model(1.0), 0)
    with pytest.raises(MisuseError, match=r"groups of \[\]"):
        pull_target(model(1.0), [])
