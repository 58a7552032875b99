"""The TOML file of an experiment."""

import pytest

from swarmdem.apps.experiment_file import changed, load, presets
from swarmdem.errors import ConfigError, DataError

TINY = """
[experiment]
name = "tiny"
about = "A line."
seeds = [0, 1]
peers = 4
rounds = 2

[[variant]]
name = "FedAvg"
strategy = "fedavg"

[[variant]]
name = "DemLearn {mixing}"
published = "DemLearn a={mixing}"
grid = { mixing = [0.6, 0.8], levels = [1, 2] }
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_grid_is_a_variant_for_each_of_its_points(written):
    found = load(written(TINY), None)

    assert (found.name, found.about, found.seeds) == ("tiny", "A line.", (0, 1))
    assert [variant.name for variant in found.variants] == [
        "FedAvg", "DemLearn 0.6 levels=1", "DemLearn 0.6 levels=2", "DemLearn 0.8 levels=1",
        "DemLearn 0.8 levels=2",
    ]  # fmt: skip
    last = found.variants[-1]
    assert (last.settings.mixing, last.settings.levels, last.settings.peers) == (0.8, 2, 4)
    assert (last.published, last.shown) == ("DemLearn a=0.8", "after_update")
    assert last.point == {"mixing": 0.8, "levels": 2}
    assert last.run_name(1) == "demlearn-0.8-levels-2-s1"


def test_variants_seeds_and_rounds_can_be_chosen(written):
    found = load(written(TINY), None).chosen(only=["FedAvg"], seeds=[5], rounds=9)

    assert [variant.name for variant in found.variants] == ["FedAvg"]
    assert (found.seeds, found.variants[0].settings.rounds) == ((5,), 9)


def test_settings_of_all_variants_can_be_changed(written):
    found = load(written(TINY), None, changed(["rounds=7", "evaluate=both"]))

    assert [(v.settings.rounds, v.settings.evaluate) for v in found.variants] == [(7, "both")] * 5
    with pytest.raises(ConfigError, match="--set rounds: SETTING=VALUE is expected"):
        changed(["rounds"])
    with pytest.raises(ConfigError, match=r"--set mixing: variant 'DemLearn \{mixing\}' has a grid of it"):
        load(written(TINY), None, changed(["mixing=0.9"]))
    with pytest.raises(ConfigError, match="--set name: not a setting of `swarm`"):
        load(written(TINY), None, changed(["name=x"]))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("peers = 4", "pears = 4", "variant 'FedAvg': pears: unknown setting"),
        ("peers = 4", 'peers = "four"', "variant 'FedAvg': peers: Expected `int`"),
        ("peers = 4", "seed = 4", "variant 'FedAvg': seed: follows from experiment.seeds"),
        (
            'strategy = "fedavg"',
            'strategy = "fedavg"\nlevels = 2',
            "variant 'FedAvg': levels = 2 contradicts",
        ),
        ('strategy = "fedavg"', 'shown = "training"', 'shown = "training": needs evaluate = "both"'),
        ('strategy = "fedavg"', 'shown = "both"', "shown = 'both': must be one of update, training"),
        ('strategy = "fedavg"', "mixing = 1.5", "variant 'FedAvg': mixing = 1.5: a share between 0 and 1"),
        (
            'strategy = "fedavg"',
            'cut = "no"',
            "variant 'FedAvg': cut = 'no': must be one of binary, threshold",
        ),
        ('name = "FedAvg"', 'name = "a {lr}"', "'a {lr}': name: {lr} stands for nothing, there is no grid"),
        ("a={mixing}", "a={mix}", "published: {mix} stands for nothing, the grid has mixing, levels"),
        ('strategy = "fedavg"', 'data = "nowhere.npz"', "nowhere.npz: no such file"),
        ('name = "FedAvg"', "", "a [[variant]] has no name"),
        ('name = "FedAvg"', 'name = "demlearn 0.6 LEVELS=1"', "another one has the same name"),
        ('name = "tiny"', 'name = "../tiny"', "experiment.name '../tiny': letters, digits, spaces"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "experiment.seeds: a seed is there twice"),
        ("seeds = [0, 1]", "seeds = 3", "experiment.seeds: a list of numbers is expected"),
        ("grid = {", "grid = { lr = [],", "grid: settings with lists of values are expected"),
        ("[experiment]", "[experiments]", "experiments: unknown; tables are [experiment] and [[variant]]"),
        ("[[variant]]", "[[variante]]", "variante: unknown"),
        ("[experiment]", "[experiment", "tiny.toml: "),
    ],
)
def test_a_mistake_is_named_with_its_place(written, old, new, words):
    with pytest.raises((ConfigError, DataError)) as refused:
        load(written(TINY.replace(old, new)), None)

    assert words in str(refused.value)


def test_data_are_found_beside_the_file_and_below_the_folder_given(written, tmp_path):
    text = TINY.replace("peers = 4", 'peers = 4\ndata = "mine.npz"')
    (tmp_path / "shelf" / "inner").mkdir(parents=True)
    (tmp_path / "shelf" / "inner" / "mine.npz").touch()

    assert load(written(text), tmp_path / "shelf").variants[0].settings.data.endswith("inner/mine.npz")

    (tmp_path / "mine.npz").touch()

    assert load(written(text), tmp_path / "shelf").variants[0].settings.data == str(tmp_path / "mine.npz")


def test_every_preset_has_a_line_about_it_and_can_be_run_where_its_data_are(tmp_path):
    for name in ("mnist-50", "fashion-mnist-50", "femnist-50", "cifar10-50"):
        (tmp_path / f"{name}.npz").touch()

    found = presets()

    assert {
        "demlearn-plus",
        "paper-mnist",
        "paper-fashion",
        "paper-femnist",
        "paper-cifar10",
        "hierarchy",
    } <= set(found)
    assert all(found.values())
    for name in found:
        assert load(name, tmp_path).name == name
    networks = {name: {v.settings.model for v in load(name, tmp_path).variants} for name in found}
    assert networks["paper-mnist"] == networks["paper-fashion"] == {"cnn"}
    assert networks["paper-femnist"] == {"cnn-femnist"}, "the authors' network for it has no dropout"
    assert networks["paper-cifar10"] == {"cnn3"}


def test_a_preset_without_its_data_says_which_are_missing(tmp_path):
    with pytest.raises(DataError) as refused:
        load("paper-cifar10", tmp_path)

    assert str(refused.value) == f"cifar10-50.npz: no such file; not in {tmp_path} either"
    with pytest.raises(ConfigError, match=r"experiment 'paper': presets are .*, paper-mnist, or a .toml"):
        load("paper", None)
