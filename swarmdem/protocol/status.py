"""What a peer can say about itself at one moment, and the evidence of its last certificate."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from swarmdem.identifiers import CellId, GroupId, Level, PeerId, PlanId, Round
from swarmdem.protocol.plans import Base
from swarmdem.protocol.reports import Readable
from swarmdem.wire.messages import NORMAL, Certificate, Digest


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
class Status(Readable):
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
    cell: CellId | None = None
    """The cell that all of this is said of; None in a flat swarm, and while a peer has no cell yet."""
    speaks: bool = False
    """Whether this peer speaks for its cell."""
    region: Round | None = None
    """Round of the region's certificate, as far as this peer knows; None where it does not speak."""


class Duties(Protocol):
    """What an update says about this peer's part in it."""

    @property
    def duties(self) -> tuple[tuple[GroupId, int], ...]:
        """Groups led, with the rank in each."""

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything of it."""


def status_of(
    me: PeerId,
    base: Base,
    *,
    phase: Phase,
    connected: bool,
    others: Collection[PeerId],
    update: Duties | None,
) -> Status:
    """Return the status of peer *me*, which stands on *base* and has *others* in sight."""
    tree = base.hierarchy
    group = tree.parent_of(me) if tree is not None else None
    return Status(
        peer=me,
        phase=phase,
        base=None if base.founding else PlanId(base.id),
        round=base.round,
        certified=base.plan is not None and base.plan.mode == NORMAL,
        connected=connected,
        peers=tuple(sorted({me, *others})),
        group=group,
        level=tree.group(group).level if tree is not None and group is not None else 0,
        duties=update.duties if update is not None else (),
        idle=update is None or update.idle,
    )


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The evidence of one round: what was certified, and the digests it lists."""

    plan_id: PlanId
    certificate: Certificate
    base: Base
    digests: Mapping[PeerId, Digest]
