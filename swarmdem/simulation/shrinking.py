"""From a schedule that breaks an invariant to a small one that still breaks the same.

Delta debugging: leave out faults in ever smaller parts, then peers, rounds, bad weather, settings of
the charter and crowds, then make the faults that remain shorter and narrower, until nothing more can go.
A smaller world meets other chances, so each candidate is tried under a few seeds.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from swarmdem.protocol.situation import CROWD
from swarmdem.simulation.faults import Fault, liars
from swarmdem.simulation.runs import Outcome
from swarmdem.simulation.schedules import Schedule, without_peer
from swarmdem.simulation.weather import Weather

RUNS_MAX = 400
"""Runs after which the smallest schedule so far must do."""
SEEDS_TRIED = 3
"""Seeds under which a smaller world is tried."""

Play = Callable[[Schedule], Outcome]


class Shrinker:
    """Shrinks one schedule.

    Args:
        play: Plays a schedule.
        runs_max: Most runs it may make.
        tell: Takes a line about each step forward.

    Attributes:
        runs: How many it has made.
    """

    def __init__(
        self,
        play: Play = Schedule.play,
        *,
        runs_max: int = RUNS_MAX,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._play = play
        self._runs_max = runs_max
        self._tell = tell or (lambda _line: None)
        self.runs = 0

    def shrink(self, schedule: Schedule) -> Schedule:
        """Return the smallest schedule found; *schedule* itself when it breaks nothing."""
        invariant = self._play(schedule).invariant
        if not invariant:
            return schedule
        best = replace(schedule, invariant=invariant)
        while self.runs < self._runs_max:
            before = best
            best = self._fewer_faults(best)
            for steps in (_fewer_rounds, _fewer_peers, _calmer, _plainer, _lesser):
                best = self._first_that_breaks(best, steps)
            if best == before:
                break
        return best

    def _first_that_breaks(self, best: Schedule, steps: Callable[[Schedule], Iterator[Schedule]]) -> Schedule:
        """Take any of *steps* that still breaks, and go on from there until none does."""
        while True:
            for candidate in steps(best):
                found = self._broken(candidate)
                if found is not None:
                    best = found
                    break
            else:
                return best

    def _broken(self, candidate: Schedule) -> Schedule | None:
        for seed in range(candidate.seed, candidate.seed + SEEDS_TRIED):
            if self.runs >= self._runs_max:
                return None
            self.runs += 1
            tried = replace(candidate, seed=seed)
            if self._play(tried).invariant == candidate.invariant:
                self._tell(
                    f"run {self.runs}: {len(tried.faults)} faults, {tried.peers} peers, {tried.rounds} rounds"
                )
                return tried
        return None

    def _fewer_faults(self, best: Schedule) -> Schedule:
        """Leave out faults in parts of half, a quarter, ... down to one."""
        size = len(best.faults)
        while size:
            start = 0
            while start < len(best.faults):
                left = best.faults[:start] + best.faults[start + size :]
                found = self._broken(replace(best, faults=left))
                if found is None:
                    start += size
                else:
                    best = found
            size //= 2
        return best


def _fewer_rounds(schedule: Schedule) -> Iterator[Schedule]:
    for rounds in sorted({1, 2, schedule.rounds // 2, schedule.rounds - 1}):
        if 0 < rounds < schedule.rounds:
            yield replace(schedule, rounds=rounds)


def _fewer_peers(schedule: Schedule) -> Iterator[Schedule]:
    """Yield smaller swarms; where liars were fewer than a third they stay so."""
    few = _few_lie(schedule)
    if schedule.peers >= 6:
        half = schedule
        while half.peers > schedule.peers // 2:
            half = without_peer(half, half.peers - 1)
        if _few_lie(half) or not few:
            yield half
    if schedule.peers > 1:
        for peer in reversed(range(schedule.peers)):
            smaller = without_peer(schedule, peer)
            if _few_lie(smaller) or not few:
                yield smaller


def _few_lie(schedule: Schedule) -> bool:
    return 3 * len(liars(schedule.faults)) < schedule.peers


def _calmer(schedule: Schedule) -> Iterator[Schedule]:
    calm = Weather()
    if schedule.weather == calm:
        return
    if all(not fault.brokers for fault in schedule.faults):
        yield replace(schedule, weather=calm)
    for name in ("loss", "duplication", "queue_frames", "overflow"):
        if getattr(schedule.weather, name) != getattr(calm, name):
            yield replace(schedule, weather=replace(schedule.weather, **{name: getattr(calm, name)}))


def _plainer(schedule: Schedule) -> Iterator[Schedule]:
    if schedule.charter:
        yield replace(schedule, charter={})
    if schedule.crowds != (CROWD,):
        yield replace(schedule, crowds=(CROWD,))
    if len(schedule.crowds) > 1:
        yield replace(schedule, crowds=(min(schedule.crowds),))
    for name in sorted(schedule.charter):
        yield replace(schedule, charter={k: v for k, v in schedule.charter.items() if k != name})


def _lesser(schedule: Schedule) -> Iterator[Schedule]:
    """Yield the schedule with one fault narrower or shorter."""
    for number, fault in enumerate(schedule.faults):
        for less in _less(fault):
            faults = (*schedule.faults[:number], less, *schedule.faults[number + 1 :])
            yield replace(schedule, faults=faults)


def _less(fault: Fault) -> Iterator[Fault]:
    if len(fault.peers) > 1:
        for peer in fault.peers:
            yield replace(fault, peers=tuple(p for p in fault.peers if p != peer))
    if fault.until - fault.at > 4_000_000:
        yield replace(fault, until=fault.at + (fault.until - fault.at) // 2)
