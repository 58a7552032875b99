"""Median and limit of a few times."""

import pytest

from swarmdem.protocol.typical import median_and_limit


@pytest.mark.parametrize(
    ("times", "upper", "expected"),
    [
        ((5,), False, (5, 5)),
        ((6, 2, 4, 3, 5), False, (4, 8)),  # distances 0 1 1 2 2
        ((4, 4, 4, 4, 40), False, (4, 4)),
        ((1, 2, 4, 8), False, (2, 6)),  # distances 0 1 2 6: the shorter middle one of both
        ((1, 2, 4, 8), True, (4, 12)),  # distances 0 2 3 4
    ],
)
def test_the_limit_is_the_median_and_four_times_the_median_distance_from_it(times, upper, expected):
    assert median_and_limit(times, upper=upper) == expected
