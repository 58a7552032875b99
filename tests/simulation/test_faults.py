"""Faults are data: equal seeds give equal lists, and nothing lasts beyond the given end."""

from swarmdem.identifiers import SECOND
from swarmdem.simulation import faults
from swarmdem.simulation.faults import Fault, Kind


def drawn(seed, **changes):
    wanted = {"peers": 8, "start": 10 * SECOND, "end": 200 * SECOND, "patience": 8 * SECOND}
    return faults.draw(seed, **(wanted | changes))


def test_equal_seeds_give_equal_faults_and_others_differ():
    assert drawn(5) == drawn(5)
    assert len({drawn(seed) for seed in range(20)}) > 15


def test_every_kind_is_drawn_by_some_seed_and_missing_in_another():
    kinds = [{fault.kind for fault in drawn(seed)} for seed in range(100)]

    assert set().union(*kinds) == set(Kind)
    assert set.intersection(*kinds) == set()


def test_all_faults_are_over_by_the_end():
    for seed in range(100):
        assert faults.last_end(drawn(seed)) <= 200 * SECOND
        assert all(fault.at <= fault.until for fault in drawn(seed))


def test_splits_are_too_short_to_fork_unless_asked_for():
    def longest(*, forks):
        return max(
            f.until - f.at for seed in range(200) for f in drawn(seed, forks=forks) if f.kind is Kind.SPLIT
        )

    assert longest(forks=False) <= 4 * SECOND
    assert longest(forks=True) > 8 * SECOND


def test_a_fault_prints_as_one_line():
    fault = Fault(Kind.CUT, 1_500_000, 3 * SECOND, (0, 2), 1.0)

    assert str(fault) == "cut 1.500-3.000 s peers 0,2 amount 1"


def test_one_peer_alone_can_have_faults_too():
    assert all(drawn(seed, peers=1) == drawn(seed, peers=1) for seed in range(20))
