"""A run as it is shown."""

import io
import re

from swarmdem.apps.table import PlainLines, cells, counted, duration, megabytes, open_view

ROW = {"round": 7, "certified": True, "applied": 9, "peers": 10, "bytes_sent": 14_160_000}
EVALUATED = ROW | {
    name: {"after_update": value} for name, value in (("c_spe", 0.95), ("c_gen", 0.5), ("global", None))
}


def test_a_plain_line_leaves_out_what_was_not_measured():
    stream = io.StringIO()
    view = open_view(stream)
    view.row(ROW, 4, 125.0)
    view.row(EVALUATED, 4, None)
    view.close()

    assert isinstance(view, PlainLines)
    assert stream.getvalue().splitlines() == [
        "round 7  certified yes 9/10  groups 4  sent 14.16 MB  left 2:05",
        "round 7  certified yes 9/10  C-SPE 0.950  C-GEN 0.500  groups 4  sent 14.16 MB",
    ]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_gets_a_table_and_keeps_it_at_the_end():
    stream = Terminal()
    view = open_view(stream)
    view.row(EVALUATED, 4, 3.0)
    view.say("a word")
    view.close()

    end = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).splitlines()[-2:]
    assert end[0].split() == ["round", "certified", "C-SPE", "C-GEN", "Global", "groups", "sent", "left"]
    assert end[1].split() == ["7", "yes", "9/10", "0.950", "0.500", "4", "14.16", "MB", "0:03"]
    assert "a word" in stream.getvalue()


def test_a_regression_shows_errors_to_four_digits():
    stream = io.StringIO()
    row = ROW | {"metric": "mae", "c_spe": {"after_update": 1234.56}, "c_gen": {"after_update": 0.012345}}
    open_view(stream).row(row, 4, None)

    assert "  C-SPE error 1235  C-GEN error 0.01235  groups 4" in stream.getvalue()


def test_what_is_counted_is_named_in_the_singular_or_plural():
    assert [counted(1, "peer"), counted(0, "peer"), counted(2, "process", "processes")] == [
        "1 peer", "0 peers", "2 processes",
    ]  # fmt: skip


def test_figures_are_written_as_people_read_them():
    assert [megabytes(1234), megabytes(99_999), megabytes(100_000)] == ["1.2 kB", "100.0 kB", "0.1 MB"]
    assert [duration(None), duration(59.9), duration(61)] == ["", "0:59", "1:01"]
    assert cells(ROW | {"certified": False}, 1, None)[1] == "no 9/10"
    assert cells(ROW | {"certified_by": [10]}, 1, None)[1] == "yes 9/10"


def test_rows_of_one_table_have_one_unit():
    assert [cells(ROW | {"bytes_sent": sent}, 1, None)[6] for sent in (43_210, 123_456_789)] == [
        "0.04 MB", "123.46 MB",
    ]  # fmt: skip


def test_a_round_that_not_all_stand_behind_says_how_many_do():
    assert cells(ROW | {"certified_by": [9, 1]}, 1, None)[1] == "yes 9/10 (by 9 + 1 of 10)"
    assert cells(ROW | {"certified_by": [6, 4], "in_cells": True}, 1, None)[1] == "yes 9/10 (2 cells)"
    assert cells(ROW | {"certified_by": [6, 3], "in_cells": True}, 1, None)[1] == "yes 9/10 (by 6 + 3 of 10)"
    assert cells(ROW | {"applied": 1, "certified_by": [1]}, 1, None)[1] == "yes 1/10 (by 1 of 10)"
