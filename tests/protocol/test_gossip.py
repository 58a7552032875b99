"""Averaging with neighbours (D-PSGD, arXiv 1705.09056): the graph, and what each peer ends with."""

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol import events
from swarmdem.protocol.gossip import neighbours
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.messages import Ack
from tests.protocol.update_parts import BASE, PLAN_ID, SECOND, Model, mixture, peer_name
from tests.protocol.update_swarm import Node, Swarm

PEERS = [peer_name(i) for i in range(20)]


def gossiping(count: int, *, degree: int = 2, mixing: float = 1.0, **settings: object) -> Swarm:
    charter = Charter(swarm="test", levels=0, update="gossip", neighbours=degree, mixing=mixing)
    return Swarm([*range(count)], charter=charter, **settings)


def graph(peers: Iterable[PeerId], base: bytes, degree: int) -> dict[PeerId, set[PeerId]]:
    known = tuple(peers)
    return {peer: set(neighbours(peer, known, base=base, degree=degree)) for peer in known}


def mean_of(swarm: Swarm, peers: Iterable[PeerId]) -> Model:
    parts = [swarm.models[swarm.uploads[peer]] for peer in peers]
    return mixture((Fraction(1, len(parts)), part) for part in parts)


def check(swarm: Swarm) -> None:
    """What holds under every fault: exact means of a peer and its neighbours, each once, in time."""
    said = {peer: e for _, peer, e in swarm.reports if isinstance(e, events.NeighboursAveraged)}
    for peer, event in said.items():
        circle = graph(swarm.nodes, swarm.base, swarm.charter.neighbours)[peer]
        assert set(event.included) <= {peer, *circle} - (swarm.apart - {peer})
        assert set(event.included) | set(event.silent) == circle | ({peer} & swarm.uploads.keys())
        assert swarm.models[event.model] == mean_of(swarm, event.included)
        assert sorted(model for model, _ in event.inputs) == sorted(swarm.uploads[p] for p in event.included)
    for peer, node in swarm.nodes.items():
        if not node.alive:
            continue
        ((when, finish),) = node.finished
        assert when <= swarm.charter.patience_us // 4 + 300_000
        assert len(node.applied) == bool(finish.applied)
        if finish.applied and peer not in said:
            assert finish.model == swarm.uploads[peer]
        assert not node.fetching
        assert node.update.idle


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("degree", [2, 4])
def test_the_graph_is_regular_undirected_and_connected(count, degree):
    edges = graph(PEERS[:count], b"base", degree)

    assert {len(circle) for circle in edges.values()} == {min(degree, count - 1)}
    assert all(peer in edges[other] for peer, circle in edges.items() for other in circle)
    assert all(peer not in circle for peer, circle in edges.items())
    reached, pending = set(), [PEERS[0]]
    while pending:
        peer = pending.pop()
        reached.add(peer)
        pending += edges[peer] - reached
    assert reached == set(edges)


def test_the_graph_changes_with_each_plan_and_not_with_the_order_of_peers():
    one, other = graph(PEERS, b"one", 2), graph(PEERS, b"other", 2)

    assert one != other
    assert one == graph(reversed(PEERS), b"one", 2)


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_each_peer_ends_with_the_mean_of_itself_and_its_neighbours(count):
    swarm = gossiping(count).run()

    check(swarm)
    edges = graph(swarm.nodes, BASE, 2)
    for peer, node in swarm.nodes.items():
        assert swarm.models[node.finished[0][1].model] == mean_of(swarm, [peer, *edges[peer]])
    assert swarm.rejected == []


def test_the_mean_over_all_peers_stays_what_it_was():
    swarm = gossiping(8, degree=4).run()

    results = [swarm.models[node.finished[0][1].model] for node in swarm.nodes.values()]
    assert mixture((Fraction(1, 8), model) for model in results) == mean_of(swarm, swarm.nodes)


def test_nothing_but_models_and_acknowledgements_crosses():
    swarm = gossiping(8).run()

    sent = [e for node in swarm.nodes.values() for e in node.performed if isinstance(e, events.Send)]
    assert swarm.published == []
    assert {type(effect.frame.message) for effect in sent} == {Ack}
    assert len(sent) == sum(node.fetches for node in swarm.nodes.values()) == 16


def test_a_mixing_below_1_keeps_more_of_the_own_model():
    swarm = gossiping(2, mixing=0.5).run()

    ((own, share), *_) = sorted(
        swarm.models[swarm.nodes[peer_name(0)].finished[0][1].model], key=lambda part: part[0] != peer_name(0)
    )
    assert (own, share) == (peer_name(0), Fraction(3, 4))


@pytest.mark.parametrize(("count", "degree"), [(1, 2), (3, 0)])
def test_without_neighbours_the_trained_model_becomes_the_own_one_at_once(count, degree):
    swarm = gossiping(count, degree=degree)
    node = swarm.nodes[peer_name(0)]

    (apply,) = node.update.begin()

    upload = swarm.uploads[peer_name(0)]
    assert apply == events.Apply(
        PLAN_ID, 1, swarm.hierarchy.root.id, parent=upload, upload=upload, agents=(1,), alone=True
    )
    assert node.update.next_wakeup() is None
    (report,) = node.update.on_applied(events.Applied(PLAN_ID, upload), SECOND)[:1]
    assert (report.event.applied, node.update.idle) == (True, True)


def test_a_silent_neighbour_is_left_out_when_its_time_is_over():
    swarm = gossiping(8, dead=[3]).run()

    check(swarm)
    edges = graph(swarm.nodes, BASE, 2)
    for peer, node in swarm.nodes.items():
        silent = {peer_name(3)} & edges[peer]
        if node.alive:
            when, finish = node.finished[0]
            assert swarm.models[finish.model] == mean_of(swarm, {peer, *edges[peer]} - silent)
            assert (when >= 2 * SECOND) == bool(silent)


def test_when_all_neighbours_are_silent_the_own_model_stands():
    swarm = gossiping(3, dead=[1, 2]).run()

    check(swarm)
    ((_, order),) = swarm.nodes[peer_name(0)].applied
    assert (order.alone, order.parent) == (True, swarm.uploads[peer_name(0)])


def test_a_model_that_comes_too_late_changes_nothing():
    swarm = gossiping(2)
    node = swarm.nodes[peer_name(0)]
    node.update.begin()
    node.update.on_wake(2 * SECOND)

    effects = node.update.on_fetched(swarm.uploads[peer_name(1)], 3 * SECOND)

    assert effects == []


def test_the_time_allows_for_all_neighbours_twice_at_the_slowest_rate():
    schema = (TensorSpec("w", (250_000,), "float32"),)
    charter = Charter(swarm="test", schema=schema, levels=0, update="gossip", neighbours=4)
    swarm = Swarm([*range(8)], charter=charter)
    update = swarm.nodes[peer_name(0)].update
    update.begin()

    assert update.next_wakeup() == 2 * SECOND + 2 * 4 * 4 * SECOND


def test_a_neighbour_with_an_unusable_model_is_left_out_at_once():
    swarm = gossiping(3, bad=[1]).run()

    check(swarm)
    when, finish = swarm.nodes[peer_name(0)].finished[0]
    assert swarm.models[finish.model] == mean_of(swarm, [peer_name(0), peer_name(2)])
    assert when < SECOND


def test_a_peer_without_a_model_of_its_own_takes_its_neighbours_mean():
    swarm = gossiping(3, without_upload=[0]).run()

    ((_, finish),) = swarm.nodes[peer_name(0)].finished
    assert swarm.models[finish.model] == mean_of(swarm, [peer_name(1), peer_name(2)])


def test_a_peer_that_has_nothing_and_gets_nothing_gives_the_round_up():
    swarm = gossiping(3, without_upload=[0], dead=[1, 2]).run()

    ((_, finish),) = swarm.nodes[peer_name(0)].finished
    assert (finish.applied, finish.reason) == (False, "nothing was averaged")


def test_a_peer_without_samples_goes_into_no_mean():
    swarm = gossiping(3, weights={0: 0, 1: 7, 2: 3}).run()

    models = [swarm.models[node.finished[0][1].model] for node in swarm.nodes.values()]
    assert models == [mean_of(swarm, [peer_name(1), peer_name(2)])] * 3


def test_a_peer_set_apart_takes_and_does_not_give():
    swarm = gossiping(3, apart=[0]).run()

    check(swarm)
    model = {peer: swarm.models[node.finished[0][1].model] for peer, node in swarm.nodes.items()}
    assert model[peer_name(0)] == mean_of(swarm, swarm.nodes)
    assert model[peer_name(1)] == model[peer_name(2)] == mean_of(swarm, [peer_name(1), peer_name(2)])
    orders = [effect for node in swarm.nodes.values() for effect in node.performed]
    fetched = {order.model for order in orders if isinstance(order, events.Fetch)}
    assert swarm.uploads[peer_name(0)] not in fetched


def test_a_digest_that_comes_late_still_brings_its_model_in():
    swarm = gossiping(2, unknown_digests={0: [1]})
    update = swarm.nodes[peer_name(0)].update
    update.begin()

    assert update.missing_digests() == (swarm.digest_id(peer_name(1)),)
    effects = update.on_digest(peer_name(1), swarm.digests[peer_name(1)], SECOND)

    assert [effect.sources for effect in effects] == [(peer_name(1),)]
    assert update.missing_digests() == ()


def test_a_peer_that_is_not_listed_finishes_at_once():
    swarm = gossiping(3)
    update = swarm.machine(peer_name(99), swarm.digests)

    (report,) = update.begin()

    assert report.event.reason == "not listed"
    assert (update.applied, update.idle, update.next_wakeup(), update.duties) == (False, True, None, ())


def test_a_mean_that_is_never_computed_is_not_waited_for_without_end():
    swarm = gossiping(3)
    swarm._finish_mean = lambda node, order: None
    swarm.run()

    for node in swarm.nodes.values():
        ((when, finish),) = node.finished
        assert (when, finish.applied, finish.reason) == (10 * SECOND, False, "the mean did not come")
        assert node.update.idle


def test_a_peer_may_leave_when_its_neighbours_have_its_model_or_their_time_is_over():
    swarm = gossiping(2)
    one, other = (swarm.nodes[peer_name(i)] for i in (0, 1))
    other.alive = False
    for effect in one.update.begin():
        swarm.perform(one, [effect])
    swarm.run(until_s=2.5)

    assert one.update.applied
    assert not one.update.idle
    swarm.run()
    assert one.update.idle


def test_dropping_stops_what_is_under_way():
    swarm = gossiping(2)
    update = swarm.nodes[peer_name(0)].update
    update.begin()

    assert update.drop() == [events.StopFetching(swarm.uploads[peer_name(1)]), events.EndUpdate(PLAN_ID)]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 12),
    degree=st.sampled_from([0, 2, 4, 8]),
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.3]),
    slowest=st.sampled_from([150_000, 2_000_000]),
    crash=st.sampled_from([0.0, 0.02]),
)
def test_whatever_is_lost_late_or_dies_the_invariants_hold(count, degree, seed, loss, slowest, crash):
    swarm = gossiping(count, degree=degree, seed=seed, loss=loss, delay_us=(1_000, slowest))

    def survives(node: Node, effect: events.Effect) -> bool:
        return swarm.chance.random() >= crash

    swarm.on_effect = survives
    swarm.run()

    check(swarm)
