"""What makes a certificate valid, and what makes it one of this swarm.

A valid certificate carries the votes of more than half of those whom *its own plan* calls electors (more
than two thirds with `agreement = "bft"`); anybody can make one with keys of his own. It *follows* from a
certificate known to be real when it is a child of it and names exactly its peers as electors, or when more
than half of its peers voted for it, however many rounds lie between: an honest peer votes for children
of what it stands on only. (Light clients of block chains skip headers by the same argument.) What does
not follow from anything known here is a matter of counting (`lineages`).
"""

from collections.abc import Collection
from dataclasses import dataclass

from swarmdem.errors import WireError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.hierarchy import hierarchy_of
from swarmdem.protocol.plans import Base, base_of
from swarmdem.protocol.state import state_refusal
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import FOUNDING, NORMAL, PROVISIONAL, Certificate, Plan, Vote

ROUND_MAX = 2**31
"""Highest round that is believed: the numbers after it still fit a frame."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A certificate whose votes are genuine and suffice by its plan's own flags."""

    base: Base
    """What a peer stands on that adopts it."""
    plan: Plan
    voters: frozenset[PeerId]
    """The entitled whose signatures it carries."""


def quorum(charter: Charter, electors: int) -> int:
    """Return how many of *electors* decide: more than half; more than two thirds in the mode `bft`."""
    return 2 * electors // 3 + 1 if charter.agreement == "bft" else electors // 2 + 1


def least_listed(charter: Charter, electors: int) -> int:
    """Return how many of *electors* a plan must list: half, or in the mode `bft` as many as decide."""
    return quorum(charter, electors) if charter.agreement == "bft" else (electors + 1) // 2


def open_certificate(certificate: Certificate, sealer: Sealer, charter: Charter) -> Proven | None:
    """Return what *certificate* proves, or None when it is malformed or its votes do not suffice.

    Checked against the plan's own flags: enough of the electors (normal), or of the listed
    (provisional, founding), all for one term.
    """
    try:
        plan = codec.decode_plan(certificate.plan)
    except WireError:
        return None
    if plan.mode == PROVISIONAL and charter.agreement == "bft":
        return None
    voters = {e.peer for e in plan.entries if (e.elector if plan.mode == NORMAL else e.listed)}
    listed = sum(e.listed for e in plan.entries)
    if not voters or not listed or len(plan.reference) != 32 or plan.round > ROUND_MAX:
        return None
    if (plan.mode != FOUNDING and hierarchy_of(plan) is None) or state_refusal(charter, plan):
        return None
    content = Vote(plan.base, plan.mode, certificate.term, codec.plan_id(certificate.plan))
    proven = {sealer.proves(vote, content) for vote in certificate.votes}
    entitled = frozenset(voter for voter in voters if voter in proven)
    if len(entitled) < quorum(charter, len(voters)):
        return None
    return Proven(base_of(certificate, plan), plan, entitled)


def names_electors(plan: Plan, electors: Collection[PeerId]) -> bool:
    """Return whether *plan* calls exactly *electors* electors: whose votes count is not its to choose."""
    return {entry.peer for entry in plan.entries if entry.elector} == set(electors)


def follows(theirs: Proven, base: Base) -> bool:
    """Return whether a normal certificate follows from *base*, directly or over rounds in between."""
    if theirs.plan.mode != NORMAL or base.founding:
        return False
    if theirs.plan.base == base.id:
        return names_electors(theirs.plan, base.electorate)
    return 2 * len(theirs.voters.intersection(base.electorate)) > len(base.electorate)
