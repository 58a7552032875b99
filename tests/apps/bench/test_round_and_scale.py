"""`swarmdem bench round` and `scale`: figures of a run, growth, and one small swarm measured for each."""

import json
from dataclasses import replace

import pytest

from swarmdem.apps.bench import launch, round as rounds, scale, tables
from swarmdem.apps.bench.processes import MeasurementError
from swarmdem.apps.bench.workload import figures
from swarmdem.apps.settings import SwarmSettings
from swarmdem.errors import ConfigError

COUNTED = {"bytes_sent": 2000, "bytes_received": 5000, "messages_sent": 5.0, "messages_received": 9.0}


def row(number, wall_s, cpu_s, *, certified=True, applied=2):
    return {
        "round": number, "wall_s": wall_s, "cpu_s": cpu_s, "train_cpu_s": 1.0, "evaluate_cpu_s": 0.5,
        "bytes_sent": 4_000_000, "certified": certified, "applied": applied,
    }  # fmt: skip


def test_steady_figures_leave_out_the_first_two_rounds_and_training():
    rows = [row(1, 9.0, 50.0), row(2, 5.0, 40.0), row(3, 1.0, 2.0), row(4, 3.0, 2.5, applied=1)]
    summary = {
        "cpu_s": 94.5, "train_cpu_s": 4.0, "evaluate_cpu_s": 2.0, "wall_s": 18.0, "peak_pss_mb": 100.0,
        "traffic": {"control": COUNTED, "kinds": {}},
    }  # fmt: skip

    told = figures(rows, summary, 2, model_bytes=500_000)

    assert (told["rounds"], told["certified"], told["complete"]) == (4, 4, 3)
    assert (told["found_s"], told["round_s"]) == (9.0, 2.0)
    assert told["other_ms"] == pytest.approx(1000 * 0.75 / 2)
    assert told["other_ms_whole"] == pytest.approx(1000 * 88.5 / 2 / 4)
    assert told["sent_least"] == pytest.approx(2.0), "two models up and two down are 2 MB"


def test_growth_is_the_slope_through_the_logarithms():
    rows = [
        dict.fromkeys(scale.GROWN, 3.0 * peers**2) | {"peers": peers, "round_s": 7.0}
        for peers in (10, 100, 1000)
    ]

    found = scale.exponents(rows)

    assert found["sent_mb"] == pytest.approx(2.0)
    assert found["round_s"] == pytest.approx(0.0)
    assert scale.exponents(rows[:1]) == {}
    assert list(scale.told({"round_s": 1.0})) == ["growth with the peers, seconds a round: exponent 1.00"]


def test_numbers_are_separated_by_commas_and_within_bounds():
    assert tables.read_numbers("--peers", "10, 20,1024", least=1, most=1024) == (10, 20, 1024)
    for wrong in ("", "a", "3,,4", "3,", "0", "-1", "1025", "\u00b2", "\u0663"):
        with pytest.raises(ConfigError, match=f"--peers {wrong}: not whole numbers from 1 to 1024"):
            tables.read_numbers("--peers", wrong, least=1, most=1024)


@pytest.mark.parametrize("bench", [rounds, scale])
async def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(bench, tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        await bench.run((2,), SwarmSettings(), out=tmp_path / "missing" / "x.json")


SMALL = SwarmSettings(model="softmax", rounds=3, evaluate_every=3, broker="embedded", workers=1)


async def test_a_swarm_gives_one_row_beside_its_bare_loop(tmp_path, capsys):
    out = tmp_path / "round.json"

    await rounds.run((3,), SMALL, out=out, launches=0)

    told = json.loads(out.read_text())
    [found] = told["rows"]
    assert (found["peers"], found["certified"], found["complete"]) == (3, 3, 3)
    assert min(found["bare_s"], found["round_s"], found["other_ms_whole"], found["peak_pss_mb"]) > 0
    assert found["sent_least"] > 0.5
    assert told["settings"]["model"] == "softmax"
    printed = capsys.readouterr()
    title, heading, line = printed.out.splitlines()
    assert title == "softmax on digits, sgd, 3 rounds, broker embedded"
    assert heading.split()[0] == "peers"
    assert line.split()[0] == "3"
    begun = [line for line in printed.err.splitlines() if not line.startswith("  ")]
    assert begun == ["a swarm of 3 peers, 3 rounds", "the bare loop of 3 peers, about 3 s"]


@pytest.fixture
def given(monkeypatch):
    """Let every swarm and bare loop be over at once."""

    async def measured(settings):
        return {"peers": settings.peers, "other_cpu_s": 1.0, "train_cpu_s": 2.0}

    async def bare(base, peers):
        return {"bare_s": 1.0, "bare_cpu_s": 1.0}

    monkeypatch.setattr(rounds, "measured", measured)
    monkeypatch.setattr(rounds, "_bare", bare)


async def test_the_launches_of_single_peers_are_announced_one_model_after_the_other(
    monkeypatch, given, capsys
):
    async def launched(url, data, model, launches):
        return {"ready_s": 1.0, "idle_pss_mb": 50.0}

    monkeypatch.setattr(launch, "measured", launched)

    await rounds.run((2,), replace(SMALL, model="mlp"), out=None, launches=40)

    assert capsys.readouterr().err.splitlines() == [
        "the bare loop of 2 peers, about 9 s",
        "40 launches of one peer, softmax, about 2 min",
        "40 launches of one peer, mlp, about 2 min",
    ]


async def test_rows_stay_when_the_single_peer_fails(tmp_path, monkeypatch, given):
    async def fail(*_):
        raise MeasurementError("silent")

    monkeypatch.setattr(launch, "measured", fail)
    out = tmp_path / "round.json"

    with pytest.raises(MeasurementError, match="silent"):
        await rounds.run((2, 3), SMALL, out=out, launches=1)

    assert [row["peers"] for row in json.loads(out.read_text())["rows"]] == [2, 3]


async def test_a_broker_that_no_single_peer_can_use_is_refused_at_the_start_if_there_are_any(
    monkeypatch, given
):
    memory = replace(SMALL, broker="memory")
    assert len((await rounds.run((2,), memory, out=None, launches=0))["rows"]) == 1

    monkeypatch.setattr(rounds, "measured", None)
    with pytest.raises(ConfigError, match="broker 'memory' is none of auto"):
        await rounds.run((2,), memory, out=None, launches=1)


async def test_a_single_peer_without_a_charter_is_not_waited_for(capfd):
    with pytest.raises(MeasurementError, match="the charter of a peer with model nothing:here"):
        await launch.measured("mqtt://127.0.0.1:1", "digits", "nothing:here", 1)

    assert "model = 'nothing:here': No module named 'nothing'" in capfd.readouterr().err


async def test_growth_is_written_with_every_row(tmp_path, capsys):
    out = tmp_path / "scale.json"

    await scale.run((2, 4), SMALL, out=out)

    told = json.loads(out.read_text())
    assert [found["certified_of"] for found in told["rows"]] == ["3/3", "3/3"]
    assert 0.5 < told["exponents"]["sent_mb"] < 4
    assert 0 < told["rows"][0]["control_received_kb"] < told["rows"][1]["control_received_kb"]
    printed = capsys.readouterr().out
    assert "growth with the peers, memory: exponent" in printed
    assert printed.count("control, median peer") == 2
