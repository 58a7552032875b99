"""Silence, goodbyes and sessions."""

import pytest

from swarmdem.identifiers import FrameId, PeerId
from swarmdem.protocol.membership import Membership
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Ping, Want

A, B, C = (PeerId(bytes([i]) * 16) for i in range(3))
BASE, OTHER = b"x" * 32, b"y" * 32


def test_a_peer_is_in_sight_for_one_patience_after_its_last_word():
    members = Membership(100, 10)
    members.hear(A, BASE, 1, 0)

    assert members.naming(BASE, 100) == {A}
    assert members.naming(BASE, 101) == set()
    assert members.naming(OTHER, 0) == set()


def test_hearing_says_when_a_peer_comes_into_sight():
    members = Membership(100, 10)

    assert members.hear(A, BASE, 1, 0)
    assert not members.hear(A, BASE, 1, 50)
    assert members.hear(A, BASE, 1, 500)


def test_a_goodbye_holds_until_the_next_word():
    members = Membership(100, 10)
    members.hear(A, BASE, 3, 0)

    assert members.lose(A, 3)
    assert members.away(A)
    assert members.in_sight(1) == ()
    members.hear(A, BASE, 4, 2)
    assert not members.away(A)


def test_a_last_will_of_an_earlier_session_is_ignored():
    members = Membership(100, 10)
    members.hear(A, BASE, 3, 0)

    assert not members.lose(A, 2)
    assert not members.away(A)


def test_memory_is_bounded_and_the_longest_silent_is_forgotten():
    members = Membership(100, 2)
    for time, peer in enumerate((A, B, C)):
        members.hear(peer, BASE, 1, time)

    assert members.in_sight(3) == (B, C)


def frame(message, session=3):
    return Frame(b"", FrameId(bytes(32)), A, b"", session, 1, b"", b"", message)


def test_a_ping_of_a_peer_in_sight_only_renews_it():
    members = Membership(100, 10)
    members.hear(A, BASE, 3, 0)

    assert members.renews(frame(Ping(BASE)), BASE, 90)
    assert members.naming(BASE, 190) == {A}


@pytest.mark.parametrize(
    ("said", "base", "now"),
    [
        (frame(Want(0, ())), BASE, 90),
        (frame(Ping(OTHER)), BASE, 90),
        (frame(Ping(OTHER)), OTHER, 90),
        (frame(Ping(BASE), session=2), BASE, 90),
        (frame(Ping(BASE)), BASE, 101),
    ],
    ids=["another message", "another base", "its first of a base", "an earlier session", "out of sight"],
)
def test_what_says_more_than_that_is_left_alone(said, base, now):
    members = Membership(100, 10)
    members.hear(A, BASE, 3, 0)

    assert not members.renews(said, base, now)
    assert members.naming(BASE, 100) == {A}
    assert members.naming(BASE, 101) == set()


def test_a_ping_after_a_goodbye_is_more_than_a_renewal():
    members = Membership(100, 10)
    members.hear(A, BASE, 3, 0)
    members.lose(A, 3)

    assert not members.renews(frame(Ping(BASE)), BASE, 1)
    assert not members.renews(frame(Ping(BASE)), BASE, 1)
