"""Which peers of a process train in one pass, and which one by one: `train_all`.

The learners of one module (`TorchLearner.sibling`) may train in one pass. The first time, a trial on the
first batches of a few of them decides for the whole process; every failure leads back to one by one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Protocol, Self
from weakref import WeakKeyDictionary

from swarmdem.errors import ConfigError, SwarmError
from swarmdem.learning.learner import Objective, Parameters
from swarmdem.learning.meeting import Answer, Call, Tell, Vectorise, Verdict
from swarmdem.learning.modules import SharedModule
from swarmdem.learning.vectorised import GAIN, TOLERANCE, Ensemble, Recipe, Share, apart, seconds

_log = logging.getLogger("swarmdem.learning.cohort")

TRIAL_PEERS, TRIAL_BATCHES = 16, 4
PEERS_MIN = 3
"""Fewer peers train one by one: there is nothing to gain."""
LONG = 2
"""A peer with so many times the usual number of samples trains alone: the pass would end almost empty."""


class Cooperative(Protocol):
    """A learner whose training can be part of a pass."""

    @property
    def shared(self) -> SharedModule:
        """The module; learners of one can train in one pass."""

    @property
    def recipe(self) -> Recipe | None:
        """How it trains; None when no pass knows its optimiser."""

    @property
    def samples(self) -> int:
        """Training samples held."""

    @property
    def highest_class(self) -> int:
        """Highest class among the targets, -1 for a regression."""

    def share(self, round: int, objective: Objective) -> Share:
        """Return its part in a pass."""

    def excerpt(self, samples: int) -> Self:
        """Return a learner of the first samples, which trains for one epoch."""

    def parameters(self) -> Parameters:
        """Return the current model."""

    def train_alone(self, round: int, objective: Objective) -> float:
        """Train as `Learner.train` does."""

    def take(self, parameters: Parameters, loss: float, round: int) -> float:
        """Take over what a pass gave; return the loss, or refuse one that is not finite."""


@dataclass(slots=True)
class _Known:
    """What is known of a module since its trial."""

    ensemble: Ensemble | None
    peers_max: int
    outputs: int


_modules: WeakKeyDictionary[SharedModule, _Known] = WeakKeyDictionary()


def train_all(calls: Sequence[Call], mode: Vectorise, tell: Tell) -> list[Answer]:
    """Train all learners, in as few passes as memory allows where that is wanted; answer in order.

    Args:
        calls: Of `Cooperative` learners.
        mode: `auto`, or `on` to leave out whether the pass is faster.
        tell: Takes what the trial said, once a module, and that there will be no more passes.
    """
    answers: dict[int, Answer] = {}
    modules: dict[int, list[int]] = {}
    for place, call in enumerate(calls):
        modules.setdefault(id(call.learner.shared), []).append(place)
    for places in modules.values():
        shared: SharedModule = calls[places[0]].learner.shared
        with shared.lock:
            for some in _passes([calls[place] for place in places], places, mode, tell):
                answers.update(_in_one_pass(_modules[shared], [calls[place] for place in some], some, tell))
    return [answers[place] if place in answers else _alone(call) for place, call in enumerate(calls)]


def forget(shared: SharedModule) -> None:
    """Hold the trial of a module anew the next time."""
    _modules.pop(shared, None)


def _passes(calls: Sequence[Call], places: Sequence[int], mode: Vectorise, tell: Tell) -> list[list[int]]:
    """Return the places of calls that train in one pass each; those that train alone are left out."""
    fit = [(call, place) for call, place in zip(calls, places, strict=True) if _fits(call)]
    if mode == "off" or len(fit) < PEERS_MIN:
        return []
    usual = median(call.learner.samples for call, _ in fit)
    fit = [(call, place) for call, place in fit if call.learner.samples <= LONG * usual]
    shared: SharedModule = calls[0].learner.shared
    if shared not in _modules:
        _modules[shared] = _judge([call for call, _ in fit], mode, tell)
    known = _modules[shared]
    if known.ensemble is None:
        return []
    fit = [(call, place) for call, place in fit if call.learner.highest_class < known.outputs]
    fit.sort(key=lambda pair: -pair[0].learner.samples)  # alike ones together
    passes = -(-len(fit) // known.peers_max)
    edges = [len(fit) * number // max(passes, 1) for number in range(passes + 1)]
    cut = [fit[first:end] for first, end in pairwise(edges)]
    return [[place for _, place in some] for some in cut if len(some) >= PEERS_MIN]


def _fits(call: Call) -> bool:
    objective = call.objective
    return call.learner.recipe is not None and objective.moving is None and not objective.calibration


def _in_one_pass(
    known: _Known, calls: Sequence[Call], places: Sequence[int], tell: Tell
) -> dict[int, Answer]:
    """Train *calls* in one pass; nothing is answered when it fails."""
    ensemble = known.ensemble
    if ensemble is None:
        return {}
    learners: list[Cooperative] = [call.learner for call in calls]
    try:
        ended = ensemble.train([call.learner.share(call.round, call.objective) for call in calls])
    except (RuntimeError, ConfigError) as error:
        # Most likely memory; with less of it wanted the next pass may do.
        known.peers_max = min(known.peers_max, len(calls) // 2)
        why = str(error).partition(chr(10))[0]
        _log.warning("pass_failed peers=%d next_peers=%d error=%s", len(calls), known.peers_max, why)
        if known.peers_max < PEERS_MIN:
            known.ensemble = None
            tell(Verdict(together=False, why=f"peers train one by one from now on: {why}"))
        return {}
    answers: dict[int, Answer] = {}
    for place, call, learner, (parameters, loss) in zip(places, calls, learners, ended, strict=True):
        try:
            answers[place] = learner.take(parameters, loss, call.round)
        except SwarmError as error:
            answers[place] = error
    return answers


def _alone(call: Call) -> Answer:
    learner: Cooperative = call.learner
    try:
        return learner.train_alone(call.round, call.objective)
    except Exception as error:
        return error


def _judge(calls: Sequence[Call], mode: Vectorise, tell: Tell) -> _Known:
    """Try both ways on the first batches of some peers and say which it shall be."""
    first: Cooperative = calls[0].learner
    recipe = first.recipe
    assert recipe is not None
    try:
        ensemble = Ensemble(first.shared.module, recipe)
        if mode == "auto" and not ensemble.layered and first.shared.device.type == "cpu":
            raise ConfigError("the network is no chain of well-known layers")
        share = first.share(calls[0].round, calls[0].objective)
        known = _Known(ensemble, ensemble.peers_max(share), ensemble.outputs(share))
        if known.peers_max < PEERS_MIN:
            raise ConfigError(f"memory suffices for {known.peers_max} peers at a time")
        gain, gap = _try(ensemble, calls[: min(TRIAL_PEERS, known.peers_max)], known.outputs)
        if not gap <= TOLERANCE:
            raise ConfigError(f"in one pass they end elsewhere ({gap:.1%} of the way in a trial)")
    except (RuntimeError, SwarmError) as error:
        tell(Verdict(together=False, why=f"peers train one by one: {str(error).partition(chr(10))[0]}"))
        return _Known(None, 1, 0)
    if mode == "auto" and gain < GAIN:
        why = f"peers train one by one: in one pass it was {gain:.2f} times as fast in a trial"
        tell(Verdict(together=False, why=why))
        return _Known(None, 1, 0)
    why = f"up to {known.peers_max} peers train in one pass: {gain:.2f} times as fast in a trial"
    tell(Verdict(together=True, why=why))
    return known


def _try(ensemble: Ensemble, calls: Sequence[Call], outputs: int) -> tuple[float, float]:
    """Return how many times as fast a pass is, and how far it ends from where one by one ends.

    Raises:
        RuntimeError: The pass failed.
        SwarmError: Training failed.
    """
    device = calls[0].learner.shared.device
    size = calls[0].learner.recipe.batch_size
    excerpts: list[Cooperative] = []
    for number, call in enumerate(calls):
        # Every other peer ends with a batch of half the size, so that padding is tried as well.
        samples = TRIAL_BATCHES * size - (number % 2) * (size // 2)
        if call.learner.highest_class < outputs:
            excerpts.append(call.learner.excerpt(samples))
    if len(excerpts) < PEERS_MIN:
        raise ConfigError("too few peers for a trial")
    objective = calls[0].objective
    shares = [one.share(1, objective) for one in excerpts]
    ensemble.train(shares[:PEERS_MIN])  # what torch does once is not counted
    excerpts[0].train_alone(1, objective)
    excerpts[0].take(shares[0].start, 0.0, 1)
    begun_s = seconds(device)
    together = ensemble.train(shares)
    between_s = seconds(device)
    for one in excerpts:
        one.train_alone(1, objective)
    ended_s = seconds(device)
    gap = apart(
        [one.parameters() for one in excerpts], [ended for ended, _ in together], [s.start for s in shares]
    )
    return (ended_s - between_s) / max(between_s - begun_s, 1e-9), gap
