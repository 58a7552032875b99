"""What a peer may answer with, tried on scores that `tuning.py --save` kept.

    python -m benchmarks.tuning_rules plus.npz [--rounds 40,100] [--all]

A rule turns the scores of the models that a peer holds into its answers; C-SPE, C-GEN and Global are the
paper's (correct over samples, pooled over peers), here on the part held out for tuning. Global is that of
the root model which the rule builds on: `mean` (eq. 9, what demlearn-plus answers with), `start` (where
the next round starts from) or `average` (a running average of starts). `--all` adds the rules that were
turned down; docs/tuning.md says why.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swarmdem.learning.deployment import combined
from swarmdem.learning.strategies.plus import label_prior
from swarmdem.learning.strategy import NONE, Deployment

ROOTS = ("mean", "start", "average")
PRIORS = (1.5, 1.75, 2.0, 2.25, 2.5, 3.0)
NEVER = -1e9
"""Score of a class that is ruled out."""


class Scores:
    """The scores of every model on what is measured, by round.

    Args:
        kept: `y` (n,), `owner` (n,), `counts` (peers, classes), then `trained/R` and `mixed/R` (peers,
            n, classes), one of each of `ROOTS` (n, classes), and in the last round perhaps `similar/R`
            and `complementary/R` (groups, n, classes) with the group of each peer in `similar of`.
    """

    def __init__(self, kept):
        self.kept = kept
        self.y, self.owner, self.counts = kept["y"], kept["owner"], kept["counts"]
        self.rounds = sorted(int(name.partition("/")[2]) for name in kept if name.startswith("trained/"))

    def has(self, kind, round):
        return f"{kind}/{round}" in self.kept

    def at(self, kind, round):
        """Return the scores of the models of one kind, (peers, n, classes)."""
        scores = self.kept[f"{kind}/{round}"]
        if kind in ROOTS:
            return np.broadcast_to(scores, (len(self.counts), *scores.shape))
        return scores[self.kept[f"{kind} of"]] if f"{kind} of" in self.kept else scores

    def measured(self, answers):
        """Return C-SPE and C-GEN of *answers*, (peers, n, classes)."""
        right = answers.argmax(2) == self.y
        return right[self.owner, np.arange(len(self.y))].mean(), right.mean()


@dataclass(frozen=True)
class Rule:
    """One way to answer."""

    name: str
    kinds: tuple[str, ...]
    """The models it needs."""
    answer: Callable
    """Of one peer: their scores, each (n, classes), and its label counts (classes,), to its answers."""

    @property
    def root(self):
        """Return which root model it builds on, for Global."""
        return next((kind for kind in self.kinds if kind in ROOTS), "mean")

    def answers(self, scores, round):
        models = zip(*(scores.at(kind, round) for kind in self.kinds), strict=True)
        return np.stack([self.answer(each, own) for each, own in zip(models, scores.counts, strict=True)])


def deployed(models, *, weights=None, boost=None):
    """Return what the library answers with these models' scores."""
    weights = tuple(weights or [1.0] * len(models))
    return combined(models, Deployment(models=(NONE,) * len(models), weights=weights, boost=boost or {}))


def prior(counts, strength):
    """Return demlearn-plus' boosts for a peer."""
    return label_prior(dict(enumerate(counts.tolist())), strength)


def skew(counts):
    """Return kappa: 1 - entropy of the label shares / log(classes)."""
    shares = counts[counts > 0] / counts.sum()
    return 1 + float((shares * np.log(shares)).sum()) / np.log(len(counts))


def logarithmic(models, share):
    """Return (1 - share) log p of the first model + share log p of the second, as scores."""
    return (1 - share) * deployed(models[:1]) + share * deployed(models[1:])


def _alone(models, counts):
    return deployed(models)


def _with_prior(strength):
    return lambda models, counts: deployed(models, boost=prior(counts, strength))


def proposed():
    """Yield the rules that the preset's was chosen from last."""
    yield Rule("just trained", ("trained",), _alone)
    yield Rule("mixed (eq. 10)", ("mixed",), _alone)
    for strength in (0.0, *PRIORS):
        yield Rule(f"mean, prior {strength:g}", ("mean",), _with_prior(strength))
    yield Rule("mixed, prior 2.25", ("mixed",), _with_prior(2.25))
    for strength in (0.0, *PRIORS):
        name = f"mean, prior {strength:g}, own share .4 (1 - kappa)^2 of logs"
        yield Rule(name, ("mean", "trained"), _careful(strength))
    yield Rule("mean, prior 2.25, share .1", ("mean", "trained"), _with_share(2.25, 0.1))
    yield Rule("mean, prior 2.25, share .25", ("mean", "trained"), _with_share(2.25, 0.25))


def _with_share(strength, share):
    return lambda models, counts: deployed(models, weights=(1 - share, share), boost=prior(counts, strength))


def _careful(strength):
    def answer(models, counts):
        whole = logarithmic(models, 0.4 * (1 - skew(counts)) ** 2)
        return deployed([whole], boost=prior(counts, strength))

    return answer


def turned_down():
    """Yield the rules that came before."""
    for root in ROOTS[1:]:
        yield Rule(f"{root}, prior 0", (root,), _alone)
    for root in ROOTS:
        both = (root, "trained")
        for share in (0.1, 0.25, 0.5):
            yield Rule(f"{root}, share {share:g}", both, _with_share(0.0, share))
        for share in (0.1, 0.25):
            yield Rule(f"{root}, share {share:g} of logs", both, _of_logs(share))
        for boost in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
            yield Rule(f"{root}, held labels + {boost:g}", (root,), _boosted(boost))
        for strength in (0.1, 0.2, 0.3, 0.5, 1.0):
            yield Rule(f"{root}, {strength:g} log(n_c + 1)", (root,), _counted(strength, 0))
        for strength in (0.0, 1.0, 1.25, 1.5, 1.75, 2.0):
            for share in (0.0, 0.25, 0.4):
                name = f"{root}, {strength:g} kappa log(n_c + 1), own share {share:g} (1 - kappa) of logs"
                yield Rule(name, both, _counted(strength, share))
            for share in (0.4, 0.8):
                name = f"{root}, {strength:g} kappa log(n_c + 1), own share {share:g} (1 - kappa)^2 of logs"
                yield Rule(name, both, _counted(strength, share, power=2))
        for boost in (0.0, 1.0, 2.0, 3.0):
            for share in (0.5, 1.0):
                name = f"{root}, gate + {boost:g}, own share {share:g} inside"
                yield Rule(name, both, _gated(boost, share))
        for share in (0.25, 0.5):
            for boost in (1.0, 2.0):
                yield Rule(f"{root}, share {share:g}, held labels + {boost:g}", both, _boosted(boost, share))
    for kind in ("similar", "complementary"):
        yield Rule(f"{kind} group's model", (kind,), _alone)
        for share in (0.1, 0.25, 0.5):
            for strength in (0.0, 1.0, 1.5):
                name = f"average, share {share:g} of {kind} group in logs, {strength:g} kappa log(n_c + 1)"
                yield Rule(name, ("average", kind), _grouped(strength, share))


def _held(counts, boost):
    return dict.fromkeys(np.flatnonzero(counts).tolist(), boost)


def _log_counts(counts, strength):
    return {label: strength * float(np.log1p(count)) for label, count in enumerate(counts)}


def _of_logs(share):
    return lambda models, counts: logarithmic(models, share)


def _boosted(boost, share=0.0):
    def answer(models, counts):
        weights = (1 - share, share) if len(models) > 1 else (1.0,)
        return deployed(models, weights=weights, boost=_held(counts, boost))

    return answer


def _counted(strength, share, power=1):
    def answer(models, counts):
        if len(models) == 1:
            return deployed(models, boost=_log_counts(counts, strength))
        kappa = skew(counts)
        whole = logarithmic(models, share * (1 - kappa) ** power)
        return deployed([whole], boost=_log_counts(counts, strength * kappa))

    return answer


def _grouped(strength, share):
    def answer(models, counts):
        whole = logarithmic(models, share)
        return deployed([whole], boost=_log_counts(counts, strength * skew(counts)))

    return answer


def _gated(boost, share):
    """Where the boosted root picks a held label, both models pick again among the held ones alone."""

    def answer(models, counts):
        first = deployed(models[:1], boost=_held(counts, boost))
        only = np.where(counts > 0, 0.0, NEVER)
        second = logarithmic([model + only for model in models], share)
        inside = counts[first.argmax(1)] > 0
        return np.where(inside[:, None], second, first)

    return answer


def show(scores, *, rounds=None, everything=False):
    """Print a table for each round."""
    for round in rounds or scores.rounds:
        print(f"\n| round {round} | C-SPE | C-GEN | Global |\n| --- | --- | --- | --- |")
        for rule in [*proposed(), *(turned_down() if everything else ())]:
            if not all(scores.has(kind, round) for kind in rule.kinds):
                continue
            own, general = scores.measured(rule.answers(scores, round))
            whole = (scores.at(rule.root, round)[0].argmax(1) == scores.y).mean()
            print(f"| {rule.name} | {own:.4f} | {general:.4f} | {whole:.4f} |")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path, help="what tuning.py --save wrote")
    parser.add_argument("--rounds", help="such as 40,100 (default: all that were evaluated)")
    parser.add_argument("--all", action="store_true", help="the rules that were turned down too")
    asked = parser.parse_args(arguments)
    try:
        with np.load(asked.scores, allow_pickle=False) as file:
            scores = Scores({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"{asked.scores}: no scores of tuning.py ({type(error).__name__}: {error})\n")
    rounds = [int(number) for number in asked.rounds.split(",")] if asked.rounds else None
    if unknown := sorted(set(rounds or ()) - set(scores.rounds)):
        parser.exit(2, f"round {unknown[0]} was not evaluated; {scores.rounds} were\n")
    show(scores, rounds=rounds, everything=asked.all)


if __name__ == "__main__":
    main()
