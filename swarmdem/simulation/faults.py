"""What goes wrong, as data: drawn from a seed (`drawing`), printed, edited, replayed and shrunk.

A fault names what it does, from when until when, to which peers and brokers, and how much of it. The
words are those of the harness that torments real processes: kill, stop, cut, a broker that is killed,
stopped, slowed. All but the last five are accidents. Those five make liars of peers (`liars`): of liars
less is promised (`checkers`), and only as long as there are few of them.

Limits: a torn write shows as a lost one, because every record and checkpoint on a peer's disk carries its
hash and what is torn is cut off at the next start. A liar cannot lie about the content of a mean it was
elected to make: nothing in this version of the protocol would show that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from swarmdem.identifiers import MILLISECOND, SECOND, Micros


class Kind(StrEnum):
    """What a fault does."""

    KILL = "kill"
    """`peers` die `amount` effects after `at` (between two effects), restart at `until` from disk."""
    STUMBLE = "stumble"
    """`peers` die `amount` effects after every vote or proposal, and restart at once each time."""
    LOST_WRITE = "lost write"
    """`peers` die in the middle of the `amount`-th write after `at`, which is lost; restart at `until`."""
    STOP = "stop"
    """`peers` are frozen while the world goes on; `amount` 1: their brokers notice and say so."""
    REPLACE = "replace"
    """`peers` die; at `until` others with new keys and empty disks take over their devices and data."""
    LEAVE = "leave"
    """`peers` say goodbye at `at` and come back at `until`."""
    LATE = "late"
    """`peers` start at `until` only."""
    SLOW = "slow"
    """Training at `peers` takes `amount` times as long."""
    FAIL = "training fails"
    """Training at `peers` raises."""
    CUT = "cut"
    """The links of `peers` to `brokers` are down; `amount` 1: the brokers keep sessions and queues."""
    SPLIT = "split"
    """`peers` are behind other brokers without a bridge; `amount` tells several such sides apart."""
    ONE_WAY = "one-way split"
    """As SPLIT, but one way is open: `amount` 0: all hear `peers`, 1: `peers` hear all."""
    LOSS = "loss"
    """Share `amount` of all frames is lost."""
    DELAY = "delay"
    """Frames from and to `peers` take up to `amount` milliseconds longer, drawn per frame."""
    BANDWIDTH = "bandwidth"
    """The links of `peers` carry `amount` kilobytes per second; their queues fill."""
    CONGESTION = "congestion"
    """The links of `peers` need `amount` milliseconds per frame; their queues fill."""
    OUTAGE = "broker outage"
    """`brokers` are away; `amount` 0: sessions and retained frames are lost, 1: kept."""
    BROKER_STOP = "broker stop"
    """`brokers` are frozen: what reaches them goes on later, as far as their queues hold it."""
    BROKER_SLOW = "broker slow"
    """`brokers` need `amount` milliseconds per frame."""
    QUEUES = "short queues"
    """`brokers` hold `amount` frames for each receiver."""
    DUPLICATION = "duplication"
    """`brokers` hand on share `amount` of all frames twice."""
    EQUIVOCATE = "equivocate"
    """`peers` tell one half of the swarm one thing and the other half another: digests, plans, votes."""
    REPLAY = "replay"
    """`peers` say again, byte for byte, what they or others said earlier."""
    FORGE = "forge"
    """`peers` add malformed, absurd and presumptuous frames; `amount` 1: certificates of nobody, too."""
    SILENCE = "selective silence"
    """`peers` tell share `amount` of the others nothing."""
    FORGET = "forget"
    """The disks of `peers` lie: every death costs the last `amount` writes, though others were told."""


LIES = (Kind.EQUIVOCATE, Kind.REPLAY, Kind.FORGE, Kind.SILENCE, Kind.FORGET)
"""Faults that break the promises of the peers they befall."""
ENDED_BY_START = (Kind.KILL, Kind.LOST_WRITE, Kind.REPLACE, Kind.LEAVE, Kind.LATE, Kind.STUMBLE)
"""Faults after which a peer must run again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong from `at` until `until`."""

    kind: Kind
    at: Micros
    until: Micros
    peers: tuple[int, ...] = ()
    amount: float = 0.0
    brokers: tuple[int, ...] = ()
    """Which brokers; none named: all."""

    def __str__(self) -> str:
        """Return the fault as one line of a report."""
        whom = f" peers {','.join(map(str, self.peers))}" if self.peers else ""
        where = f" brokers {','.join(map(str, self.brokers))}" if self.brokers else ""
        amount = f" amount {self.amount:g}" if self.amount else ""
        return f"{self.kind} {self.at / SECOND:.3f}-{self.until / SECOND:.3f} s{whom}{where}{amount}"


def last_end(faults: Sequence[Fault]) -> Micros:
    """Return when the last of *faults* ends."""
    return max((fault.until for fault in faults), default=0)


def liars(faults: Sequence[Fault]) -> frozenset[int]:
    """Return the numbers of the peers that *faults* make liars of at some time."""
    return frozenset(peer for fault in faults if fault.kind in LIES for peer in fault.peers)


UNIT: Micros = MILLISECOND
"""Unit of an `amount` that is a time."""
