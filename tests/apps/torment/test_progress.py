"""Planted bugs of progress and resources: stuck peers, swarms that do not meet, processes that grow."""

import pytest

from swarmdem.apps.torment.checker import check
from swarmdem.apps.torment.progress import ALIVE, CERTIFIED, STUCK, TOGETHER
from swarmdem.apps.torment.resources import FLAT
from swarmdem.errors import DataError
from tests.apps.torment.made import PEERS, MadeHistory


def found(history: MadeHistory) -> list[tuple[str, int]]:
    return [(finding.rule, finding.line) for finding in check(history.lines).findings]


def test_a_peer_that_finishes_nothing_while_six_rounds_go_by_is_stuck():
    history = MadeHistory()
    history.round_s = 4.0
    history.rounds(1, 1)
    history.rounds(2, 7, devices=(0, 1))
    assert found(history) == []
    history.rounds(8, 8, devices=(0, 1))
    assert [rule for rule, _ in found(history)] == [STUCK]
    assert history.lines[found(history)[0][1] - 1].entry["event"]["round"] == 8


def test_rounds_may_fly_by_while_a_link_waits_for_its_next_attempt():
    """Six patiences of 2 s and 10 s more."""
    history = MadeHistory()
    history.rounds(1, 1)
    history.rounds(2, 40, devices=(0, 1))
    assert history.t < 22
    assert found(history) == []
    history.rounds(41, 60, devices=(0, 1))
    assert [rule for rule, _ in found(history)] == [STUCK]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ({"what": "kill", "device": 2, "peer": PEERS[2], "pid": 1}, None),
        ({"what": "stop", "device": 2, "peer": PEERS[2], "pid": 1}, None),
        ({"what": "partition", "sides": [[0, 1], [2]], "brokers": [[0], [1]]}, None),
        (
            {"what": "link", "style": "hole", "device": 2, "broker": None},
            {"what": "link_over", "style": "hole", "device": 2, "broker": None},
        ),
    ],
)
def test_a_peer_that_something_was_done_to_may_miss_rounds(begin, end):
    history = MadeHistory()
    history.round_s = 4.0
    history.rounds(1, 1)
    history.add(**begin)
    history.rounds(2, 12, devices=(0, 1))
    if end is not None:
        history.add(**end)
        history.rounds(13, 18, devices=(0, 1))
        assert found(history) == []
        history.rounds(19, 19, devices=(0, 1))
        assert [rule for rule, _ in found(history)] == [STUCK]
    else:
        assert found(history) == []


def test_a_peer_that_still_starts_is_not_stuck():
    history = MadeHistory()
    history.round_s = 4.0
    history.rounds(1, 1)
    history.add("kill", device=2, peer=PEERS[2], pid=102)
    history.add("start", device=2, peer=PEERS[2], pid=202)
    history.rounds(2, 12, devices=(0, 1))
    assert found(history) == []
    history.add("ready", device=2, peer=PEERS[2], pid=202)
    history.rounds(13, 18, devices=(0, 1))
    assert found(history) == []
    history.rounds(19, 19, devices=(0, 1))
    assert [rule for rule, _ in found(history)] == [STUCK]


def test_a_lone_peer_far_ahead_makes_nobody_stuck_and_no_round_certified():
    history = MadeHistory()
    history.rounds(1, 2)
    for round in range(3, 30):
        history.finished(2, round, plan=f"alone-{round}")
    verdict = check(history.lines)
    assert verdict.findings == ()
    assert (verdict.progress.front, verdict.progress.certified_rounds) == (2, (2, 2))


def test_numbers_that_jump_when_two_sides_meet_are_no_rounds():
    history = MadeHistory()
    history.rounds(1, 2)
    history.rounds(14, 16)
    history.add("calm", round=16)
    history.rounds(31, 31)
    history.add("end", done=True)
    verdict = check(history.lines)
    assert verdict.findings == ()
    assert verdict.progress.certified_rounds == (6, 6)
    assert verdict.progress.met is not None
    assert verdict.progress.met[0] == 1


def test_a_process_that_ends_by_itself():
    history = MadeHistory()
    line = history.add("exit", device=1, peer=PEERS[1], pid=101, code=1)
    assert found(history) == [(ALIVE, line)]


def test_a_run_that_was_given_up():
    history = MadeHistory()
    line = history.add("stalled", why="no round ended for 90 s")
    assert found(history) == [(STUCK, line)]


def test_rounds_that_went_on_without_a_majority_are_counted():
    history = MadeHistory()
    history.rounds(1, 2)
    for round in (3, 4):
        for device in range(3):
            history.finished(device, round, certified=False)
    verdict = check(history.lines)
    assert verdict.progress.certified_rounds == (2, 4)
    assert [finding.rule for finding in verdict.findings] == [CERTIFIED]


def test_rounds_of_the_smaller_side_do_not_count():
    history = MadeHistory()
    history.rounds(1, 2)
    history.add("partition", sides=[[0, 1], [2]], brokers=[[0], [1]], style="hole")
    history.rounds(3, 4, devices=(0, 1))
    for round in (3, 4):
        history.finished(2, round, certified=False, plan=f"alone-{round}")
    verdict = check(history.lines)
    assert verdict.progress.certified_rounds == (4, 4)
    assert verdict.findings == ()


def test_a_peer_that_does_not_meet_the_others_after_calm():
    history = MadeHistory()
    history.rounds(1, 4)
    line = history.add("calm", round=4)
    history.rounds(5, 7, devices=(0, 1))
    history.add("end", done=True)
    assert found(history) == [(TOGETHER, line)]


def test_a_meeting_that_took_too_many_rounds_and_too_long():
    history = MadeHistory()
    history.rounds(1, 4)
    line = history.add("calm", round=4)
    history.rounds(5, 7, devices=(0, 1))
    history.add("sample", after_s=30.0, process="peer 0", pid=100, rss=1, files=1, cpu=0.1)
    history.rounds(8, 8)
    history.add("end", done=True)
    assert found(history) == [(TOGETHER, line)]


def test_a_meeting_in_the_third_round_is_in_time():
    history = MadeHistory()
    history.rounds(1, 4)
    history.add("calm", round=4)
    history.rounds(5, 6, devices=(0, 1))
    history.rounds(7, 7)
    history.add("end", done=True)
    verdict = check(history.lines)
    assert verdict.findings == ()
    assert verdict.progress.met is not None
    assert verdict.progress.met[0] == 3


def test_a_run_that_was_stopped_says_nothing_of_meetings():
    history = MadeHistory()
    history.rounds(1, 4)
    history.add("end", done=False)
    verdict = check(history.lines)
    assert (verdict.findings, verdict.ended) == ((), False)


@pytest.mark.parametrize(
    ("growing", "words"), [("rss", "grew from 102 to 194 MB"), ("files", "grew from 22 to 68")]
)
def test_a_process_that_grows(growing, words):
    history = MadeHistory()
    history.rounds(1, 4)
    for number in range(60):
        sample = {"rss": 100_000_000, "files": 20} | {
            growing: 80_000_000 + number * 2_000_000 if growing == "rss" else 5 + number
        }
        line = history.add("sample", process="peer 0", pid=100, cpu=0.1, **sample)
    [finding] = check(history.lines).findings
    assert (finding.rule, finding.line) == (FLAT, line)
    assert "peer 0 (process 100)" in finding.what


@pytest.mark.parametrize(("most", "broken"), [(22, 0), (23, 1)])
def test_a_broker_may_hold_two_connections_of_every_peer(most, broken):
    """Three peers: 6 connections and 16 more, however few there were at first."""
    history = MadeHistory()
    history.rounds(1, 4)
    for number in range(60):
        files = 3 if number < 30 else most
        history.add("sample", process="broker 0", pid=7, cpu=0.1, rss=10**7, files=files)
    assert [finding.rule for finding in check(history.lines).findings] == [FLAT] * broken


def test_what_is_loaded_before_the_first_round_is_no_growth():
    history = MadeHistory()
    for name, pid in (("peer 0", 100), ("broker 0", 7)):
        history.add("sample", process=name, pid=pid, cpu=0.1, rss=10**7, files=5)
    history.rounds(1, 4)
    history.add("kill", device=1, peer=PEERS[1], pid=101)
    history.add("start", device=1, peer=PEERS[1], pid=201)
    for _ in range(30):
        for name, pid in (("peer 0", 100), ("peer 1", 201), ("broker 0", 7)):
            history.add("sample", process=name, pid=pid, cpu=0.1, rss=10**8, files=50)
    verdict = check(history.lines)
    assert (verdict.findings, verdict.resources.judged) == ((), 2), (
        "peer 1 finished no round since it came back"
    )


def test_a_process_that_levels_off_is_flat():
    history = MadeHistory()
    history.rounds(1, 4)
    for number in range(60):
        history.add("sample", process="peer 0", pid=100, cpu=0.1, rss=min(number, 14) * 10**7, files=20)
    verdict = check(history.lines)
    assert (verdict.findings, verdict.resources.judged) == ((), 1)


def test_a_history_without_its_beginning_is_refused():
    history = MadeHistory()
    with pytest.raises(DataError, match="beginning"):
        check(history.lines[1:])


def test_a_line_without_what_it_must_have_is_named():
    history = MadeHistory()
    history.add("kill", peer=PEERS[0])
    with pytest.raises(DataError, match="line 8"):
        check(history.lines)
