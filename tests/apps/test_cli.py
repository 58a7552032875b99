"""The command line, through its entry point: one line and an exit code for what users get wrong."""

import re
import socket
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from swarmdem.apps import flags
from swarmdem.apps.settings import SwarmSettings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swarm", "--peers", "zero"], "--peers zero: a whole number is expected\n"),
        (["simulate", "--seeds", "1.5"], "--seeds 1.5: a whole number is expected\n"),
        (["swarm", "--lr", "small"], "--lr small: a number is expected\n"),
        (["broker", "--port", "99999"], "--port 99999: must be 0 to 65535\n"),
        (["doctor", "--wait", "0"], "--wait 0: must be at least 0.1\n"),
        (
            ["simulate", "--schedule", "s.json", "--peers", "3", "--seeds", "2"],
            "--peers: changes nothing with --schedule, which says what is played\n",
        ),
        (["keygen", "/dev/null/key.pem"], "key /dev/null/key.pem: the folder /dev/null cannot be made"),
        (["swarm", "--peers", "0"], "--peers 0: must be at least 1"),
        (["peer", "--capability", "4"], "--capability 4: must be 0 to 3\n"),
        (["swarm", "--pears", "3"], "No such option"),
        (
            ["swarm", "--strategy", "fedavg", "--levels", "3", "--peers", "2"],
            "levels = 3 contradicts strategy",
        ),
        (["swarm", "--cut", "maxclst"], "--cut maxclst: must be one of binary, threshold, maxclust\n"),
        (["swarm", "--metric", "l1"], "--metric l1: must be one of euclidean, cosine, cosine_delta\n"),
        (["swarm", "--levels", "0", "--tau", "3"], "tau: changes nothing, there are no groups (levels = 0)"),
        (["swarm", "--holdout-seed", "3"], "--holdout-seed 3: changes nothing without holdout\n"),
        (["swarm", "--option", "calibration=-1"], "options.calibration = -1: not negative\n"),
        (["charter", "c.toml", "--swarm", "a b/#"], "charter.swarm: 'a b/#' is not possible: 1 to 64 bytes"),
        (["swarm", "--cuts", "8,4", "--peers", "2"], "charter.cuts: (8.0, 4.0) is not possible"),
        (
            ["swarm", "--cuts", "8,x"],
            "--cuts 8,x: numbers with commas between them are expected, as in 8,4,2\n",
        ),
        (
            ["swarm", "--hysteresis", "1.5"],
            "--hysteresis 1.5: whole numbers with commas between them are expected, as in 0,13,26\n",
        ),
        (
            ["swarm", "--option", "lambda"],
            "--option lambda: a name and a number are expected, as in lambda=15\n",
        ),
        (
            ["swarm", "--schedule", "own=x"],
            "--schedule own=x: a name and numbers are expected, as in mixing=.9,.8\n",
        ),
        (["swarm", "--schedule", "gama=1", "--peers", "2"], "charter.schedules"),
        (["swarm", "--schedule", "own=1", "--schedule", "own=2"], "--schedule own: given twice"),
        (["swarm", "--option", "lambda=15", "--peers", "2"], "options.lambda"),
        (["swarm", "--strategy", "nothing:Else", "--peers", "2"], "nothing"),
        (["experiment"], "a .toml file or a preset is needed"),
        (["experiment", "nothing"], "experiment 'nothing': presets are"),
        (["experiment", "nowhere.toml"], "nowhere.toml: No such file"),
        (["experiment", "paper-mnist"], "mnist-50.npz: no such file; --data-dir says where it is"),
        (["experiment", "hierarchy", "--set", "rounds"], "--set rounds: SETTING=VALUE is expected"),
        (["experiment", "hierarchy", "--seeds", "0,a"], "--seeds 0,a: whole numbers with commas between"),
        (
            ["experiment", "hierarchy", "--set", "data=digits", "--only", "x"],
            "--only x: variants are no groups",
        ),
        (["swarm", "--model", "softmax", "--data", "nowhere.npz"], "nowhere.npz: no such file"),
        (["swarm", "--model", "nothing"], "model = 'nothing'"),
        (["swarm", "--model", "softmax", "--optimizer", "adam"], "contradicts model = 'softmax'"),
        (["swarm", "--resume", "nowhere"], "nowhere"),
        (["swarm", "--resume", "nowhere", "--lr", "0.1"], "--lr: cannot be changed with --resume"),
        (["keygen", "--show", "nowhere.pem"], "nowhere.pem"),
        (["simulate", "--peers", "0"], "--peers 0: 1 to 200"),
        (["simulate", "--patience", "0"], "--patience 0.0: 0.05 to 86400 seconds"),
        (
            ["simulate", "--peers", "2", "--rounds", "1", "--seeds", "1", "--trace", "nowhere/trace"],
            "--trace nowhere/trace: No such file",
        ),
        (["charter", "charter.toml", "--swarm", "s", "--founders", "0"], "--founders 0: must be at least 1"),
        (["bogus"], "No such command"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(call, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)

    code, _, err = call(*arguments)

    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_without_a_command_the_help_keeps_its_lines(call):
    code, _, err = call()

    assert code == 2
    assert err.startswith("Usage: ")
    assert "\n  simulate " in err


def test_version_is_printed(call):
    assert call("--version") == (0, "swarmdem 0.1.0\n", "")


def test_keygen_writes_a_private_key_once_and_names_its_peer(call, tmp_path):
    code, out, _ = call("keygen", tmp_path / "state")
    shown = call("keygen", "--show", tmp_path / "state")[1].strip()

    assert code == 0
    assert len(shown) == 32
    assert out.split()[0] == shown
    assert (tmp_path / "state" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert call("keygen", tmp_path / "state")[0] == 2
    assert call("keygen", "--show", tmp_path / "state")[1].strip() == shown


def test_keygen_makes_the_folder_of_a_key_file(call, tmp_path):
    code, out, _ = call("keygen", tmp_path / "new" / "folder" / "key.pem")

    assert code == 0
    assert call("keygen", "--show", tmp_path / "new" / "folder" / "key.pem")[1].strip() == out.split()[0]


def test_every_setting_of_the_update_is_a_flag(call, monkeypatch):
    given = []
    monkeypatch.setattr(
        "swarmdem.apps.swarm_command.start_run", lambda settings, out: given.append((settings, out))
    )

    call(
        "swarm", "--strategy", "m:C", "--cut", "maxclust", "--cuts", "8,4,2", "--linkage", "ward",
        "--metric", "cosine", "--grouping", "complementary", "--min-size", 2, "--basis", "updates",
        "--newcomers", "top", "--outliers", 3, "--drift", 3, "--pull-to", "all", "--neighbours", 4,
        "--tau", 5, "--hysteresis", "0,26", "--schedule", "gain=1.15,1", "--schedule", "own=1",
        "--plasticity", "dem-ai", "--option", "lambda=15", "--private", "head.*", "--private", "b",
        "--agreement", "bft", "--weights", "samples", "--evaluate-last", 10, "--out", "run",
    )  # fmt: skip
    [(settings, out)] = given

    assert out == Path("run")
    assert settings == SwarmSettings(
        strategy="m:C", cut="maxclust", cuts=(8.0, 4.0, 2.0), linkage="ward", metric="cosine",
        grouping="complementary", min_size=2, basis="updates", newcomers="top", outliers=3, drift=3,
        pull_to="all", neighbours=4, tau=5, hysteresis=(0, 26),
        schedules={"gain": (1.15, 1.0), "own": (1.0,)},
        plasticity="dem-ai", options={"lambda": 15.0}, private=("head.*", "b"), weights="samples",
        evaluate_last=10, agreement="bft",
    )  # fmt: skip


def test_every_setting_has_exactly_one_flag():
    assert set(flags.SETTINGS) == {field.name for field in fields(SwarmSettings)} - {"swarm"}


def test_a_charter_lists_what_travels(call, tmp_path):
    call("charter", tmp_path / "a.toml", "--swarm", "s", "--model", "softmax")
    code, _, _ = call(
        "charter", tmp_path / "b.toml", "--swarm", "s", "--model", "softmax", "--private", "bias",
        "--schedule", "mixing=.9,.5", "--hysteresis", 26,
    )  # fmt: skip

    assert code == 0
    whole, partly = (tomllib.loads((tmp_path / name).read_text())["charter"] for name in ("a.toml", "b.toml"))
    assert [spec["name"] for spec in whole["schema"]] == ["bias", "weight"]
    assert [spec["name"] for spec in partly["schema"]] == ["weight"]
    assert (partly["private"], partly["hysteresis"]) == (["bias"], [26])
    assert partly["schedules"] == {"mixing": [0.9, 0.5]}


def test_presets_are_listed(call):
    code, out, _ = call("experiment", "--list")

    assert code == 0
    assert re.search(r"^paper-mnist +the paper's comparison", out, re.MULTILINE)


def test_the_environment_may_say_where_data_are(call, monkeypatch, tmp_path):
    monkeypatch.setenv("SWARMDEM_DATA_DIR", str(tmp_path))

    assert f"not in {tmp_path} either" in call("experiment", "paper-mnist")[2]
    assert "--charter: missing" in call("peer")[2], "no setting of a peer, and no mistake"


def test_ctrl_c_leaves_with_130(call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("swarmdem.apps.simulate.run", interrupted)

    assert call("simulate") == (130, "", "swarmdem: stopped\n")


def test_a_taken_port_is_named(call):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        code, _, err = call("broker", "--port", port, "--kind", "embedded")

    assert code == 2
    assert f"port {port} on 127.0.0.1 is taken" in err


def test_the_module_is_the_command():
    answer = subprocess.run(
        [sys.executable, "-m", "swarmdem", "--version"], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "swarmdem 0.1.0\n"
