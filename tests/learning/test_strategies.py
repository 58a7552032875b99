import pytest

from swarmdem.errors import ConfigError
from swarmdem.learning.strategies import settings_of
from swarmdem.wire.charter_toml import from_mapping


def test_demlearn_leaves_every_setting_to_choose():
    charter = from_mapping({"swarm": "s", **settings_of("demlearn", {"mixing": 0.8})})

    assert (charter.strategy, charter.levels, charter.mixing, charter.pull, charter.weights) == (
        "demlearn", 3, 0.8, 0.002, "agents",
    )  # fmt: skip


def test_fedavg_is_one_group_whose_mean_by_samples_replaces_every_model():
    charter = from_mapping({"swarm": "s", **settings_of("fedavg", {"patience": 2.0, "levels": 0})})

    assert (charter.strategy, charter.levels, charter.mixing, charter.pull, charter.weights) == (
        "fedavg", 0, 1.0, 0.0, "samples",
    )  # fmt: skip
    assert charter.patience == 2.0


@pytest.mark.parametrize(
    ("setting", "value"), [("levels", 3), ("mixing", 0.6), ("pull", 0.002), ("weights", "agents")]
)
def test_a_setting_that_contradicts_the_strategy_is_refused_naming_both(setting, value):
    with pytest.raises(
        ConfigError, match=f"{setting} = .* contradicts strategy = 'fedavg', which means {setting}"
    ):
        settings_of("fedavg", {setting: value})


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ConfigError, match="strategy = 'fedsgd': known are demlearn, fedavg, fedprox"):
        settings_of("fedsgd", {})
