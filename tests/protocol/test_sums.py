"""`pull_to = all` (Dem-AI eq. 2): results that carry the sum over the groups above, and say of which."""

from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import structs

from swarmdem.identifiers import ModelHash
from swarmdem.protocol import events
from swarmdem.protocol.deadlines import deadlines
from swarmdem.protocol.remarks import summed_ext, summed_of
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.messages import Final, Mean
from tests.protocol.update_checks import check_invariants
from tests.protocol.update_parts import MODEL_BYTES, PLAN_ID, SECOND, FakeSealer, Shape, peer_name, sums, tree
from tests.protocol.update_swarm import Node, Swarm

SCHEMA = (TensorSpec("w", (MODEL_BYTES // 4,), "float32"),)
SUMMING = Charter(swarm="test", schema=SCHEMA, pull_to="all")
SHAPE: Shape = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], 9], 10]


def applied(swarm: Swarm, index: int) -> events.Apply:
    ((_, order),) = swarm.nodes[peer_name(index)].applied
    return order


def test_a_result_carries_the_sum_of_the_models_above_by_their_numbers_of_agents():
    swarm = Swarm(SHAPE, charter=SUMMING).run()

    check_invariants(swarm)
    assert swarm.rejected == []
    assert {i: applied(swarm, i).agents for i in (0, 6, 9, 10)} == {
        0: (3, 6, 11), 6: (3, 4, 11), 9: (4, 11), 10: (11,),
    }  # fmt: skip
    carried = sums(swarm.models[applied(swarm, 0).parent])
    assert sum(share for _, share in carried) == Fraction(1, 3) + Fraction(1, 6) + Fraction(1, 11)
    assert sums(swarm.models[applied(swarm, 10).parent]) == ()


def test_only_results_below_the_root_have_twice_the_bytes():
    swarm = Swarm(SHAPE, charter=SUMMING).run()

    assert {frame.message.model_bytes for frame in swarm.frames(Mean)} == {MODEL_BYTES}
    assert {frame.message.model_bytes for frame in swarm.frames(Final)} == {2 * MODEL_BYTES}
    assert sorted((event.level, event.summed) for event in swarm.group_results()) == [
        (1, (3, 4, 11)),
        (1, (3, 6, 11)),
        (1, (3, 6, 11)),
        (2, (4, 11)),
        (2, (6, 11)),
        (3, ()),
    ]


def test_a_group_that_is_cut_off_starts_a_sum_of_its_own():
    swarm = Swarm(SHAPE, charter=SUMMING)
    root, middle = swarm.hierarchy.groups[0], swarm.hierarchy.parent_of(peer_name(9))
    for peer in swarm.leaders[root.id]:
        swarm.nodes[peer].alive = False
    swarm.run()

    check_invariants(swarm)
    cut = [event for event in swarm.group_results() if event.group == middle]
    assert [(event.cut, event.summed) for event in cut] == [(True, ())]
    below = {node.applied[0][1].agents for node in swarm.living() if node.applied}
    assert below <= {(3, 6), (3, 4), (4,), (3,), (6,)}
    assert below & {(3, 6), (3, 4)}


def test_a_group_without_a_mean_passes_its_parents_sum_on():
    swarm = Swarm([[[0, 1], [2, 3]], 4], charter=SUMMING, weights={0: 0, 1: 0}).run()

    check_invariants(swarm)
    assert applied(swarm, 0).agents == (4, 5)
    assert applied(swarm, 2).agents == (2, 4, 5)


def test_a_group_without_a_mean_says_whose_model_it_hands_on():
    weights = dict.fromkeys(range(4), 0)
    swarm = Swarm([[[0, 1], [2, 3]], 4], charter=SUMMING, weights=weights).run()

    check_invariants(swarm)
    assert swarm.rejected == []
    assert {applied(swarm, i).agents for i in range(5)} == {(5,)}


def test_the_share_of_a_model_handed_on_is_that_of_the_group_it_is_of():
    swarm = Swarm([[[0, 1], 2, 3], 4, 5], charter=SUMMING)
    low, middle = swarm.hierarchy.parent_of(peer_name(0)), swarm.hierarchy.parent_of(peer_name(2))
    node = swarm.nodes[swarm.leaders[low][0]]
    passed = Final(PLAN_ID, 0, middle, 0, False, b"r" * 32, MODEL_BYTES, (), summed_ext((6,)))
    node.update.begin()
    node.update.on_frame(FakeSealer(swarm.leaders[middle][0], swarm.registry).seal(passed), SECOND)
    for peer in (peer_name(0), peer_name(1)):
        node.update.on_fetched(swarm.uploads[peer], SECOND)
    node.update.on_fetched(ModelHash(b"r" * 32), SECOND)

    effects = node.update.on_averaged(
        events.Averaged(PLAN_ID, low, ModelHash(b"m" * 32), MODEL_BYTES), SECOND
    )

    (mix,) = [effect for effect in effects if isinstance(effect, events.Mix)]
    assert (mix.agents, mix.above) == (2, 6)


def test_where_the_pull_is_to_the_parent_there_are_no_sums():
    swarm = Swarm(SHAPE).run()

    assert {summed_of(frame.message) for frame in swarm.frames(Final)} == {()}
    assert applied(swarm, 0).agents == (3,)


@pytest.mark.parametrize(
    ("charter", "changes", "reason"),
    [
        (SUMMING, {"model_bytes": 1500}, "its model has 1500 bytes instead of 2000"),
        (SUMMING, {"model_bytes": 1000}, "its model has 1000 bytes instead of 2000"),
        (SUMMING, {"ext": ()}, "its model has 2000 bytes instead of 1000"),
        (SUMMING, {"ext": ((2, b"\0"),)}, "its model has 2000 bytes instead of 1000"),
        (SUMMING, {"ext": ((2, b"\0\0"),)}, "its model has 2000 bytes instead of 1000"),
        (SUMMING, {"ext": ((2, b"\xff\xff"),)}, "its model has 2000 bytes instead of 1000"),
        (SUMMING, {"ext": ((2, b"\0\1" * 256),)}, "its model has 2000 bytes instead of 1000"),
        (SUMMING, {"ext": summed_ext((5,))}, "its model has 2000 bytes instead of 1000"),
        (SUMMING, {"ext": summed_ext((4, 4))}, "it sums up other groups than those above"),
        (SUMMING, {"ext": summed_ext((5, 4))}, "it sums up other groups than those above"),
        (SUMMING, {"ext": summed_ext((1, 5))}, "it sums up other groups than those above"),
        (SUMMING, {"cut": True}, "it sums up models where none are asked for"),
        (Charter(swarm="test", schema=SCHEMA), {}, "it sums up models where none are asked for"),
        (Charter(swarm="test", schema=SCHEMA), {"ext": ()}, "its model has 2000 bytes instead of 1000"),
    ],
)
def test_a_result_of_a_length_that_cannot_be_is_refused(charter, changes, reason):
    swarm = Swarm([[0, 1, 2, 3], 4], charter=charter)
    group = swarm.hierarchy.groups[1]
    leader = swarm.leaders[group.id][0]
    plain = next(peer for peer in group.leaves if all(peer not in ranks for ranks in swarm.leaders.values()))
    update = swarm.nodes[plain].update
    update.begin()
    good = Final(PLAN_ID, 0, group.id, 0, False, b"m" * 32, 2 * MODEL_BYTES, (), summed_ext((4, 5)))

    effects = update.on_frame(
        FakeSealer(leader, swarm.registry).seal(structs.replace(good, **changes)), SECOND
    )

    assert effects == [events.Reject(leader, reason)]


def test_a_mean_is_never_of_twice_the_length():
    swarm = Swarm([0, 1, 2], charter=SUMMING)
    root = swarm.hierarchy.root
    leader = swarm.leaders[root.id][0]
    plain = next(peer for peer in root.members if peer not in swarm.leaders[root.id])
    update = swarm.nodes[plain].update
    update.begin()
    mean = Mean(PLAN_ID, 0, root.id, 0, 3, root.members, b"m" * 32, 2 * MODEL_BYTES, ())

    effects = update.on_frame(FakeSealer(leader, swarm.registry).seal(mean), SECOND)

    assert effects == [events.Reject(leader, "its model has 2000 bytes instead of 1000")]


def test_twice_the_bytes_have_twice_the_time():
    shape = tree([0, 1])

    ((_, plain),) = deadlines(shape, Charter(swarm="test", schema=SCHEMA), began=0).items()
    ((_, summing),) = deadlines(shape, SUMMING, began=0).items()

    assert (plain.transfer, summing.transfer) == (8_000, 16_000)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    crash=st.sampled_from([0.0, 0.002, 0.02]),
    weights=st.dictionaries(st.integers(0, 10), st.integers(0, 3)),
)
def test_whatever_is_lost_late_or_dies_a_sum_is_of_the_groups_it_names(seed, loss, crash, weights):
    swarm = Swarm(SHAPE, charter=SUMMING, seed=seed, loss=loss, weights=weights)

    def survives(node: Node, effect: events.Effect) -> bool:
        return swarm.chance.random() >= crash

    swarm.on_effect = survives
    swarm.run()

    check_invariants(swarm)
