"""The second leader fetches nothing while the first is on time, and only once what its office needs."""

from swarmdem.protocol import events
from tests.protocol.test_update import PHASES, dies_at
from tests.protocol.update_checks import check_invariants
from tests.protocol.update_swarm import Swarm

FLAT = [*range(8)]


def upload_fetches(swarm, node):
    """Which peers' uploads a node ordered, in order."""
    owner = {model: peer for peer, model in swarm.uploads.items()}
    models = [effect.model for effect in node.performed if isinstance(effect, events.Fetch)]
    return [owner[model] for model in models if model in owner]


def second_of_root(swarm):
    first, second = swarm.leaders[swarm.hierarchy.root.id]
    return first, swarm.nodes[second]


def test_when_it_takes_office_everything_is_here_and_no_member_uploads_twice_to_it():
    swarm = Swarm(FLAT)
    first, second = second_of_root(swarm)
    swarm.nodes[first].alive = False
    swarm.run()

    check_invariants(swarm)
    orders = upload_fetches(swarm, second)
    assert sorted(orders) == sorted(set(swarm.nodes) - {first, second.peer} | {first})
    kinds = [type(effect) for effect in second.performed]
    first_counted = kinds.index(events.Accumulate)
    fetched_after = [
        effect
        for effect in second.performed[first_counted:]
        if isinstance(effect, events.Fetch) and effect.model in swarm.uploads.values()
    ]
    assert fetched_after == []  # it counts its own model first, the moment it is in office
    assert second.applied


def test_after_the_mean_only_the_mean_is_fetched():
    swarm = Swarm([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    group = next(group for group in swarm.hierarchy.groups if group.level == 1)
    first, second = swarm.leaders[group.id]
    swarm.on_effect = dies_at(PHASES["before it mixes"], first)
    swarm.run()

    check_invariants(swarm)
    assert upload_fetches(swarm, swarm.nodes[second]) == []
    means = [event for event in swarm.averaged() if event.group == group.id]
    assert [event.term for event in means] == [0, 1]
    assert means[0].model == means[1].model
    assert all(node.applied for node in swarm.living())


def test_a_first_leader_that_waits_for_a_dead_member_gives_no_cause():
    swarm = Swarm(FLAT)
    _, second = second_of_root(swarm)
    silent = next(peer for peer in swarm.nodes if peer not in swarm.leaders[swarm.hierarchy.root.id])
    swarm.nodes[silent].alive = False
    swarm.run()

    check_invariants(swarm)
    assert upload_fetches(swarm, second) == []
    assert swarm.averaged()[0].term == 0


def test_what_was_fetched_in_doubt_is_let_go_when_the_first_leader_answers_after_all():
    """Its frames are half a second late: in doubt the second begins, then the mean arrives."""
    swarm = Swarm(FLAT, delay_us=(400_000, 450_000))
    silent = next(peer for peer in swarm.nodes if peer not in swarm.leaders[swarm.hierarchy.root.id])
    swarm.nodes[silent].alive = False
    _, second = second_of_root(swarm)
    swarm.run()

    check_invariants(swarm)
    assert second.applied
    assert second.models <= {swarm.uploads[second.peer], *(order.parent for _, order in second.applied)} | {
        event.model for event in swarm.averaged()
    } | {finish.model for _, finish in second.finished}
