"""Whole swarms on this machine, through the command line, in processes of their own."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file, save_file

from swarmdem.apps import swarm
from swarmdem.apps.pipes import Prepared, Score
from swarmdem.apps.settings import SwarmSettings
from swarmdem.wire.charter import Charter, TensorSpec

RECOMPUTE = Path(__file__).parents[1] / "recompute.py"
COMMAND = [sys.executable, "-m", "swarmdem", "swarm"]
SMALL = ["--model", "softmax", "--patience", "4"]


def run(*arguments, code=0):
    """Run a swarm to its end; return what it printed."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def run_here(printed_by):
    """Run a swarm whose coordinator is this process; return what it printed."""
    return partial(printed_by, "swarm")


def rows(folder, name="rounds.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A small recorded run over a real broker: 6 peers in 2 processes, 3 rounds."""
    folder = tmp_path_factory.mktemp("runs") / "recorded"
    run(*SMALL, "--peers", 6, "--rounds", 3, "--workers", 2, "--broker", "embedded",
        "--record", "--evaluate-every", 2, "--evaluate", "both", "--out", folder)  # fmt: skip
    return folder


def test_every_round_is_certified_and_applied_by_all(recorded):
    found = rows(recorded)

    assert [row["round"] for row in found] == [1, 2, 3]
    assert all(row["certified"] and row["applied"] == row["peers"] == 6 for row in found)
    assert all(
        row["skipped_groups"] == 0 and row["bytes_sent"] > 0 and row["messages_sent"] > 0 for row in found
    )


def test_metrics_are_there_in_evaluated_rounds_alone(recorded):
    first, second, third = rows(recorded)

    assert "c_gen" not in first
    for row in (second, third):
        for name in ("c_spe", "c_gen"):
            assert all(0 < row[name][when] <= 1 for when in ("after_training", "after_update"))
        assert row["global"]["after_training"] is None
        assert row["global"]["after_update"] == row["g_gen"]["after_update"]["4"]
        assert set(row["g_spe"]["after_update"]) == set(row["g_gen"]["after_update"])


def test_trees_name_every_peer_and_every_aggregator(recorded):
    ids = {path.stem for path in (recorded / "peers").glob("*.jsonl")}

    for row in rows(recorded, "trees.jsonl"):
        assert row["certified"]
        root = row["groups"][0]
        assert (root["level"], root["parent"]) == (4, None)
        assert set(root["members"]) == set(root["included"]) == ids
        assert sorted(leaf for group in row["groups"] for leaf in group["leaves"]) == sorted(ids)
        assert all(group["aggregator"] in ids and group["term"] == 0 for group in row["groups"])


@pytest.mark.parametrize(
    ("arguments", "schema"), [(["--strategy", "gossip"], 2), (["--private", "bias", "--levels", "1"], 1)]
)
def test_without_a_whole_model_of_all_there_is_no_global(run_here, tmp_path, arguments, schema):
    run_here(*SMALL, *arguments, "--peers", 4, "--rounds", 2, "--broker", "memory", "--evaluate-every", 1,
             "--out", tmp_path / "run")  # fmt: skip

    for row in rows(tmp_path / "run"):
        assert (row["applied"], row["skipped_groups"], row["metric"]) == (4, 0, "accuracy")
        assert row["global"] == {"after_training": None, "after_update": None}
        assert len(row["per_peer"]) == 4
        assert all(0 < scores["c_gen"] < 1 for scores in row["per_peer"].values())
    tables = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert len(tables["charter"]["schema"]) == schema


def test_models_and_summary_are_written_at_the_end(recorded):
    ids = {path.stem for path in (recorded / "peers").glob("*.jsonl")}
    summary = json.loads((recorded / "summary.json").read_text())

    assert {path.stem for path in (recorded / "models").iterdir()} == ids | {"root"}
    assert (summary["rounds"], summary["certified_rounds"], summary["peers"]) == (3, 3, 6)
    assert summary["broker"] == "embedded"
    assert summary["final"]["round"] == 3
    assert summary["cpu_s"] > summary["train_cpu_s"] > 0
    assert summary["bytes_sent"] == sum(row["bytes_sent"] for row in rows(recorded))
    assert summary["peak_pss_mb"] > 10


def test_run_toml_holds_the_charter_the_peers_agreed_on(recorded):
    tables = tomllib.loads((recorded / "run.toml").read_text())

    assert tables["charter"]["founders"] == 6
    assert tables["charter"]["levels"] == 3
    assert [spec["name"] for spec in tables["charter"]["schema"]] == ["bias", "weight"]


def test_what_stands_for_auto_and_for_a_number_of_bytes_is_said(recorded):
    schema = (TensorSpec("w", (1000, 100), "float32"),)
    prepared = Prepared(schema, (), Score(0, 1), metric="accuracy", devices=1, device="cuda")

    def chosen(budget):
        charter = Charter(swarm="s", schema=schema, codec=budget)
        return dict(swarm._chosen(SwarmSettings(), charter, prepared, "nats"))

    assert chosen("399999") == {"broker": "nats", "device": "cuda", "codec": "fp16"}
    assert chosen("20000")["codec"] == "topk"
    assert "codec" not in chosen("int8")
    tables = tomllib.loads((recorded / "run.toml").read_text())
    assert {"setting": "device", "value": "cpu"} in tables["chosen"]


def test_a_stranger_recomputes_the_run_from_its_evidence(recorded):
    done = subprocess.run([sys.executable, RECOMPUTE, recorded], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) of (\w+)", done.stdout)}
    assert counts["applied"] == counts["upload"] == counts["journal"] == 18
    assert counts["tree"] == 12
    assert counts["mean"] == counts["group"] >= 3


@pytest.mark.parametrize("kind", ["upload", "mean", "group", "applied"])
def test_the_recomputation_notices_one_changed_number(recorded, tmp_path, kind):
    changed = tmp_path / "run"
    shutil.copytree(recorded, changed)
    path = sorted((changed / "record" / "round-0002").glob(f"{kind}-*"))[0]
    arrays = load_file(path)
    arrays["weight"] = arrays["weight"].copy()
    arrays["weight"][0, 0] += np.float32(1e-4)
    save_file(arrays, path)

    check = recompute().check_run(changed)

    assert any(kind in difference for difference in check.differences)


def test_the_recomputation_notices_a_peer_in_another_group(recorded, tmp_path):
    changed = tmp_path / "run"
    shutil.copytree(recorded, changed)
    path = changed / "record" / "round-0002" / "certificate.json"
    certificate = json.loads(path.read_text())
    peer = next(
        peer for peer, group in certificate["parents"].items() if group != certificate["groups"][0]["id"]
    )
    certificate["parents"][peer] = certificate["groups"][0]["id"]
    path.write_text(json.dumps(certificate))

    assert any("tree" in difference for difference in recompute().check_run(changed).differences)


def recompute():
    spec = importlib.util.spec_from_file_location("recompute", RECOMPUTE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["recompute"] = module
    spec.loader.exec_module(module)
    return module


FAILING = """
from swarmdem import Strategy

class Failing(Strategy):
    name = "failing"

    def train(self, learner, task):
        if task.round == 2 and SOME:
            raise ZeroDivisionError("no sensor")
        return super().train(learner, task)
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--lr", "1e30"],
            r"in round 1: 'weight' holds values .* a lower step size than --lr 1e\+30 may help",
        ),
        (["--strategy", "failing:Failing"], "in round 2: ZeroDivisionError: no sensor$"),
    ],
)
def test_a_run_whose_training_fails_everywhere_ends_with_one_line(tmp_path, monkeypatch, arguments, words):
    (tmp_path / "failing.py").write_text(FAILING.replace("SOME", "True"))
    monkeypatch.chdir(tmp_path)

    printed = run(
        *SMALL, "--patience", 1, *arguments, "--peers", 3, "--broker", "memory", "--out", "run", code=1
    )

    assert re.search(rf"^swarmdem: training fails at (all )?\d( of \d)? peers {words}", printed, re.MULTILINE)
    tables = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert tables["failed"][0]["why"] in printed


def test_one_peer_whose_training_fails_ends_nothing(tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(FAILING.replace("SOME", "learner.samples % 2"))
    monkeypatch.chdir(tmp_path)

    run(*SMALL, "--patience", 2, "--strategy", "failing:Failing", "--peers", 4, "--rounds", 3,
        "--broker", "memory", "--out", "run")  # fmt: skip

    assert [row["applied"] for row in rows(tmp_path / "run")] == [4, 3, 4]


def test_a_run_goes_on_where_it_stopped_even_one_of_an_earlier_version(run_here, tmp_path):
    folder = tmp_path / "run"
    run_here(*SMALL, "--peers", 3, "--rounds", 2, "--broker", "memory", "--out", folder)
    before = (folder / "rounds.jsonl").read_text()
    written = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(written.replace("[settings]\n", "[settings]\nholdout_seed = 7\n"))

    run_here("--resume", folder, "--rounds", 4)

    after = (folder / "rounds.jsonl").read_text()
    assert after.startswith(before)
    assert [row["round"] for row in rows(folder)] == [1, 2, 3, 4]
    assert all(row["certified"] and row["applied"] == 3 for row in rows(folder))
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 4
    assert "has its 4 rounds already" in run_here("--resume", folder, code=2)


def test_a_run_does_not_go_on_with_other_data(run_here, tmp_path):
    def write(brightest):
        y = np.arange(40) % 2
        x = np.where(y[:, None] > 0, brightest, 3).repeat(5, 1).astype(np.uint8)
        np.savez(tmp_path / "d.npz", x=x, y=y, device=np.arange(40) // 20, train=np.arange(40) % 5 > 0)

    folder = tmp_path / "run"
    write(200)
    run_here(*SMALL, "--peers", 2, "--rounds", 1, "--broker", "memory", "--data", tmp_path / "d.npz",
             "--out", folder)  # fmt: skip
    write(100)

    printed = run_here("--resume", folder, "--rounds", 2, code=2)

    assert "d.npz is not the data the run began with" in printed
    assert len(rows(folder)) == 1


def test_more_peers_than_devices_and_what_a_regression_measures_are_said(run_here, tmp_path):
    chance = np.random.default_rng(0)
    x = chance.normal(size=(60, 3)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=(100 * x[:, 0]).astype(np.float32), device=np.arange(60) % 3,
             train=np.arange(60) % 5 > 0)  # fmt: skip

    printed = run_here("--data", tmp_path / "d.npz", "--model", "mlp", "--lr", 1e-4, "--peers", 4,
                       "--rounds", 1, "--broker", "memory", "--out", tmp_path / "run")  # fmt: skip

    assert "4 peers in 1 process, demlearn, memory\n" in printed
    whole, rounds = map(float, re.search(r"; CPU (\S+) s, in rounds (\S+) \(training ", printed).groups())
    assert whole > rounds
    assert "d.npz is of 3 devices: peer 3 trains on the data of device 0 again, and so on\n" in printed
    measured = r"C-SPE error \S+, C-GEN error \S+, Global error \S+"
    assert re.search(rf"round 1: {measured} \(mean absolute error, in the unit of the targets\)\n", printed)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["metric"] == "mae"


def test_equal_seeds_give_equal_peers_and_models_to_start_from(run_here, tmp_path):
    settings = (*SMALL, "--peers", 2, "--rounds", 1, "--broker", "memory", "--seed", 5)
    for name in ("one", "two"):
        run_here(*settings, "--out", tmp_path / name)

    peers = [sorted(path.stem for path in (tmp_path / name / "peers").iterdir()) for name in ("one", "two")]
    references = [sorted(p.name for p in (tmp_path / name).rglob("reference-*")) for name in ("one", "two")]
    assert peers[0] == peers[1]
    assert references[0] == references[1]


COORDINATOR = """
import asyncio
from pathlib import Path

from swarmdem.apps import cli, crew

restart = crew.Crew.restart

async def restart_once_allowed(self, *job):
    while not Path("allowed").exists():
        await asyncio.sleep(0.01)
    return await restart(self, *job)

crew.Crew.restart = restart_once_allowed
cli.main()
"""
"""The command line, where a worker that died stays away until there is a file called `allowed`."""


@pytest.fixture
def running(tmp_path):
    """A swarm of 3 peers in 3 workers that would run for long; returns (process, run folder)."""
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, "swarm", *SMALL, "--patience", "2", "--peers", "3",
         "--rounds", "100000", "--workers", "3", "--broker", "embedded", "--out", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        next_line(process, "^round 2 ")
        yield process, folder
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def children_of(process, part=""):
    """Return the processes it started whose command line has an argument *part*; all without."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if not part or part in child.cmdline()]


def next_line(process, pattern):
    """Return the next line that matches; fails when the run ends first."""
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"the run ended before {pattern!r}")


def end(process, sign, code):
    """Send a signal to the coordinator; fail when one of the processes it started outlives it."""
    children = children_of(process)
    assert len(children) == 4, "three workers and a broker"

    os.kill(process.pid, sign)
    process.stdout.read()  # else it might wait for its reader

    assert process.wait(timeout=60) == code
    _, alive = psutil.wait_procs(children, timeout=60)
    for left in alive:
        left.kill()
    assert alive == []


def test_a_killed_worker_is_started_again_the_others_go_on_meanwhile_and_ctrl_c_ends_all(running):
    process, folder = running
    workers = children_of(process, "swarmdem.apps.worker")

    workers[0].kill()
    told = next_line(process, "worker . ended")
    next_line(process, r"certified yes 2/2")
    (folder.parent / "allowed").touch()
    line = next_line(process, r"certified yes 3/3")

    assert re.fullmatch(
        r"worker . ended \(killed by signal 9\); it is started again in 1 s, and its 1 peer with it\n", told
    )
    assert int(line.split()[1]) <= rows(folder)[-1]["round"]
    assert min(row["bytes_sent"] for row in rows(folder)) > 0, "counters go on from where they were"
    again = {worker.pid for worker in children_of(process, "swarmdem.apps.worker")}
    assert len(again) == 3
    assert again & {worker.pid for worker in workers} == {worker.pid for worker in workers[1:]}
    end(process, signal.SIGINT, 130)


def test_no_process_outlives_a_coordinator_that_is_killed(running):
    end(running[0], signal.SIGKILL, -signal.SIGKILL)
