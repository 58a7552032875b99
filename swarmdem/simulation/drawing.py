"""The faults of one seed.

Every seed draws a random subset of the kinds and an intensity ("swarm testing": a run that mixes
everything hides what only shows when one thing goes wrong often). All faults end before `end`, so that
liveness can be asked for afterwards.

What is left out unless asked for. A swarm does not fork while nobody who hears a broker misses the others
for a whole patience, so splits are short (half of patience at most) unless *forks* asks for long ones.
Loss stays at or below 30 %. Liars are drawn only when asked for, fewer than a third of the peers. Where two
thirds decide, and nobody without them, fewer than a third of the founders are replaced: who is gone for good
votes no more, and no other may vote in its place before a certificate says so.
"""

import random
from dataclasses import dataclass

from swarmdem.identifiers import Micros
from swarmdem.simulation.faults import LIES, Fault, Kind

SIDES = (Kind.SPLIT, Kind.ONE_WAY)
"""Kinds that may fork a swarm when they last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a schedule is drawn for."""

    peers: int
    brokers: int = 1
    start: Micros
    """No fault but late starts before this."""
    end: Micros
    """Every fault is over by then."""
    patience: Micros
    """The charter's: what durations are measured in."""
    forks: bool = False
    """Also draw splits long enough to fork the swarm."""
    lies: bool = False
    """Also draw liars."""
    strict: bool = False
    """Two thirds decide (`bft`)."""


def draw(seed: int, stage: Stage) -> tuple[Fault, ...]:
    """Return the faults of one seed, by time; seed and stage alone decide."""
    rng = random.Random(f"faults {seed}")
    honest = [kind for kind in Kind if kind not in LIES]
    kinds = [kind for kind in honest if rng.random() < 0.4]
    share = rng.choice((0.5, 1.0, 2.0))
    faults: list[Fault] = []
    if Kind.LATE in kinds and stage.peers > 1:
        faults += _late(rng, stage)
    for kind in kinds if stage.end > stage.start else ():
        count = round(rng.random() * share * max(1.0, (stage.end - stage.start) / (6 * stage.patience)))
        for _ in range(count):
            at, until = _span(rng, stage)
            if kind in SIDES and not stage.forks:
                until = min(until, at + stage.patience // 2)
            faults += _draw(kind, rng, stage, at, until)
    if stage.lies:
        faults += _lies(random.Random(f"liars {seed}"), stage)
    if stage.strict:
        faults = _few_replaced(faults, stage)
    return tuple(sorted(faults, key=lambda f: (f.at, f.until, f.kind, f.peers, f.brokers)))


def _late(rng: random.Random, stage: Stage) -> list[Fault]:
    late = rng.sample(range(stage.peers), rng.randrange(1, max(2, stage.peers // 4 + 1)))
    span = stage.end - stage.start
    return [Fault(Kind.LATE, 0, stage.start + int(rng.random() * span), (peer,)) for peer in late]


def _few_replaced(faults: list[Fault], stage: Stage) -> list[Fault]:
    """Return *faults* with the replacements of so many peers only as the founders can do without."""
    late = {peer for fault in faults if fault.kind is Kind.LATE for peer in fault.peers}
    spare = (stage.peers - len(late) - 1) // 3
    replaced = dict.fromkeys(peer for fault in faults if fault.kind is Kind.REPLACE for peer in fault.peers)
    stay = set(list(replaced)[spare:])
    return [fault for fault in faults if fault.kind is not Kind.REPLACE or not stay & {*fault.peers}]


def _span(rng: random.Random, stage: Stage) -> tuple[Micros, Micros]:
    at = stage.start + int(rng.random() * (stage.end - stage.start))
    return at, min(stage.end, at + int((0.1 + rng.expovariate(1.0)) * 1.5 * stage.patience))


def _some(rng: random.Random, count: int) -> tuple[int, ...]:
    """Return up to half of *count* things, at least one."""
    return tuple(sorted(rng.sample(range(count), rng.randrange(1, count // 2 + 1)))) if count > 1 else (0,)


AMOUNTS: dict[Kind, tuple[float, ...]] = {
    Kind.KILL: tuple(range(1, 12)),
    Kind.STUMBLE: (0, 1, 2, 3),
    Kind.LOST_WRITE: (1, 1, 2, 3, 5),
    Kind.STOP: (0, 1),
    Kind.REPLACE: (0,),
    Kind.LEAVE: (0,),
    Kind.FAIL: (0,),
    Kind.SLOW: (2, 4),
    Kind.CUT: (0, 1),
    Kind.SPLIT: (1,),
    Kind.ONE_WAY: (0, 1),
    Kind.LOSS: (0.02, 0.1, 0.3),
    Kind.DELAY: (200, 1000),
    Kind.BANDWIDTH: (20, 100),
    Kind.CONGESTION: (5, 30),
    Kind.OUTAGE: (0, 1),
    Kind.BROKER_STOP: (0,),
    Kind.BROKER_SLOW: (1, 5),
    Kind.QUEUES: (5, 30),
    Kind.DUPLICATION: (0.05, 0.5),
}
"""What is drawn from for each kind; kinds that are missing are drawn otherwise."""
_ONE = (Kind.STOP, Kind.REPLACE, Kind.LEAVE, Kind.FAIL, Kind.SLOW, Kind.LOST_WRITE)
_SOME = (Kind.STUMBLE, Kind.CUT, Kind.DELAY, Kind.BANDWIDTH, Kind.CONGESTION, *SIDES)
_BROKERS = (Kind.OUTAGE, Kind.BROKER_STOP, Kind.BROKER_SLOW, Kind.QUEUES, Kind.DUPLICATION, Kind.CUT)


def _draw(kind: Kind, rng: random.Random, stage: Stage, at: Micros, until: Micros) -> list[Fault]:
    if kind is Kind.LATE or (kind in SIDES and stage.peers == 1):
        return []
    amount = float(rng.choice(AMOUNTS[kind]))
    one, some = (rng.randrange(stage.peers),), _some(rng, stage.peers)
    peers: tuple[int, ...] = one if kind in _ONE else some if kind in _SOME else ()
    if kind is Kind.KILL or (kind is Kind.STOP and rng.random() < 0.15):
        peers = some if rng.random() < 0.15 else one
    brokers: tuple[int, ...] = ()
    if kind in _BROKERS and stage.brokers > 1 and rng.random() < 0.8:
        brokers = _some(rng, stage.brokers)
    if kind is Kind.SPLIT and len(some) > 2 and rng.random() < 0.3:  # three sides
        middle = len(some) // 2
        return [Fault(kind, at, until, some[:middle], 1.0), Fault(kind, at, until, some[middle:], 2.0)]
    return [Fault(kind, at, until, peers, amount, brokers)]


def _lies(rng: random.Random, stage: Stage) -> list[Fault]:
    """Draw fewer liars than a third of the peers, each with some of the ways to lie."""
    most = (stage.peers - 1) // 3
    if not most:
        return []
    chosen = rng.sample(range(stage.peers), rng.randrange(1, most + 1))
    faults: list[Fault] = []
    for peer in sorted(chosen):
        for kind in LIES:
            if rng.random() < 0.5:
                at, until = _span(rng, stage)
                amounts = {Kind.SILENCE: 0.5, Kind.FORGET: rng.randrange(1, 4), Kind.FORGE: rng.randrange(2)}
                amount = float(amounts.get(kind, 0))
                faults.append(Fault(kind, at, until, (peer,), amount))
                if kind is Kind.FORGET:  # a disk's lie shows when the process dies
                    faults.append(Fault(Kind.KILL, at, until, (peer,), float(rng.randrange(1, 12))))
    return faults
