"""How `demlearn-plus` was tuned: one setting, one process, no messages; what the peers do, in a loop.

    python -m benchmarks.tuning mnist-50.npz --alpha .8 --start own           DemLearn, no groups
    python -m benchmarks.tuning mnist-50.npz --momentum .9 --nesterov         demlearn-plus

Trained and measured on the training parts alone: `hold_out` keeps a share of each device's back for
measuring (20 %, seed 7: what `swarmdem swarm --holdout .2` does), and the test parts are dropped before
anything looks at them. Printed are the progress and, for every evaluated round, C-SPE, C-GEN and Global
of the deployment rules in `tuning_rules.py`; `--save` keeps the scores, to try more rules on them
without training again. docs/tuning.md has all settings tried this way and what came out.

The loop shares with the library the network, the split, the seeds of the batches and the rules, not the
learner, the means or the mixing: it is a second implementation to hold a swarm's figures against. Then

    --bf16 off          as peers compute (bfloat16 is 1.3 times as fast, its figures within noise)
    --constants kept    inputs standardised by what is left to train on, as `--holdout` does; the log's
                        settings took the mean and deviation of the whole training part
    --pull-to mean      the pull goes to the group's model; in the log's, to where the round started

The tree has a root only. One seed gives the same figures again on one machine and torch version.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from benchmarks.tuning_rules import ROOTS, Scores, show
from swarmdem.errors import DataError, SwarmError
from swarmdem.learning.data_files import read_npz
from swarmdem.learning.datasets import DeviceData
from swarmdem.learning.models import build
from swarmdem.learning.samples import hold_out
from swarmdem.learning.scaling import standardization
from swarmdem.learning.seeds import round_seed

HELD_OUT, HELD_OUT_SEED = 0.2, 7
EPOCHS, BATCH = 2, 10
EVALUATION_BATCH = 64
AVERAGE = 0.8
"""Share of the past in the running average of start points: a rule that was tried."""
SIMILAR_GROUPS, COMPLEMENTARY_GROUPS = 8, 5


@dataclass(frozen=True)
class Parts:
    """One data file, split for tuning."""

    train: list
    """(x, y) of each device, tensors."""
    x: torch.Tensor
    """What is measured on, of all devices in their order: (n, ...)."""
    y: np.ndarray
    """Its classes, (n,)."""
    owner: np.ndarray
    """The device that each sample of *x* is of, (n,)."""
    counts: torch.Tensor
    """Training samples by device and class, (devices, classes) floats."""

    @property
    def sizes(self):
        return self.counts.sum(1)


def parts_of(path, constants):
    """Return the tuning split of a data file; see the module for *constants*."""
    source = read_npz(path)
    if source.task == "regression":
        raise DataError(f"{path}: array 'y' holds values; the measures and rules here are for classes")
    samples = hold_out(source, HELD_OUT, HELD_OUT_SEED)
    inputs = standardization(source if constants == "whole" else samples, "global")
    data = DeviceData(samples, inputs)
    devices = [data.device(number) for number in range(data.devices)]
    train = [(torch.from_numpy(own.x), torch.from_numpy(own.y)) for own, _ in devices]
    return Parts(
        train=train,
        x=torch.from_numpy(np.concatenate([held.x for _, held in devices])),
        y=np.concatenate([held.y for _, held in devices]),
        owner=np.repeat(np.arange(data.devices), [len(held) for _, held in devices]),
        counts=torch.stack([torch.bincount(y, minlength=data.classes) for _, y in train]).float(),
    )


class FlatNetwork:
    """A network whose parameters are views of one vector: to put a model in is one copy."""

    def __init__(self, name, shape, classes, *, seed, bf16):
        self.module = build(name, shape, classes, seed=seed)
        self.parameters = list(self.module.parameters())
        self.vector = torch.empty(sum(p.numel() for p in self.parameters))
        self._bf16 = bf16
        begin = 0
        for p in self.parameters:
            part = self.vector[begin : begin + p.numel()]
            begin += p.numel()
            if p.dim() == 4:  # kernels stay channels-last: faster on a CPU
                out, channels, height, width = p.shape
                view = part.view(out, height, width, channels).permute(0, 3, 1, 2)
            else:
                view = part.view(p.shape)
            p.data = view.copy_(p.data)

    def _forward(self, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            return self.module(x).float()

    def scores(self, vector, x):
        """Return the scores (n, classes) of the model *vector*."""
        self.vector.copy_(vector)
        self.module.eval()
        with torch.inference_mode():
            return torch.cat([self._forward(batch) for batch in x.split(EVALUATION_BATCH)]).numpy()

    def train(self, x, y, *, seed, lr, anchor, pull, offset):
        """Train the model in `vector` for a round (DemLearn eq. 8) and return the sum of the own loss.

        *offset* (classes,) is added to the scores in the loss: the calibration for label skew.
        """
        order = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout
        self.module.train()
        total = 0.0
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x), generator=order).split(BATCH):
                loss = torch.nn.functional.cross_entropy(self._forward(x[batch]) + offset, y[batch])
                gradients = torch.autograd.grad(loss, self.parameters)
                with torch.no_grad():
                    if anchor is not None and pull > 0:
                        self.vector.mul_(1 - lr * pull).add_(anchor, alpha=lr * pull)
                    torch._foreach_add_(self.parameters, gradients, alpha=-lr)
                total += loss.item() * len(batch)
        return total


class Swarm:
    """The models of all peers and of the root, and what a round does to them."""

    def __init__(self, asked, parts):
        self.asked, self.parts = asked, parts
        shape, classes = tuple(parts.x.shape[1:]), parts.counts.shape[1]
        self.network = FlatNetwork(asked.model, shape, classes, seed=asked.seed, bf16=asked.bf16 == "on")
        genesis = self.network.vector.clone()
        peers = len(parts.train)
        self.own = genesis.repeat(peers, 1)
        """Each peer's model, (peers, parameters)."""
        self.mean = genesis
        """Eq. 9 of the last round."""
        self.start = genesis.clone()
        """Where a round starts from under `start = group`: ahead of the mean if there is momentum."""
        self.average = genesis.clone()
        self._velocity = torch.zeros_like(genesis)
        self._offsets = _offsets(asked, parts)
        shares = parts.sizes if asked.weights == "samples" else torch.ones(peers)
        self._weights = shares / shares.sum()

    def train(self, round):
        """Train every peer and return the mean loss; `own` is then what the peers just trained."""
        asked, rate = self.asked, _rate(self.asked, round)
        anchor = None
        if round > 1:  # no pull before the first mean
            anchor = self.start if asked.pull_to == "start" else self.mean
        loss = 0.0
        for peer, (x, y) in enumerate(self.parts.train):
            self.network.vector.copy_(self.start if asked.start == "group" else self.own[peer])
            loss += self.network.train(
                x, y, seed=round_seed((asked.seed << 20) + peer, round), lr=rate, anchor=anchor,
                pull=asked.pull, offset=self._offsets[peer],
            )  # fmt: skip
            self.own[peer] = self.network.vector
        return loss / (EPOCHS * float(self.parts.sizes.sum()))

    def merge(self, round):
        """Make the mean (eq. 9) and the next start.

        With m the mean and s the start: v <- beta v + (m - s), then s <- s + v (heavy ball) or, after
        Nesterov, s <- m + beta v, which is m_t + beta (m_t - m_(t-1)).
        """
        beta = self.asked.momentum
        self.mean = self._weights @ self.own
        step = self.mean - self.start
        self._velocity = beta * self._velocity + step
        self.start = self.start + (step + beta * self._velocity if self.asked.nesterov else self._velocity)
        past = min(AVERAGE, (round - 1) / round)
        self.average = past * self.average + (1 - past) * self.start

    def mix(self):
        """Mix every peer's model with the root's: eq. 10."""
        self.own.mul_(1 - self.asked.alpha).add_(self.start, alpha=self.asked.alpha)

    def groups(self):
        """Return the group of each peer by the models just trained: similar, and whole by their labels."""
        updates = self.own - self.start
        products = (updates @ updates.T).double().numpy()
        squares = np.diag(products)
        distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * products, 0))
        np.fill_diagonal(distances, 0)
        tree = linkage(squareform((distances + distances.T) / 2, checks=False), "ward")
        return {
            "similar": fcluster(tree, SIMILAR_GROUPS, "maxclust") - 1,
            "complementary": _complementary(self.parts.counts.numpy(), COMPLEMENTARY_GROUPS),
        }

    def scores(self, vectors):
        """Return the scores of several models on what is measured, (models, n, classes)."""
        return np.stack([self.network.scores(vector, self.parts.x) for vector in vectors])


def _rate(asked, round):
    """Return the learning rate: constant, or a cosine from --lr to --lr-end over the rounds."""
    if asked.lr_end is None:
        return asked.lr
    done = (round - 1) / max(1, asked.rounds - 1)
    return asked.lr_end + (asked.lr - asked.lr_end) * 0.5 * (1 + math.cos(math.pi * done))


def _offsets(asked, parts):
    """Return log pi of each peer, (peers, classes); all zero without calibration.

    pi = (1 - e) n_c / n + e / C: a class that the peer lacks has the share e / C.
    """
    if asked.calibrate is None:
        return torch.zeros_like(parts.counts)
    shares = parts.counts / parts.sizes[:, None]
    return ((1 - asked.calibrate) * shares + asked.calibrate / shares.shape[1]).log()


def _complementary(counts, number):
    """Deal peers, the largest first, to *number* equal groups, each to where its labels are needed most."""
    of = np.full(len(counts), -1)
    held, sizes = np.zeros((number, counts.shape[1])), np.zeros(number, int)

    def gain(group, own):
        after = held[group] + own
        return (after > 0).sum() - (held[group] > 0).sum(), -(after / after.sum()).max(), -group

    for peer in np.argsort(-counts.sum(1)):
        open_groups = [group for group in range(number) if sizes[group] < -(-len(counts) // number)]
        of[peer] = max(open_groups, key=lambda group: gain(group, counts[peer]))
        held[of[peer]] += counts[peer]
        sizes[of[peer]] += 1
    return of


def run(asked, parts):
    """Train as *asked*, tell the progress and return what `tuning_rules.Scores` takes."""
    swarm, begun = Swarm(asked, parts), time.perf_counter()
    kept = {"y": parts.y, "owner": parts.owner, "counts": parts.counts.numpy().astype(int)}
    for round in range(1, asked.rounds + 1):
        evaluated = round in asked.evaluate
        loss = swarm.train(round)
        if not math.isfinite(loss):
            print(f"round {round}: diverged")
            break
        if asked.groups and round == asked.rounds:
            kept |= _groups(swarm, round)
        swarm.merge(round)
        if evaluated:
            kept[f"trained/{round}"] = swarm.scores(swarm.own)
            kept |= {f"{root}/{round}": swarm.scores([getattr(swarm, root)])[0] for root in ROOTS}
        if asked.alpha < 1:
            swarm.mix()
            if evaluated:
                kept[f"mixed/{round}"] = swarm.scores(swarm.own)
        if evaluated:
            right = {root: (kept[f"{root}/{round}"].argmax(1) == parts.y).mean() for root in ROOTS}
            told = "  ".join(f"{root} {share:.4f}" for root, share in right.items())
            seconds = time.perf_counter() - begun
            print(
                f"round {round} of {asked.rounds}  loss {loss:.4f}  Global: {told}  {seconds:.0f} s",
                flush=True,
            )
    return kept


def _groups(swarm, round):
    """Return the scores of groups' models, before the merge, and who is in which group."""
    kept = {}
    for kind, of in swarm.groups().items():
        means = [swarm.own[of == group].mean(0) for group in range(of.max() + 1)]
        kept |= {f"{kind} of": of, f"{kind}/{round}": swarm.scores(means)}
    return kept


def parsed(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data", type=Path, help="an .npz of devices, such as mnist-50.npz")
    add("--model", default="cnn")
    add("--rounds", type=int, default=40)
    add("--evaluate", type=rounds_of, help="rounds such as 20,40 (default: each tenth, the last)")
    add("--seed", type=int, default=0)
    add("--alpha", type=float, default=1.0, help="share of the root's model in a peer's (eq. 10)")
    add("--start", choices=("group", "own"), default="group", help="what training starts from")
    add("--weights", choices=("agents", "samples"), default="agents", help="of eq. 9")
    add("--pull", type=float, default=0.002, help="mu of eq. 8")
    add("--pull-to", choices=("start", "mean"), default="start")
    add("--momentum", type=float, default=0.0, help="beta, of the root's model")
    add("--nesterov", action="store_true", help="momentum after Nesterov instead of heavy ball")
    add("--calibrate", type=float, metavar="E", help="calibrate the loss; absent classes share E")
    add("--lr", type=float, default=0.05)
    add("--lr-end", type=float, help="cosine from --lr to this")
    add("--groups", action="store_true", help="models of groups too, in the last round")
    add("--constants", choices=("whole", "kept"), default="whole", help="of the training part")
    add("--bf16", choices=("on", "off"), default="on", help="bfloat16 in the network's layers")
    add("--save", type=Path, help="keep all scores here, for tuning_rules.py")
    add("--all-rules", action="store_true", help="print the rules that were turned down too")
    asked = parser.parse_args(arguments)
    if asked.momentum and asked.start == "own":
        parser.error("--momentum is of the root's model: with --start group")
    if asked.evaluate is None:
        asked.evaluate = [*range(10, asked.rounds, 10), asked.rounds]
    if outside := [round for round in asked.evaluate if not 1 <= round <= asked.rounds]:
        parser.error(f"--evaluate {outside[0]}: from 1 to {asked.rounds}")
    return parser, asked


def rounds_of(text):
    """Return the rounds in a text such as 20,40."""
    return [int(number) for number in text.split(",")]


def main(arguments=None):
    torch.set_num_threads(1)
    parser, asked = parsed(arguments)
    try:
        kept = run(asked, parts_of(asked.data, asked.constants))
        if asked.save:
            np.savez(asked.save, setting=json.dumps(vars(asked), default=str), **kept)
        show(Scores(kept), everything=asked.all_rules)
    except SwarmError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
