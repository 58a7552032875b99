"""Who leads follows from what certified rounds have shown, and deadlines from what most have seen."""

import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import SECOND, GroupId
from swarmdem.protocol.conduct import COMPLAINTS_MAX, Conduct, Record, Report
from swarmdem.protocol.election import leaders
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.extensions import CONDUCT_REPORT
from swarmdem.wire.messages import PARAMETERS, Digest
from tests.protocol.update_parts import BASE, peer_name, tree

CHARTER = Charter(swarm="s", schema=(TensorSpec("w", (250_000,), "float32"),))
"""A model takes 4 s at the slowest rate of 250 kB/s."""


def digest(report=None, ext=None):
    ext = report.ext() if report is not None else ext or ()
    return Digest(b"b" * 32, 2, PARAMETERS, 1, b"r" * 32, 1, b"m" * 32, 10**6, 0, 3000, 1.0, b"", ext)


def follow(conduct, reports, shape=None):
    """One certificate on: *reports* by index of peer."""
    digests = {peer_name(i): digest(report) for i, report in reports.items()}
    return conduct.after(CHARTER, tree(shape) if shape else None, BASE, digests)


def test_a_calm_round_hands_nothing_on():
    conduct = follow(Conduct(), {i: Report() for i in range(5)}, [*range(5)])

    assert conduct == Conduct()
    assert conduct.pack([peer_name(i) for i in range(5)]) == b""
    assert digest(Report()).ext == ()


def first_of(shape, weights=None):
    hierarchy = tree(shape)
    return leaders(hierarchy, BASE, weights or {})[hierarchy.root.id][0], hierarchy.root.id


def test_an_aggregator_that_most_electors_skipped_comes_last_until_its_probation_is_over():
    shape = [*range(5)]
    first, root = first_of(shape)
    others = [i for i in range(5) if peer_name(i) != first]
    reports = {i: Report(complaints=(root,)) for i in others[:3]} | {
        i: Report() for i in range(5) if i not in others[:3]
    }

    conduct = follow(Conduct(), reports, shape)

    assert conduct.weights == {first: 0}
    assert first_of(shape, conduct.weights)[0] != first
    calm = {i: Report() for i in range(5)}
    for _ in range(7):
        assert conduct.weights == {first: 0}
        conduct = follow(conduct, calm, shape)
    assert conduct == Conduct()


def test_as_many_electors_as_not_cannot_take_an_aggregators_trust():
    shape = [*range(5)]
    first, root = first_of(shape)
    others = [i for i in range(5) if peer_name(i) != first]
    accusers = {i: Report(complaints=(root,)) for i in others[:2]}

    conduct = follow(Conduct(), {i: Report() for i in range(5)} | accusers, shape)

    assert conduct == Conduct()


def test_complaints_of_peers_without_a_seat_or_of_unknown_groups_count_nothing():
    shape = [[0, 1, 2, 3], [4, 5, 6, 7]]
    hierarchy = tree(shape)
    group = next(g for g in hierarchy.groups if peer_name(0) in g.leaves)
    strangers = Report(complaints=tuple(sorted((group.id, GroupId(b"?" * 16)))))

    conduct = follow(
        Conduct(), {i: Report() for i in range(4)} | dict.fromkeys(range(4, 8), strangers), shape
    )

    assert conduct == Conduct()


def test_a_claim_alone_gives_no_weight_and_served_updates_do_up_to_four():
    shape = [0]  # who is alone leads every round
    conduct = Conduct()
    weights = []
    for _ in range(4):
        conduct = follow(conduct, {0: Report(capability=3)}, shape)
        weights.append(conduct.weights.get(peer_name(0), 1))

    assert follow(Conduct(), {0: Report(capability=3)}).weights == {}
    assert weights == [2, 4, 4, 4]


def test_who_asks_to_be_spared_comes_last_at_once_and_who_claims_less_loses_weight_at_once():
    assert follow(Conduct(), {0: Report(capability=0)}).weights == {peer_name(0): 0}
    proven = Conduct(records={peer_name(0): Record(3, 3, 0)})

    assert proven.weights == {peer_name(0): 4}
    assert follow(proven, {0: Report(capability=2)}).weights == {peer_name(0): 2}


def test_a_peer_that_is_not_listed_begins_anew():
    distrusted = Conduct(records={peer_name(0): Record(1, 0, 7)})

    conduct = follow(distrusted, {1: Report()})

    assert conduct == Conduct()


@pytest.mark.parametrize(
    ("seen", "pace"),
    [
        ((0, 0, 0, 90_000, 90_000), 0),  # less than half cannot move it
        ((6_000, 6_000, 7_000, 8_000, 8_000), 11_000),  # median 7 s, spread 1 s
        ((4_000, 4_000, 4_000), 0),  # what the charter allows for is no news
        ((10**9, 10**9, 10**9), 160_000),  # never more than 20 patiences
    ],
)
def test_pace_is_median_and_four_times_the_spread_of_what_digests_report(seen, pace):
    conduct = follow(Conduct(), {i: Report(slow_ms=ms) for i, ms in enumerate(seen)})

    assert conduct.pace_ms == pace
    assert conduct.model_us(CHARTER) == max(pace * 1000, 4 * SECOND)


def test_pace_falls_by_a_quarter_of_the_difference_and_ends_at_the_charters():
    conduct, calm = Conduct(pace_ms=16_000), {i: Report() for i in range(3)}
    paces = []
    while conduct.pace_ms:
        conduct = follow(conduct, calm)
        paces.append(conduct.pace_ms)

    assert paces == [12_000, 9_000, 6_750, 5_062, 0]


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.builds(Record, st.integers(0, 3), st.integers(0, 3), st.integers(0, 7)), min_size=1, max_size=9
    ),
)
def test_what_a_plan_carries_reads_back(pace, records):
    listed = [peer_name(i) for i in range(len(records))]
    conduct = Conduct(pace, {p: r for p, r in zip(listed, records, strict=True) if r != Record()})

    packed = conduct.pack(listed)

    assert not packed or Conduct.unpack(packed, listed) == conduct
    assert bool(packed) == (conduct != Conduct())


@pytest.mark.parametrize("content", [b"", bytes(4), bytes(7), bytes(5) + b"\x80"])
def test_a_record_of_other_peers_or_none_is_malformed(content):
    with pytest.raises(MalformedFrameError):
        Conduct.unpack(content, [peer_name(0), peer_name(1)])


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_a_report_that_cannot_be_read_says_nothing_and_never_raises(content):
    report = Report.of(digest(ext=((CONDUCT_REPORT, content),)))

    assert 0 <= report.capability <= 3
    assert len(report.complaints) <= COMPLAINTS_MAX


def test_a_report_reads_back():
    report = Report(2, 1234, (GroupId(b"a" * 16), GroupId(b"b" * 16)))

    assert Report.of(digest(report)) == report
