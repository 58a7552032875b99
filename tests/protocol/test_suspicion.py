"""Who is taken for gone, and how much longer a peer waits that is late itself."""

import pytest

from swarmdem.identifiers import FrameId, PeerId
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.suspicion import LocalHealth, Suspicion

PATIENCE = 800
A, B = PeerId(b"a" * 16), PeerId(b"b" * 16)
BASE = b"x" * 32


class Scene:
    def __init__(self):
        self.members = Membership(PATIENCE, 10)
        self.clock = ConnectedClock(PATIENCE)
        self.health = LocalHealth(PATIENCE)
        self.suspicion = Suspicion(self.members, self.clock, self.health, PATIENCE)


def frame(number):
    return FrameId(number.to_bytes(32, "big"))


def test_a_peer_is_gone_after_a_patience_of_silence_and_back_with_its_next_word():
    scene = Scene()
    scene.members.hear(A, BASE, 1, 100)

    assert not scene.suspicion.gone(A, 0, 899)
    assert scene.suspicion.gone(A, 0, 900)
    scene.members.hear(A, BASE, 1, 950)
    assert not scene.suspicion.gone(A, 0, 950)


def test_a_peer_never_heard_is_gone_a_patience_after_it_was_last_counted_on():
    assert Scene().suspicion.gone_at(B, 500) == 1300


def test_a_goodbye_counts_at_once_and_a_last_will_after_half_a_patience():
    scene = Scene()
    scene.members.hear(A, BASE, 1, 100)
    scene.members.hear(B, BASE, 1, 100)

    assert scene.members.lose(A, 1, 200, left=True)
    assert scene.members.lose(B, 1, 200)

    assert scene.suspicion.gone_at(A, 0) == 200
    assert scene.suspicion.gone_at(B, 0) == 600


def test_a_goodbye_after_a_last_will_counts_and_a_last_will_after_a_goodbye_changes_nothing():
    scene = Scene()
    scene.members.hear(A, BASE, 1, 100)
    scene.members.lose(A, 1, 200)

    assert not scene.members.lose(A, 1, 300, left=True)  # it was out of sight before
    assert not scene.members.lose(A, 1, 400)
    assert scene.suspicion.gone_at(A, 0) == 300


def test_silence_during_an_outage_of_ones_own_is_held_against_nobody():
    scene = Scene()
    scene.clock.sent(frame(1), 0)
    scene.clock.echoed(frame(1), 10)
    scene.members.hear(A, BASE, 1, scene.clock.read(100))
    scene.clock.link_lost(400)
    scene.clock.sent(frame(2), 2000)
    scene.clock.echoed(frame(2), 2010)

    assert scene.clock.read(2010) == 390
    assert scene.suspicion.gone_at(A, 0) == 390 + PATIENCE


@pytest.mark.parametrize(("lates", "span"), [(0, 800), (1, 1000), (4, 1600), (8, 2400), (50, 2400)])
def test_every_late_wakeup_makes_suspicion_a_quarter_slower_up_to_three_times(lates, span):
    scene = Scene()
    for _ in range(lates):
        scene.health.woke(PATIENCE // 16 + 1)

    assert scene.health.stretch(800) == span
    assert scene.suspicion.gone_at(B, 0) == span


def test_a_wakeup_a_little_late_is_no_sign_of_ill_health():
    health = LocalHealth(PATIENCE)

    health.woke(PATIENCE // 16)

    assert health.score == 0


def test_late_echoes_count_like_late_wakeups_and_echoes_in_time_heal():
    health = LocalHealth(PATIENCE)
    for number in range(3):
        health.sent(frame(number), 0)
        health.echoed(frame(number), 51)
    assert health.score == 3

    for number in range(3, 8):
        health.sent(frame(number), 1000)
        health.echoed(frame(number), 1050)
    assert health.score == 0


def test_echoes_of_unknown_frames_and_endless_broadcasts_leave_health_and_memory_alone():
    health = LocalHealth(PATIENCE)
    for number in range(1000):
        health.sent(frame(number), number)

    health.echoed(frame(0), 10**6)  # forgotten long ago

    assert health.score == 0
    assert len(health._sent) == 64


def test_a_turn_ends_at_once_when_its_leader_is_gone_but_never_before_it_began():
    scene = Scene()
    scene.members.hear(A, BASE, 1, 100)

    assert scene.suspicion.turn_ends(500, A) == 700  # patience / 4
    scene.members.lose(A, 1, 550, left=True)
    assert scene.suspicion.turn_ends(500, A) == 550
    assert scene.suspicion.turn_ends(600, A) == 600
    assert scene.suspicion.turn_ends(600, None) == 800  # it has proposed: the votes are on their way
