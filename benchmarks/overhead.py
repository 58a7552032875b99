"""What the swarm costs beyond training: `python benchmarks/overhead.py [DATA.npz]`.

The peer workload: N nodes with 64 samples each, the MLP of 109,386 parameters, Adam .001, batch 10, two
local epochs. A bare loop (no messages, no digests, averaging in place) and `swarmdem swarm` over
mosquitto run one after the other on the same machine, because absolute times drift; compare
within one call. Without a data file the packaged digits stand in (8x8, 17,226 parameters).

Printed per N and levels: seconds per round of both, CPU milliseconds per peer and round that are neither
training nor evaluation, peak PSS of all processes, bytes sent over the least possible: with one
aggregator (N uploads and N downloads of the model a round), and with the round's own tree (a mean
up and a result down more for every group below the root). Then: PSS of one idle numpy peer, and of
one idle torch peer above a bare script that trained the same model once.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from swarmdem.apps.accounting import pss_bytes
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load
from swarmdem.learning.learner import Objective
from swarmdem.learning.scaling import standardization

SETTLE_S = 4.0
"""Before the memory of an idle peer is read."""
WARM_ROUNDS = 2
"""Rounds left out of the per-round figures: the first training of a process imports the optimizer."""

BARE_SCRIPT = """
import sys, time
import torch
torch.set_num_threads(1)
from swarmdem.learning.models import build
from swarmdem.learning.datasets import DeviceData, load
from swarmdem.learning.scaling import standardization
samples = load(sys.argv[1], devices=10)
x, y = DeviceData(samples, standardization(samples, "global")).device(0)[0].x, None
data = DeviceData(samples, standardization(samples, "global")).device(0)[0]
x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
model = build("mlp", data.x.shape[1:], samples.classes)
optimizer = torch.optim.Adam(model.parameters(), 0.001)
for batch in torch.randperm(len(x)).split(10):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    optimizer.step()
print("ready", flush=True)
time.sleep(600)
"""


def bare_round_s(data, peers, rounds):
    """Return the median seconds of a round that only trains N learners and averages them."""
    samples = load(data, devices=peers)
    devices = DeviceData(samples, standardization(samples, "global"))
    learners = build_learners(
        "mlp", [devices.device(number) for number in range(peers)], shape=devices.shape,
        classes=devices.classes, settings=TrainingSettings(optimizer="adam", lr=0.001),
    )  # fmt: skip
    seconds = []
    for round in range(1, rounds + 1):
        begun = time.perf_counter()
        for learner in learners:
            learner.train(round=round, objective=Objective())
        models = [learner.parameters() for learner in learners]
        mean = {name: np.mean([model[name] for model in models], axis=0) for name in models[0]}
        for learner in learners:
            learner.load(mean)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[WARM_ROUNDS:])


def swarm(data, peers, rounds, workers, levels, out):
    """Run the swarm and return (rows, groups per round, summary, bytes of one model)."""
    subprocess.run(
        [sys.executable, "-m", "swarmdem", "swarm", "--peers", str(peers), "--data", data, "--model", "mlp",
         "--optimizer", "adam", "--lr", "0.001", "--rounds", str(rounds), "--evaluate-every", str(rounds),
         "--broker", "mosquitto", "--workers", str(workers), "--levels", str(levels), "--out", str(out)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rows = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert all(row["certified"] and row["applied"] == peers for row in rows), (
        "a round went wrong: see the rows"
    )
    model = next((out / "state" / "0" / "models").glob("own-*")).stat().st_size
    trees = [json.loads(line) for line in (out / "trees.jsonl").read_text().splitlines()]
    groups = [len(tree["groups"]) for tree in trees]
    return rows, groups, json.loads((out / "summary.json").read_text()), model


def report(data, peers, rounds, workers, levels):
    """Print one line for N = *peers*."""
    bare_s = bare_round_s(data, peers, rounds)
    with tempfile.TemporaryDirectory() as folder:
        rows, groups, summary, model = swarm(data, peers, rounds, workers, levels, Path(folder) / "run")
    steady = rows[WARM_ROUNDS:]
    other = [row["cpu_s"] - row["train_cpu_s"] - row["evaluate_cpu_s"] for row in steady]
    whole = summary["cpu_s"] - summary["train_cpu_s"] - summary["evaluate_cpu_s"]
    sent = statistics.mean(row["bytes_sent"] for row in steady)
    one = 2 * peers * model
    tree = statistics.mean(2 * (peers + count - 1) * model for count in groups[WARM_ROUNDS:])
    print(
        f"N {peers:3d}, levels {levels}  bare loop {bare_s:.3f} s/round (1 core)"
        f"  swarm {median_wall(steady):.3f} s/round"
        f"  overhead {1000 * statistics.mean(other) / peers:.1f} ms/peer/round"
        f" ({1000 * whole / peers / len(rows):.1f} with starting up, over {len(rows)} rounds)"
        f"  peak PSS {summary['peak_pss_mb']:.0f} MB  sent {sent / 1e6:.2f} MB/round,"
        f" {sent / one:.3f} x one aggregator's least, {sent / tree:.3f} x its tree's"
    )


def median_wall(rows):
    """Return the median length of a round in seconds."""
    return statistics.median(row["wall_s"] for row in rows)


def idle_pss_mb(arguments, ready):
    """Start a program, wait for its first line that holds *ready*, return its PSS once it has settled."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if ready in line:
                break
        time.sleep(SETTLE_S)
        return pss_bytes(process.pid) / 1e6
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def report_idle(data):
    """Print the memory of a peer that founded alone, finished its rounds and waits."""
    with tempfile.TemporaryDirectory() as folder:
        broker = subprocess.Popen(
            [sys.executable, "-m", "swarmdem", "broker", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        broker.stdout.readline()
        url = broker.stdout.readline().split()[-1]
        figures = {}
        for model in ("softmax", "mlp"):
            charter = Path(folder) / f"{model}.toml"
            subprocess.run(
                [sys.executable, "-m", "swarmdem", "charter", str(charter), "--swarm", model,
                 "--model", model,
                 "--data", data, "--founders", "1", "--patience", "4"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            peer = ["-m", "swarmdem", "peer", "--charter", str(charter), "--broker", url, "--data", data,
                    "--model", model, "--state", str(Path(folder) / model)]  # fmt: skip
            figures[model] = idle_pss_mb(peer, "round 1:")
        bare = idle_pss_mb(["-c", BARE_SCRIPT, data], "ready")
        broker.terminate()
        broker.wait()
        broker.stdout.close()
    print(
        f"idle PSS: numpy peer {figures['softmax']:.0f} MB; torch peer {figures['mlp']:.0f} MB, "
        f"bare script {bare:.0f} MB, above it {figures['mlp'] - bare:.0f} MB"
    )


def main():
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "data", nargs="?", default="digits", help="peer-workload .npz; default: packaged digits"
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 0])
    options = parser.parse_args()
    for peers in options.peers:
        for levels in options.levels:
            report(options.data, peers, options.rounds, options.workers, levels)
    report_idle(options.data)


if __name__ == "__main__":
    main()
