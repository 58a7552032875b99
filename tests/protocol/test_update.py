"""The update as a whole: every peer ends with the right model, or with its own, in time."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import GroupId, PeerId
from swarmdem.protocol import events
from swarmdem.protocol.deadlines import deadlines
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.messages import Final, GroupSkip, Mean
from tests.protocol.update_checks import check_invariants
from tests.protocol.update_parts import SECOND, Model, Shape, mixture, peer_name
from tests.protocol.update_swarm import Node, Swarm

SHAPES: dict[str, Shape] = {
    "one": [0],
    "two": [0, 1],
    "three": [0, 1, 2],
    "flat": [*range(9)],
    "pair and leaf": [[0, 1], 2],
    "chain": [0, [1, [2, [3, 4]]]],
    "levels 2": [[0, 1, 2], [3, 4, 5]],
    "levels 3": [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], 9], 10],
    "levels 4": [[[[0, 1], [2, 3]], [[4, 5], [6, 7, 8]]], [[9, 10, 11], [12, 13]], 14],
}


def truth(swarm: Swarm) -> dict[PeerId, Model]:
    """What every peer's model must be when nothing fails: eq. 9 and 10, by hand from the top."""
    alpha = Fraction(swarm.charter.mixing).limit_denominator(1000)
    finals: dict[GroupId, Model] = {}
    outcome: dict[PeerId, Model] = {}
    for group in swarm.hierarchy.groups:
        total = sum(swarm.weights[peer] for peer in group.members)
        mean: Model = tuple(
            (peer, Fraction(swarm.weights[peer], total)) for peer in group.members if swarm.weights[peer]
        )
        above = finals.get(group.parent) if group.parent else None
        finals[group.id] = mixture([(alpha, above), (1 - alpha, mean)]) if above is not None else mean
        for leaf in group.leaves:
            outcome[leaf] = mixture([(alpha, finals[group.id]), (1 - alpha, ((leaf, Fraction(1)),))])
    return outcome


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_without_faults_every_model_is_exactly_that_of_equations_9_and_10(shape):
    swarm = Swarm(shape).run()

    check_invariants(swarm)
    expected = truth(swarm)
    for node in swarm.nodes.values():
        _, finish = node.finished[0]
        assert finish.applied
        assert swarm.models[finish.model] == expected[node.peer]
    assert swarm.rejected == []
    assert swarm.frames(GroupSkip) == []
    assert len(swarm.averaged()) == len(swarm.group_results()) == len(swarm.hierarchy.groups)
    assert all(event.term == 0 and not event.cut for event in swarm.group_results())


def test_samples_weigh_in_the_mean_and_a_peer_without_any_still_gets_the_result():
    swarm = Swarm([[0, 1, 2], 3], weights={0: 5, 1: 0, 2: 7, 3: 20}).run()

    check_invariants(swarm)
    root = next(event for event in swarm.averaged() if event.group == swarm.hierarchy.root.id)
    assert root.weight == 32
    assert peer_name(1) not in root.included
    outcome = truth(swarm)[peer_name(1)]
    assert swarm.models[swarm.nodes[peer_name(1)].finished[0][1].model] == outcome


def test_a_swarm_of_one_sends_nothing():
    swarm = Swarm([0]).run()

    assert swarm.published == []
    assert swarm.models[swarm.nodes[peer_name(0)].finished[0][1].model] == ((peer_name(0), Fraction(1)),)


def test_a_group_without_any_weight_takes_its_parents_result():
    swarm = Swarm([[0, 1], [2, 3]], weights={0: 0, 1: 0}).run()

    check_invariants(swarm)
    results = {
        event.level: event for event in swarm.group_results() if peer_name(0) in _members(swarm, event)
    }
    assert results[1].model == results[2].model
    assert all(node.applied for node in swarm.nodes.values())


def test_when_nobody_has_weight_all_keep_their_models_at_once():
    swarm = Swarm([[0, 1], 2], weights={0: 0, 1: 0, 2: 0}).run()

    check_invariants(swarm)
    for node in swarm.nodes.values():
        when, finish = node.finished[0]
        assert (finish.applied, finish.reason) == (False, "nothing was averaged")
        assert when < 2 * SECOND


@pytest.mark.parametrize("shape", [SHAPES["flat"], SHAPES["levels 2"], SHAPES["levels 3"]], ids=str)
@pytest.mark.parametrize("seed", range(1, 5))  # of 80 such seeds 3 cost one peer its result
def test_loss_duplicates_and_reordering_cost_time_but_no_result(shape, seed):
    swarm = Swarm(shape, seed=seed, loss=0.05, duplicates=0.3, delay_us=(5_000, 400_000)).run()

    check_invariants(swarm)
    assert all(node.applied for node in swarm.nodes.values())


def test_each_blob_crosses_once():
    swarm = Swarm([*range(9)]).run()

    # 8 uploads to the leader and 8 results back.
    assert sum(node.fetches for node in swarm.nodes.values()) == 16
    assert len(swarm.published) == 1


def test_a_leader_lets_go_of_each_input_once_it_is_in_the_mean():
    swarm = Swarm([*range(9)])
    most = 0

    def watch(node: Node, effect: events.Effect) -> bool:
        nonlocal most
        most = max(most, len(node.models))
        return True

    swarm.on_effect = watch
    swarm.run()

    assert most <= 3  # its own upload, the input that just arrived, the mean


def test_the_elected_say_so_once_for_each_of_their_groups():
    swarm = Swarm(SHAPES["levels 2"]).run()

    said = sorted((e.group, e.rank, peer) for _, peer, e in swarm.reports if isinstance(e, events.Elected))
    expected = sorted(
        (group, rank, peer) for group, ranks in swarm.leaders.items() for rank, peer in enumerate(ranks)
    )
    assert said == expected


def _members(swarm: Swarm, event: events.GroupFinished) -> tuple[PeerId, ...]:
    return swarm.hierarchy.group(event.group).members


# Failures


@pytest.mark.parametrize(
    "shape", [SHAPES["three"], SHAPES["flat"], SHAPES["levels 2"], SHAPES["levels 3"]], ids=str
)
def test_a_dead_leaf_is_left_out(shape):
    probe = Swarm(shape)
    leading = {peer for ranks in probe.leaders.values() for peer in ranks[:1]}
    victim = next(i for i in range(20) if peer_name(i) in set(probe.nodes) - leading)

    swarm = Swarm(shape, dead=[victim]).run()

    check_invariants(swarm)
    assert all(node.applied for node in swarm.living())
    root = [event for event in swarm.averaged() if event.group == swarm.hierarchy.root.id]
    assert {peer_name(victim)} == set(swarm.nodes) - set(root[-1].included)
    assert swarm.frames(GroupSkip) == [], "a missing leaf does not cost a leader its office"


def test_a_leaf_with_an_unusable_model_is_left_out_at_once():
    swarm = Swarm([*range(5)], bad=[3]).run()

    check_invariants(swarm)
    assert peer_name(3) not in swarm.averaged()[0].included
    assert all(node.applied and node.applied[0][0] < 2 * SECOND for node in swarm.nodes.values())


def dies_at(
    effects: Callable[[events.Effect], bool], victim: PeerId, count: int = 1
) -> Callable[[Node, events.Effect], bool]:
    """Return a hook: *victim* dies instead of performing its *count*-th effect of this kind."""
    seen = 0

    def hook(node: Node, effect: events.Effect) -> bool:
        nonlocal seen
        if node.peer == victim and effects(effect):
            seen += 1
            return seen < count
        return True

    return hook


def publishes(kind: type[Mean | Final]) -> Callable[[events.Effect], bool]:
    return lambda effect: isinstance(effect, events.Publish) and isinstance(effect.frame.message, kind)


PHASES: dict[str, Callable[[events.Effect], bool]] = {
    "at the start": lambda effect: True,
    "before it averages": lambda effect: isinstance(effect, events.FinishMean),
    "before it announces the mean": publishes(Mean),
    "after it announced the mean": lambda effect: (
        isinstance(effect, events.Report) and isinstance(effect.event, events.GroupAveraged)
    ),
    "before it mixes": lambda effect: isinstance(effect, events.Mix),
    "before it announces the result": publishes(Final),
    "after it announced the result": lambda effect: (
        isinstance(effect, events.Report) and isinstance(effect.event, events.GroupFinished)
    ),
    "before it applies": lambda effect: isinstance(effect, events.Apply),
}


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
@pytest.mark.parametrize("seed", range(3))
def test_the_second_leader_completes_the_round_when_the_first_dies(phase, seed):
    """Kill the first leader of each group in turn: everybody else still applies a result."""
    shape = SHAPES["levels 3"]
    for group, ranks in Swarm(shape).leaders.items():
        swarm = Swarm(shape, seed=seed)
        swarm.on_effect = dies_at(phase, ranks[0])
        swarm.run()

        check_invariants(swarm)
        for node in swarm.living():
            assert node.applied, (group.hex(), node.finished)
        assert len(swarm.living()) >= len(swarm.nodes) - 1


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_group_that_loses_both_leaders_holds_up_nobody_for_longer_than_its_window(shape):
    for ranks in Swarm(shape).leaders.values():
        for phase in PHASES.values():
            swarm = Swarm(shape)
            hooks = [dies_at(phase, peer) for peer in ranks]
            swarm.on_effect = lambda node, effect, hooks=hooks: all(hook(node, effect) for hook in hooks)
            swarm.run()

            check_invariants(swarm)


def test_groups_below_a_root_without_leaders_cut_and_stand_on_their_own_means():
    shape = [[0, 1, 2, 3], [4, 5, 6, 7]]
    swarm = Swarm(shape)
    victims = swarm.leaders[swarm.hierarchy.root.id]
    for peer in victims:
        swarm.nodes[peer].alive = False
    swarm.run()

    check_invariants(swarm)
    results = swarm.group_results()
    assert len(results) == 2
    assert all(event.cut and event.level == 1 for event in results)
    assert all(node.applied for node in swarm.living())


def test_a_group_cuts_when_its_parents_result_is_announced_and_never_served():
    """Both leaders of the root die right after the announcement: nobody below is deposed for that."""
    swarm = Swarm([[0, 1, 2, 3], [4, 5, 6, 7]])
    first, second = swarm.leaders[swarm.hierarchy.root.id]
    swarm.nodes[second].alive = False
    swarm.on_effect = dies_at(PHASES["after it announced the result"], first)
    swarm.run()

    check_invariants(swarm)
    low = [event for event in swarm.group_results() if event.level == 1]
    assert [(event.cut, event.term) for event in low] == [(True, 0), (True, 0)]
    assert all(node.applied and node.applied[0][0] < 4 * SECOND for node in swarm.living())


def test_two_peers_one_of_whom_is_dead():
    for victim in (0, 1):
        swarm = Swarm([0, 1], dead=[victim]).run()

        check_invariants(swarm)
        (survivor,) = swarm.living()
        assert survivor.applied


def test_a_digest_that_comes_late_still_brings_its_model_in():
    swarm = Swarm([*range(4)], unknown_digests={i: [2] for i in range(4)})
    leader = swarm.nodes[swarm.leaders[swarm.hierarchy.root.id][0]]
    late = peer_name(2)
    assert leader.peer != late

    def tell() -> None:
        assert leader.update.missing_digests() == (swarm.digest_id(late),)
        swarm.perform(leader, leader.update.on_digest(late, swarm.digests[late], swarm.now))

    swarm.at(SECOND, tell)
    swarm.run()

    check_invariants(swarm)
    assert late in swarm.averaged()[0].included


def test_a_peer_set_apart_gets_the_result_and_gives_nothing_to_it():
    swarm = Swarm([[0, 1, 2], [3, 4, 5], 6, 7], apart=[6], unknown_digests={i: [6] for i in range(8)}).run()

    check_invariants(swarm)
    apart = peer_name(6)
    root = next(event for event in swarm.averaged() if event.group == swarm.hierarchy.root.id)
    assert root.included == tuple(sorted(peer_name(i) for i in range(8) if i != 6))
    ((when, finish),) = swarm.nodes[apart].finished
    assert finish.applied
    assert when < 2 * SECOND
    orders = [effect for node in swarm.nodes.values() for effect in node.performed]
    assert swarm.uploads[apart] not in {e.model for e in orders if isinstance(e, events.Fetch)}
    assert {node.update.missing_digests() for node in swarm.nodes.values()} == {()}


def test_a_peer_that_is_not_listed_finishes_at_once():
    swarm = Swarm([0, 1, 2])
    update = swarm.machine(peer_name(99), swarm.digests)

    (report,) = update.begin()

    assert report.event.reason == "not listed"
    assert (update.applied, update.idle, update.next_wakeup(), update.duties) == (False, True, None, ())


def test_dropping_stops_what_is_under_way():
    swarm = Swarm([0, 1, 2])
    leader = swarm.leaders[swarm.hierarchy.root.id][0]
    update = swarm.nodes[leader].update
    ordered = sorted(effect.model for effect in update.begin() if isinstance(effect, events.Fetch))

    effects = update.drop()

    assert len(ordered) == 2
    assert effects == [*(events.StopFetching(model) for model in ordered), events.EndUpdate(b"p" * 32)]


nested = st.recursive(
    st.just(0), lambda inner: st.lists(inner, min_size=2, max_size=4), max_leaves=14
).filter(lambda shape: isinstance(shape, list))


def _numbered(shape: Shape) -> Shape:
    counter = iter(range(1000))

    def number(node: object) -> object:
        return [number(part) for part in node] if isinstance(node, list) else next(counter)

    return number(shape)  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(
    shape=nested.map(_numbered),
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    duplicates=st.sampled_from([0.0, 0.5]),
    slowest=st.sampled_from([150_000, 2_000_000]),
    crash=st.sampled_from([0.0, 0.002, 0.02]),
)
def test_whatever_is_lost_late_or_dies_the_invariants_hold(shape, seed, loss, duplicates, slowest, crash):
    weights = {i: (i * 7 + seed) % 5 for i in range(20)}
    swarm = Swarm(
        shape, seed=seed, loss=loss, duplicates=duplicates, delay_us=(1_000, slowest), weights=weights
    )
    swarm.on_effect = lambda node, effect: swarm.chance.random() >= crash
    swarm.run()

    check_invariants(swarm)


def test_deadlines_grow_with_the_model_and_nest_over_the_levels():
    swarm = Swarm([[0, 1], 2], charter=Charter(swarm="test", patience=8.0))
    times = deadlines(swarm.hierarchy, swarm.charter, began=100)
    root, low = swarm.hierarchy.groups

    half = 2 * SECOND
    assert (times[low.id].up_start, times[low.id].up) == (100, 100 + 2 * half)
    assert (times[root.id].up_start, times[root.id].up) == (100 + 2 * half, 100 + 4 * half)
    assert (times[root.id].down_start, times[root.id].down) == (100 + 4 * half, 100 + 6 * half)
    assert (times[low.id].down_start, times[low.id].down) == (100 + 6 * half, 100 + 8 * half)
    assert times[low.id].end == 100 + 9 * half


def test_every_input_has_its_time_to_cross_at_the_slowest_rate():
    schema = (TensorSpec("w", (250_000,), "float32"),)  # 1 MB: 4 s at 250 kB/s
    swarm = Swarm([[0, 1], 2], charter=Charter(swarm="test", patience=8.0, min_rate=250_000, schema=schema))
    times = deadlines(swarm.hierarchy, swarm.charter, began=0)
    root = times[swarm.hierarchy.root.id]

    assert (root.transfer, root.half) == (8 * SECOND, 10 * SECOND)
    assert root.close(0) == 10 * SECOND - 3_333_333


@pytest.mark.parametrize(("shape", "fetches"), [("levels 2", 12), ("levels 3", 26)])
def test_a_mean_goes_to_the_parent_alone_until_the_first_leader_falls(shape, fetches):
    """6 peers in 3 groups, 11 in 6: with a copy for every second leader it would be 15 and 32."""
    swarm = Swarm(SHAPES[shape]).run()

    assert sum(node.fetches for node in swarm.nodes.values()) == fetches
