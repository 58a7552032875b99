"""A schedule is data: it survives JSON, replays to the same trace and is refused when it makes no sense."""

import dataclasses
import json

import pytest

from swarmdem.apps import simulate
from swarmdem.errors import ConfigError
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Settings
from swarmdem.simulation.schedules import Schedule, from_json, schedule_of, to_json, without_peer
from swarmdem.simulation.weather import Weather

SMALL = Schedule(
    seed=3, peers=3, rounds=2, weather=Weather(brokers=2),
    faults=(
        Fault(Kind.OUTAGE, 11_000_000, 13_000_000, (), 1.0, (1,)),
        Fault(Kind.STOP, 12_000_000, 15_000_000, (2,)),
    ),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_every_drawn_schedule_survives_json(seed):
    drawn = schedule_of(Settings(seed=seed, peers=7, vary=True, liars=True))

    assert from_json(to_json(drawn)).faults == drawn.faults
    assert to_json(from_json(to_json(drawn))) == to_json(drawn)


def test_a_replayed_schedule_has_the_trace_of_the_first_time():
    assert from_json(to_json(SMALL)).play().trace == SMALL.play().trace


def test_a_drawn_schedule_plays_as_its_seed_does():
    settings = Settings(seed=5, peers=3, rounds=2, vary=True)

    assert schedule_of(settings).play().trace == simulate.runs.run(settings).trace


def test_half_of_the_seeds_draw_a_small_crowd_and_some_for_every_second_peer():
    drawn = [schedule_of(Settings(seed=seed, peers=12, vary=True)).crowds for seed in range(200)]

    assert 80 <= drawn.count((64,)) <= 120
    assert {low for low, *_ in drawn} == {3, 4, 5, 6, 64}
    assert 10 <= sum(len(crowds) == 2 for crowds in drawn) <= 30
    assert schedule_of(Settings(seed=1, peers=12)).crowds == (64,)
    assert schedule_of(Settings(seed=1, peers=12, crowd=7)).crowds == (7,)


def test_in_a_small_crowd_digests_are_packed_and_votes_go_to_three():
    calm = Schedule(seed=1, peers=8, rounds=3, charter={"tau": 9})

    crowd, small = dataclasses.replace(calm, crowds=(4,)).play(), calm.play()

    assert (crowd.broken, small.broken) == ("", "")
    assert sum("digestpack" in account.sent for account in crowd.accounts) >= 1
    assert not any("digestpack" in account.sent for account in small.accounts)
    assert crowd.deliveries < 0.8 * small.deliveries


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peers": 0}, "peers"),
        ({"peers": 2}, r"faults\[1\]"),
        ({"rounds": 0}, "rounds"),
        ({"patience": 0}, "patience"),
        ({"weather": {"brokers": 1}}, r"faults\[0\]"),
        ({"weather": {"brokers": 99}}, "brokers"),
        ({"weather": {"loss": 1.5}}, "shares"),
        ({"crowds": []}, "crowds"),
        ({"crowds": [64, 2]}, "crowds"),
        ({"faults": [{"kind": "boredom", "at": 0, "until": 1}]}, "boredom"),
        ({"faults": [{"kind": "kill", "at": 5, "until": 1}]}, r"faults\[0\]"),
        ({"charter": {"levels": -1}}, "levels"),
        ({"charter": {"colour": "red"}}, "colour"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_by_name(changes, named):
    content = json.dumps(json.loads(to_json(SMALL)) | changes)

    with pytest.raises(ConfigError, match=named):
        from_json(content)


def test_a_swarm_that_lacks_a_peer_keeps_the_faults_of_the_others():
    smaller = without_peer(SMALL, 1)

    assert smaller.peers == 2
    assert smaller.faults == (SMALL.faults[0], dataclasses.replace(SMALL.faults[1], peers=(1,)))
    assert without_peer(SMALL, 2).faults == SMALL.faults[:1]


def test_a_schedule_in_a_file_is_played_and_told(tmp_path):
    path = tmp_path / "schedule.json"
    path.write_text(to_json(SMALL))
    lines = []

    report = simulate.replay(path, say=lines.append)

    assert report.exit_code == 0
    assert lines[0] == "seeds 1, broken 0 (first seed 3)"


def test_what_is_shrunk_is_all_that_is_printed(monkeypatch):
    def broken(settings):
        outcome = SMALL.play()
        outcome.settings, outcome.broken = settings, "one vote per peer"
        return outcome

    monkeypatch.setattr(simulate.runs, "run", broken)
    lines = []

    simulate.run(Settings(seed=3, peers=2, rounds=1), workers=1, shrink=True, say=lines.append)

    assert from_json("".join(lines)).seed == 3


def test_a_schedule_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        simulate.replay(tmp_path / "nowhere.json")
    empty = tmp_path / "empty.json"
    empty.touch()
    with pytest.raises(ConfigError, match=r"--schedule .*empty\.json: Input data was truncated"):
        simulate.replay(empty)
