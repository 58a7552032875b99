"""What codecs cost in accuracy and save in bytes: `python benchmarks/codecs.py mnist-50.npz --model cnn`.

One process, no messages, and one tree for all: 8 groups of neighbouring devices, in 4, in 2, in the root.
So the codecs differ in what they do to models and in nothing else, while two runs of a real swarm also
differ in who was late and in the trees that follow. Encoding, averaging and mixing are the peers' own
(`node/packing.py`); DemLearn with its defaults. Real swarms: `swarmdem experiment codecs`.

Printed for each codec: C-SPE, C-GEN and Global (means of the last rounds, after the update), the bytes of
all models sent as a share of raw ones, and CPU seconds of all but training and evaluation.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from swarmdem.learning.aggregation import RunningMean, mix
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DIGITS, DeviceData, load
from swarmdem.learning.learner import Dataset, Objective
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.scaling import standardization
from swarmdem.node.models import Model, model_of
from swarmdem.node.packing import EXACT, Packing, root_of
from swarmdem.wire.charter import Charter

WIDTHS = (8, 4, 2, 1)
"""Groups by level, the root last."""


@dataclass
class Peer:
    """What a peer stands on."""

    own: Model
    packing: Packing
    result: Model | None = None
    kept: Model | None = None


@dataclass
class Tally:
    """What one codec came to."""

    scores: list = field(default_factory=list)
    sent: int = 0
    raw: int = 0
    cpu_s: float = 0.0

    def send(self, model, reference):
        self.sent += model.info.total_bytes
        self.raw += reference.info.total_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default=DIGITS)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--last", type=int, default=10, help="rounds that are measured")
    parser.add_argument("--mixing", type=float, default=0.6)
    parser.add_argument("--codecs", default="raw,fp16,int8,topk")
    given = parser.parse_args()
    samples = load(given.data, devices=10)
    data = DeviceData(samples, standardization(samples, "global"))
    parts = [data.device(number) for number in range(data.devices)]
    print(f"{'codec':<10} {'C-SPE':>7} {'C-GEN':>7} {'Global':>7} {'bytes':>7} {'CPU s':>7}", flush=True)
    for codec in given.codecs.split(","):
        tally = run(codec, given, data, parts)
        spe, gen, root = np.mean(tally.scores, axis=0)
        share = tally.sent / tally.raw
        print(f"{codec:<10} {spe:7.4f} {gen:7.4f} {root:7.4f} {share:7.4f} {tally.cpu_s:7.1f}", flush=True)


def run(codec, given, data, parts):
    """Return what the rounds of one codec came to."""
    learners = build_learners(
        given.model, parts, shape=data.shape, classes=data.classes, settings=TrainingSettings(device="cpu")
    )
    genesis = learners[0].parameters()
    schema = schema_of(genesis)
    charter = Charter(swarm="codecs", schema=schema, codec=codec, mixing=given.mixing)
    reference = model_of(genesis, schema)
    peers = [Peer(reference, Packing(charter, (schema,))) for _ in learners]
    tests = [test for _, test in parts]
    everything = Dataset(np.concatenate([t.x for t in tests]), np.concatenate([t.y for t in tests]))
    tally = Tally()
    for number in range(1, given.rounds + 1):
        pairs = zip(learners, peers, strict=True)
        trained = [train(learner, peer, number, charter) for learner, peer in pairs]
        begun = time.process_time()
        root = update(peers, trained, reference, charter, tally)
        tally.cpu_s += time.process_time() - begun
        if number > given.rounds - given.last:
            tally.scores.append(scores(learners, peers, root, everything))
    return tally


def train(learner, peer, number, charter):
    learner.load(peer.own.parameters)
    anchor = None if peer.result is None else peer.result.parameters
    learner.train(round=number, objective=Objective(anchor=anchor, pull=charter.pull if anchor else 0.0))
    return model_of(learner.parameters(), charter.schema)


def update(peers, trained, reference, charter, tally):
    """Do one hierarchical update and return the root's model."""
    uploads = []
    for peer, model in zip(peers, trained, strict=True):
        base = None if peer.result is None else root_of(peer.result)
        packed = peer.packing.upload(model, reference=reference, base=base, kept=peer.kept)
        left = {name: array for name, array in packed.beside.items() if not name.startswith(EXACT)}
        peer.kept = model_of(left, schema_of(left)) if left else None
        uploads.append(packed.model)
    base = None if peers[0].result is None else root_of(peers[0].result)
    bases = {} if base is None else {base.name: base}
    results = results_of(uploads, peers[0].packing, reference, bases, charter, tally)
    for number, (peer, model) in enumerate(zip(peers, trained, strict=True)):
        peer.result = results[number * WIDTHS[0] // len(peers)]
        tally.send(uploads[number], reference)
        tally.send(peer.result, reference)
        peer.own = model_of(mix(model.parameters, peer.result.parameters, charter.mixing), charter.schema)
    return root_of(peers[0].result) if charter.codec == "topk" else results[-1]


def results_of(uploads, packing, reference, bases, charter, tally):
    """Return the results of the groups of level 1, and the root's."""
    below, levels = [(model, 1) for model in uploads], []
    for width in WIDTHS:
        means = []
        for group in range(width):
            children = [c for n, c in enumerate(below) if n * width // len(below) == group]
            total, inputs = RunningMean(charter.schema), Counter()
            for model, weight in children:
                total.add(model.parameters, weight)
                if model.head is not None and model.head.base is not None:
                    inputs[model.head.base] += 1
            made = model_of(total.result(), charter.schema)
            means.append(
                (packing.mean(made, inputs, reference=reference, bases=bases), sum(w for _, w in children))
            )
        levels.append([mean for mean, _ in means])
        below = means
    results = levels.pop()
    root = results[0]
    while levels:
        means = levels.pop()
        above = [results[n * len(results) // len(means)] for n in range(len(means))]
        for mean, parent in zip(means, above, strict=True):
            tally.send(mean, reference)
            tally.send(parent, reference)
        results = [
            packing.result(
                model_of(mix(mean.parameters, parent.parameters, charter.mixing), charter.schema),
                parent,
                reference=reference,
            )
            for mean, parent in zip(means, above, strict=True)
        ]
    return [*results, root]


def scores(learners, peers, root, everything):
    own, general = [], []
    for learner, peer in zip(learners, peers, strict=True):
        learner.load(peer.own.parameters)
        own.append(learner.evaluate())
        general.append(learner.evaluate(everything))
    learners[0].load(root.parameters)
    spe, gen = sum(own[1:], own[0]).score, sum(general[1:], general[0]).score
    return spe, gen, learners[0].evaluate(everything).score


if __name__ == "__main__":
    main()
