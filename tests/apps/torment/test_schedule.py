"""Schedules follow from their seed."""

from collections import Counter
from dataclasses import replace

import pytest

from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.torment.schedule import draw_schedule
from swarmdem.apps.torment.settings import TormentSettings, from_history
from swarmdem.errors import ConfigError

WANTED = TormentSettings(swarm=SwarmSettings(peers=20, rounds=60, seed=3))


def test_a_schedule_follows_from_its_seed():
    assert draw_schedule(WANTED) == draw_schedule(WANTED)
    other = replace(WANTED, swarm=replace(WANTED.swarm, seed=4))
    assert draw_schedule(WANTED) != draw_schedule(other)


def test_the_whole_torment():
    schedule = draw_schedule(WANTED)
    assert Counter(fault.kind for fault in schedule) == {
        "kill": 60, "stop": 15, "link": 20, "broker": 12, "partition": 2, "replace": 6,
    }  # fmt: skip
    assert [fault.round for fault in schedule if fault.kind == "broker"] == list(range(5, 61, 5))
    assert [fault.round for fault in schedule if fault.kind == "kill"] == list(range(1, 61))
    assert Counter(fault.style for fault in schedule if fault.kind == "broker") == {"kill": 6, "stop": 6}
    assert all(0 <= fault.draw < 1 and fault.lasts >= 0 for fault in schedule)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"kills": False}, "kill"),
        ({"stops": False}, "stop"),
        ({"links": False}, "link"),
        ({"broker_every": 0}, "broker"),
        ({"partitions": 0}, "partition"),
        ({"replace": 0.0}, "replace"),
    ],
)
def test_switching_one_fault_off_leaves_the_others(change, kind):
    without = draw_schedule(replace(WANTED, **change))
    assert without == tuple(fault for fault in draw_schedule(WANTED) if fault.kind != kind)


def test_settings_survive_the_history():
    assert from_history(WANTED.as_mapping()) == WANTED


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"brokers": 0}, "--brokers 0"),
        ({"replace": 1.5}, "--replace 1.5"),
        ({"partitions": -1}, "--partitions -1"),
        ({"swarm": SwarmSettings(peers=2)}, "--peers 2"),
        ({"swarm": SwarmSettings(broker="memory")}, "--broker memory"),
    ],
)
def test_settings_that_cannot_work_are_named(change, flag):
    with pytest.raises(ConfigError, match=flag):
        replace(WANTED, **change)
