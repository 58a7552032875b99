"""Who leads: each property that `election` promises, by its name."""

from collections import Counter

from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol.election import leaders, rank
from swarmdem.protocol.forming import Previous, Shape, form
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.sketches import Sketch
from tests.protocol.update_parts import peer_name, tree

BASE = bytes(range(32))


def peer(number: int) -> PeerId:
    return PeerId(bytes(15) + bytes([number]))


def line(count: int, *, levels: int = 3, spread: int = 5) -> Hierarchy:
    sketches = [Sketch(peer(i), 1.0, bytes([i * spread % 127, i])) for i in range(count)]
    found, _ = form(
        sketches, (), base=BASE, shape=Shape(levels=levels), hysteresis=0, previous=Previous(), carry=False
    )
    return found


candidates = st.sets(st.integers(0, 255).map(peer), max_size=20)
seeds = st.binary(max_size=48)


@given(candidates, seeds, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(peers, seed, chance):
    shuffled = sorted(peers)
    chance.shuffle(shuffled)

    assert rank(shuffled, seed) == rank(peers, seed)
    assert sorted(rank(peers, seed)) == sorted(peers)


@given(candidates.filter(bool), seeds, st.data())
def test_a_departure_moves_only_the_departeds_duties(peers, seed, data):
    departed = data.draw(st.sampled_from(sorted(peers)))
    before = rank(peers, seed)

    assert rank(peers - {departed}, seed) == tuple(p for p in before if p != departed)


def test_duties_spread():
    """
    Over 4000 seeds each of 8 peers is first 500 times, give or take five standard deviations.
    """
    first = Counter(rank(map(peer, range(8)), seed.to_bytes(4, "big"))[0] for seed in range(4000))

    assert len(first) == 8
    assert all(395 <= times <= 605 for times in first.values())


def test_another_seed_is_another_order():
    """
    Of the 24 orders of four peers, 2000 seeds draw every one, none more than twice its share.
    """
    orders = Counter(rank(map(peer, range(4)), seed.to_bytes(4, "big")) for seed in range(2000))

    assert len(orders) == 24
    assert max(orders.values()) < 2 * 2000 / 24


def test_the_order_is_what_it_was():
    """
    A peer of another release must call on the same peers in the same order.
    """
    assert [p[-1] for p in rank(map(peer, range(8)), b"golden")] == [0, 2, 7, 3, 1, 5, 6, 4]


def test_a_peer_listed_twice_is_called_on_once():
    assert rank([peer(1), peer(1)], b"") == (peer(1),)


def test_each_group_is_led_by_two_of_its_members_or_by_its_only_one():
    hierarchy = line(24)
    chosen = leaders(hierarchy, BASE)

    assert list(chosen) == [group.id for group in hierarchy.groups]
    for group in hierarchy.groups:
        assert len(set(chosen[group.id])) == 2
        assert set(chosen[group.id]) <= set(group.members)
    alone = line(1)
    assert leaders(alone, BASE) == {alone.root.id: (peer(0),)}


def test_the_root_is_led_by_the_first_two_of_its_rank():
    hierarchy = line(24)

    assert (
        leaders(hierarchy, BASE)[hierarchy.root.id]
        == rank(hierarchy.root.members, BASE + hierarchy.root.id)[:2]
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 4), st.integers(1, 9))
def test_nobody_gets_a_second_duty_while_another_member_has_none(count, levels, spread):
    hierarchy = line(count, levels=levels, spread=spread)
    leading: set[PeerId] = set()
    standing_by: set[PeerId] = set()
    for group, (first, *second) in leaders(hierarchy, BASE).items():
        members = set(hierarchy.group(group).members)
        for chosen, others in ((first, members), *((p, members - {first}) for p in second)):
            if chosen in leading | standing_by:
                assert others <= leading | standing_by
            if chosen in leading:
                assert others <= leading
        leading.add(first)
        standing_by.update(second)


def test_another_base_calls_on_others():
    hierarchy = line(24)
    roots = {leaders(hierarchy, bytes([number]) * 32)[hierarchy.root.id][0] for number in range(20)}

    assert len(roots) > 8


def test_a_peer_of_weight_four_is_first_four_times_as_often_and_one_of_weight_none_last():
    peers = [peer(i) for i in range(5)]
    weights = {peer(0): 4, peer(1): 0}
    orders = [rank(peers, number.to_bytes(4, "big"), weights) for number in range(2100)]

    firsts = [order[0] for order in orders]
    assert 1130 < firsts.count(peer(0)) < 1270  # 4 of 7 draws
    assert all(250 < firsts.count(peer(i)) < 350 for i in (2, 3, 4))
    assert {order[-1] for order in orders} == {peer(1)}


def test_weights_of_others_do_not_change_the_order_of_two_peers():
    peers = [peer(i) for i in range(6)]
    for number in range(50):
        seed = bytes([number]) * 32
        plain = [p for p in rank(peers, seed) if p != peer(3)]
        assert [p for p in rank(peers, seed, {peer(3): 4}) if p != peer(3)] == plain


def test_a_member_of_weight_none_leads_only_where_there_is_nobody_else():
    hierarchy = tree([[0, 1, 2], [3, 4, 5]])
    chosen = leaders(hierarchy, BASE, {peer_name(0): 0, peer_name(1): 0})

    mine = next(group for group in hierarchy.groups if peer_name(0) in group.leaves)
    assert peer_name(0) not in chosen[hierarchy.root.id]
    assert chosen[mine.id][0] == peer_name(2)
