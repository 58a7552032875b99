"""How long others are waited for: median and spread of what digests report, and who is not waited for."""

from types import SimpleNamespace

import pytest

from swarmdem.identifiers import SECOND, ModelHash
from swarmdem.protocol.events import Train
from swarmdem.protocol.pace import Pace

PATIENCE = 8 * SECOND


def digests(*seconds):
    return [SimpleNamespace(training_ms=round(1000 * each)) for each in seconds]


@pytest.mark.parametrize(
    ("seconds", "allowance"),
    [
        ((2, 3, 4, 5, 6), 8),  # median 4, spread 1
        ((4, 4, 4, 4, 40), 6),  # one straggler among five moves neither: half as long again
        ((4, 4, 40, 40), 60),  # half of them are slow: they are waited for
        ((3,), 4.5),
        ((1000, 1000, 1000), 160),  # never more than 20 patiences
        ((0, 0, 2), 3),  # 0 is no time: a founder's digest says nothing
    ],
)
def test_the_allowance_is_the_median_and_four_times_the_spread(seconds, allowance):
    assert Pace().allowance(digests(*seconds), PATIENCE) == allowance * SECOND


def test_without_any_digest_the_own_training_counts_and_without_that_three_patiences():
    assert Pace().allowance([], PATIENCE) == 24 * SECOND
    assert Pace(own=2 * SECOND).allowance([], PATIENCE) == 3 * SECOND


def test_who_trains_longer_than_the_limit_or_was_waited_for_in_vain_is_hopeless():
    listed = dict(zip((b"a", b"b", b"c"), digests(4, 14, 15), strict=True))
    pace = Pace(in_vain={b"d"})

    assert pace.hopeless(listed, 14 * SECOND) == {b"c", b"d"}


@pytest.mark.parametrize(
    ("seed", "reference", "serves"), [(1, b"r", True), (2, b"r", False), (1, b"s", False)]
)
def test_a_training_serves_another_base_of_the_same_seed_and_reference(seed, reference, serves):
    running = Train(b"base", 3, 1, ModelHash(b"r"), pull=True)

    assert Pace(running=running).serves(SimpleNamespace(seed=seed, reference=reference)) is serves
    assert not Pace().serves(SimpleNamespace(seed=seed, reference=reference))
