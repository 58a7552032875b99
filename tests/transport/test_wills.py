from swarmdem.transport.wills import Wills

WILL, LATER_WILL = b"will of this session", b"will of the next session"


def test_copies_of_one_loss_add_up() -> None:
    wills = Wills(together_s=20.0)

    assert wills.published("p", WILL, 0, now=5.0) == {0}
    assert wills.published("p", WILL, 1, now=25.0) == {0, 1}


def test_a_copy_is_forgotten_after_a_while() -> None:
    wills = Wills(together_s=20.0)
    wills.published("p", WILL, 0, now=5.0)

    assert wills.published("p", WILL, 1, now=25.1) == {1}


def test_a_peer_that_is_heard_again_over_a_broker_is_not_lost_there() -> None:
    wills = Wills(together_s=20.0)
    wills.published("p", WILL, 0, now=5.0)
    wills.heard("p", 0)

    assert wills.published("p", WILL, 1, now=6.0) == {1}


def test_a_peer_that_is_heard_over_another_broker_is_lost_where_it_was() -> None:
    wills = Wills(together_s=20.0)
    wills.published("p", WILL, 0, now=5.0)
    wills.heard("p", 1)

    assert wills.published("p", WILL, 1, now=6.0) == {0, 1}


def test_wills_of_other_peers_and_of_another_session_do_not_add_up() -> None:
    wills = Wills(together_s=20.0)
    wills.published("p", WILL, 0, now=5.0)
    wills.published("q", WILL, 1, now=5.0)

    assert wills.published("p", LATER_WILL, 2, now=5.0) == {2}
    assert wills.published("q", WILL, 2, now=5.0) == {1, 2}


def test_the_oldest_will_is_forgotten_when_there_are_too_many() -> None:
    wills = Wills(together_s=20.0, remembered_max=1)
    wills.published("p", WILL, 0, now=5.0)
    wills.published("q", WILL, 0, now=5.0)

    assert wills.published("q", WILL, 1, now=5.0) == {0, 1}
    assert wills.published("p", WILL, 1, now=5.0) == {1}
