"""Local training of several co-hosted peers in one pass: `Ensemble`.

Each peer's batches, their order, its dropout masks (on the CPU), pull, correction and optimiser are those it
would have alone (`TorchLearner.train`); a shorter batch is padded with samples of weight 0. Results differ by
rounding only: sums are made in another order. Peers with fewer batches drop out of the pass one by
one, so that nobody trains more than its own.

A pass is used only after a trial on a few batches of real peers: it must give the models that training one
by one gives, and in the mode `auto` take less time for it by `GAIN`. It pays with small networks, whose many
small operations cost more than the arithmetic. The paper's CNN on a CPU core is faster one by one
(measured: benchmarks/vectorised.py).

Not in a pass: a moving anchor, calibration, an optimiser given as a factory.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import MutableParameters, Objective, Parameters
from swarmdem.learning.objectives import Tensors
from swarmdem.learning.optimizers import fresh_rule
from swarmdem.learning.stacking import Stack
from swarmdem.learning.torch_extra import torch

_log = logging.getLogger("swarmdem.learning.vectorised")

GAIN = 1.15
"""`auto` takes the pass when one by one takes so many times its time in the trial; less is noise."""
PEERS_MAX = {"cpu": 64, "cuda": 512}
"""Peers of one pass; beyond 50 nothing more is gained on a CPU (measured)."""
CPU_BYTES = 2**28
"""Memory of a pass on the CPU; on CUDA half of what is free."""
COPIES = {"sgd": 6, "adam": 9}
"""Copies of a model that a peer needs in a pass: itself, gradient, pull and its memory, the optimiser's."""
TOLERANCE = 0.01
"""How far two ways of training may end from each other in the trial, as a share of the way gone."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all peers of a pass have in common."""

    optimizer: str
    lr: float | None
    batch_size: int
    regression: bool


@dataclass(frozen=True, slots=True)
class Share:
    """One peer's part in a pass."""

    start: Parameters
    """Parameters to start from, whole."""
    inputs: torch.Tensor
    """(n, ...), on the device."""
    targets: torch.Tensor
    """(n,), on the device."""
    seed: int
    """Of this round: order of batches and dropout."""
    epochs: int
    """Passes over the samples."""
    objective: Objective

    @property
    def samples_seen(self) -> int:
        """Samples of all epochs."""
        return self.epochs * len(self.inputs)


class Ensemble:
    """Passes of one network.

    Args:
        module: On its device; copied.
        recipe: Of all peers.

    Raises:
        ConfigError: The network cannot be trained in this way; says why.
    """

    def __init__(self, module: torch.nn.Module, recipe: Recipe) -> None:
        self._recipe = recipe
        self._stack = Stack(module)
        first = next(module.parameters())
        self._device = first.device
        self._trained = [name for name, p in module.named_parameters() if p.requires_grad]
        self._model_bytes = sum(p.nbytes for p in module.parameters())

    @property
    def layered(self) -> bool:
        """Whether the network is a chain of well-known layers; others import torch's compiler."""
        return self._stack.layered

    def peers_max(self, share: Share) -> int:
        """Return how many peers like this one fit into the memory of a pass, 1 at least."""
        free = CPU_BYTES
        if self._device.type == "cuda":
            free = torch.cuda.mem_get_info(self._device)[0] // 2
        batch = share.inputs[: self._recipe.batch_size]
        outputs = self._stack.look_over(batch)[1] * self._recipe.batch_size // len(batch)
        one = COPIES[self._recipe.optimizer] * self._model_bytes + 4 * outputs + share.inputs.nbytes
        return max(1, min(PEERS_MAX[self._device.type], free // one))

    def outputs(self, share: Share) -> int:
        """Return the number of scores the network gives."""
        return self._stack.look_over(share.inputs[:1])[0]

    def train(self, shares: Sequence[Share]) -> list[tuple[MutableParameters, float]]:
        """Train every peer for one round; return its parameters and its mean own loss, in the order given.

        Raises:
            RuntimeError: The network cannot be trained in this way after all, or memory did not suffice.
            ConfigError: A regression with several outputs.
        """
        assert shares
        order = sorted(
            range(len(shares)), key=lambda place: -shares[place].epochs * len(shares[place].inputs)
        )
        sorted_shares = [shares[place] for place in order]
        plan = _Plan(sorted_shares, self._recipe, self._device)
        named = {
            name: torch.stack([torch.tensor(share.start[name]) for share in sorted_shares]).to(self._device)
            for name in sorted_shares[0].start
        }
        for name in self._trained:
            named[name].requires_grad_()
        losses = self._steps(sorted_shares, plan, named)
        seen = [share.samples_seen for share in sorted_shares]
        ended = {name: stacked.detach().cpu().numpy() for name, stacked in named.items()}
        results = [
            ({name: np.array(ended[name][row], order="C") for name in ended}, float(losses[row]) / seen[row])
            for row in range(len(order))
        ]
        places = {place: row for row, place in enumerate(order)}
        return [results[places[place]] for place in range(len(order))]

    def _steps(self, shares: Sequence[Share], plan: "_Plan", named: dict[str, torch.Tensor]) -> torch.Tensor:
        """Make all steps on the parameters of *named*; return each peer's sum of losses."""
        recipe = self._recipe
        parameters = tuple(named[name] for name in self._trained)
        rule = fresh_rule(recipe.optimizer, parameters, recipe.lr)
        objectives = [share.objective for share in shares]
        terms = _StackedTerms(objectives, dict(zip(self._trained, parameters, strict=True)))
        masks = _Masks(self._stack, [share.seed for share in shares], self._device)
        own = torch.tensor([objective.own for objective in objectives], device=self._device)
        total = torch.zeros(len(shares), device=self._device)
        for step in range(plan.steps):
            active = plan.active(step)
            if active < len(parameters[0]):
                parameters = tuple(p.detach()[:active].requires_grad_() for p in parameters)
                rule = rule.narrowed(parameters)
                named = {name: stacked[:active] for name, stacked in named.items()}
                named |= zip(self._trained, parameters, strict=True)
            inputs, targets, valid, counts = plan.batch(step)
            scores = self._stack.scores(named, inputs, masks.next(inputs, plan.counts[step][:active]))
            losses = _losses(scores, targets, regression=recipe.regression) * valid
            sums = losses.sum(1)
            gradients: Tensors = torch.autograd.grad(
                (sums / counts * own[:active]).sum(), parameters, allow_unused=True, materialize_grads=True
            )
            with torch.no_grad():
                rule.step(terms.added_to(gradients, parameters))
                total[:active] += sums
        return total


class _Plan:
    """Which samples each peer sees at which step; peers are sorted by their number of steps, falling."""

    def __init__(self, shares: Sequence[Share], recipe: Recipe, device: torch.device) -> None:
        size = min(recipe.batch_size, max(len(share.inputs) for share in shares))
        per_peer = [_batches(share, recipe.batch_size) for share in shares]
        self.steps = len(per_peer[0])
        self._active = [sum(1 for mine in per_peer if step < len(mine)) for step in range(self.steps)]
        self.counts = [
            [len(mine[step]) for mine in per_peer if step < len(mine)] for step in range(self.steps)
        ]
        offsets = np.cumsum([0, *(len(share.inputs) for share in shares)])
        table = np.zeros((self.steps, len(shares), size), np.int64)
        for row, mine in enumerate(per_peer):
            for step, batch in enumerate(mine):
                table[step, row, : len(batch)] = batch + offsets[row]
        self._table = torch.from_numpy(table).to(device)
        self._inputs = torch.cat([share.inputs for share in shares])
        self._targets = torch.cat([share.targets for share in shares])
        self._places = torch.arange(size, device=device)
        self._device = device

    def active(self, step: int) -> int:
        """Return how many peers, the first ones, have this step."""
        return self._active[step]

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return inputs (K, batch, ...), targets and what is no padding (K, batch), and counts (K,)."""
        counts = torch.tensor(self.counts[step], device=self._device)
        widest = max(self.counts[step])
        index = self._table[step, : len(counts), :widest]
        valid = self._places[:widest] < counts[:, None]
        return self._inputs[index], self._targets[index], valid, counts


def _batches(share: Share, size: int) -> list[Any]:
    """Return the places of the samples of every batch of a round, as `TorchLearner` draws them."""
    order, samples = torch.Generator().manual_seed(share.seed), len(share.inputs)
    return [
        batch.numpy()
        for _ in range(share.epochs)
        for batch in torch.split(torch.randperm(samples, generator=order), size)
    ]


def _losses(scores: torch.Tensor, targets: torch.Tensor, *, regression: bool) -> torch.Tensor:
    """Return the loss of every sample: scores (K, batch, classes), targets (K, batch) to (K, batch)."""
    if not regression:
        flat = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
        return flat.view(targets.shape)
    if scores.shape[2:] != (1,):
        raise ConfigError(f"a regression needs a model with one output, not {list(scores.shape[2:])}")
    return torch.square(scores[..., 0] - targets)


class _Masks:
    """Dropout masks of all peers, step by step."""

    def __init__(self, stack: Stack, seeds: Sequence[int], device: torch.device) -> None:
        self._stack = stack
        self._device = device
        # One draw for all on CUDA: hundreds of small kernels a step would eat what the pass gains.
        self._apart = device.type == "cpu"
        self._generators = [
            torch.Generator(device).manual_seed(seed) for seed in (seeds if self._apart else seeds[:1])
        ]

    def next(self, inputs: torch.Tensor, counts: Sequence[int]) -> list[torch.Tensor]:
        """Return the masks of a step: one (K, batch, ...) for each dropout, in the order of use."""
        if not self._stack.asked(inputs[0]):
            return []
        if not self._apart:
            return [
                torch.empty((len(counts), *like.shape), device=self._device)
                .bernoulli_(1 - p, generator=self._generators[0])
                .div_(1 - p)
                for p, like in self._stack.asked(inputs[0])
            ]
        masks = [torch.ones((len(counts), *like.shape)) for _, like in self._stack.asked(inputs[0])]
        for row, count in enumerate(counts):
            for mask, (p, like) in zip(masks, self._stack.asked(inputs[row, :count]), strict=True):
                noise = torch.empty_like(like, device="cpu")  # in the memory layout it has alone
                mask[row, :count] = noise.bernoulli_(1 - p, generator=self._generators[row]).div_(1 - p)
        return masks


class _StackedTerms:
    """Pull and correction of several peers: `objectives.Terms` for stacked parameters."""

    def __init__(self, objectives: Sequence[Objective], named: dict[str, torch.Tensor]) -> None:
        anchors = [o.anchor or {} if o.pull > 0 else {} for o in objectives]
        corrections = [o.correction or {} for o in objectives]
        self._pulls: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._corrections: dict[int, torch.Tensor] = {}
        self._memory: dict[int, torch.Tensor] = {}
        for place, (name, stacked) in enumerate(named.items()):
            if any(name in anchor for anchor in anchors):
                pulls = [o.pull if name in a else 0.0 for o, a in zip(objectives, anchors, strict=True)]
                shape = (len(pulls), *(1,) * (stacked.dim() - 1))
                weights = torch.tensor(pulls, device=stacked.device).view(shape)
                self._pulls[place] = (_stacked(anchors, name, stacked), weights)
            if any(name in correction for correction in corrections):
                self._corrections[place] = _stacked(corrections, name, stacked)
            if place in self._pulls or place in self._corrections:
                self._memory[place] = torch.empty_like(stacked)

    def added_to(self, gradients: Tensors, parameters: Tensors) -> Tensors:
        """Return the gradients of the whole objective, in memory that the next call uses again."""
        whole = list(gradients)
        for place, memory in self._memory.items():
            count = len(parameters[place])
            out = memory[:count]
            if place in self._pulls:
                anchor, weights = self._pulls[place]
                torch.sub(parameters[place], anchor[:count], out=out)
                out.mul_(weights[:count])
                whole[place] = torch.add(whole[place], out, out=out)
            if place in self._corrections:
                whole[place] = torch.add(whole[place], self._corrections[place][:count], out=out)
        return tuple(whole)


def _stacked(models: Sequence[Parameters], name: str, like: torch.Tensor) -> torch.Tensor:
    """Return an array of several models as one tensor, zeros where a model has none."""
    out = torch.zeros_like(like, requires_grad=False)
    for row, model in enumerate(models):
        if name in model:
            out[row] = torch.tensor(model[name]).to(like.device)
    return out


def apart(one: Sequence[Parameters], other: Sequence[Parameters], start: Sequence[Parameters]) -> float:
    """Return how far two trainings of the same peers ended from each other, as a share of the way gone."""
    gap = way = 0.0
    for first, second, before in zip(one, other, start, strict=True):
        for name, array in before.items():
            gap += float(np.abs(first[name].astype(np.float64) - second[name]).sum())
            way += float(np.abs(first[name].astype(np.float64) - array).sum())
    return gap / way if way else (0.0 if gap == 0.0 else math.inf)


def seconds(device: torch.device) -> float:
    """Return a reading of the clock that tells what training costs: CPU of this thread, or time on CUDA."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.thread_time()
