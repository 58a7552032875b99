"""Settings of a swarm run."""

import pytest

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
        ({"broker": "memory", "workers": 2}, "--workers 2: contradicts --broker memory"),
    ],
)
def test_a_bad_setting_is_named_with_its_flag(changes, words):
    with pytest.raises(ConfigError) as refused:
        SwarmSettings(**changes)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pears": 3}, "settings.pears: unknown setting"),
        ({"peers": "three"}, "settings.peers: Expected `int`"),
    ],
)
def test_a_bad_key_is_named_with_its_path(values, words):
    with pytest.raises(ConfigError) as refused:
        from_mapping(values, "settings")

    assert words in str(refused.value)


def test_settings_survive_the_way_through_a_mapping():
    settings = SwarmSettings(peers=5, levels=2, lr=0.1, record=True)

    assert from_mapping(settings.as_mapping(), "settings") == settings


def test_rounds_are_evaluated_at_multiples_and_at_the_end():
    settings = SwarmSettings(rounds=12, evaluate_every=5)

    assert [round for round in range(1, 13) if settings.evaluated(round)] == [5, 10, 12]


@pytest.mark.parametrize(("optimizer", "size"), [("sgd", 0.05), ("adam", 0.001)])
def test_the_step_size_follows_the_optimizer(optimizer, size):
    assert SwarmSettings(optimizer=optimizer).step_size == size
