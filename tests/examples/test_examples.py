"""Every example runs as it is written and does what its first lines promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.device_data import write_sensors, write_stations

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def sensors(tmp_path):
    return write_sensors(tmp_path / "vehicles")


@pytest.fixture
def stations(tmp_path):
    return write_stations(tmp_path / "air")


@pytest.fixture
def one_core():
    """Let each swarm have one worker: loading torch in two takes longer than these runs."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def run(name, *arguments):
    """Run an example with warnings as errors; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def percentages(text):
    return [int(number) for number in re.findall(r"(\d+)%", text)]


def test_every_example_is_tested():
    named = set(re.findall(r"run\(\"(\w+\.py)\"", Path(__file__).read_text()))

    assert named == {path.name for path in EXAMPLES.glob("*.py")}


def test_two_peers_learn_both_halves_of_the_digits():
    shares = percentages(run("01_two_peers.py"))

    assert len(shares) == 2
    assert min(shares) > 75, "alone a peer cannot get more than half right"


def test_a_laptop_swarm_generalises():
    shares = [float(share) for share in re.findall(r"everybody's data ([\d.]+)", run("02_laptop_swarm.py"))]

    assert len(shares) == 3
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.7


def test_an_application_predicts_while_its_peer_learns():
    output = run("03_embedded_peer.py")

    assert re.findall(r"round (\d+): applied", output) == [str(round) for round in range(1, 9)]
    assert int(re.search(r"(\d+) predictions", output)[1]) > 5
    assert "alarm for a bad reading: True" in output


def test_peers_run_without_asyncio():
    shares = percentages(run("04_without_asyncio.py"))

    assert len(shares) == 3
    assert min(shares) > 70


def test_a_custom_learner_finds_the_line_together():
    lines = re.findall(r"in the swarm +([-\d.]+) x +([-+\d.]+)", run("05_custom_learner.py"))

    assert len(lines) == 4
    assert len(set(lines)) == 1, "all end with one line"
    assert all(abs(float(slope) - 3) < 0.3 and abs(float(offset) + 1) < 0.5 for slope, offset in lines)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.usefixtures("one_core")
def test_sensors_are_compared_under_three_strategies(sensors):
    output = run("06_vehicle_sensors.py", sensors, "--rounds", "2", "--splits", "1")

    rows = re.findall(r"^(local only|FedAvg|DemLearn) +([\d.]+) +([\d.]+) +([\d.]+)$", output, re.M)
    assert [row[0] for row in rows] == ["local only", "FedAvg", "DemLearn"]
    assert all(0.5 < float(share) <= 1 for row in rows for share in row[1:3])


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.usefixtures("one_core")
def test_stations_are_compared_with_persistence_under_three_strategies(stations):
    output = run("07_beijing_air.py", stations, "--rounds", "2", "--every", "1")

    rows = re.findall(r"^(Dongsi|Tiantan|all samples) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", output, re.M)
    assert [row[:2] for row in rows] == [("Dongsi", "6.00"), ("Tiantan", "12.00"), ("all samples", "9.00")]
    assert all(float(error) < 60 for row in rows for error in row[2:])
