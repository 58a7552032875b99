"""What a peer can say about itself at one moment, and the evidence of its last certificate."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from swarmdem.identifiers import GroupId, Level, PeerId, PlanId, Round
from swarmdem.protocol.plans import Base
from swarmdem.wire.messages import Certificate, Digest


class Phase(StrEnum):
    """What this peer is doing."""

    JOINING = "joining"
    """No certificate yet: founding, or waiting to be welcomed."""
    FETCHING = "fetching"
    """Waiting for the reference model before the first training."""
    TRAINING = "training"
    AGREEING = "agreeing"
    """Its digest is out; waiting for the certificate."""
    UPDATING = "updating"
    """The hierarchical update runs."""
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Status:
    """A peer at one moment."""

    peer: PeerId
    phase: Phase
    base: PlanId | None
    round: Round
    certified: bool
    connected: bool
    peers: tuple[PeerId, ...]
    """Peers in sight, this one included."""
    group: GroupId | None
    level: Level
    duties: tuple[tuple[GroupId, int], ...]
    """Groups this peer leads, with its rank in each."""
    idle: bool
    """Nobody waits for anything of this peer's update."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The evidence of one round: what was certified, and the digests it lists."""

    plan_id: PlanId
    certificate: Certificate
    base: Base
    digests: Mapping[PeerId, Digest]
