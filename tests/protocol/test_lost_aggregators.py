"""Both aggregators of one group die, at each level."""

import pytest

from swarmdem.protocol import events
from tests.protocol.test_update import PHASES, dies_at
from tests.protocol.update_checks import check_invariants
from tests.protocol.update_swarm import Swarm

SHAPE = [
    [[*range(5)], [*range(5, 10)], 10, 11],
    [[*range(12, 17)], [*range(17, 22)], 22, 23],
    24,
    25,
]
"""Three levels, direct leaves at each, and more peers than offices: nobody leads two groups."""


def play(level, *, given):
    """Kill both aggregators of a group: from the start, or the first once its parent has its mean."""
    swarm = Swarm(SHAPE)
    group = next(group for group in swarm.hierarchy.groups if group.level == level)
    first, second = swarm.leaders[group.id]
    swarm.nodes[second].alive = False
    if given:
        swarm.on_effect = dies_at(PHASES["before it mixes"], first)
    else:
        swarm.nodes[first].alive = False
    swarm.run()
    check_invariants(swarm)
    return swarm, group


def without_result(swarm):
    return {node.peer for node in swarm.living() if not node.applied}


@pytest.mark.parametrize("level", [1, 2, 3])
def test_only_direct_leaves_of_the_group_keep_their_models_and_its_child_groups_cut(level):
    swarm, group = play(level, given=False)

    living = {node.peer for node in swarm.living()}
    assert without_result(swarm) == set(group.leaves) & living
    cut = {event.group for event in swarm.group_results() if event.cut}
    assert cut == set(group.children)
    assert all(finish.applied == bool(node.applied) for node in swarm.living() for _, finish in node.finished)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("given", [False, True])
def test_the_parent_goes_on_without_the_group_unless_it_has_its_mean(level, given):
    swarm, group = play(level, given=given)

    means = [event for event in swarm.averaged() if event.group == swarm.hierarchy.root.id]
    included = set(means[-1].included)
    assert (included & set(group.members) != set()) is given
    assert included >= {node.peer for node in swarm.living()} - set(group.members)
    finished = [e for e in swarm.group_results() if e.group == group.id]
    assert finished == []
    assert without_result(swarm) == set(group.leaves) & {node.peer for node in swarm.living()}


def test_nobody_is_deposed_for_a_dead_parent():
    swarm, group = play(2, given=False)

    below = [
        e for e in swarm.reports if isinstance(e[2], events.GroupFinished) and e[2].group in group.children
    ]
    assert [event.term for _, _, event in below] == [0, 0]
