"""What journals tell."""

import pytest

from swarmdem.apps.reading import read_run
from swarmdem.apps.report.stories import ranges, read_stories
from swarmdem.errors import DataError
from tests.apps.report.journals import finished, troubled_run
from tests.apps.run_folders import row, write_lines, write_run


def test_a_story_adds_up_what_a_peer_sent_and_refused(tmp_path):
    story = read_stories(read_run(troubled_run(tmp_path / "run")))["aa11"]

    assert story.bytes_ == {"digest": 600, "chunk": 5400}
    assert story.frames == {"digest": 2, "chunk": 2}
    assert (story.sent, story.refused, story.dropped, story.unsent) == (6000, {"replayed": 4}, 3, 2)
    assert story.loss == 0.25


def test_troubles_belong_to_the_round_they_happened_in_and_know_whether_they_are_over(tmp_path):
    (trouble,) = read_stories(read_run(troubled_run(tmp_path / "run")))["aa11"].troubles

    assert (trouble.what, trouble.round, trouble.over) == ("no connection to the broker: refused", 2, True)


def test_who_leaves_at_the_end_of_a_run_was_not_lost(tmp_path):
    story = read_stories(read_run(troubled_run(tmp_path / "run")))["aa11"]

    assert story.lost_sight == {"dd44": {2}}


def test_who_leaves_when_a_run_is_stopped_to_be_resumed_was_not_lost(tmp_path):
    folder = write_run(tmp_path / "run", [row(1), row(2)])
    journal = [
        finished(1),
        {"event": "peer_seen", "peer": "bb22", "present": False},
        {
            "event": "explained",
            "round": 1,
            "about": "left",
            "why": "the application asked this peer to leave",
        },
        {"event": "peer_seen", "peer": "bb22", "present": True},
        finished(2),
    ]
    write_lines(folder / "peers" / "aa11.jsonl", journal)

    assert read_stories(read_run(folder))["aa11"].lost_sight == {}


def test_rounds_without_a_new_model_are_told_with_their_reason(tmp_path):
    story = read_stories(read_run(troubled_run(tmp_path / "run")))["dd44"]

    assert (story.applied, story.kept) == (set(), {"no result came in time": {3}})


def test_a_field_of_the_wrong_type_is_named_with_its_journal(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    (folder / "peers" / "bb22.jsonl").write_text('{"event":"round_finished","round":"one"}\n')

    with pytest.raises(DataError, match=r"bb22.jsonl: Expected `int \| null`, got `str` - at `\$.round`"):
        read_stories(read_run(folder))


def test_rounds_are_written_as_ranges():
    assert ranges([7, 1, 2, 3, 3]) == "1-3, 7"
    assert ranges([]) == ""
