"""The recomputation of a run follows every setting, and notices what does not follow from the evidence."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

RECOMPUTE = Path(__file__).parent / "recompute.py"
SMALL = ["--model", "softmax", "--patience", "2", "--peers", "6", "--rounds", "3", "--workers", "1",
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


def record(folder, flags):
    command = [sys.executable, "-m", "swarmdem", "swarm", *SMALL, "--out", str(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def recompute(folder):
    done = subprocess.run([sys.executable, RECOMPUTE, folder], capture_output=True, text=True, check=False)
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) of (\w+)", done.stdout)}
    return done.returncode, done.stdout, counts


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stranger_recomputes_every_kind_of_run(tmp_path, name):
    record(tmp_path / "run", SETTINGS[name])
    code, said, counts = recompute(tmp_path / "run")

    assert code == 0, said
    assert counts["applied"] == counts["upload"] == 18
    assert counts["tree"] == 12


@pytest.mark.parametrize(
    ("changed", "value"), [("tau", 2), ("hysteresis", 9), ("time", 7), ("clock", [1, 2, 3])]
)
def test_a_plan_that_says_another_number_is_noticed(recorded, changed, value):
    path = recorded / "record" / "round-0003" / "certificate.json"
    certificate = json.loads(path.read_text())
    before, certificate[changed] = certificate[changed], value
    path.write_text(json.dumps(certificate))
    code, said, _ = recompute(recorded)
    path.write_text(json.dumps(certificate | {changed: before}))

    assert code == 1
    assert f"{changed} is" in said


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A plain recorded run."""
    folder = tmp_path_factory.mktemp("recompute") / "run"
    record(folder, [])
    return folder
