"""Settings of a swarm run."""

import tomllib

import pytest

from swarmdem.apps import toml
from swarmdem.apps.charter import check_update
from swarmdem.apps.settings import SwarmSettings, from_mapping
from swarmdem.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peers": 0}, "--peers 0: must be at least 1"),
        ({"mixing": 1.5}, "--mixing 1.5: a share between 0 and 1"),
        ({"pull": float("nan")}, "--pull nan: finite"),
        ({"lr": 0.0}, "--lr 0.0: finite and above 0"),
        ({"batch_size": 0}, "--batch-size 0: must be at least 1"),
        ({"optimizer": "sdg"}, "--optimizer sdg: must be one of sgd, adam"),
        ({"broker": "mosquito"}, "--broker mosquito: a URL or one of auto"),
        ({"broker": ("mqtt://here", "memory")}, "--broker mqtt://here, memory: a URL or one of"),
        ({"plasticity": "demai"}, "--plasticity demai: must be one of dem-ai"),
        ({"evaluate_last": 0}, "--evaluate-last 0: must be at least 1"),
        ({"broker": "memory", "workers": 2}, "--workers 2: contradicts the broker memory"),
    ],
)
def test_a_bad_setting_is_named_with_its_flag(changes, words):
    with pytest.raises(ConfigError) as refused:
        SwarmSettings(**changes)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mixing": 0.5, "schedules": {"mixing": (0.9,)}}, "mixing: changes nothing, schedules has a table"),
        ({"neighbours": 4}, 'neighbours: changes nothing, it is for strategy = "gossip"'),
        *(
            ({"levels": 0, name: value}, f"{name}: changes nothing, there are no groups (levels = 0)")
            for name, value in (("cut", "binary"), ("linkage", "ward"), ("tau", 2), ("hysteresis", (26,)))
        ),
        ({"strategy": "fedavg", "linkage": "ward"}, "linkage: changes nothing, there are no groups"),
        ({"levels": 0, "schedules": {"tau": (2.0,)}}, "schedules.tau: changes nothing, there are no groups"),
        ({"pull": 0.0, "pull_to": "all"}, "pull_to: changes nothing, there is no pull"),
        ({"pull": 0.0, "schedules": {"pull": (1.0,)}}, "schedules.pull: changes nothing"),
        ({"strategy": "gossip", "schedules": {"gamma": (0.5,)}}, "schedules.gamma: changes nothing"),
        (
            {"strategy": "demlearn-plus", "options": {"momentum": 1.5}},
            "options.momentum = 1.5: from 0 to 0.99",
        ),
        ({"strategy": "scaffold", "schedules": {"gamma": (0.5,)}}, "'scaffold' takes plain means only"),
    ],
)
def test_an_update_that_is_not_what_its_settings_say_is_refused_before_anything_starts(changes, words):
    with pytest.raises(ConfigError) as refused:
        check_update(SwarmSettings(**changes))

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pears": 3}, "settings.pears: unknown setting"),
        ({"peers": "three"}, "settings.peers: Expected `int`"),
        ({"mixing": 1.5}, "settings.mixing = 1.5: a share between 0 and 1"),
        ({"linkage": "single"}, "settings.linkage = 'single': must be one of average, ward"),
    ],
)
def test_a_bad_key_is_named_with_its_path(values, words):
    with pytest.raises(ConfigError) as refused:
        from_mapping(values, "settings.")

    assert words in str(refused.value)


def test_cells_of_0_are_a_flat_swarm():
    assert from_mapping({"cells": 0}, "settings.").cells is None


def test_settings_survive_the_way_through_a_mapping():
    settings = SwarmSettings(
        peers=5, lr=0.1, record=True, cut="maxclust", cuts=(8.0, 4.0), hysteresis=(0, 13),
        private=("head.*",),
        schedules={"mixing": (0.9, 0.8)}, options={"lambda": 15.0},
    )  # fmt: skip

    assert from_mapping(tomllib.loads(toml.table("x", settings.as_mapping()))["x"], "settings.") == settings
    assert from_mapping(settings.as_mapping(), "settings.") == settings


def test_rounds_are_evaluated_at_multiples_and_at_the_end():
    settings = SwarmSettings(rounds=12, evaluate_every=5)

    assert [round for round in range(1, 13) if settings.evaluated(round)] == [5, 10, 12]


def test_the_last_rounds_are_evaluated_each_where_asked():
    settings = SwarmSettings(rounds=12, evaluate_every=5, evaluate_last=3)

    assert [round for round in range(1, 13) if settings.evaluated(round)] == [5, 10, 11, 12]


def test_what_was_not_chosen_is_left_to_the_strategy():
    assert SwarmSettings().charter_choices(20) == {}
    assert SwarmSettings(mixing=0.8, cut="maxclust", cuts=(8.0, 4.0)).charter_choices(20) == {
        "mixing": 0.8, "cut": "maxclust", "cuts": (8.0, 4.0), "levels": 2,
    }  # fmt: skip


def test_a_plasticity_gives_tables_that_given_ones_replace():
    given = (0.5, 0.25)

    chosen = SwarmSettings(plasticity="dem-ai", schedules={"gamma": given, "own": (2.0,)}).charter_choices(40)

    assert set(chosen) == {"schedules", "hysteresis"}
    assert set(chosen["schedules"]) == {"pull", "gamma", "tau", "own"}
    assert (chosen["schedules"]["gamma"], chosen["schedules"]["own"]) == (given, (2.0,))
    assert len(chosen["schedules"]["pull"]) == len(chosen["hysteresis"]) == 40
    assert SwarmSettings(plasticity="dem-ai", hysteresis=(7,)).charter_choices(40)["hysteresis"] == (7,)


@pytest.mark.parametrize(("optimizer", "size"), [("sgd", 0.05), ("adam", 0.001)])
def test_the_step_size_follows_the_optimizer(optimizer, size):
    assert SwarmSettings(optimizer=optimizer).step_size == size


@pytest.mark.parametrize(
    ("settings", "patience_s"),
    [
        ({"peers": 20}, 20.0),
        ({"peers": 100}, 60.0),
        ({"peers": 1000}, 240.0),
        ({"peers": 1000, "cells": 64}, 42.0),
        ({"peers": 1000, "patience": 9.0}, 9.0),
    ],
)
def test_patience_grows_with_the_peers_of_one_cell_and_slower_beyond_a_hundred(settings, patience_s):
    assert SwarmSettings(**settings).patience_s == patience_s
