"""What one peer begins the update of a plan with, and what an update leaves for the next one.

With the schedule `gamma` a group's model is a moving average over rounds (Dem-AI, arXiv 2003.09301,
eq. 3), and whoever leads the group now need not have led it before. So every peer notes which mean each
group announced and who holds it, and those who hold it keep it for one more update. The note counts
for the plan that follows on the noted one and no other; it does not survive a restart. A group whose
last mean is unknown or does not arrive simply starts anew from the mean of its members.
"""

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field

from swarmdem.identifiers import GroupId, Micros, ModelHash, PeerId, PlanId
from swarmdem.protocol.conduct import Conduct
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.suspicion import Suspicion
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import Digest, Plan


@dataclass(frozen=True, slots=True)
class GroupMean:
    """The model that a group announced as its mean."""

    model: ModelHash
    model_bytes: int
    holders: tuple[PeerId, ...]
    """Who should have it, best first."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """What one update leaves for the next."""

    plan: PlanId
    """The plan it was of."""
    means: Mapping[GroupId, GroupMean]
    """By group of that plan's tree; groups that averaged nothing are missing."""
    held: AbstractSet[ModelHash]
    """Those of the means that this peer holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What one peer begins with."""

    charter: Charter
    sealer: Sealer
    """Signs what this peer says."""
    plan_id: PlanId
    plan: Plan
    """The certified plan."""
    hierarchy: Hierarchy
    """Its tree."""
    digests: Mapping[PeerId, Digest]
    """Those of the listed digests that this peer holds."""
    upload: ModelHash | None
    """This peer's trained model, which its own digest names; None when it has none."""
    now: Micros
    """When the certificate became this peer's base."""
    time: int = 0
    """Tick of the schedules' clock at the plan."""
    apart: AbstractSet[PeerId] = field(default_factory=frozenset)
    """Listed peers that are set apart: they get results, their models go into none."""
    conduct: Conduct = field(default_factory=Conduct)
    """What the plan says of peers and links."""
    legacy: Legacy | None = None
    """What the update before left, if this peer took part in one."""
    suspicion: Suspicion | None = None
    """Tells who is taken for gone; None: nobody."""


def moving(charter: Charter) -> bool:
    """Return whether group models of this swarm are ever moving averages (eq. 3)."""
    return min(dict(charter.schedules).get("gamma", (1.0,))) < 1.0


def inherited(start: Start) -> Legacy | None:
    """Return what the update may use of the one before; None when nothing, or when a plan lies between."""
    legacy = start.legacy
    if legacy is None or legacy.plan != start.plan.base:
        return None
    return legacy if start.charter.scheduled("gamma", start.time) < 1.0 else None
