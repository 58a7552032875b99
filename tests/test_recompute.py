"""The recomputation of a run follows every setting, and notices what does not follow from the evidence."""

import json
import subprocess
import sys

import pytest

from tests import recompute

SMALL = ["--model", "softmax", "--patience", "4", "--peers", "6", "--rounds", "3", "--workers", "1",
         "--broker", "memory", "--record", "--evaluate-every", "9"]  # fmt: skip

SETTINGS = {
    "gossip": ["--strategy", "gossip"],
    "local": ["--strategy", "local"],
    "extras": ["--strategy", "scaffold"],
    "moving means": [
        "--schedule", "gamma=1,.5", "--schedule", "gain=1.15", "--schedule", "mixing=.8,.5", "--levels", "2",
    ],
    "all levels": [
        "--cut", "maxclust", "--cuts", "3,2", "--levels", "2", "--pull-to", "all", "--linkage", "ward",
    ],
    "kept trees": [
        "--cut", "threshold", "--cuts", ".4,.7", "--levels", "2", "--min-size", "2", "--hysteresis", "26",
        "--tau", "2", "--metric", "cosine", "--drift", "2",
    ],
}  # fmt: skip
"""Flags by what they try."""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stranger_recomputes_every_kind_of_run(call, tmp_path, name):
    """As the script does that `apps/test_swarm.py` runs."""
    left, _, said = call("swarm", *SMALL, "--out", tmp_path / "run", *SETTINGS[name])
    assert left == 0, said

    check = recompute.check_run(tmp_path / "run")

    assert check.differences == []
    assert check.compared["applied"] == check.compared["upload"] == 18
    assert check.compared["tree"] == 12


@pytest.mark.parametrize(
    ("changed", "value"), [("tau", 2), ("hysteresis", 9), ("time", 7), ("clock", [1, 2, 3])]
)
def test_a_plan_that_says_another_number_is_noticed(recorded, changed, value):
    path = recorded / "record" / "round-0003" / "certificate.json"
    certificate = json.loads(path.read_text())
    before, certificate[changed] = certificate[changed], value
    path.write_text(json.dumps(certificate))
    found = recompute.check_run(recorded).differences
    path.write_text(json.dumps(certificate | {changed: before}))

    assert any(f"{changed} is" in difference for difference in found)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A plain recorded run."""
    folder = tmp_path_factory.mktemp("recompute") / "run"
    command = [sys.executable, "-m", "swarmdem", "swarm", *SMALL, "--out", folder]
    subprocess.run(command, capture_output=True, check=True)
    return folder
