"""Planted bugs of agreement and update: each is found, at its place, and by its name."""

from swarmdem.apps.torment.checker import check
from swarmdem.apps.torment.promises import ADDS_UP, HONEST, ONCE, ONE_CERTIFICATE, ONE_TREE, RISING, WHOLE
from swarmdem.wire.messages import PROVISIONAL
from tests.apps.torment.made import PEERS, MadeHistory


def found(history: MadeHistory) -> list[tuple[str, int]]:
    return [(finding.rule, finding.line) for finding in check(history.lines).findings]


def test_a_sound_history_breaks_nothing():
    history = MadeHistory()
    history.rounds(1, 4)
    history.calm_and_end(5)
    assert found(history) == []


def test_two_normal_certificates_for_one_base():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.certified(1, 4, plan="another", base="plan-2")
    assert found(history) == [(ONE_CERTIFICATE, line)]


def test_two_provisional_certificates_for_one_base_are_allowed():
    history = MadeHistory()
    history.rounds(1, 3)
    history.certified(1, 4, plan="another", base="plan-2", mode=PROVISIONAL)
    assert found(history) == []


def test_a_tree_that_differs():
    history = MadeHistory()
    history.rounds(1, 3)
    history.certified(0, 4)
    line = history.certified(1, 4, tree="another tree")
    assert found(history) == [(ONE_TREE, line)]


def test_a_round_applied_after_a_higher_one():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.finished(2, 2, plan="late")
    assert found(history) == [(RISING, line)]


def test_a_round_applied_twice():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.finished(2, 3)
    assert found(history) == [(RISING, line), (ONCE, line)]


def test_a_restarted_peer_that_applies_its_last_round_again():
    history = MadeHistory()
    history.rounds(1, 3)
    history.add("kill", device=2, peer=PEERS[2], pid=102)
    history.add("start", device=2, peer=PEERS[2], pid=202)
    line = history.finished(2, 3)
    assert found(history) == [(RISING, line), (ONCE, line)]


def test_a_mean_that_weighs_more_than_its_inputs():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.averaged(0, 4, "root", weight=4)
    assert found(history) == [(ADDS_UP, line)]


def test_a_mean_that_includes_more_than_went_in():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.averaged(0, 4, "root", inputs=[["model-a", 2], ["model-b", 1]])
    assert found(history) == [(ADDS_UP, line)]


def test_an_input_counted_twice():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.averaged(0, 4, "root", inputs=[["model-a", 1], ["model-b", 1], ["model-a", 1]])
    assert found(history) == [(ADDS_UP, line)]


def test_a_peer_that_is_included_by_two_groups():
    history = MadeHistory()
    history.rounds(1, 3)
    history.averaged(0, 4, "left", weight=2, included=PEERS[:2], inputs=[["a", 1], ["b", 1]])
    history.averaged(1, 4, "right", weight=2, included=PEERS[1:], inputs=[["b2", 1], ["c", 1]])
    inputs = [["mean-4-left", 2], ["mean-4-right", 2]]
    line = history.averaged(2, 4, "root", level=2, weight=4, inputs=inputs)
    assert found(history) == [(ADDS_UP, line)]


def test_groups_that_add_up_and_a_mean_repeated_by_the_second_leader():
    history = MadeHistory()
    history.rounds(1, 3)
    history.averaged(0, 4, "left", weight=2, included=PEERS[:2], inputs=[["a", 1], ["b", 1]])
    history.averaged(
        1, 4, "left", term=1, weight=2, included=PEERS[:2], inputs=[["mean-4-left", 2]], model="mean-4-left"
    )
    history.averaged(2, 4, "root", level=2, inputs=[["mean-4-left", 2], ["c", 1]])
    assert found(history) == []


def test_a_group_counted_with_another_weight_than_its_own():
    history = MadeHistory()
    history.rounds(1, 3)
    history.averaged(0, 4, "left", weight=2, included=PEERS[:2], inputs=[["a", 1], ["b", 1]])
    line = history.averaged(2, 4, "root", level=2, weight=4, inputs=[["mean-4-left", 3], ["c", 1]])
    assert found(history) == [(ADDS_UP, line)]


def test_a_peer_included_that_no_certificate_lists():
    history = MadeHistory()
    history.rounds(1, 3)
    history.certified(0, 4, peers=PEERS[:2])
    line = history.averaged(0, 4, "root")
    assert found(history) == [(ADDS_UP, line)]


def test_an_honest_peer_that_is_accused():
    history = MadeHistory()
    history.rounds(1, 3)
    line = history.saw(0, "equivocated", peer=PEERS[1], first="11", second="22")
    assert found(history) == [(HONEST, line)]


def test_a_torn_journal():
    history = MadeHistory()
    line = history.saw(0, "torn", line='{"event": "cer')
    assert found(history) == [(WHOLE, line)]
