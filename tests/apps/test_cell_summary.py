"""What journals tell of a run in cells."""

import json

from swarmdem.apps.cell_summary import cell_line, cells_of_run


def write(folder, peer, *lines):
    (folder / f"{peer}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def entered(cell):
    return {"event": "cell_entered", "cell": cell}


def test_cells_moves_and_rounds_of_the_region_are_read_from_journals(tmp_path):
    certified, down = {"event": "region_certified", "round": 3}, {"event": "region_handed_down", "round": 2}
    write(tmp_path, "a", entered("c1"), certified, down, {"event": "certified", "round": 9})
    write(tmp_path, "b", entered("c1"), entered("c2"), entered("c2"))
    write(tmp_path, "c", entered("c1"))

    told = cells_of_run(tmp_path)

    assert told == {"peers": {"c1": 2, "c2": 1}, "moves": 1, "rounds": 3, "handed_down": 1}
    assert cell_line(told).split("; ") == [
        "cells 2, of 1 to 2 peers, moves 1",
        "rounds of the region 3, its results came down 1 times",
    ]
    assert cell_line(told | {"rounds": 0, "handed_down": 0}).split(": ")[1:] == [
        "a run too short for cells to learn from each other"
    ]


def test_lines_that_cannot_be_read_count_for_nothing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"event": "cell_entered"\n{"event": "cell_entered", "cell": 3}\n')

    assert cell_line(cells_of_run(tmp_path)) == "no peer found its cell"


def test_a_journal_that_cannot_be_opened_counts_for_nothing(tmp_path):
    write(tmp_path, "a", entered("c1"))
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone")

    assert cells_of_run(tmp_path)["peers"] == {"c1": 1}
