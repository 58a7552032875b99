"""From a history to rows, a table, and an exit code."""

import json
from pathlib import Path

import pytest

from swarmdem.apps.charter import make_charter
from swarmdem.apps.pipes import Counts, PeerRound, Score, TreeSeen, Usage, line
from swarmdem.apps.reading import read_run
from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.torment.conclusion import conclude
from swarmdem.apps.torment.rows import rows_of
from swarmdem.errors import DataError
from tests.apps.torment.made import PEERS, MadeHistory, settings

ROOT = {"level": 1, "id": "r", "parent": None, "members": [], "leaves": list(PEERS)}


def told(history: MadeHistory, device: int, round: int, *, sent: int, correct: float) -> None:
    report = PeerRound(
        peer=PEERS[device], round=round, certificate=f"plan-{round}", certified=True, applied=True,
        counts=Counts(bytes_sent=sent), usage=Usage(train_cpu_s=0.5), loss=1.0,
        scores={"c_spe": Score(9.0, 10), "c_gen": Score(correct, 10)},
    )  # fmt: skip
    history.add("told", device=device, peer=PEERS[device], note=json.loads(line(report)))


def learning(last: int, correct: float) -> MadeHistory:
    history = MadeHistory()
    for round in range(1, last + 1):
        history.rounds(round, round)
        for device in range(3):
            told(history, device, round, sent=100 * round, correct=correct)
    return history


def run_folder(path: Path, history: MadeHistory) -> Path:
    wanted = settings().swarm
    folder = RunFolder(path)
    folder.create(wanted, make_charter(wanted, (), (), founders=3), "swarmdem torment", "now")
    folder.close()
    history.write(path)
    return path


def test_counters_of_a_restarted_peer_go_on():
    history = learning(2, 5.0)
    history.add("kill", device=0, peer=PEERS[0], pid=100)
    history.add("start", device=0, peer=PEERS[0], pid=200)
    for device, sent in ((0, 40), (1, 300), (2, 300)):
        told(history, device, 3, sent=sent, correct=5.0)
    rounds, _ = rows_of(history.lines, settings().swarm)
    assert [row["bytes_sent"] for row in rounds] == [300, 300, 240]
    assert [row["peers"] for row in rounds] == [3, 3, 3]


def test_rows_do_not_wait_for_a_replaced_peer_whose_journal_is_read_to_its_end_afterwards():
    history = learning(2, 5.0)
    told(history, 1, 3, sent=300, correct=5.0)
    history.add("replaced", device=0, peer=PEERS[0], pid=100)
    told(history, 0, 3, sent=300, correct=5.0)
    told(history, 2, 3, sent=300, correct=5.0)
    for device in (1, 2):
        told(history, device, 4, sent=400, correct=5.0)
    rounds, _ = rows_of(history.lines, settings().swarm)
    assert [(row["round"], row["peers"]) for row in rounds] == [(1, 3), (2, 3), (3, 2), (4, 2)]


def test_a_history_that_ends_leaves_the_rows_of_what_all_had_finished():
    history = learning(3, 5.0)
    tree = TreeSeen(certificate="plan-4", round=4, certified=True, term=0, groups=(ROOT,))
    history.add("told", device=0, peer=PEERS[0], note=json.loads(line(tree)))
    for device in range(3):
        told(history, device, 4, sent=400, correct=5.0)
    told(history, 0, 5, sent=500, correct=5.0)
    rounds, trees = rows_of(history.lines, settings().swarm)
    assert [row["round"] for row in rounds] == [1, 2, 3, 4], "the groups' results were never told of"
    assert [(row["round"], row["groups"][0]["aggregator"]) for row in trees] == [(4, None)]


def test_a_sound_run_ends_with_zero_and_leaves_a_run_folder(tmp_path):
    history = learning(4, 8.0)
    history.calm_and_end(5)
    folder = run_folder(tmp_path / "run", history)
    said: list[str] = []
    assert conclude(folder, [], said.append) == 0
    assert any("rounds certified on the larger side: 5 of 5" in text for text in said)
    assert any("C-GEN 0.800, mean of rounds 1 to 4" in text for text in said)
    assert not any("BROKEN" in text for text in said)
    run = read_run(folder)
    assert [row.round for row in run.rounds] == [1, 2, 3, 4]
    assert run.missing == ("trees.jsonl",), "no tree was told of"
    verdict = json.loads((folder / "verdict.json").read_text())
    assert (verdict["findings"], verdict["ended"], verdict["met"][0]) == ([], True, 1)


def test_checking_again_gives_the_same_and_rewrites_no_rows(tmp_path):
    history = learning(4, 8.0)
    history.calm_and_end(5)
    folder = run_folder(tmp_path / "run", history)
    first: list[str] = []
    conclude(folder, [], first.append)
    (folder / "rounds.jsonl").write_text((folder / "rounds.jsonl").read_text())
    before = (folder / "rounds.jsonl").stat().st_mtime_ns
    second: list[str] = []
    assert conclude(folder, [], second.append) == 0
    assert first == second
    assert (folder / "rounds.jsonl").stat().st_mtime_ns == before


def test_a_broken_promise_is_named_with_its_line_and_ends_with_one(tmp_path):
    history = learning(4, 8.0)
    number = history.finished(0, 2, plan="late")
    folder = run_folder(tmp_path / "run", history)
    said: list[str] = []
    assert conclude(folder, [], said.append) == 1
    assert said[-2] == (
        f"BROKEN the rounds a peer applies rise strictly: peer aaaaaaaa: 2 after 4 (line {number - 6}) "
        f"(history.jsonl line {number})"
    )


@pytest.mark.parametrize(("correct", "code"), [(7.9, 0), (7.7, 1)])
def test_c_gen_may_be_two_hundredths_below_the_lowest_undisturbed_run(tmp_path, correct, code):
    undisturbed = []
    for name, value in (("low", 8.0), ("high", 9.0)):
        history = learning(4, value)
        folder = run_folder(tmp_path / name, history)
        conclude(folder, [], lambda _: None)
        undisturbed.append(folder)
    tormented = run_folder(tmp_path / "run", learning(4, correct))
    said: list[str] = []
    assert conclude(tormented, undisturbed, said.append) == code
    assert any("lowest undisturbed 0.800, least 0.780" in text for text in said)


def test_a_run_without_scores_cannot_be_compared_with(tmp_path):
    other = run_folder(tmp_path / "other", MadeHistory())
    tormented = run_folder(tmp_path / "run", learning(4, 8.0))
    with pytest.raises(DataError, match="C-GEN was not measured"):
        conclude(tormented, [other], lambda _: None)
