"""The replay window: each number once, in bounded memory."""

from hypothesis import given, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.wire import messages as m
from swarmdem.wire.replay import ReplayWindow
from swarmdem.wire.shortened import DigestPack, ShortCertificate, ShortMean, ShortProposal
from tests.wire import samples

ME = PeerId(samples.fill(1, 16))


def test_each_number_is_fresh_once_in_any_order():
    window = ReplayWindow()

    assert [window.fresh(ME, 1, number, "control") for number in (5, 3, 5, 4, 3, 9, 5)] == [
        True, True, False, True, False, True, False,
    ]  # fmt: skip


def test_numbers_4096_below_the_highest_count_as_seen():
    window = ReplayWindow()
    window.fresh(ME, 1, 10_000, "control")

    assert window.fresh(ME, 1, 10_000 - 4095, "control")
    assert not window.fresh(ME, 1, 10_000 - 4096, "control")


def test_a_jump_beyond_the_window_forgets_only_what_is_too_old():
    window = ReplayWindow()
    window.fresh(ME, 1, 1, "control")
    window.fresh(ME, 1, 4097, "control")

    assert not window.fresh(ME, 1, 1, "control")
    assert window.fresh(ME, 1, 2, "control")
    assert not window.fresh(ME, 1, 4097, "control")


def test_senders_sessions_and_connections_do_not_disturb_each_other():
    window = ReplayWindow()
    keys = [(ME, 1, "control"), (ME, 2, "control"), (ME, 1, "bulk"), (PeerId(bytes(16)), 1, "control")]

    assert all(window.fresh(sender, session, 7, way) for sender, session, way in keys)
    assert not any(window.fresh(sender, session, 7, way) for sender, session, way in keys)


def test_the_key_unused_for_longest_makes_room():
    window = ReplayWindow(keys_max=2)
    window.fresh(ME, 1, 1, "control")
    window.fresh(ME, 2, 1, "control")
    window.fresh(ME, 1, 2, "control")
    window.fresh(ME, 3, 1, "control")

    assert not window.fresh(ME, 1, 1, "control")
    assert window.fresh(ME, 2, 1, "control")


@given(st.lists(st.integers(1, 9000), max_size=60))
def test_window_agrees_with_a_set_that_never_forgets(numbers):
    """
    The window may refuse more than the set, never accept what the set has seen.
    """
    window, seen = ReplayWindow(), set()
    for number in numbers:
        fresh = window.fresh(ME, 1, number, "control")
        recent = number > max(seen, default=0) - 4096
        assert fresh == (number not in seen and recent)
        seen.add(number)


def test_repetitions_that_are_meant_pass_and_others_do_not():
    window = ReplayWindow()
    twice = [
        [window.admits(frame, "control") for _ in range(2)]
        for frame in (samples.frame_of(message) for message in samples.MESSAGES)
    ]

    passing = {
        type(message) for message, seen in zip(samples.MESSAGES, twice, strict=True) if seen == [True, True]
    }
    assert passing == {
        m.Hello, m.Offline, m.Digest, m.Proposal, m.Vote, m.Skip, m.Certificate, m.Mean, m.Final, m.GroupSkip,
        ShortProposal, ShortCertificate, DigestPack, ShortMean,
    }  # fmt: skip
