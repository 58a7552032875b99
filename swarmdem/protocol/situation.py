"""What the machines of one round share: who we are, what we stand on, which digests we hold."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from swarmdem.identifiers import FrameId, Micros, PeerId
from swarmdem.protocol.cells.entries import counted_twice
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.events import Effect, Equivocated, Reject, Report
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base, digest_of, digest_refusal
from swarmdem.protocol.suspicion import LocalHealth, Suspicion
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer

CROWD = 64
"""More electors or founders than this are a crowd: few collect and count for all (`packing`, `counting`).

Peers may differ in it: a round then takes longer, and comes to the same.
"""
DIGESTS_OF_ONE_MAX = 4
"""Different digests of one peer kept per base: restarts and equivocation, no more."""


@dataclass(slots=True)
class DigestSet:
    """The valid digests for one base; the highest session of a peer counts."""

    current: dict[PeerId, Frame] = field(default_factory=dict)
    by_id: dict[FrameId, Frame] = field(default_factory=dict)
    _of_one: dict[PeerId, int] = field(default_factory=dict)

    def add(self, frame: Frame) -> list[Effect]:
        """Keep *frame*; a second content within one session is equivocation."""
        if frame.id in self.by_id:
            return []
        if self._of_one.get(frame.sender, 0) >= DIGESTS_OF_ONE_MAX:
            return [Reject(frame.sender, "too many digests for one base")]
        self._of_one[frame.sender] = self._of_one.get(frame.sender, 0) + 1
        self.by_id[frame.id] = frame
        held = self.current.get(frame.sender)
        if held is None or frame.session > held.session:
            self.current[frame.sender] = frame
        elif frame.session == held.session:
            return [Report(Equivocated(frame.sender, held.id, frame.id))]
        return []

    def find(self, prefix: bytes) -> Frame | None:
        """Return the frame whose id begins with *prefix* (16 or 32 bytes)."""
        if len(prefix) == 32:
            return self.by_id.get(FrameId(prefix))
        return next((f for i, f in self.by_id.items() if i.startswith(prefix)), None)


@dataclass(slots=True)
class Situation:
    """One base, seen from one peer."""

    me: PeerId
    charter: Charter
    sealer: Sealer
    membership: Membership
    clock: ConnectedClock
    base: Base
    health: LocalHealth | None = None
    """How late this peer itself has been; None: not at all."""
    crowd: int = CROWD
    """More electors than this are a crowd to this peer."""
    digests: DigestSet = field(default_factory=DigestSet)
    barred: Container[bytes] = ()
    """Plans this peer stood on and left: it certifies none of them again."""
    silent_until: Micros = 0
    """Connected time until which this peer abstains on the base (`restart`)."""
    electors: frozenset[PeerId] = field(init=False)
    suspicion: Suspicion = field(init=False)

    def __post_init__(self) -> None:
        """Derive E as a set, and what is thought of its peers."""
        self.electors = frozenset(self.base.electorate)
        health = self.health or LocalHealth(self.patience)
        self.suspicion = Suspicion(self.membership, self.clock, health, self.patience)

    @property
    def patience(self) -> Micros:
        """The charter's patience."""
        return self.charter.patience_us

    def add_digest(self, frame: Frame) -> list[Effect]:
        """Keep a digest for this base if it may be listed."""
        if len(self.digests.current) >= self.charter.peers_max and frame.sender not in self.digests.current:
            return [Reject(frame.sender, "the swarm is full")]
        refusal = digest_refusal(self.charter, self.base, digest_of(frame))
        return [Reject(frame.sender, refusal)] if refusal else self.digests.add(frame)

    def listable(self, peers: Iterable[PeerId] | None = None) -> dict[PeerId, Frame]:
        """Return the digests held of *peers*, or of all, that one plan may list together."""
        held = self.digests.current
        chosen = dict(held) if peers is None else {peer: held[peer] for peer in peers}
        doubles = counted_twice({peer: digest_of(frame) for peer, frame in chosen.items()}, self.electors)
        return {peer: frame for peer, frame in chosen.items() if peer not in doubles}

    def present(self, now: Micros) -> list[PeerId]:
        """Return the peers whose digest is held and who were heard naming this base lately, sorted."""
        heard = self.membership.naming(self.base.id, now) | {self.me}
        return sorted(peer for peer in self.digests.current if peer in heard)
