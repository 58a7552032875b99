"""Real processes over real brokers: a small torment from beginning to end, and one that is broken off."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from swarmdem.apps import cli
from swarmdem.apps.reading import read_run
from swarmdem.apps.report.command import write_report
from swarmdem.apps.torment.history import FILE, Line, read_history

COMMAND = [sys.executable, "-m", "swarmdem", "torment", "--model", "softmax", "--patience", "3"]


def lines_of(folder: Path) -> list[Line]:
    return list(read_history(folder)) if (folder / FILE).exists() else []


def swarmdem(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, timeout=400)


def left_over(lines: list[Line]) -> list[int]:
    """Return the processes of a run that still live."""
    pids = [line.entry["pid"] for line in lines if line.what in {"start", "broker_start"}]
    return [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.timeout(450)
def test_five_peers_two_brokers_an_aggregator_killed_and_a_broker_lost(tmp_path: Path):
    folder = tmp_path / "run"
    faults = ["--no-stops", "--no-links", "--partitions", "0", "--replace", "0.2", "--broker-every", "2"]
    size = ["--peers", "5", "--brokers", "2", "--rounds", "4", "--evaluate-every", "1"]
    ended = swarmdem(*size, *faults, "--out", "run", cwd=tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = lines_of(folder)
    done = Counter(line.what for line in lines)
    assert done["kill"] >= 1
    assert done["replaced"] == 1
    assert done["broker_kill"] + done["broker_stop"] >= 1
    assert (done["calm"], done["end"], done["exit"]) == (1, 1, 0)
    assert left_over(lines) == []
    verdict = json.loads((folder / "verdict.json").read_text())
    assert (verdict["findings"], verdict["ended"]) == ([], True)
    run = read_run(folder)
    assert len(run.rounds) >= 4
    assert run.evaluated, "whoever applied a result was measured"
    assert len(run.peers) == 6, "five and a newcomer"
    assert write_report(folder, None).stat().st_size > 10_000

    again = swarmdem("--check", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines() == ended.stdout.splitlines()[-len(again.stdout.splitlines()) :]


@pytest.mark.timeout(300)
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path):
    folder = tmp_path / "run"
    run = subprocess.Popen(
        [*COMMAND, "--peers", "3", "--brokers", "1", "--broker", "embedded", "--out", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    end_s = time.monotonic() + 120
    while sum(line.what == "start" for line in lines_of(folder)) < 3:
        assert time.monotonic() < end_s
        assert run.poll() is None
        time.sleep(0.05)

    os.kill(run.pid, signal.SIGINT)

    said, errors = run.communicate(timeout=120)
    assert run.returncode == 130
    assert said.splitlines()[-1] == (
        f"stopped; {folder / FILE} holds what happened: swarmdem torment --check {folder} judges it"
    )
    assert "Traceback" not in errors
    lines = lines_of(folder)
    assert lines[-1].entry["done"] is False
    assert left_over(lines) == []
    judged = swarmdem("--check", str(folder), cwd=tmp_path)
    assert "Traceback" not in judged.stderr
    assert judged.stdout.startswith("torment of 3 peers, 1 brokers")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--brokers", "0"], "--brokers 0: must be 1 to 16"),
        (["--cells", "8"], "No such option: --cells"),
        (["--broker", "memory"], "--broker memory: must be one of auto, mosquitto, nats, embedded"),
        (["--check", "nowhere"], "nowhere/history.jsonl: No such file or directory"),
        (["--compare", "nowhere"], "nowhere: no such folder"),
        (["--check", "somewhere", "--out", "there"], "--out: --check writes to the folder it checks"),
    ],
)
def test_a_mistake_gets_one_line_and_code_two(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["swarmdem", "torment", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
