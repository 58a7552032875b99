"""A bare loop over the peer workload: train N models one after the other, average them, nothing else.

    python -m swarmdem.apps.bench.bare DATA MODEL OPTIMIZER PEERS ROUNDS

What a round of a swarm is held against. Prints one JSON object: `round_s` and `cpu_s`, medians of the rounds
after the first ones, on one core. A process of its own, so that the measuring one loads no torch.
"""

import json
import statistics
import sys
import time

import numpy as np

from swarmdem.apps.settings import SwarmSettings
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load_for
from swarmdem.learning.learner import Objective
from swarmdem.learning.scaling import standardization

WARM_ROUNDS = 2


def main(data: str, model: str, optimizer: str, peers: int, rounds: int) -> None:
    """Measure and print."""
    samples = load_for(SwarmSettings(data=data, peers=peers), devices=peers)
    devices = DeviceData(samples, standardization(samples, "global"))
    learners = build_learners(
        model, [devices.device(number) for number in range(peers)], shape=devices.shape,
        classes=devices.outputs, settings=TrainingSettings(optimizer=optimizer),
    )  # fmt: skip
    seconds, cpu = [], []
    for round in range(1, rounds + 1):
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        for learner in learners:
            learner.train(round=round, objective=Objective())
        models = [learner.parameters() for learner in learners]
        mean = {name: np.mean([each[name] for each in models], axis=0) for name in models[0]}
        for learner in learners:
            learner.load(mean)
        seconds.append(time.perf_counter() - begun_s)
        cpu.append(time.process_time() - begun_cpu_s)
    steady = slice(WARM_ROUNDS, None) if rounds > WARM_ROUNDS else slice(-1, None)
    told = {"round_s": statistics.median(seconds[steady]), "cpu_s": statistics.median(cpu[steady])}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
