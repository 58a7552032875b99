"""How long something usually takes: the limit that times are held against, whatever a few of them are.

    limit = median + 4 x spread

The spread is the median distance from the median, so that no few peers stretch it (the mean and its
deviation would follow every straggler); the factor 4 is that of TCP's retransmission timer (RFC 6298).
"""

from collections.abc import Collection

SPREADS = 4
"""How many times the spread is added to the median."""


def median_and_limit(times: Collection[int], *, upper: bool = False) -> tuple[int, int]:
    """Return the median of *times*, at least one, and median + 4 x spread.

    Args:
        times: In any unit; integers, as peers may have to agree on the outcome.
        upper: Of the two middle times of an even number take the longer one as the median, not the shorter.
    """
    ordered = sorted(times)
    median = ordered[(len(ordered) - (not upper)) // 2]
    distances = sorted(abs(time - median) for time in ordered)
    return median, median + SPREADS * distances[(len(distances) - 1) // 2]
