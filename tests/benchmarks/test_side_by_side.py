import json
import sys

import numpy as np
import pytest

from benchmarks import side_by_side
from benchmarks.rivals import runs, systems, tables, watching, workload
from benchmarks.rivals.systems import SYSTEMS, System
from benchmarks.rivals.watching import Mark
from swarmdem.learning.datasets import load

PROGRAM = """
import json, subprocess, sys, time
print("hello")
child = subprocess.Popen(
    [sys.executable, "-c", "import time; x = bytearray(60_000_000); print('up', flush=True); time.sleep(60)"],
    stdout=subprocess.PIPE, start_new_session=True,
)
child.stdout.readline()
for number in (1, 2):
    print("@@ " + json.dumps({"event": "round", "round": number}), flush=True)
sys.exit(int(sys.argv[1]))
"""


def run(tmp_path, code, program=PROGRAM, **limits):
    log = tmp_path / "log"
    bounds = {"limit_s": 30.0, "limit_bytes": 10**10} | limits
    return watching.watch([sys.executable, "-c", program, code], log=log, **bounds), log.read_text()


def test_a_process_that_left_the_tree_is_counted_and_not_left_behind(tmp_path):
    watched, log = run(tmp_path, "0")

    assert [mark.told["round"] for mark in watched.marks] == [1, 2]
    assert log == "hello\n"
    assert watched.processes == 2
    assert watched.peak_pss_bytes > 60_000_000
    assert watched.left == 1
    assert watched.failed == ""


def test_a_program_that_fails_says_why(tmp_path):
    watched, _ = run(tmp_path, "3")

    assert watched.failed == "ended with 3: hello"


def test_a_program_whose_work_is_done_need_not_end_by_itself(tmp_path):
    program = """if True:
        import time
        print('@@ {"event": "done", "accuracy": 0.5}', flush=True)
        time.sleep(60)
    """

    watched, _ = run(tmp_path, "0", program=program)

    assert [mark.told["accuracy"] for mark in watched.marks] == [0.5]
    assert watched.failed == ""
    assert watched.whole_s < 20


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"limit_s": 0.5}, "not finished within 0.5 s, 0 marks seen"),
        ({"limit_bytes": 1000}, "took more than"),
    ],
)
def test_a_program_that_takes_too_much_is_ended(tmp_path, limits, words):
    watched, _ = run(tmp_path, "0", program="import time; time.sleep(60)", **limits)

    assert watched.failed.startswith(words)
    assert watched.whole_s < 20


def test_the_first_round_counts_for_nothing_in_the_steady_figures():
    marks = [
        Mark(2.0, 5.0, {"event": "start"}),
        Mark(12.0, 10.0, {"event": "round", "round": 1}),
        Mark(13.0, 11.0, {"event": "round", "round": 2}),
        Mark(15.0, 14.0, {"event": "round", "round": 3}),
        Mark(15.5, 14.0, {"event": "done", "accuracy": 0.75, "bytes_per_round": 10}),
    ]

    figures = runs.rival_figures(marks, 3)

    assert figures == {
        "seconds": [10.0, 1.0, 2.0],
        "steady_s": 1.5,
        "steady_cpu_s": 2.0,
        "accuracy": 0.75,
        "bytes_per_round": 10,
    }


def record(system, peers, steady_s, **more):
    return {
        "system": system, "title": SYSTEMS[system].title, "peers": peers, "failed": "", "shims": "",
        "steady_s": steady_s, "steady_cpu_s": 2 * steady_s, "peak_pss_mb": 100.0 * steady_s,
        "bytes_per_round": 4_000_000, "whole_s": 10.0, "seconds": [3.0, 1.0], "accuracy": 0.5, **more,
    }  # fmt: skip


def test_the_table_has_medians_ratios_and_failures():
    records = [
        record("flower", 10, 1.0),
        record("swarmdem", 10, 0.4),
        record("swarmdem", 10, 0.5),
        record("swarmdem", 10, 0.9),
        record("p2pfl", 10, 0.0, failed="not finished within 300 s, 2 marks seen", shims="help"),
    ]

    lines = tables.table(records, tuple(SYSTEMS), "swarmdem").splitlines()

    assert lines[2] == ("| swarmdem | 10 | .50 | 1.00 | 1.00 | 1.00 | 50 | 1.00 | 4.0 | 9.0 | .500 |")
    assert lines[3].startswith("| Flower 1.41 simulation | 10 | 1.00 | 2.00 | 2.00 | 2.00 | 100 | 2.00 |")
    assert lines[4].startswith("| p2pfl 0.4.4, 4 train | 10 | failed |")
    assert lines[6:] == [
        "- p2pfl 0.4.4, 4 train, N = 10: not finished within 300 s, 2 marks seen",
        "- p2pfl 0.4.4, 4 train: help",
    ]


def test_the_workload_is_read_as_twenty_devices_of_sixty_four(tmp_path):
    workload.write(tmp_path / "a.npz")
    workload.write(tmp_path / "b.npz")

    samples = load(tmp_path / "a.npz", devices=20)

    assert samples.devices == 20
    with np.load(tmp_path / "a.npz") as file:
        assert np.bincount(file["device"][file["train"]]).tolist() == [64] * 20
        assert all(len(set(file["y"][file["device"] == device])) == 2 for device in range(20))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_workload_has_more_devices_than_a_byte_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(workload, "TRAINING", 1)
    monkeypatch.setattr(workload, "TESTING", 1)
    workload.write(tmp_path / "many.npz", devices=300)

    assert load(tmp_path / "many.npz", devices=1).devices == 300


def test_what_is_there_is_not_run_again(tmp_path, capsys, monkeypatch):
    (tmp_path / "flower-10-1.json").write_text(json.dumps(record("flower", 10, 1.0)))
    monkeypatch.setattr(side_by_side, "measured", None)

    side_by_side.main(["--out", str(tmp_path), "--systems", "flower", "--peers", "10"])

    assert "| Flower 1.41 simulation | 10 | 1.00 |" in capsys.readouterr().out
    assert (tmp_path / "table.md").exists()


def test_an_unknown_system_is_one_line_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        side_by_side.main(["--out", str(tmp_path), "--systems", "flowers"])

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("--systems flowers: unknown; there are swarmdem, ")


def test_an_installation_that_fails_is_a_row(tmp_path, monkeypatch):
    workload.write(tmp_path / "data.npz", devices=1)
    monkeypatch.setattr(systems.venv, "create", lambda folder, with_pip: fake_python(folder))
    rival = System(title="nobody", environment="nobody", packages=("nobody==1",), program="run_nobody.py")

    found = runs.measured(
        "nobody", rival, peers=2, rounds=1, data=tmp_path / "data.npz", cache=tmp_path / "cache",
        log=tmp_path / "log.txt", bounds=runs.Bounds(),
    )  # fmt: skip

    assert found["failed"].startswith("pip install torch==")


def fake_python(folder):
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
