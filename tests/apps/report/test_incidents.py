"""Failures in words."""

from swarmdem.apps.reading import read_run
from swarmdem.apps.report.incidents import incidents
from swarmdem.apps.report.stories import read_stories
from tests.apps.report.journals import finished, traffic, troubled_run
from tests.apps.run_folders import row, write_lines, write_run


def found(path):
    run = read_run(path)
    return [(one.what, one.times, one.rounds) for one in incidents(run, read_stories(run))]


def test_a_run_in_which_nothing_failed_has_no_incidents(tmp_path):
    assert found(write_run(tmp_path / "run", [row(1), row(2)])) == []


def test_everything_that_failed_is_told_once_with_its_rounds(tmp_path):
    assert found(troubled_run(tmp_path / "run")) == [
        ("a list of digests without the votes of a majority", 1, (2,)),
        ("the run was stopped before the round was written down", 1, (5,)),
        ("an aggregator that gave no result in time", 2, (3,)),
        ("a group without any result", 1, (4,)),
        ("a group to which no result of its parent came in time", 3, (3, 4, 5)),
        ("a peer whose model is not in its group's mean (dd44 3x)", 3, (3, 4, 5)),
        ("a peer did not install the round's model: no result came in time (dd44)", 1, (3,)),
        ("a peer fell silent for good (aa11)", 1, (3, 4, 5)),
        ("a peer fell silent for good (dd44)", 1, (4, 5)),
        ("peer dd44 went out of sight of 1 peer", 1, (2,)),
        ("the swarm's loss had risen for long enough (drift)", 1, (4,)),
        ("peer cc33 said two things where only one can be true", 1, ()),
        ("no connection to the broker: refused (aa11)", 1, (2,)),
        ("an arriving frame was refused: replayed", 4, ()),
        ("a frame came while a peer's queue was full", 3, ()),
        ("a frame could not be sent: the link was down", 2, ()),
    ]


def test_a_model_that_was_not_installed_is_told_without_a_journal(tmp_path):
    assert found(write_run(tmp_path / "run", [row(1), row(2, applied=1)])) == [
        ("a peer did not install the round's model (no journal says why)", 3, (2,)),
    ]


def test_a_peer_that_was_away_is_told_from_one_that_never_came_back(tmp_path):
    folder = write_run(tmp_path / "run", [row(number) for number in range(1, 8)])
    for peer, rounds in (("aa11", (1, 4, 5, 6, 7)), ("bb22", (1, 2, 3)), ("cc33", (1, 2, 3, 4, 5, 6))):
        write_lines(folder / "peers" / f"{peer}.jsonl", [finished(number) for number in rounds])

    assert found(folder) == [
        ("a peer fell silent for good (bb22)", 1, (4, 5, 6, 7)),
        ("a peer was away for a round (aa11 2x)", 2, (2, 3)),
    ]


def test_what_a_peer_still_hears_of_the_cell_it_has_left_is_no_failure(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    late = traffic(1, {}, refused={"ForeignFrameError": 6})
    for peer in ("aa11", "bb22", "cc33", "dd44"):
        write_lines(folder / "peers" / f"{peer}.jsonl", [finished(1), late])

    assert found(folder) == []


def test_a_lost_connection_says_whether_it_came_back(tmp_path):
    run = read_run(troubled_run(tmp_path / "run"))
    (link,) = [one for one in incidents(run, read_stories(run)) if one.what.startswith("no connection")]

    assert link.done == "reconnected every time"


def test_rounds_that_not_all_peers_ended_under_one_certificate_are_told_with_the_smallest_part(tmp_path):
    rows = [row(1, certified_by=[4]), row(2, certified_by=[3, 1]), row(3, certified_by=[3])]
    what = "not all peers ended the round under one certificate (the fewest: 1 of 4 peers, round 2)"

    assert found(write_run(tmp_path / "run", rows)) == [(what, 2, (2, 3))]


def test_a_round_in_which_the_run_was_stopped_is_no_absence_of_its_peers(tmp_path):
    folder = write_run(tmp_path / "run", [row(1), row(2, interrupted=True), row(3)])
    write_lines(folder / "peers" / "aa11.jsonl", [finished(1), finished(3)])

    assert [what for what, _, _ in found(folder)] == ["the run was stopped before the round was written down"]
