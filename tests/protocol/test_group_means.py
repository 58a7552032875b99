"""Moving averages of group models (Dem-AI eq. 3): what one update leaves and the next one uses."""

from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import ModelHash, PeerId, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.deadlines import deadlines
from swarmdem.protocol.remarks import previous_of
from swarmdem.protocol.starting import GroupMean, Legacy
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.messages import Mean
from tests.protocol.update_checks import check_invariants
from tests.protocol.update_parts import MODEL_BYTES, PLAN_ID, SECOND, Shape, peer_name, tree
from tests.protocol.update_swarm import Swarm

MOVING = Charter(swarm="test", schedules=(("gamma", (1.0, 0.25)),))
SHAPE: Shape = [[0, 1, 2, 3], [4, 5, 6, 7], 8]


def two_rounds(shape: Shape = SHAPE, *, seed: int = 0, **settings: object) -> tuple[Swarm, Swarm]:
    first = Swarm(shape, charter=MOVING, seed=seed).run()
    second = Swarm(shape, charter=MOVING, seed=seed, time=1, after=first, **settings)
    return first, second


def means(swarm: Swarm) -> dict[object, events.GroupAveraged]:
    return {event.group: event for event in swarm.averaged()}


def test_a_group_mean_moves_from_the_last_one_by_gamma():
    first, second = two_rounds([0, 1])
    second.run()

    check_invariants(second)
    (before,), (after,) = first.averaged(), second.averaged()
    (a, b) = sorted([peer_name(0), peer_name(1)])
    half, eighth = Fraction(1, 2), Fraction(1, 8)
    assert (before.previous, before.time) == (None, 0)
    assert (after.previous, after.time) == (before.model, 1)
    assert dict(first.models[before.model]) == {a: half, b: half}
    assert dict(second.models[after.model]) == {
        a: 3 * eighth,
        b: 3 * eighth,
        second.label(a): eighth,
        second.label(b): eighth,
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_last_mean_comes_from_whoever_led_then(seed):
    shape: Shape = [[9 * seed + i for i in range(3)], [9 * seed + i for i in range(3, 6)]]
    first, second = two_rounds(shape, seed=seed)
    second.run()

    check_invariants(second)
    assert {g: event.previous for g, event in means(second).items()} == {
        g: event.model for g, event in means(first).items()
    }
    assert all(node.finished[0][1].applied for node in second.nodes.values())
    for frame in second.frames(Mean):
        assert previous_of(frame.message) == means(first)[frame.message.group].model


def test_the_mean_is_plain_where_gamma_is_1():
    first = Swarm(SHAPE, charter=MOVING).run()
    second = Swarm(SHAPE, charter=MOVING, time=0, after=first).run()

    check_invariants(second)
    assert {event.previous for event in second.averaged()} == {None}


def test_nothing_is_left_where_group_models_do_not_move():
    swarm = Swarm(SHAPE).run()

    assert {node.update.legacy for node in swarm.nodes.values()} == {None}


def test_every_peer_knows_every_groups_mean_and_a_few_hold_it():
    swarm = Swarm(SHAPE, charter=MOVING).run()

    for node in swarm.nodes.values():
        legacy = node.update.legacy
        assert {group: mean.model for group, mean in legacy.means.items()} == {
            group: event.model for group, event in means(swarm).items()
        }
        assert legacy.held <= node.models
    for group in swarm.hierarchy.groups:
        mean = swarm.nodes[peer_name(8)].update.legacy.means[group.id]
        holders = {peer for peer, node in swarm.nodes.items() if mean.model in node.update.legacy.held}
        assert mean.holders[0] == swarm.leaders[group.id][0]
        assert len(holders & set(mean.holders)) >= 2


def test_a_last_mean_that_nobody_serves_is_waited_for_no_longer_than_inputs_are():
    first, second = two_rounds()
    group = second.hierarchy.groups[1]
    leader, gone = second.leaders[group.id][0], means(first)[group.id].model
    assert gone not in second.nodes[leader].update.models
    for node in second.nodes.values():
        node.models.discard(gone)
    second.run()

    check_invariants(second)
    orders = second.nodes[leader].performed
    assert gone in {order.model for order in orders if isinstance(order, events.Fetch)}
    assert (means(second)[group.id].term, means(second)[group.id].previous) == (0, None)
    times = deadlines(second.hierarchy, second.charter, began=0)[group.id]
    announced = next(when for when, _, e in second.reports if e == means(second)[group.id])
    assert announced <= times.close(times.up_start) + 200_000
    assert all(node.finished[0][1].applied for node in second.nodes.values())


def test_a_last_mean_that_must_not_be_used_is_done_without_at_once():
    first, second = two_rounds()
    group = second.hierarchy.groups[1]
    second.bad.add(means(first)[group.id].model)
    second.run()

    check_invariants(second)
    assert means(second)[group.id].previous is None
    assert max(when for node in second.nodes.values() for when, _ in node.finished) < 2 * SECOND


def test_who_was_started_anew_knows_no_last_mean_and_its_groups_begin_anew():
    first = Swarm([0, 1, 2], charter=MOVING).run()
    for node in first.nodes.values():
        node.alive = False

    second = Swarm([0, 1, 2], charter=MOVING, time=1, after=first).run()

    check_invariants(second)
    assert [event.previous for event in second.averaged()] == [None]


def test_the_second_leader_moves_the_mean_too_when_the_first_dies():
    first, second = two_rounds()
    group = second.hierarchy.groups[1]
    second.nodes[second.leaders[group.id][0]].alive = False
    second.run()

    check_invariants(second)
    mean = means(second)[group.id]
    assert (mean.term, mean.previous) == (1, means(first)[group.id].model)


def test_the_first_leaders_mean_is_repeated_with_what_went_into_it():
    first, second = two_rounds()
    group = second.hierarchy.groups[1]
    leader = second.leaders[group.id][0]
    second.on_effect = lambda node, effect: not (node.peer == leader and isinstance(effect, events.Mix))
    second.run()

    check_invariants(second)
    said = [frame.message for frame in second.frames(Mean) if frame.message.group == group.id]
    assert {message.term for message in said} == {0, 1}
    assert {previous_of(message) for message in said} == {means(first)[group.id].model}


def test_what_was_left_counts_for_the_very_next_plan_only():
    first = Swarm(SHAPE, charter=MOVING).run()
    between = Swarm(SHAPE, charter=MOVING, time=1, after=first)
    for node in first.nodes.values():
        legacy = node.update.legacy
        assert legacy is not None
        stale = Legacy(PlanId(b"o" * 32), legacy.means, legacy.held)
        between._legacy = lambda peer, stale=stale: stale
    update = between.machine(peer_name(0), between.digests)

    assert update.models == (between.uploads[peer_name(0)],)


def test_a_mean_may_name_a_last_one_that_nobody_knows():
    swarm = Swarm([0, 1, 2], charter=MOVING, time=1)
    root = swarm.hierarchy.root
    leader, _ = swarm.leaders[root.id]
    plain = next(peer for peer in root.members if peer not in swarm.leaders[root.id])
    update = swarm.nodes[plain].update
    update.begin()
    message = Mean(
        PLAN_ID,
        0,
        root.id,
        0,
        3,
        root.members,
        b"m" * 32,
        MODEL_BYTES,
        (),
        ((2, b"never announced".ljust(32)),),
    )

    effects = update.on_frame(swarm.nodes[leader].update._desk.sealer.seal(message), SECOND)

    assert [effect.model for effect in effects if isinstance(effect, events.Fetch)] == [b"m" * 32]


@pytest.mark.parametrize("content", [b"", b"short", b"l" * 33])
def test_a_name_of_another_length_counts_as_none(content):
    message = Mean(PLAN_ID, 0, b"g" * 16, 0, 0, (), b"", 0, (), ((2, content),))

    assert previous_of(message) is None


def test_a_last_mean_of_peers_that_are_gone_is_not_waited_for():
    swarm = Swarm([0, 1, 2], charter=MOVING, time=1)
    root = swarm.hierarchy.root
    stranger = PeerId(b"s" * 16)
    legacy = Legacy(
        PlanId(swarm.base), {root.id: GroupMean(ModelHash(b"x" * 32), MODEL_BYTES, (stranger,))}, frozenset()
    )
    swarm._legacy = lambda peer: legacy
    for peer, node in swarm.nodes.items():
        node.update = swarm.machine(peer, swarm.digests)
    swarm.run()

    check_invariants(swarm)
    assert [event.previous for event in swarm.averaged()] == [None]
    assert max(when for node in swarm.nodes.values() for when, _ in node.finished) < 2 * SECOND


def test_the_last_mean_has_its_time_to_cross():
    specs = (TensorSpec("w", (1_000_000,), "float32"),)
    plain, moving = (
        Charter(swarm="test", schema=specs),
        Charter(swarm="test", schema=specs, schedules=MOVING.schedules),
    )
    shape = tree([0, 1])

    ((_, before),) = deadlines(shape, plain, began=0).items()
    ((_, after),) = deadlines(shape, moving, began=0).items()

    assert before.transfer == 32 * SECOND
    assert after.transfer == 48 * SECOND


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    crash=st.sampled_from([0.0, 0.002, 0.02]),
    slowest=st.sampled_from([150_000, 2_000_000]),
)
def test_whatever_is_lost_late_or_dies_the_invariants_hold_over_two_rounds(seed, loss, crash, slowest):
    faults = {"seed": seed, "loss": loss, "delay_us": (1_000, slowest)}
    first = Swarm(SHAPE, charter=MOVING, **faults)
    first.on_effect = lambda node, effect: first.chance.random() >= crash
    first.run()
    second = Swarm(SHAPE, charter=MOVING, time=1, after=first, **faults)
    second.on_effect = lambda node, effect: second.chance.random() >= crash
    second.run()

    check_invariants(first)
    check_invariants(second)
    announced = {event.model for event in first.averaged()}
    assert {event.previous for event in second.averaged()} <= {None, *announced}
