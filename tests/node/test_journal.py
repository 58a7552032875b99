"""The journal: one JSON object a line, ids as hex digits."""

import json

import pytest

from swarmdem.errors import StoreError
from swarmdem.identifiers import GroupId, ModelHash, PeerId, PlanId
from swarmdem.node.journal import Journal
from swarmdem.protocol.events import Certified, PeerSeen, RoundFinished

PLAN = PlanId(b"\x11" * 32)
CERTIFIED = Certified(PLAN, b"\x22" * 32, 7, 0, 1, (PeerId(b"\x33" * 16),), b"\x44" * 32)
FINISHED = RoundFinished(PLAN, 7, True, True, ModelHash(b"\x55" * 32), GroupId(b"\x66" * 16), "")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_hex_ids_and_sorted_keys(tmp_path):
    journal = Journal(tmp_path / "peers" / "a.jsonl")

    journal.note(PeerSeen(PeerId(b"\xab" * 16), True))
    journal.close()

    assert (tmp_path / "peers" / "a.jsonl").read_text() == (
        '{"event": "peer_seen", "peer": "abababababababababababababababab", "present": true}\n'
    )


def test_a_round_ends_with_the_hashes_all_peers_share(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")

    journal.note(CERTIFIED)
    journal.note(FINISHED)
    journal.close()

    assert [line["event"] for line in lines(tmp_path / "a.jsonl")] == ["certified", "round_finished", "round"]
    assert lines(tmp_path / "a.jsonl")[2] == {
        "event": "round",
        "round": 7,
        "certificate": "11" * 32,
        "tree": "44" * 32,
    }
    assert lines(tmp_path / "a.jsonl")[0]["peers"] == ["33" * 16]


def test_a_journal_is_appended_to_after_a_restart(tmp_path):
    for present in (True, False):
        journal = Journal(tmp_path / "a.jsonl")
        journal.note(PeerSeen(PeerId(b"\x01" * 16), present))
        journal.close()

    assert [line["present"] for line in lines(tmp_path / "a.jsonl")] == [True, False]


def test_a_journal_that_cannot_be_opened_names_its_path(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"file/a\.jsonl"):
        Journal(tmp_path / "file" / "a.jsonl")
