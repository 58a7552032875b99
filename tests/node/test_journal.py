"""The journal: one JSON object a line, ids as hex digits."""

import json

import pytest

from swarmdem.errors import StoreError
from swarmdem.identifiers import GroupId, ModelHash, PeerId, PlanId
from swarmdem.node.counters import NodeCounters, PeerCounters
from swarmdem.node.journal import Journal
from swarmdem.protocol.events import Certified, PeerSeen, RoundFinished
from swarmdem.wire.blobs import CHUNK
from swarmdem.wire.frame import MAGIC, WIRE_VERSION
from swarmdem.wire.messages import Hello

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


def test_traffic_is_told_since_the_line_before(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    rest = {"messages_received": 0, "bytes_received": 0, "train_cpu_s": 0.0, "evaluate_cpu_s": 0.0}
    first = PeerCounters(
        messages_sent=3, bytes_sent=90, dropped=1, unsent=0, refused={}, sent={"digest": (3, 90)}, **rest
    )
    second = PeerCounters(
        messages_sent=5, bytes_sent=590, dropped=1, unsent=2, refused={"replayed": 4},
        sent={"digest": (3, 90), "chunk": (2, 500)}, **rest,
    )  # fmt: skip

    journal.note_traffic(1, first)
    journal.note_traffic(2, second)
    journal.close()

    assert lines(tmp_path / "a.jsonl") == [
        {
            "event": "traffic", "round": 1, "sent": {"digest": [3, 90]}, "refused": {}, "dropped": 1,
            "unsent": 0,
        },
        {
            "event": "traffic", "round": 2, "sent": {"chunk": [2, 500]}, "refused": {"replayed": 4},
            "dropped": 0, "unsent": 2,
        },
    ]  # fmt: skip


def test_frames_are_counted_by_kind_with_their_topics():
    counters = NodeCounters()

    counters.sent("t/1", MAGIC + bytes((WIRE_VERSION, CHUNK)) + b"data")
    counters.sent("t/1", MAGIC + bytes((WIRE_VERSION, Hello.TYPE)) + b"more")
    counters.sent("t/22", b"")

    assert counters.frames == {"chunk": 1, "hello": 1, "cleared": 1}
    assert counters.frame_bytes == {"chunk": 11, "hello": 11, "cleared": 4}
