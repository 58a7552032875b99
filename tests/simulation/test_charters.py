"""Charters drawn from seeds are possible ones, and many seeds try every setting."""

import pytest

from swarmdem.simulation import charters
from swarmdem.simulation.runs import Settings, charter_of

TRIED = {
    "cut": {"binary", "maxclust", "threshold"},
    "linkage": {"average", "ward"},
    "metric": {"euclidean", "cosine", "cosine_delta"},
    "grouping": {"similar", "complementary"},
    "basis": {"parameters", "updates"},
    "min_size": {1, 2},
    "newcomers": {"direct", "top"},
    "outliers": {0, 1, 3},
    "drift": {0, 1, 2},
    "hysteresis": {(), (0, 16, 77)},
    "update": {"tree", "gossip"},
    "weights": {"agents", "samples"},
    "neighbours": {0, 2, 4},
}


def test_two_hundred_seeds_try_every_setting():
    drawn = [charter_of(Settings(seed=seed, vary=True), 5) for seed in range(200)]

    assert {name: {getattr(charter, name) for charter in drawn} for name in TRIED} == TRIED
    tables = {name for charter in drawn for name, _ in charter.schedules}
    assert tables == {"tau", "mixing", "gamma", "gain"}


@pytest.mark.parametrize("levels", [0, 1, 2, 7])
def test_every_drawn_charter_is_possible_with_any_number_of_levels(levels):
    for seed in range(100):
        charter = charter_of(Settings(seed=seed, vary=True, levels=levels), 5)
        assert charter.levels in {levels, 0}


def test_the_same_seed_draws_the_same_charter():
    assert charters.draw(3, 3) == charters.draw(3, 3)
    assert charters.draw(3, 3) != charters.draw(4, 3)


def test_without_variety_the_charter_has_the_defaults():
    plain = charter_of(Settings(seed=9), 5)

    assert (plain.cut, plain.schedules, plain.hysteresis, plain.update) == ("binary", (), (), "tree")
