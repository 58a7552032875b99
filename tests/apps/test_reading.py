"""Run folders as typed rows."""

import pytest

from swarmdem.apps.reading import is_run, read_experiment, read_run
from swarmdem.errors import DataError
from tests.apps.run_folders import PEERS, row, tree, write_experiment, write_lines, write_run


def test_a_run_is_read_with_its_metrics_and_trees(tmp_path):
    run = read_run(write_run(tmp_path / "run", [row(1), row(2, 0.4), row(3, 0.5)]))

    assert [found.round for found in run.rounds] == [1, 2, 3]
    assert run.series("c_gen") == [(2, 0.4), (3, 0.5)]
    assert run.series("c_gen", "after_training") == [(2, 0.2), (3, 0.25)]
    assert run.series("global") == [(2, 0.5), (3, 0.6)]
    assert run.rounds[2].level_value("g_spe", 1) == 0.7
    assert run.rounds[2].per_peer["dd44"].c_gen == 0.6
    assert run.bytes_series() == {1: 1000, 2: 2000, 3: 3000}
    assert run.trees[0].root.members == PEERS
    assert run.peers == PEERS
    assert run.finished


def test_what_is_missing_is_named_and_the_rest_is_there(tmp_path):
    run = read_run(write_run(tmp_path / "run", [row(1)], rounds=9, trees=False))

    assert run.missing == ("trees.jsonl", "summary.json")
    assert not run.finished
    assert run.summary is None
    assert run.metric == "accuracy"


def test_a_line_that_was_never_finished_is_left_out(tmp_path):
    folder = write_run(tmp_path / "run", [row(1), row(2)])
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round":3,"cert')

    assert len(read_run(folder).rounds) == 2


def test_settings_hold_the_changes_of_resumptions(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)], rounds=1)
    with (folder / "run.toml").open("a") as file:
        file.write('\n[[resumed]]\ncommand = "x"\nstarted = "y"\nrounds = 5\n')

    assert read_run(folder).settings == {"rounds": 5, "seed": 0}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rounds.jsonl", '{"round":1}\n{"round":"two"}\n', "rounds.jsonl line 2: Expected `int`"),
        ("trees.jsonl", "[]\n", "trees.jsonl line 1: Expected `object`"),
        ("summary.json", "{", "summary.json: Expecting property name"),
        ("run.toml", "rounds 3", "run.toml: Expected '='"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path, name, content, words):
    folder = write_run(tmp_path / "run", [row(1)])
    (folder / name).write_text(content)

    with pytest.raises(DataError) as refused:
        read_run(folder)

    assert words in str(refused.value)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"not a run folder \(no run.toml\)"):
        read_run(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_run(tmp_path / "nowhere")

    assert not is_run(tmp_path)


def test_a_journal_yields_its_lines_and_names_a_bad_one(tmp_path):
    run = read_run(write_run(tmp_path / "run", [row(1)]))

    assert list(run.journal("aa11")) == [{"event": "round", "round": 1}]
    assert list(run.journal("nobody")) == []
    (run.path / "peers" / "aa11.jsonl").write_text("nonsense\n")
    with pytest.raises(DataError, match=r"aa11\.jsonl line 1"):
        list(run.journal("aa11"))


def test_an_experiment_holds_the_runs_that_have_begun(tmp_path):
    folder = write_experiment(
        tmp_path / "x",
        [("a", {0: [row(1, 0.5)], 1: None}, {}), ("b", {0: None}, {"shown": "after_training"})],
    )

    found = read_experiment(folder)

    assert [result.variant.name for result in found.results] == ["a", "b"]
    assert [len(result.runs) for result in found.results] == [1, 0]
    assert found.results[1].variant.shown == "after_training"
    with pytest.raises(DataError, match=r"experiment\.json: No such file"):
        read_experiment(tmp_path)


def test_two_trees_of_one_round_are_both_there(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    write_lines(folder / "trees.jsonl", [tree(1), tree(1) | {"certificate": "other"}])

    assert [found.certificate for found in read_run(folder).trees] == ["c1", "other"]


def test_a_journal_in_two_parts_is_read_from_the_older_on(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    (folder / "peers" / "ee55.jsonl.1").write_text('{"event": "a"}\n')
    run = read_run(folder)
    assert "ee55" in run.peers, "its peer was killed before the newer part was begun"
    assert list(run.journal("ee55")) == [{"event": "a"}]

    (folder / "peers" / "ee55.jsonl").write_text('{"event": "b"}\n')

    assert list(run.journal("ee55")) == [{"event": "a"}, {"event": "b"}]
