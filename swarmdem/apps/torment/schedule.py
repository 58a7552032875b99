"""What will happen in which round, drawn from the seed before anything starts.

Every kind of fault has dice of its own: switching one off leaves the others as they were. Times
are in rounds and patiences, so that a schedule fits a fast swarm and a slow one. Whom a fault meets depends
on who is there when it comes (`draw` chooses among them, in the order of their numbers), so a
schedule repeats exactly while a run of real processes does so only roughly.
"""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from swarmdem.apps.torment.settings import TormentSettings

STOP_EVERY = 4
LINK_EVERY = 3
BROKER_STYLES = ("kill", "stop")
LINK_STYLES = ("slow", "reset", "freeze", "corrupt", "hole", "slow-broker")
PARTITION_STYLES = ("refuse", "hole")
SMALLER_SIDE = (0.15, 0.3)
"""Share of the peers on the smaller side of a partition."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come."""

    round: int
    """It begins when the first peer adopts this round's certificate."""
    kind: str
    """kill, stop, replace, partition, broker, link."""
    after: float
    """How far into the round it begins, as a share of the length of the round before."""
    lasts: float
    """Patiences until it is over."""
    draw: float
    """Chooses whom it meets; at least 0, below 1."""
    style: str = ""


def draw_schedule(settings: TormentSettings) -> tuple[Planned, ...]:
    """Return all faults of a run, in the order of their rounds."""
    rounds, peers, seed = settings.swarm.rounds, settings.swarm.peers, settings.swarm.seed
    every_round = range(1, rounds + 1)
    planned: list[Planned] = []
    if settings.kills:
        planned += _each("kill", every_round, seed, lasts=(0.0, 0.25))
    if settings.stops:
        planned += _each("stop", every_round[1::STOP_EVERY], seed, lasts=(0.3, 2.0))
    if settings.links:
        planned += _each("link", every_round[2::LINK_EVERY], seed, lasts=(0.5, 2.0), styles=LINK_STYLES)
    if settings.broker_every:
        of_brokers = every_round[settings.broker_every - 1 :: settings.broker_every]
        planned += _each("broker", of_brokers, seed, lasts=(0.5, 2.0), styles=BROKER_STYLES)
    splits = _spread(settings.partitions, rounds)
    planned += _each("partition", splits, seed, lasts=(3.0, 5.0), styles=PARTITION_STYLES)
    going = math.ceil(settings.replace * peers)
    planned += _each("replace", _spread(going, rounds), seed, lasts=(0.0, 0.5))
    return tuple(sorted(planned, key=lambda fault: (fault.round, fault.kind, fault.after)))


def _each(
    kind: str,
    rounds: Iterable[int],
    seed: int,
    *,
    lasts: tuple[float, float],
    styles: tuple[str, ...] = ("",),
) -> Iterator[Planned]:
    dice = random.Random(f"{seed}/{kind}")
    for number, round in enumerate(rounds):
        if number % len(styles) == 0:
            order = dice.sample(styles, len(styles))  # each style once before any comes again
        start, length = dice.random(), dice.uniform(*lasts)
        yield Planned(round, kind, start, length, dice.random(), order[number % len(styles)])


def _spread(count: int, rounds: int) -> list[int]:
    """Return *count* rounds at equal distances, away from both ends."""
    return [max(1, round(rounds * (number + 1) / (count + 1))) for number in range(count)]
