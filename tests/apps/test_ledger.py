"""The ledger: who sent and received how much of what, per peer and round."""

from swarmdem.apps.ledger import Ledger, ledger_lines, ledger_of, ledger_of_run
from swarmdem.wire.ledger import Account
from tests.apps.run_folders import write_lines


def told(round, sent, received):
    return {"event": "traffic", "round": round, "sent": sent, "received": received, "dropped": 0, "unsent": 0}


def test_the_median_peers_control_traffic_leaves_models_out():
    accounts = [
        Account(2, {"digest": (2, 200), "chunk": (9, 9000)}, {"ping": (4, 40)}),
        Account(2, {"digest": (4, 400)}, {"ping": (6, 60), "blobwant": (1, 500)}),
        Account(1, {"digest": (1, 900)}, {"ping": (1, 20)}),
    ]

    control = ledger_of(accounts).control()

    assert (control.bytes_sent, control.bytes_received) == (200, 20)
    assert (control.messages_sent, control.messages_received) == (1, 2)


def test_kinds_are_told_per_peer_and_round_bulk_last():
    accounts = [
        Account(1, {"chunk": (1, 1000), "vote": (1, 10)}, {"vote": (2, 20)}),
        Account(3, {"vote": (3, 30)}, {"digest": (4, 400)}),
    ]

    told = ledger_of(accounts).as_mapping()

    assert told["peer_rounds"] == 4
    assert list(told["kinds"]) == ["digest", "vote", "chunk"]
    assert told["kinds"]["vote"] == {
        "messages_sent": 1, "bytes_sent": 10, "messages_received": 0.5, "bytes_received": 5,
    }  # fmt: skip


def test_a_runs_ledger_leaves_out_the_round_of_the_founding(tmp_path):
    founding = told(1, {"hello": [1, 999]}, {"hello": [9, 9990]})
    write_lines(tmp_path / "aa11.jsonl", [founding, told(2, {"vote": [1, 10]}, {}), {"event": "round"}])
    write_lines(tmp_path / "bb22.jsonl", [founding, told(2, {}, {"vote": [1, 10]})])
    (tmp_path / "cc33.jsonl").write_text('{"event": "traffic", "round": "torn\n')

    kinds = ledger_of_run(tmp_path).as_mapping()["kinds"]

    assert list(kinds) == ["vote"]
    assert kinds["vote"]["bytes_sent"] == kinds["vote"]["bytes_received"] == 5


def test_a_run_of_one_round_is_told_with_its_founding(tmp_path):
    write_lines(tmp_path / "aa11.jsonl", [told(1, {"hello": [1, 999]}, {})])

    assert ledger_of_run(tmp_path).as_mapping()["kinds"]["hello"]["bytes_sent"] == 999


def test_a_table_ends_with_the_median_peer():
    lines = list(ledger_lines(Ledger((Account(1, {"vote": (1, 1234)}, {}),)).as_mapping()))

    assert "vote" in lines[1]
    assert lines[-1].split() == ["control,", "median", "peer", "1.0", "1,234", "0.0", "0"]


def test_nothing_counted_is_no_table():
    assert list(ledger_lines(ledger_of([]).as_mapping())) == []


def test_a_journal_that_cannot_be_read_counts_for_nothing(tmp_path):
    write_lines(tmp_path / "aa11.jsonl", [told(1, {"hello": [1, 999]}, {})])
    (tmp_path / "bb22.jsonl").mkdir()  # a folder of that name: as unreadable as a damaged disk's file

    assert ledger_of_run(tmp_path).as_mapping()["kinds"]["hello"]["bytes_sent"] == 999
