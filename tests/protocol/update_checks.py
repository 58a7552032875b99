"""What holds for every update, whatever was lost, late or dead."""

from fractions import Fraction

from swarmdem.identifiers import GroupId
from swarmdem.protocol import events
from swarmdem.protocol.deadlines import deadlines
from swarmdem.protocol.starting import moving
from swarmdem.wire.messages import GroupSkip
from tests.protocol.update_parts import mixture, sums
from tests.protocol.update_swarm import Swarm


def check_mean(swarm: Swarm, event: events.GroupAveraged) -> None:
    """A mean is that of its inputs (eq. 9), moved on from the one it names (Dem-AI eq. 3)."""
    assert event.model is not None
    if [model for model, _ in event.inputs] == [event.model]:
        return  # the first leader's mean, said again by the second
    mean = mixture((Fraction(weight, event.weight), swarm.models[model]) for model, weight in event.inputs)
    if event.previous is not None:
        mean = swarm.averaged_over_time(event.previous, mean)
    assert swarm.models[event.model] == mean
    if not moving(swarm.charter):
        assert mean == mixture(
            (Fraction(swarm.weights[peer], event.weight), swarm.models[swarm.uploads[peer]])
            for peer in event.included
        )


def check_sum(swarm: Swarm, order: events.Apply) -> None:
    """The groups said to be summed up are those summed up: shares of a model add up to 1."""
    summed = sums(swarm.models[order.parent])
    if summed:
        assert sum(share for _, share in summed) == sum(Fraction(1, agents) for agents in order.agents)
    elif swarm.charter.pull_to == "all":
        averaged = {event.group for event in swarm.averaged() if event.model == order.parent}
        assert order.agents in {(len(swarm.hierarchy.group(group).members),) for group in averaged}
    else:
        assert order.agents == (len(swarm.hierarchy.group(order.group).members),)


def check_invariants(swarm: Swarm) -> None:
    """What holds under every fault."""
    times = deadlines(swarm.hierarchy, swarm.charter, began=0)
    finals = {event.group: [] for event in swarm.group_results()}
    for event in swarm.group_results():
        finals[event.group].append(event)
    means: dict[GroupId, list[events.GroupAveraged]] = {}
    for event in swarm.averaged():
        means.setdefault(event.group, []).append(event)
        members = swarm.hierarchy.group(event.group).members
        assert sorted(set(event.included)) == list(event.included), "each input counts once"
        assert set(event.included) <= set(members)
        assert event.weight == sum(swarm.weights[peer] for peer in event.included)
        assert not swarm.apart & set(event.included)
        if event.model is not None:
            check_mean(swarm, event)
    for group in swarm.hierarchy.groups:
        for event in finals.get(group.id, []):
            own = [mean.model for mean in means[group.id] if mean.term == event.term]
            above = [final.model for final in finals.get(group.parent, [])] if group.parent else []
            if event.cut or group.parent is None:
                assert event.model in own
            else:
                agents = len(group.members)
                over = len(swarm.hierarchy.group(group.parent).members)
                mixed = {
                    swarm.mix(mean, result, agents=agents, above=over)
                    for mean in own
                    if mean
                    for result in above
                }
                assert event.model in mixed or (own == [None] and event.model in above)
    for node in swarm.nodes.values():
        assert len(node.applied) <= 1, "nobody applies twice"
        skipped = {frame.message.group for frame in swarm.frames(GroupSkip) if frame.sender == node.peer}
        for _, apply in node.applied:
            assert apply.group == swarm.hierarchy.parent_of(node.peer)
            offered = {event.term for event in finals[apply.group] if event.model == apply.parent}
            assert offered
            assert apply.group not in skipped or 1 in offered, "a skipped term's result is refused"
            check_sum(swarm, apply)
    for node in swarm.living():
        assert len(node.finished) == 1, "every round ends"
        when, finish = node.finished[0]
        end = times[swarm.hierarchy.parent_of(node.peer)].end
        assert when <= end + 200_000, "within the nested deadlines"
        assert finish.applied == bool(node.applied)
        assert node.update.applied is finish.applied
        assert not node.fetching, "nothing is fetched for ever"
        assert node.update.idle, "nothing is repeated for ever"
