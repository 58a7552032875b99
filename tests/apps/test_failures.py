"""Which failures of training end a run."""

import pytest

from swarmdem.apps.failures import TrainingWatch


@pytest.fixture
def watch():
    made = TrainingWatch()
    for peer in "abcd":
        made.joined(peer)
    return made


def fail(watch, peers, times=1, error="boom"):
    for _ in range(times):
        for peer in peers:
            watch.failed(peer, 3, error)


def test_all_peers_failing_twice_is_the_end(watch):
    fail(watch, "abcd")
    assert watch.verdict() == ""

    fail(watch, "abc")
    assert watch.verdict() == ""

    fail(watch, "d")
    assert watch.verdict() == "training fails at all 4 peers in round 3: boom"


def test_a_model_that_is_refused_after_training_is_a_failure_all_the_same(watch):
    for _ in range(2):
        for peer in "abcd":
            watch.trained(peer, 3)
            fail(watch, peer)

    assert watch.verdict().startswith("training fails at all 4 peers")


def test_peers_that_fail_for_ever_end_nothing_while_half_of_all_train(watch):
    fail(watch, "ab", times=50)
    watch.trained("c", 3)
    watch.trained("d", 3)
    fail(watch, "ab", times=50)

    assert watch.verdict() == ""


def test_more_than_half_failing_is_the_end_once_the_others_have_waited(watch):
    fail(watch, "abc", times=9)
    assert watch.verdict() == "", "d may still be training"

    watch.trained("d", 3)
    fail(watch, "abc", times=2)
    assert watch.verdict() == "", "d has only just trained"

    fail(watch, "abc")
    assert watch.verdict() == "training fails at 3 of 4 peers in round 3: boom"


def test_the_end_of_a_round_starts_the_counting_anew(watch):
    fail(watch, "abcd")
    watch.ended("a", 2)
    fail(watch, "abcd")

    assert watch.verdict() == ""


def test_the_end_of_a_round_that_is_told_late_does_not_hide_the_next_training(watch):
    watch.trained("d", 3)
    watch.ended("d", 2)
    fail(watch, "abc", times=4)

    assert watch.verdict() == "training fails at 3 of 4 peers in round 3: boom"


def test_a_peer_that_is_gone_is_not_waited_for(watch):
    fail(watch, "abc", times=2)
    watch.lost("d")

    assert watch.verdict() == "training fails at all 3 peers in round 3: boom"


def test_of_different_errors_the_commonest_is_told(watch):
    fail(watch, "a", times=2, error="strange")
    fail(watch, "bcd", times=2)

    assert watch.verdict() == "training fails at all 4 peers in round 3: boom (and others)"
