"""Standing: far peers, streaks, the way back, the descent of newcomers, and one byte for all of it."""

from itertools import product

import numpy as np
import pytest

from swarmdem.errors import MalformedFrameError
from swarmdem.protocol.placement import DEPTH_FREE, NEWCOMER, Standing, far_points


def history(start: Standing, far: str, *, outliers: int = 2, levels: int = 3) -> list[Standing]:
    """The standing after each certificate; one letter each: F(ar), n(ear), ? (cannot be told)."""
    found = []
    for letter in far:
        start = start.next(far={"F": True, "n": False, "?": None}[letter], levels=levels, outliers=outliers)
        found.append(start)
    return found


def test_a_newcomer_descends_one_level_a_certificate_while_it_is_not_far():
    assert [s.depth for s in history(NEWCOMER, "nFn?nn", outliers=0)] == [1, 1, 2, 2, DEPTH_FREE, DEPTH_FREE]
    assert [s.depth for s in history(NEWCOMER, "n", levels=1)] == [DEPTH_FREE]


def test_depths_that_the_byte_cannot_hold_are_no_limit():
    assert [s.depth for s in history(NEWCOMER, "n" * 16, levels=16)] == [
        *range(1, 15),
        DEPTH_FREE,
        DEPTH_FREE,
    ]


def test_a_peer_far_in_a_row_is_set_apart_and_comes_back_from_the_top():
    assert history(Standing(), "FnF?FnFnnn", outliers=2) == [
        Standing(streak=1),
        Standing(),
        Standing(streak=1),
        Standing(streak=1),
        Standing(depth=0, streak=2, apart=True),
        Standing(depth=0, streak=1, apart=True),
        Standing(depth=0, streak=2, apart=True),
        Standing(depth=0, streak=1, apart=True),
        Standing(depth=0),
        Standing(depth=1),
    ]


def test_without_the_rule_nobody_is_set_apart():
    assert history(Standing(), "FFFF", outliers=0) == [Standing()] * 4


def test_once_may_be_enough():
    assert history(Standing(), "Fn", outliers=1) == [Standing(0, 1, apart=True), Standing(depth=0)]


def test_every_standing_is_one_byte_and_read_back():
    all_of_them = [
        Standing(depth, streak, apart)
        for depth, streak, apart in product([*range(15), DEPTH_FREE], range(4), (False, True))
    ]
    assert {Standing.unpack(s.pack()[0]) for s in all_of_them} == set(all_of_them)
    assert all(len(s.pack()) == 1 for s in all_of_them)
    assert Standing(depth=3, streak=2, apart=True).pack() == b"\x3a"
    assert Standing().pack() == b"\xf0"


def test_a_byte_that_no_standing_has_is_refused():
    with pytest.raises(MalformedFrameError, match="0xf1"):
        Standing.unpack(0xF1)


def line(*places: float) -> np.ndarray:
    return np.array(places, dtype=np.float64)[:, np.newaxis]


def far(
    places: tuple[float, ...], groups: list[list[int]], others: tuple[float, ...] = ()
) -> tuple[list[int], list[int]]:
    inside, beside = far_points(line(*places), groups, line(*others) if others else np.zeros((0, 0)))
    return [i for i, is_far in enumerate(inside) if is_far], [i for i, is_far in enumerate(beside) if is_far]


THREES = (0.0, 4.0, 8.0, 100.0, 104.0, 108.0)


def test_far_is_beyond_the_upper_quartile_by_three_times_the_quartiles_difference():
    """
    From the mean of its group, itself left out, each of 0 4 8 is 6, 0, 6 away: quartiles 0 and 6, limit 24.
    """
    assert far(THREES, [[0, 1, 2], [3, 4, 5]], (128.0, 129.0, 52.0)) == ([], [1, 2])


def test_a_peer_does_not_excuse_itself_by_moving_the_mean_of_its_group():
    """
    200 and 230 are 30 from each other, beyond the limit of 24; from their mean it would be 15 of 16.
    """
    assert far((*THREES, 200.0, 230.0), [[0, 1, 2], [3, 4, 5], [6, 7]]) == ([6, 7], [])


def test_a_peer_in_no_group_is_held_against_the_nearest():
    places = (0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0, 103.0, 60.0)

    assert far(places, [[0, 1, 2, 3], [4, 5, 6, 7]]) == ([8], [])


def test_nobody_is_far_among_equals_or_among_few():
    assert far((5.0, 5.0, 5.0, 5.0), [[0, 1, 2, 3]]) == ([], [])
    assert far((0.0, 0.0, 900.0), [[0, 1]], (5000.0,)) == ([], [])
