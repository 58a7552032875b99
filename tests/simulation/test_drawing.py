"""Equal seeds draw equal faults, many seeds draw all of them, and nothing lasts beyond the given end."""

import dataclasses

from swarmdem.identifiers import SECOND
from swarmdem.simulation import faults
from swarmdem.simulation.drawing import Stage, draw
from swarmdem.simulation.faults import LIES, Kind

STAGE = Stage(peers=8, brokers=3, start=10 * SECOND, end=200 * SECOND, patience=8 * SECOND)


def drawn(seed, **changes):
    return draw(seed, dataclasses.replace(STAGE, **changes))


def test_equal_seeds_give_equal_faults_and_others_differ():
    assert drawn(5) == drawn(5)
    assert len({drawn(seed) for seed in range(20)}) > 15


def test_every_kind_is_drawn_by_some_seed_and_missing_in_another():
    kinds = [{fault.kind for fault in drawn(seed, lies=True)} for seed in range(100)]

    assert set().union(*kinds) == set(Kind)
    assert set.intersection(*kinds) == set()


def test_all_faults_are_over_by_the_end():
    for seed in range(100):
        assert faults.last_end(drawn(seed, lies=True)) <= 200 * SECOND
        assert all(fault.at <= fault.until for fault in drawn(seed, lies=True))


def test_splits_are_too_short_to_fork_unless_asked_for():
    def longest(*, forks):
        return max(
            f.until - f.at for seed in range(200) for f in drawn(seed, forks=forks) if f.kind is Kind.SPLIT
        )

    assert longest(forks=False) <= 4 * SECOND
    assert longest(forks=True) > 8 * SECOND


def test_some_splits_have_three_sides():
    sides = {f.amount for seed in range(100) for f in drawn(seed) if f.kind is Kind.SPLIT}

    assert sides == {1.0, 2.0}


def test_brokers_are_hit_one_by_one_and_all_at_once():
    hit = {f.brokers for seed in range(200) for f in drawn(seed) if f.kind is Kind.OUTAGE}

    assert hit == {(), (0,), (1,), (2,)}


def test_liars_are_drawn_only_when_asked_for_and_fewer_than_a_third():
    for seed in range(100):
        assert not {fault.kind for fault in drawn(seed)} & set(LIES)
        assert len(faults.liars(drawn(seed, lies=True))) <= 2
    assert faults.liars(drawn(7, peers=3, lies=True)) == frozenset()


def test_one_peer_alone_can_have_faults_too():
    assert all(drawn(seed, peers=1, brokers=1) for seed in range(2, 4))


def test_where_two_thirds_decide_they_are_never_replaced():
    """Of eight founders two may be gone for good: six of eight still decide; of six, one."""

    def replaced(seed, **changes):
        return {peer for f in drawn(seed, **changes) if f.kind is Kind.REPLACE for peer in f.peers}

    assert max(len(replaced(seed)) for seed in range(200)) > 2
    assert max(len(replaced(seed, strict=True)) for seed in range(200)) == 2
    late = [seed for seed in range(200) if sum(f.kind is Kind.LATE for f in drawn(seed)) == 2]
    assert max(len(replaced(seed, strict=True)) for seed in late) == 1
