"""What goes wrong, as data: drawn from a seed, printed, edited and played again.

Every seed draws a random subset of the kinds and an intensity ("swarm testing": a run that mixes
everything hides what only shows when one thing goes wrong often). All faults end before
`Schedule.end`, so that liveness can be asked for afterwards.

What is left out on purpose. `round.md` promises that a swarm does not fork only while nobody who
hears a broker misses the others for a whole patience; lineages that forked meet again in a later
version. So splits are drawn short (half of patience at most) and loss stays at or below 30 %.
`draw(forks=True)` draws long splits too.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from swarmdem.identifiers import MILLISECOND, SECOND, Micros


class Kind(StrEnum):
    """What a fault does."""

    CRASH = "crash"
    """`peers` die `amount` effects after `at` (between two effects), restart at `until` from disk."""
    STUMBLE = "stumble"
    """`peers` die `amount` effects after every vote or proposal, and restart at once each time."""
    LEAVE = "leave"
    """`peers` say goodbye at `at` and come back at `until`."""
    LATE = "late"
    """`peers` start at `until` only."""
    SLOW = "slow"
    """Training at `peers` takes `amount` times as long."""
    FAIL = "training fails"
    """Training at `peers` raises."""
    OUTAGE = "broker outage"
    """The broker is away; its retained frames and sessions are lost."""
    CUT = "cut"
    """The links of `peers` are down; `amount` 1: the broker keeps their sessions and queues."""
    SPLIT = "split"
    """`peers` are behind a second broker that has no bridge to the first."""
    LOSS = "loss"
    """Share `amount` of all frames is lost."""
    DUPLICATION = "duplication"
    """Share `amount` of all frames arrives twice."""
    CONGESTION = "congestion"
    """The links of `peers` need `amount` milliseconds per frame; their queues fill."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong from `at` until `until`."""

    kind: Kind
    at: Micros
    until: Micros
    peers: tuple[int, ...] = ()
    amount: float = 0.0

    def __str__(self) -> str:
        """Return the fault as one line of a report."""
        whom = f" peers {','.join(map(str, self.peers))}" if self.peers else ""
        amount = f" amount {self.amount:g}" if self.amount else ""
        return f"{self.kind} {self.at / SECOND:.3f}-{self.until / SECOND:.3f} s{whom}{amount}"


def last_end(faults: Sequence[Fault]) -> Micros:
    """Return when the last of *faults* ends."""
    return max((fault.until for fault in faults), default=0)


def draw(
    seed: int, *, peers: int, start: Micros, end: Micros, patience: Micros, forks: bool = False
) -> tuple[Fault, ...]:
    """Return the faults of one seed, by time.

    Args:
        seed: Alone decides the outcome, together with the other arguments.
        peers: Number of peers.
        start: No fault but late starts before this.
        end: Every fault is over by then.
        patience: The charter's, in microseconds: what durations are measured in.
        forks: Also draw splits long enough to fork the swarm.
    """
    rng = random.Random(f"faults {seed}")
    kinds = [kind for kind in Kind if rng.random() < 0.5]
    share = rng.choice((0.5, 1.0, 2.0))
    faults: list[Fault] = []
    if Kind.LATE in kinds and peers > 1:
        late = rng.sample(range(peers), rng.randrange(1, max(2, peers // 4 + 1)))
        faults += [Fault(Kind.LATE, 0, start + int(rng.random() * (end - start)), (peer,)) for peer in late]
    if end > start:
        for kind in kinds:
            count = round(rng.random() * share * max(1.0, (end - start) / (6 * patience)))
            for _ in range(count):
                at = start + int(rng.random() * (end - start))
                until = min(end, at + int((0.1 + rng.expovariate(1.0)) * 1.5 * patience))
                if kind is Kind.SPLIT and not forks:
                    until = min(until, at + patience // 2)
                fault = _draw_one(kind, rng, peers, at, until)
                if fault is not None:
                    faults.append(fault)
    return tuple(sorted(faults, key=lambda f: (f.at, f.until, f.kind, f.peers)))


def _draw_one(kind: Kind, rng: random.Random, peers: int, at: Micros, until: Micros) -> Fault | None:
    one = (rng.randrange(peers),)
    some = tuple(sorted(rng.sample(range(peers), rng.randrange(1, peers // 2 + 1)))) if peers > 1 else one
    match kind:
        case Kind.CRASH:
            return Fault(kind, at, until, some if rng.random() < 0.15 else one, rng.randrange(1, 12))
        case Kind.STUMBLE:
            return Fault(kind, at, until, some, rng.randrange(4))
        case Kind.LEAVE | Kind.FAIL:
            return Fault(kind, at, until, one)
        case Kind.SLOW:
            return Fault(kind, at, until, one, rng.choice((2.0, 4.0)))
        case Kind.OUTAGE:
            return Fault(kind, at, until)
        case Kind.CUT:
            return Fault(kind, at, until, some, float(rng.random() < 0.5))
        case Kind.SPLIT:
            return Fault(kind, at, until, some) if peers > 1 else None
        case Kind.LOSS:
            return Fault(kind, at, until, amount=rng.choice((0.02, 0.1, 0.3)))
        case Kind.DUPLICATION:
            return Fault(kind, at, until, amount=rng.choice((0.05, 0.5)))
        case Kind.CONGESTION:
            return Fault(kind, at, until, some, rng.choice((5.0, 30.0)))
        case Kind.LATE:
            return None


CONGESTION_UNIT: Micros = MILLISECOND
"""Unit of a congestion's `amount`."""
