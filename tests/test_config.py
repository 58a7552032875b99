"""Settings of a peer: where they come from, and how a wrong one is named."""

from pathlib import Path

import pytest

from swarmdem.config import load_settings, read_charter
from swarmdem.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(text, name="peer.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_nothing_said_gives_the_defaults():
    settings = load_settings()

    assert settings.peer.brokers == ()
    assert settings.learner.model == "mlp"
    assert settings.learner.epochs == 2
    assert settings.learner.batch_size == 10
    assert settings.charter is None


def test_the_caller_wins_over_the_environment_and_the_environment_over_the_file(write):
    path = write('[learner]\nlr = 0.1\nepochs = 3\nseed = 4\n[peer]\nbrokers = ["mqtt://a"]\n')

    settings = load_settings(
        path,
        environment={"SWARMDEM_LEARNER_EPOCHS": "5", "SWARMDEM_LEARNER_SEED": "6", "PATH": "/bin"},
        chosen={"learner": {"seed": 7, "model": None}},
    )

    assert (settings.learner.lr, settings.learner.epochs, settings.learner.seed) == (0.1, 5, 7)
    assert settings.peer.brokers == ("mqtt://a",)


def test_lists_and_truth_values_come_from_the_environment():
    settings = load_settings(
        environment={"SWARMDEM_PEER_BROKERS": "mqtt://a, mqtt://b", "SWARMDEM_PEER_DURABLE": "false"}
    )

    assert settings.peer.brokers == ("mqtt://a", "mqtt://b")
    assert settings.peer.durable is False


def test_paths_in_a_file_are_relative_to_it(write, tmp_path):
    path = write('[peer]\nstate = "state"\njournal = "/var/j.jsonl"\n[learner]\ndata = "x.npz"\n')

    settings = load_settings(path)

    assert settings.peer.state == tmp_path / "state"
    assert settings.peer.journal == Path("/var/j.jsonl")
    assert settings.learner.data == str(tmp_path / "x.npz")


def test_a_folder_of_data_in_a_file_is_relative_to_it_and_digits_are_no_path(write, tmp_path):
    folder = load_settings(write('[learner]\ndata = "mnist"\ndevices = 20\nholdout = 0.2\n'))
    digits = load_settings(write('[learner]\ndata = "digits"\n'))

    assert folder.learner.data == str(tmp_path / "mnist")
    assert (folder.learner.devices, folder.learner.holdout, folder.learner.holdout_seed) == (20, 0.2, None)
    assert digits.learner.data == "digits"


def test_a_charter_comes_from_a_table_or_from_its_file(write):
    inline = write('[charter]\nswarm = "plant-7"\nlevels = 2\n')
    file = write('swarm = "plant-8"\n', "charter.toml")
    naming = write('[peer]\ncharter = "charter.toml"\n', "naming.toml")

    assert load_settings(inline).charter.levels == 2
    assert load_settings(naming).charter.swarm == "plant-8"
    assert read_charter(file).swarm == "plant-8"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[peer]\nbrokerz = ["mqtt://a"]', "peer.brokerz: unknown setting"),
        ("[pear]\n", "pear: unknown setting"),
        ("peer = 3\n", "peer: a table is expected"),
        ('[learner]\nepochs = "many"', "learner.epochs = 'many'"),
        ("[learner]\nepochs = 1.5", "learner.epochs = 1.5"),
        ("[learner]\nholdout_seed = 3", "learner.holdout_seed = 3: changes nothing without holdout"),
        ('[charter]\nswarm = "s"\nlevel = 2', "charter.level: unknown setting"),
        ('[charter]\nswarm = "s"\n[peer]\ncharter = "c.toml"', "peer.charter names a file"),
        ("[peer]\njournal_mb = -1", "peer.journal_mb = -1: must not be negative"),
        ("[peer]\ncapability = 4", "peer.capability = 4: 0 .asks to be spared., 1 .ordinary., 2 or 3$"),
        ("[peer]\ncapability = -1", "peer.capability = -1: 0 "),
        ("[peer]\npause = -1.0", "peer.pause = -1: 0 to 86400 seconds"),
        ("[peer]\npause = nan", "peer.pause = nan: 0 to 86400 seconds"),
        ("[peer\n", "peer.toml: .*line 1"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(write, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_settings(write(text))


def test_an_unknown_variable_is_refused():
    with pytest.raises(ConfigError, match="SWARMDEM_PEER_BROKER: unknown"):
        load_settings(environment={"SWARMDEM_PEER_BROKER": "mqtt://a"})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load_settings(tmp_path / "none.toml")
