"""When training fails: tells a peer's trouble from the end of a run.

A peer whose training fails tries again after a patience, and the others go on without it. Only when
too few are left for a round (a plan lists at least half of its electors) would they all wait for
ever. That is told here, from what the workers report; no clock and no files.

- All live peers fail: the run ends at the second failure of each, so that an accident of a moment
  ends nothing.
- More than half fail while all others have trained and wait: it ends at the fourth, since the round
  may still end without those that fail.

A round that ends starts the counting anew, and so does a peer that trained at once: the others of
its round are given time again.
"""

from collections import Counter

ALL_FAILED = 2
"""Failures in a row of every live peer that end a run."""
MOST_FAILED = 4
"""The same when some have trained: three patiences in which nothing went on."""


class TrainingWatch:
    """Counts failures in a row of a run's peers."""

    def __init__(self) -> None:
        self._live: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._trained: dict[str, int] = {}
        self._errors: dict[str, str] = {}
        self._round = 0

    def joined(self, peer: str) -> None:
        """Count *peer* from now on."""
        self._live.add(peer)

    def lost(self, peer: str) -> None:
        """Do not count *peer* any more."""
        self._live.discard(peer)

    def failed(self, peer: str, round: int, error: str) -> None:
        """Note that the training of *peer* gave nothing."""
        self._trained.pop(peer, None)
        self._failures[peer] += 1
        self._errors[peer] = error
        self._round = max(self._round, round)

    def trained(self, peer: str, round: int) -> None:
        """Note that *peer* has trained for *round*; what came of it may still be refused."""
        if self._failures[peer]:
            return  # a failure was not taken back by this before: only the end of a round does that
        self._failures = Counter({other: 1 for other in self._failures if self._failures[other]})
        self._trained[peer] = round

    def ended(self, peer: str, round: int) -> None:
        """Note that *round* ended at *peer*; it may have trained for the next already."""
        self._failures.clear()
        if self._trained.get(peer, 0) <= round:
            self._trained.pop(peer, None)

    def verdict(self) -> str:
        """Return why the run cannot go on, in one line; empty when it can."""
        failing = {peer: count for peer in self._live if (count := self._failures[peer]) > 0}
        if not failing or failing.keys() | self._trained.keys() < self._live:
            return ""
        everybody = len(failing) == len(self._live)
        enough = min(failing.values()) >= (ALL_FAILED if everybody else MOST_FAILED)
        if not enough or 2 * len(failing) <= len(self._live):
            return ""
        [(error, count)] = Counter(self._errors[peer] for peer in failing).most_common(1)
        whom = f"all {len(failing)} peers" if everybody else f"{len(failing)} of {len(self._live)} peers"
        rest = "" if count == len(failing) else " (and others)"
        return f"training fails at {whom} in round {self._round}: {error}{rest}"
