import math
from itertools import pairwise

import pytest

from swarmdem.errors import ConfigError
from swarmdem.learning.plasticity import dem_ai_schedules, plasticity
from swarmdem.wire.charter import Charter


def test_the_first_ticks_are_those_of_the_formula():
    """By hand: p(5) = .05 + .95 e^-.25 x .7 / 1.3, p(10) = .05 + .95 e^-.5."""
    assert plasticity(0) == pytest.approx(1.0)
    assert plasticity(5) == pytest.approx(0.05 + 0.95 * math.exp(-0.25) * 0.7 / 1.3)
    assert plasticity(10) == pytest.approx(0.05 + 0.95 * math.exp(-0.5))


def test_the_tables_of_a_hundred_rounds():
    schedules, hysteresis = dem_ai_schedules(100)

    assert schedules["pull"][:3] == (0.0, 0.086159, 0.227474)
    assert schedules["gamma"][:3] == (1.0, 0.913841, 0.772526)
    assert schedules["gamma"][-1] == 0.1
    assert [schedules["tau"][t] for t in (0, 5, 10, 40, 99)] == [1.0, 3.0, 2.0, 4.0, 4.0]
    assert (hysteresis[0], hysteresis[5], hysteresis[99]) == (0, 42, 72)
    assert {len(table) for table in (*schedules.values(), hysteresis)} == {100}


def test_a_charter_carries_them():
    schedules, hysteresis = dem_ai_schedules(1024, bonus=0.3, least=0.0, decay=1.0)

    charter = Charter(
        swarm="s",
        schedules=(*schedules.items(), ("gain", (1.15, 1.15, 1.15, 1.15, 1.15, 1.0))),
        hysteresis=hysteresis,
        pull=0.5,
    )

    assert charter.pull * charter.scheduled("pull", 5000) == 0.5
    assert charter.hysteresis_at(1023) == 77
    assert [charter.scheduled("gain", t) for t in (0, 4, 5, 80)] == [1.15, 1.15, 1.0, 1.0]
    assert charter.scheduled("tau", 99) == 5.0


def test_without_swings_the_pull_only_grows():
    pull = dem_ai_schedules(50, swing=0.0)[0]["pull"]

    assert all(a < b for a, b in pairwise(pull))


@pytest.mark.parametrize(
    ("setting", "value"), [("rounds", 0), ("rounds", 1025), ("swing", 1.5), ("bonus", 0.31), ("decay", 0.0)]
)
def test_a_setting_out_of_range_is_named(setting, value):
    with pytest.raises(ConfigError, match=f"plasticity: {setting} = "):
        dem_ai_schedules(**{"rounds": 10, setting: value})
