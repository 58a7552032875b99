"""The journal: one JSON object a line, ids as hex digits."""

import json

import pytest

from swarmdem.errors import StoreError
from swarmdem.identifiers import GroupId, ModelHash, PeerId, PlanId
from swarmdem.node.counters import NodeCounters, PeerCounters
from swarmdem.node.explaining import Explained
from swarmdem.node.journal import Journal, older_part, parts_of
from swarmdem.protocol.events import Certified, Degraded, PeerSeen, Recovered, RoundFinished
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
        '{"event":"peer_seen","peer":"abababababababababababababababab","present":true}\n'
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


def test_two_peers_cannot_write_one_journal(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    with pytest.raises(StoreError, match=r"j\.jsonl: another peer writes it"):
        Journal(tmp_path / "j.jsonl")
    journal.close()
    Journal(tmp_path / "j.jsonl").close()


def test_a_journal_begun_anew_is_still_one_peers_alone(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", part_bytes=200)
    while not older_part(tmp_path / "j.jsonl").exists():
        journal.note(Recovered("broker"))
    with pytest.raises(StoreError, match="another peer writes it"):
        Journal(tmp_path / "j.jsonl")
    journal.close()


def test_traffic_is_told_since_the_line_before(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    rest = {"messages_received": 0, "bytes_received": 0, "train_cpu_s": 0.0, "evaluate_cpu_s": 0.0}
    first = PeerCounters(
        messages_sent=3,
        bytes_sent=90,
        dropped=1,
        unsent=0,
        refused={},
        sent={"digest": (3, 90)},
        received={"ping": (4, 800)},
        **rest,
    )
    second = PeerCounters(
        messages_sent=5, bytes_sent=590, dropped=1, unsent=2, refused={"replayed": 4},
        sent={"digest": (3, 90), "chunk": (2, 500)}, received={"ping": (5, 1000)}, **rest,
    )  # fmt: skip

    journal.note_traffic(1, first)
    journal.note_traffic(2, second)
    journal.close()

    assert lines(tmp_path / "a.jsonl") == [
        {
            "event": "traffic", "round": 1, "sent": {"digest": [3, 90]}, "received": {"ping": [4, 800]},
            "refused": {}, "dropped": 1, "unsent": 0,
        },
        {
            "event": "traffic", "round": 2, "sent": {"chunk": [2, 500]}, "received": {"ping": [1, 200]},
            "refused": {"replayed": 4}, "dropped": 0, "unsent": 2,
        },
    ]  # fmt: skip


def test_frames_are_counted_by_kind_with_their_topics():
    counters = NodeCounters()

    counters.sent("t/1", MAGIC + bytes((WIRE_VERSION, CHUNK)) + b"data")
    counters.sent("t/1", MAGIC + bytes((WIRE_VERSION, Hello.TYPE)) + b"more")
    counters.sent("t/22", b"")

    assert counters.frames == {"chunk": 1, "hello": 1, "cleared": 1}
    assert counters.frame_bytes == {"chunk": 11, "hello": 11, "cleared": 4}


def test_arrivals_are_counted_whatever_they_are():
    counters = NodeCounters()

    counters.received("t/1", MAGIC + bytes((WIRE_VERSION, Hello.TYPE)) + b"more")
    counters.received("t/1", MAGIC + bytes((WIRE_VERSION, 255)))
    counters.received("t/1", b"x")

    assert counters.arrivals == {"hello": 1, "unknown": 2}
    assert counters.arrival_bytes == {"hello": 11, "unknown": 11}


def test_what_went_wrong_says_when(tmp_path, monkeypatch):
    monkeypatch.setattr("swarmdem.node.journal.time.time", lambda: 1_000_000_000.0)
    journal = Journal(tmp_path / "a.jsonl")

    journal.note(Degraded("no broker"))
    journal.note(Recovered("no broker"))
    journal.note(Explained(7, "late", "round 7 took 2 attempts"))
    journal.close()

    assert lines(tmp_path / "a.jsonl") == [
        {
            "event": "degraded", "what": "no broker", "passing": False, "lasted_s": 0.0,
            "at": "2001-09-09T01:46:40Z",
        },
        {"event": "recovered", "what": "no broker", "at": "2001-09-09T01:46:40Z"},
        {
            "event": "explained", "round": 7, "about": "late", "why": "round 7 took 2 attempts",
            "at": "2001-09-09T01:46:40Z",
        },
    ]  # fmt: skip


class FullFile:
    """A file on a disk that takes half of a line when it is full."""

    def __init__(self, file):
        self.file, self.full = file, False

    def write(self, data):
        return self.file.write(data[: len(data) // 2] if self.full else data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_costs_lines_and_says_how_many(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    disk = journal._file = FullFile(journal._file)
    for present, full in ((True, False), (False, True), (False, True), (True, False)):
        disk.full = full
        journal.note(PeerSeen(PeerId(b"\x01" * 16), present))
    journal.close()

    events = [line["event"] for line in lines(tmp_path / "a.jsonl")]
    assert events == ["peer_seen", "lines_lost", "peer_seen"]
    assert lines(tmp_path / "a.jsonl")[1]["count"] == 2


LINE_BYTES = 79  # of `seen`


def seen(journal, *numbers):
    for number in numbers:
        journal.note(PeerSeen(PeerId(bytes([number]) * 16), True))


def told(path):
    return [line["peer"][:2] for line in lines(path)]


def test_a_full_part_becomes_the_older_one_and_nothing_older_is_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    journal = Journal(path, part_bytes=2 * LINE_BYTES)

    seen(journal, 1, 2, 3, 4, 5)
    journal.close()

    assert path.stat().st_size == LINE_BYTES
    assert [told(part) for part in parts_of(path)] == [["03", "04"], ["05"]]
    assert {part.name for part in tmp_path.iterdir()} == {"a.jsonl", "a.jsonl.1"}


def test_a_line_longer_than_a_part_is_a_part_of_its_own(tmp_path):
    journal = Journal(tmp_path / "a.jsonl", part_bytes=10)

    seen(journal, 1, 2)
    journal.close()

    assert [told(part) for part in parts_of(tmp_path / "a.jsonl")] == [["01"], ["02"]]


def test_a_journal_without_a_limit_stays_one_file(tmp_path):
    journal = Journal(tmp_path / "a.jsonl", part_bytes=None)

    seen(journal, 1, 2, 3)
    journal.close()

    assert parts_of(tmp_path / "a.jsonl") == (tmp_path / "a.jsonl",)


def test_a_peer_killed_between_two_parts_goes_on_with_the_newer(tmp_path):
    path = tmp_path / "a.jsonl"
    journal = Journal(path, part_bytes=2 * LINE_BYTES)
    seen(journal, 1, 2)
    journal.close()
    path.rename(older_part(path))
    assert parts_of(path) == (older_part(path),)

    journal = Journal(path, part_bytes=2 * LINE_BYTES)
    seen(journal, 3)
    journal.close()

    assert [told(part) for part in parts_of(path)] == [["01", "02"], ["03"]]


def test_a_disk_that_takes_no_new_part_costs_no_line(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    journal = Journal(path, part_bytes=2 * LINE_BYTES)
    seen(journal, 1, 2)

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("builtins.open", refuse)
        seen(journal, 3)  # renamed already, and then there is no new one: it goes on in the old
        seen(journal, 4)
    seen(journal, 5)
    journal.close()

    assert [told(part) for part in parts_of(path)] == [["01", "02", "03", "04"], ["05"]]
