"""Connected time runs only while a peer's broadcasts come back."""

from swarmdem.identifiers import FrameId
from swarmdem.protocol.clock import ConnectedClock

PATIENCE = 800
A, B = FrameId(b"a" * 32), FrameId(b"b" * 32)


def connected_clock() -> ConnectedClock:
    clock = ConnectedClock(PATIENCE)
    clock.sent(A, 0)
    clock.echoed(A, 10)
    return clock


def test_time_stands_still_before_the_first_echo():
    clock = ConnectedClock(PATIENCE)
    clock.sent(A, 0)

    assert clock.read(500) == 0
    assert not clock.connected


def test_time_runs_from_the_first_echo_on():
    clock = connected_clock()

    assert clock.connected
    assert clock.read(60) == 50


def test_an_overdue_echo_stops_the_clock_at_the_moment_it_was_due():
    clock = connected_clock()
    clock.read(100)
    clock.sent(B, 100)

    assert clock.read(1000) == 190
    assert not clock.connected
    assert clock.read(5000) == 190


def test_an_echo_of_a_later_frame_forgives_the_earlier_one():
    clock = connected_clock()
    clock.sent(A, 20)
    clock.sent(B, 90)
    clock.echoed(B, 110)

    assert clock.read(500) == 490
    assert clock.connected


def test_a_real_outage_restarts_patience_and_a_lost_echo_does_not():
    clock = connected_clock()
    clock.link_lost(110)
    clock.sent(B, 150)
    clock.echoed(B, 160)
    assert clock.resumed_at == 0

    clock.link_lost(200)
    clock.sent(A, 900)
    clock.echoed(A, 950)
    assert clock.resumed_at == clock.read(950) == 140


def test_while_disconnected_it_probes_every_eighth_of_patience():
    clock = ConnectedClock(PATIENCE)
    assert clock.probe_due(0)

    clock.sent(A, 0)

    assert not clock.probe_due(99)
    assert clock.probe_due(100)
    assert clock.next_wakeup(7) == 100


def test_deadlines_are_given_back_in_real_time():
    clock = connected_clock()
    clock.read(60)

    assert clock.next_wakeup(80) == 90


def test_the_echo_of_a_late_probe_counts_however_long_the_outage_was():
    clock = connected_clock()
    clock.link_lost(100)
    probes = [FrameId(number.to_bytes(32, "big")) for number in range(1000)]
    for number, probe in enumerate(probes):
        clock.sent(probe, 200 + 101 * number)

    assert not clock.echoed(probes[0], 200_000)
    assert clock.echoed(probes[-1], 200_000)
    assert clock.connected
