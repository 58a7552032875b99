"""What a peer tells about a certificate it adopts."""

from swarmdem.identifiers import GroupId, PlanId
from swarmdem.protocol.events import Certified, Effect, GroupChanged, PlasticityRaised, Report
from swarmdem.protocol.plans import Base, plan_time, set_back
from swarmdem.wire.charter import Charter


def certified(charter: Charter, left: Base, base: Base) -> list[Effect]:
    """Report that *base* is stood on in place of *left*, and what its plan changes for the swarm."""
    plan, certificate = base.plan, base.certificate
    assert plan is not None
    assert certificate is not None
    tree = base.hierarchy.tree_hash() if base.hierarchy is not None else b""
    adopted = Certified(
        PlanId(base.id), plan.base, plan.round, plan.mode, certificate.term, base.electorate, tree
    )
    effects: list[Effect] = [Report(adopted)]
    if set_back(left, base):
        effects.append(Report(PlasticityRaised(base.round, plan_time(charter, base))))
    return effects


def regrouped(base: Base, before: GroupId | None, group: GroupId | None) -> list[Effect]:
    """Report that the peer hangs under another *group* than *before*: ids last over rounds."""
    if base.hierarchy is None or group is None or group == before:
        return []
    now = base.hierarchy.group(group)
    return [Report(GroupChanged(base.round, now.id, now.level, len(now.members)))]
