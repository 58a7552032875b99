"""`swarmdem bench control`: the ledger of small swarms, held against the budget."""

import json

import pytest

from swarmdem.apps.bench import control
from swarmdem.errors import ConfigError
from swarmdem.simulation import runs


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """Return lines and file of a bench of twenty simulated peers, who pack their digests."""
    out = tmp_path_factory.mktemp("bench") / "control.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs, "CROWD", 19)
        lines = list(control.run((20,), rounds=5, tau=5, patience=30.0, real=0, out=out))
    return lines, json.loads(out.read_text())


def test_a_calm_swarm_keeps_its_budget_and_says_so(twenty):
    lines, told = twenty

    assert told["held"]
    assert lines[-1].startswith("within the budget")
    [swarm] = told["swarms"]
    assert (swarm["peers"], swarm["rounds"], swarm["real"], swarm["certified"]) == (20, 5, False, 6)
    assert 2_000 < swarm["control"]["bytes_sent"] < 5_000
    assert swarm["control"]["messages_sent"] < 15
    assert swarm["control"]["bytes_received"] < 30_000


def test_with_tau_5_a_fifth_of_all_digests_is_said_to_all_and_the_rest_to_three(twenty):
    digest = twenty[1]["swarms"][0]["kinds"]["digest"]

    to_others = 3 * 17 / 20 + 2 * 3 / 20
    assert digest["messages_sent"] == pytest.approx(0.2 + 0.8 * to_others, abs=0.1)
    assert digest["bytes_sent"] == pytest.approx(0.2 * 1440 + 0.8 * to_others * 360, rel=0.05)


def test_a_digest_in_a_pack_is_half_of_one_by_itself(twenty):
    pack = twenty[1]["swarms"][0]["kinds"]["digestpack"]

    assert pack["messages_received"] == pytest.approx(0.8)
    assert pack["bytes_received"] / (0.8 * 20) < 175


def test_what_is_above_the_budget_is_named():
    spoken = {"bytes_sent": 8001, "messages_sent": 60, "bytes_received": 600_001}

    assert list(control.exceeded({"peers": 9, "control": spoken})) == [
        "9 peers: bytes sent 8,001, at most 8,000",
        "9 peers: bytes received 600,001, at most 600,000",
    ]


def test_a_swarm_that_fails_keeps_no_budget():
    assert list(control.exceeded({"peers": 9, "control": None, "failed": "stalled"})) == ["9 peers: stalled"]


def test_each_size_is_written_before_the_next_is_measured(tmp_path, monkeypatch):
    def measure(peers, **_):
        if peers == 9:
            raise RuntimeError("lost")
        return {"peers": peers, "control": None, "kinds": {}, "real": False, "wall_s": 0.0}

    monkeypatch.setattr(control, "measure", measure)
    out = tmp_path / "control.json"

    with pytest.raises(RuntimeError, match="lost"):
        list(control.run((8, 9), rounds=1, tau=1, patience=30.0, real=0, out=out))

    assert [swarm["peers"] for swarm in json.loads(out.read_text())["swarms"]] == [8]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "measure", None)

    with pytest.raises(ConfigError, match="there is no folder"):
        next(control.run((8,), rounds=1, tau=1, patience=30.0, real=0, out=tmp_path / "missing" / "x.json"))
