"""Whole experiments on this machine, through the command line."""

import json
import signal
import subprocess
import sys
import tomllib
from functools import partial

import pytest

from swarmdem import apps
from swarmdem.apps import experiment, experiment_view
from swarmdem.apps.reading import read_experiment
from swarmdem.errors import ConfigError, MissingExtraError

COMMAND = [sys.executable, "-m", "swarmdem", "experiment"]
TINY = """
[experiment]
name = "tiny"
about = "Two ways to learn digits."
seeds = [0, 1]
curves = "mnist"
peers = 4
model = "softmax"
rounds = 4
evaluate_every = 1
broker = "memory"
patience = 2.0

[[variant]]
name = "FedAvg"
published = "FedAvg"
strategy = "fedavg"
evaluate = "both"
shown = "training"

[[variant]]
name = "DemLearn {mixing}"
grid = { mixing = [0.8] }
"""
DYING = """
import os, signal
from swarmdem.apps import cli
from swarmdem.apps.experiment_view import Progress

show = Progress.row

def show_and_die(progress, row, groups, left_s):
    show(progress, row, groups, left_s)
    if progress._title == "2/4 FedAvg, seed 1":
        os.kill(os.getpid(), signal.SIGKILL)

Progress.row = show_and_die
cli.main()
"""
"""The command line, killed as it has shown the first round of the second run."""
CURVES = "dataset,algorithm,round,c_spe,c_gen,global\nmnist,FedAvg,1,0.5,0.25,0.125\n"


def run(*arguments, code=0):
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """An experiment killed in its second run and begun again: folder, arguments, what it printed then."""
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "curves.csv").write_text(CURVES)
    arguments = [folder / "tiny.toml", "--out", folder / "out", "--curves", folder / "curves.csv"]
    died = subprocess.run([sys.executable, "-c", DYING, "experiment", *map(str, arguments)], check=False)
    assert died.returncode == -signal.SIGKILL
    return folder, arguments, run(*arguments)


def test_the_same_command_goes_on_after_a_kill(killed):
    folder, _, printed = killed

    assert "1 of 4 runs are finished already" in printed
    assert "1/3 FedAvg, seed 1: goes on after round 1\n" in printed
    assert "2/3 DemLearn 0.8, seed 0: begins" in printed
    tables = tomllib.loads((folder / "out/runs/fedavg-s1/run.toml").read_text())
    assert len(tables["resumed"]) == 1


def test_every_run_is_there_with_its_seed_and_all_its_rounds(killed):
    found = read_experiment(killed[0] / "out")

    assert [result.variant.name for result in found.results] == ["FedAvg", "DemLearn 0.8"]
    for result in found.results:
        assert [run.settings["seed"] for run in result.runs] == [0, 1]
        assert [[row.round for row in run.rounds] for run in result.runs] == [[1, 2, 3, 4], [1, 2, 3, 4]]
        assert all(run.finished for run in result.runs)
    assert found.results[1].variant.point == {"mixing": 0.8}
    first = found.results[0].runs[0]
    assert set(first.rounds[3].per_peer) == set(first.peers)
    assert first.rounds[3].value("c_gen", "after_training") < first.rounds[3].value("c_gen")


def test_table_and_figures_are_written(killed):
    out = killed[0] / "out"

    table = (out / "table.md").read_text()
    assert "| FedAvg | 2/2 | 4 | after training | " in table
    assert "0.500 / 0.250 / 0.125" in table, "the published curve"
    assert (out / "table.csv").read_text().count("\n") == 3
    drawn = {path.name: path.stat().st_size for path in (out / "figures").iterdir()}
    names = ("curves", "comparison", "bytes", "levels-demlearn-0.8", "dendrograms-demlearn-0.8")
    assert set(drawn) == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert min(drawn.values()) > 2000


@pytest.fixture
def run_here(printed_by):
    """Run an experiment whose coordinator is this process; return what it printed."""
    return partial(printed_by, "experiment")


@pytest.fixture
def undrawn(monkeypatch):
    """Draw no figures: `test_table_and_figures_are_written` looks at them."""
    monkeypatch.setattr("swarmdem.apps.drawing.draw", lambda *_: iter(()))


@pytest.mark.usefixtures("undrawn")
def test_a_finished_experiment_is_only_told_of(run_here, killed):
    _, arguments, _ = killed

    assert run_here(*arguments).startswith("4 of 4 runs are finished already\n")


def test_changed_settings_are_refused_in_one_line_and_the_run_is_left_alone(run_here, killed):
    folder, arguments, _ = killed
    rounds = folder / "out/runs/fedavg-s0/rounds.jsonl"
    before = rounds.read_text()

    said = run_here(*arguments, "--set", "epochs=3", code=2)

    assert said == f"swarmdem: {folder}/out/runs/fedavg-s0: was begun with epochs = 2, not 3\n"
    assert "fedavg-s0: was begun with rounds = 4, not 1" in run_here(*arguments, "--rounds", 1, code=2)
    assert rounds.read_text() == before


@pytest.mark.usefixtures("undrawn")
def test_a_longer_experiment_goes_on_with_the_variant_chosen(run_here, killed):
    folder, arguments, _ = killed

    printed = run_here(*arguments, "--rounds", 5, "--only", "DemLearn 0.8", "--seeds", "1")

    assert "1/1 DemLearn 0.8, seed 1: goes on after round 4" in printed
    found = read_experiment(folder / "out")
    assert [len(run.rounds) for result in found.results for run in result.runs] == [4, 4, 4, 5]


def test_a_run_that_fails_is_written_down_and_ends_no_other(run_here, tmp_path):
    common, _ = TINY.split("[[variant]]", 1)
    variants = '[[variant]]\nname = "too fast"\nlr = 1e30\n[[variant]]\nname = "fine"\n'
    text = common.replace("seeds = [0, 1]", "").replace("rounds = 4", "rounds = 1").replace("2.0", "1.0")
    (tmp_path / "tiny.toml").write_text(text + variants)

    printed = run_here(tmp_path / "tiny.toml", "--out", tmp_path / "out", code=1)

    assert printed.endswith("swarmdem: 1 of 2 runs failed: too fast, seed 0\n")
    found = read_experiment(tmp_path / "out")
    assert [run.finished for result in found.results for run in result.runs] == [False, True]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Runs that failed:\n\n- too fast, seed 0: training fails at " in table
    assert "| fine | 1/1 | 1 | after update | " in table


def test_curves_that_nothing_would_be_held_against_are_refused(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace('curves = "mnist"', ""))

    with pytest.raises(ConfigError, match="--curves: tiny does not say which data set's"):
        experiment.run_experiment(str(tmp_path / "tiny.toml"), curves=tmp_path / "curves.csv")


def test_a_run_that_died_before_it_began_is_begun_anew(tmp_path):
    stillborn = tmp_path / "stillborn"
    (stillborn / "state" / "0").mkdir(parents=True)
    (stillborn / ".run.toml.123.new").touch()  # killed while it wrote down its settings

    experiment._clear_stillborn(stillborn)

    assert not stillborn.exists()
    (tmp_path / "precious.txt").touch()
    with pytest.raises(ConfigError, match=r"not a run folder \(it holds 'precious.txt'\)"):
        experiment._clear_stillborn(tmp_path)


def test_without_the_extra_one_line_says_what_to_install_before_anything_runs(tmp_path, monkeypatch):
    (tmp_path / "tiny.toml").write_text(TINY)
    monkeypatch.setitem(sys.modules, "swarmdem.apps.drawing", None)
    monkeypatch.delattr(apps, "drawing", raising=False)

    with pytest.raises(MissingExtraError) as refused:
        experiment.run_experiment(str(tmp_path / "tiny.toml"), out=tmp_path / "out")

    assert "swarmdem[experiments]" in str(refused.value)
    (tmp_path / "tiny.toml").write_text(TINY.replace("peers = 4", "pears = 4"))
    with pytest.raises(ConfigError, match="pears: unknown setting"):
        experiment.run_experiment(str(tmp_path / "tiny.toml"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch):
    class Terminal:
        text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

        def isatty(self):
            return True

    stream = Terminal()
    row = json.loads('{"round": 3, "c_gen": {"after_update": 0.25}}')
    with experiment_view.open_progress(4, stream) as progress:
        progress.begin("1/1 a, seed 0", 2)
        progress.row(row, 1, None)

    assert "1/1 a, seed 0: goes on after round 2" in stream.text
    assert "left of all" in stream.text
