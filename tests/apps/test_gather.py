"""Rows of a run folder from workers' reports."""

from swarmdem.apps.gather import RoundBook, certified_by
from swarmdem.apps.pipes import Counts, GroupResult, GroupScored, PeerRound, Score, TreeSeen, Usage

ROOT = {"level": 2, "id": "r", "parent": None, "members": ["a", "b", "c"], "leaves": ["c"]}
PAIR = {"level": 1, "id": "g", "parent": "r", "members": ["a", "b"], "leaves": ["a", "b"]}


def book(**changes):
    made = RoundBook(**{"evaluated": lambda _: False, "straggle_s": 60.0} | changes)
    for peer in "abc":
        made.joined(peer)
    return made


def ended(peer, round=1, **changes):
    facts = {
        "peer": peer, "round": round, "certificate": "p", "certified": True, "applied": True,
        "counts": Counts(), "usage": Usage(),
    }  # fmt: skip
    return PeerRound(**facts | changes)


def tree(round=1, term=0):
    return TreeSeen(round=round, certificate="p", certified=True, term=term, groups=(ROOT, PAIR))


def result(group, final, term=0, **changes):
    level = {"r": 2, "g": 1}[group]
    return GroupResult(
        certificate="p", round=1, group=group, level=level, aggregator="a", term=term, final=final, **changes
    )


def finish_groups(made, term=0):
    made.add(0, tree(), 0.0)
    for group in "rg":
        made.add(0, result(group, False, included=("a", "b")), 0.0)
        made.add(0, result(group, True, term=term), 0.0)


def test_a_row_leaves_when_every_live_peer_has_reported():
    made = book()
    finish_groups(made)
    made.add(0, ended("a"), 1.0)
    made.add(0, ended("b"), 2.0)

    assert made.due(2.0, lambda: 0.0) == []

    made.add(1, ended("c", applied=False), 3.0)
    [(row, _)] = made.due(3.0, lambda: 0.0)

    assert (row["round"], row["peers"], row["applied"], row["certified"]) == (1, 3, 2, True)


def test_a_lost_peer_is_not_waited_for():
    made = book()
    finish_groups(made)
    made.lost("c")
    made.add(0, ended("a"), 1.0)
    made.add(0, ended("b"), 1.0)

    [(row, _)] = made.due(1.0, lambda: 0.0)

    assert row["peers"] == 2


def test_a_silent_peer_is_waited_for_only_so_long():
    made = book(straggle_s=60.0)
    finish_groups(made)
    made.add(0, ended("a"), 0.0)

    assert made.due(60.0, lambda: 0.0) == []
    assert made.due(60.1, lambda: 0.0)[0][0]["applied"] == 1


def test_a_peer_that_is_already_further_is_not_waited_for():
    made = book()
    finish_groups(made)
    made.add(0, ended("a"), 0.0)
    made.add(0, ended("b"), 0.0)
    made.add(0, ended("c", round=2), 0.0)

    assert [row["round"] for row, _ in made.due(0.0, lambda: 0.0)] == [1]


def test_counters_are_differences_between_rows():
    made = book()
    made.begin(100.0, 5.0)
    finish_groups(made)
    for number, peer in enumerate("abc"):
        made.add(number, ended(peer, counts=Counts(100, 90, 3, 2), usage=Usage(1.5, 0.5, 7, 8)), 101.0)
    [(first, _)] = made.due(101.0, lambda: 9.0)
    for number, peer in enumerate("abc"):
        made.add(number, ended(peer, 2, counts=Counts(150, 90, 4, 2), usage=Usage(2.0, 0.5, 7, 8)), 103.0)
    [(second, _)] = made.due(103.0, lambda: 10.5)

    assert (first["bytes_sent"], first["messages_sent"], first["train_cpu_s"]) == (300, 9, 4.5)
    assert (first["wall_s"], first["cpu_s"]) == (1.0, 4.0)
    assert (second["bytes_sent"], second["messages_sent"], second["train_cpu_s"]) == (150, 3, 1.5)
    assert (second["wall_s"], second["cpu_s"], second["evaluate_cpu_s"]) == (2.0, 1.5, 0.0)


def test_failovers_count_terms_of_agreement_and_of_groups():
    made = book()
    finish_groups(made, term=1)
    made.add(0, TreeSeen(round=1, certificate="q", certified=True, term=9, groups=()), 0.0)  # not in force
    for peer in "abc":
        made.add(0, ended(peer), 0.0)

    [(row, _)] = made.due(0.0, lambda: 0.0)

    assert row["failovers"] == 2


def test_a_group_without_a_result_is_skipped():
    made = book()
    made.add(0, tree(term=2), 0.0)
    made.add(0, result("r", False, included=("c",)), 0.0)
    made.add(0, result("r", True), 0.0)
    for peer in "abc":
        made.add(0, ended(peer), 0.0)

    assert made.due(1.0, lambda: 0.0) == [], "its result may still be on the way through another pipe"
    [(row, trees)] = made.due(3.0, lambda: 0.0)

    assert (row["skipped_groups"], row["failovers"]) == (1, 2)
    assert trees[0]["groups"][1] == PAIR | {"included": [], "cut": False, "aggregator": None, "term": None}


def test_trees_say_who_was_included_and_who_aggregated():
    made = book()
    finish_groups(made)
    for peer in "abc":
        made.add(0, ended(peer), 0.0)

    [(_, [found])] = made.due(0.0, lambda: 0.0)

    assert (found["round"], found["certificate"], found["certified"]) == (1, "p", True)
    assert found["groups"][1] == PAIR | {"included": ["a", "b"], "cut": False, "aggregator": "a", "term": 0}


def test_metrics_are_pooled_over_peers_and_levels():
    made = book(evaluated=lambda round: round == 1)
    finish_groups(made)
    for peer, correct in zip("abc", (1, 2, 6), strict=True):
        scores = {
            "c_spe": Score(correct, 10),
            "c_gen": Score(correct, 20),
            "c_gen.after_training": Score(1, 20),
        }
        made.add(0, ended(peer, scores=scores), 0.0)
    scored = {"certificate": "p", "round": 1, "term": 0}

    assert made.due(5.0, lambda: 0.0) == [], "the groups are not measured yet"

    made.add(0, GroupScored(group="r", level=2, members=Score(5, 10), everybody=Score(4, 10), **scored), 5.0)
    made.add(0, GroupScored(group="g", level=1, members=Score(8, 10), everybody=Score(3, 10), **scored), 5.0)
    [(row, _)] = made.due(5.0, lambda: 0.0)

    assert row["metric"] == "accuracy"
    assert row["per_peer"] == {
        "a": {"c_spe": 0.1, "c_gen": 0.05}, "b": {"c_spe": 0.2, "c_gen": 0.1},
        "c": {"c_spe": 0.6, "c_gen": 0.3},
    }  # fmt: skip
    assert row["c_spe"] == {"after_training": None, "after_update": 0.3}
    assert row["c_gen"] == {"after_training": 0.05, "after_update": 0.15}
    assert row["global"] == {"after_training": None, "after_update": 0.4}
    assert row["g_spe"] == {"after_training": None, "after_update": {"1": 0.8, "2": 0.5}}
    assert row["g_gen"] == {"after_training": None, "after_update": {"1": 0.3, "2": 0.4}}


def test_what_only_some_peers_measured_is_told_of_nobody():
    made = book(evaluated=lambda _: True, grouped=False)
    after = {"c_gen": Score(6, 10), "c_spe": Score(3, 4)}
    made.add(0, ended("a", scores=after | {"c_gen.after_training": Score(9, 10)}), 1.0)
    made.add(0, ended("b", scores=after), 1.0)  # trained before the run was stopped, and not again
    made.add(0, ended("c", scores={}, applied=False), 1.0)

    [(row, _)] = made.due(1.0, lambda: 0.0)

    assert row["c_gen"] == {"after_training": None, "after_update": 0.6}


def test_groups_whose_models_are_not_whole_have_no_scores():
    made = book(evaluated=lambda _: True, metric="mae")
    finish_groups(made)
    for peer in "abc":
        made.add(0, ended(peer, scores={"c_spe": Score(5.0, 2), "c_gen": Score(9.0, 2)}), 0.0)
    for group, level in (("r", 2), ("g", 1)):
        made.add(
            0,
            GroupScored(
                certificate="p", round=1, group=group, level=level, term=0, members=Score(0, 0),
                everybody=Score(0, 0),
            ),
            0.0,
        )  # fmt: skip
    [(row, _)] = made.due(0.0, lambda: 0.0)

    assert row["metric"] == "mae"
    assert row["c_spe"]["after_update"] == 2.5
    assert row["global"]["after_update"] is None
    assert row["g_gen"]["after_update"] == {"1": None, "2": None}


def test_without_groups_no_result_is_waited_for_and_none_is_skipped():
    made = book(evaluated=lambda _: True, grouped=False)
    made.add(0, tree(), 0.0)
    for peer in "abc":
        made.add(0, ended(peer, scores={"c_gen": Score(1, 2)}), 0.0)

    [(row, [found])] = made.due(0.0, lambda: 0.0)

    assert (row["skipped_groups"], row["failovers"]) == (0, 0)
    assert row["global"]["after_update"] is None
    assert row["c_gen"]["after_update"] == 0.5
    assert found["groups"][0]["aggregator"] is None


def test_rows_of_a_resumed_run_begin_after_its_last():
    made = book(last_round=1)
    finish_groups(made)
    for peer in "abc":
        made.add(0, ended(peer), 0.0)

    assert made.due(99.0, lambda: 0.0) == []


def test_who_stands_behind_which_certificate_is_counted():
    ends = [("p", True), ("q", True), ("q", True), ("r", False)]

    assert certified_by(ends) == [2, 1]
    assert certified_by([("r", False)]) == []
