"""Local training of co-hosted peers, one by one and in one pass: `python benchmarks/vectorised.py`.

N learners of one module train a round on random data, 64 samples each (the median of the paper's devices),
batch 10, two epochs, with the pull of eq. 8: in as few passes as memory allows, then one after the other, in
turns, so that both meet the same machine. Models: the paper's CNN (834,922 parameters), the MLP of the peer
workload (28x28: 109,386) and of the packaged digits (8x8: 17,226). Without a GPU both run on one CPU
core and what is compared is CPU time; with `--device cuda` it is time.

Printed: seconds a round of both ways, their ratio, what `--vectorise auto` would choose, and how far the two
ways end from each other as a share of the way gone.
"""

import argparse

import numpy as np

from swarmdem.learning import cohort, models
from swarmdem.learning.learner import Dataset, Objective
from swarmdem.learning.meeting import Call
from swarmdem.learning.training import TorchLearner
from swarmdem.learning.vectorised import apart, seconds

SHAPES = {"cnn": ("cnn", (28, 28)), "mlp": ("mlp", (28, 28)), "digits": ("mlp", (8, 8))}


def siblings(model, peers, samples, optimizer, device):
    """Return learners of one module, each with data of its own."""
    network, shape = SHAPES[model]
    rng = np.random.default_rng(0)
    data = [
        Dataset(rng.normal(size=(samples, *shape)).astype(np.float32), rng.integers(0, 10, samples))
        for _ in range(peers)
    ]
    head = TorchLearner(models.build(network, shape, 10), data[0], optimizer=optimizer, device=device)
    return [head, *(head.sibling(own, seed=number) for number, own in enumerate(data[1:], 1))]


def compare(model, peers, samples, optimizer, device, rounds):
    """Print one line."""
    alone, together = (siblings(model, peers, samples, optimizer, device) for _ in range(2))
    start = alone[0].parameters()
    objective = Objective(anchor=start, pull=0.002)
    chosen = []
    cohort.train_all([Call(one, 0, objective) for one in together], "auto", chosen.append)
    cohort.forget(together[0].shared)
    for one in together:
        one.load(start)
    where, spent = together[0].shared.device, {"alone": 0.0, "together": 0.0}
    for round in range(1, rounds + 2):
        calls = [Call(one, round, objective) for one in together]
        begun = seconds(where)
        cohort.train_all(calls, "on", lambda verdict: None)
        between = seconds(where)
        for one in alone:
            one.train(round=round, objective=objective)
        if round > 1:  # the first round of the pass holds the trial
            spent["together"] += (between - begun) / rounds
            spent["alone"] += (seconds(where) - between) / rounds
    gap = apart([one.parameters() for one in alone], [one.parameters() for one in together], [start] * peers)
    print(
        f"{model:6s} {optimizer:4s} {peers:4d} peers on {where.type}  one by one {spent['alone']:.3f} s/round"
        f"  in passes {spent['together']:.3f} s/round  ratio {spent['alone'] / spent['together']:.2f}"
        f"  apart {gap:.1e}  auto: {chosen[0].why if chosen else 'nothing to choose'}",
        flush=True,
    )


def main():
    """Parse the command line and print a line for every combination."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--optimizers", nargs="+", choices=["sgd", "adam"], default=["sgd", "adam"])
    parser.add_argument("--peers", type=int, nargs="+", default=[50])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    for model in options.models:
        for optimizer in options.optimizers:
            for peers in options.peers:
                compare(model, peers, options.samples, optimizer, options.device, options.rounds)


if __name__ == "__main__":
    main()
