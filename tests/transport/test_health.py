import pytest

from swarmdem.transport.health import BLAME_MAX_S, LOST_S, PENDING_MAX, Health


def test_the_score_is_the_mean_delay_of_echoes() -> None:
    health = Health()
    health.sent(b"a", 1.0)
    health.echoed(b"a", 1.2)
    health.sent(b"b", 2.0)
    health.echoed(b"b", 2.4)

    assert health.score(3.0) == pytest.approx(0.25)


def test_an_echo_that_is_overdue_counts_as_it_grows_older() -> None:
    health = Health()
    health.sent(b"a", 1.0)

    assert health.score(4.0) == pytest.approx(3.0)


def test_an_echo_that_never_comes_is_a_fault_that_is_forgiven() -> None:
    health = Health()
    health.sent(b"a", 0.0)

    assert health.score(LOST_S + 1) == pytest.approx(0.5)
    assert health.score(LOST_S + 31) == pytest.approx(0.25)
    assert health.faults == 1


def test_nothing_is_waited_for_on_a_connection_that_is_gone() -> None:
    health = Health()
    health.sent(b"a", 0.0)
    health.reset()

    assert health.score(5.0) == 0.0


def test_what_others_say_and_what_was_never_sent_is_no_echo() -> None:
    health = Health()
    health.echoed(b"a", 1.0)

    assert health.score(1.0) == 0.0


def test_so_many_echoes_are_waited_for_and_no_more() -> None:
    health = Health()
    for number in range(PENDING_MAX + 5):
        health.sent(number.to_bytes(2, "big"), 1.0)
    for number in range(PENDING_MAX):
        health.echoed(number.to_bytes(2, "big"), 1.1)

    assert health.score(5.0) == pytest.approx(0.1)


def test_echoes_lost_while_nothing_was_sent_neither_pile_up_nor_bar_a_broker_for_ever() -> None:
    health = Health()
    for number in range(PENDING_MAX):
        health.sent(b"%d" % number, 0.0)
    health.sent(b"later", LOST_S + 1)

    assert health.faults == PENDING_MAX
    assert health.score(LOST_S + 1) == BLAME_MAX_S
    health.echoed(b"later", LOST_S + 2)
    assert health.delay_s == 1.0
