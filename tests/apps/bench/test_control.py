"""`swarmdem bench control`: the ledger of small swarms, held against the budget."""

import json

import pytest

from swarmdem.apps.bench import control
from swarmdem.errors import ConfigError


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Return lines and file of a bench of five simulated peers."""
    out = tmp_path_factory.mktemp("bench") / "control.json"
    lines = list(control.run((5,), rounds=5, tau=5, patience=30.0, real=0, out=out))
    return lines, json.loads(out.read_text())


def test_a_calm_swarm_keeps_its_budget_and_says_so(five):
    lines, told = five

    assert told["held"]
    assert lines[-1].startswith("within the budget")
    [swarm] = told["swarms"]
    assert (swarm["peers"], swarm["rounds"], swarm["real"], swarm["certified"]) == (5, 5, False, 6)
    assert 500 < swarm["control"]["bytes_sent"] < control.SENT_BYTES


def test_every_peer_says_one_digest_a_round_and_with_tau_5_a_fifth_of_them_in_full(five):
    digest = five[1]["swarms"][0]["kinds"]["digest"]

    assert digest["messages_sent"] == pytest.approx(1, abs=0.05)
    assert digest["bytes_sent"] == pytest.approx((1413 + 4 * 347) / 5, rel=0.03)


def test_what_is_above_the_budget_is_named():
    spoken = {"bytes_sent": 8001, "messages_sent": 60, "bytes_received": 600_001}

    assert list(control.exceeded({"peers": 9, "control": spoken})) == [
        "9 peers: bytes sent 8,001, at most 8,000",
        "9 peers: bytes received 600,001, at most 600,000",
    ]


def test_a_swarm_that_fails_keeps_no_budget():
    assert list(control.exceeded({"peers": 9, "control": None, "failed": "stalled"})) == ["9 peers: stalled"]


@pytest.mark.parametrize("text", ["", "x", "1", "10,", "10,1025"])
def test_numbers_of_peers_that_make_no_swarm_are_refused(text):
    with pytest.raises(ConfigError, match="whole numbers from 2 to 1024"):
        control.read_peers(text)


def test_numbers_of_peers_are_read_in_order():
    assert control.read_peers("10, 50,1024") == (10, 50, 1024)
