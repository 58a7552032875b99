"""Histories and journals as files: what is cut short, torn or damaged."""

import pytest

from swarmdem.apps.torment.history import FILE, History, Tail, read_history
from swarmdem.errors import DataError


def test_what_was_noted_is_read_back(tmp_path):
    history = History(tmp_path)
    history.note("kill", device=3)
    history.note("end", done=True)
    history.close()
    lines = list(read_history(tmp_path))
    assert [(line.number, line.what) for line in lines] == [(1, "kill"), (2, "end")]
    assert lines[0].entry["device"] == 3
    assert lines[0].t <= lines[1].t


def test_a_line_cut_short_at_the_end_is_left_out(tmp_path):
    (tmp_path / FILE).write_text('{"t": 0.1, "what": "calm"}\n{"t": 0.2, "wh')
    assert [line.what for line in read_history(tmp_path)] == ["calm"]


@pytest.mark.parametrize(
    "damage", ["nonsense", "[]", '{"t": 0.1}', '{"what": "kill"}', '{"t": "x", "what": "k"}']
)
def test_a_damaged_line_is_named(tmp_path, damage):
    (tmp_path / FILE).write_text('{"t": 0.1, "what": "calm"}\n' + damage + "\n")
    with pytest.raises(DataError, match="line 2"):
        list(read_history(tmp_path))


def test_a_folder_without_a_history_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        list(read_history(tmp_path))


def test_a_tail_waits_for_whole_lines(tmp_path):
    path = tmp_path / "journal.jsonl"
    tail = Tail(path)
    assert tail.new_lines() == []
    with path.open("w", buffering=1) as file:
        file.write('{"event": "a"}\n{"event": "b"')
        file.flush()
        assert tail.new_lines() == [{"event": "a"}]
        assert tail.new_lines() == []
        file.write("}\n")
        assert tail.new_lines() == [{"event": "b"}]
    tail.close()


def test_a_tail_forgets_what_a_killed_writer_left_and_the_next_one_cut_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "a"}\n{"event": "lost')
    tail = Tail(path)
    assert tail.new_lines() == [{"event": "a"}]
    path.write_text('{"event": "a"}\n{"event": "b"}\n')
    assert tail.new_lines() == [{"event": "b"}]
    tail.close()


def test_a_line_that_is_no_json_is_torn(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "cer{"event": "a"}\n')
    tail = Tail(path)
    assert tail.new_lines() == [{"event": "torn", "line": '{"event": "cer{"event": "a"}'}]
    tail.close()


def test_a_tail_follows_a_journal_that_was_begun_anew(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "a"}\n')
    tail = Tail(path)
    assert tail.new_lines() == [{"event": "a"}]

    with path.open("a") as file:
        file.write('{"event": "b"}\n')
    path.rename(tmp_path / "journal.jsonl.1")
    assert tail.new_lines() == [{"event": "b"}], "the new one is not there yet"
    path.write_text('{"event": "c"}\n')

    assert tail.new_lines() == [{"event": "c"}]
    tail.close()
