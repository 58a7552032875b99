"""The record log: what was written is found again, whatever killed the writer."""

import errno

import pytest

from swarmdem.node import files
from swarmdem.node.files import Appender, write_atomic
from swarmdem.node.records import RecordLog
from tests.node.faulty_disk import FaultyDisk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.log"


def written(path, *batches):
    log = RecordLog(path)
    for batch in batches:
        log.write(batch)
    log.close()


def test_records_are_found_again_and_an_empty_value_deletes(path):
    written(path, {"vote": b"1", "certificate": b"2"}, {"vote": b"3"}, {"certificate": b""})

    log = RecordLog(path)

    assert log.alive == {"vote": b"3"}
    assert log.damage == ""
    log.close()


@pytest.mark.parametrize("torn", [1, 10, 20, 25])
def test_a_torn_last_batch_is_dropped_whole_and_said(path, torn):
    written(path, {"a": b"kept"}, {"a": b"torn away", "b": b"torn away"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-torn])

    log = RecordLog(path)

    assert log.alive == {"a": b"kept"}
    assert "damaged" in log.damage
    assert path.with_suffix(".damaged").read_bytes() == whole[29:-torn], "nothing is thrown away"
    log.close()


def test_writing_goes_on_after_a_torn_batch(path):
    written(path, {"a": b"1"}, {"a": b"2"})
    path.write_bytes(path.read_bytes()[:-1])
    written(path, {"b": b"3"})

    log = RecordLog(path)

    assert log.alive == {"a": b"1", "b": b"3"}
    log.close()


def test_a_flipped_bit_is_noticed(path):
    written(path, {"a": b"good"}, {"a": b"evil"})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))

    log = RecordLog(path)

    assert log.alive == {"a": b"good"}
    log.close()


def test_damage_at_the_end_casts_no_doubt_and_damage_before_it_does_until_it_is_taken_back(path):
    written(path, {"vote": b"first"}, {"vote": b"other"}, {"round": b"7"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert RecordLog(path).alive == {"vote": b"other"}

    path.write_bytes(whole.replace(b"other", b"OTHER"))
    damaged = RecordLog(path)
    assert damaged.alive == {"vote": b"first", "round": b"7", "doubt": b"\1"}
    assert damaged.damage.endswith(
        "this peer does not vote until a certificate shows that it cannot vote twice"
    )

    again = RecordLog(path)
    assert (again.alive["doubt"], again.damage) == (b"\1", "")
    again.write({"doubt": b""})
    assert RecordLog(path).alive == {"vote": b"first", "round": b"7"}


def test_history_does_not_pile_up(path):
    log = RecordLog(path, durable=False)
    for turn in range(100):
        log.write({"big": bytes([turn]) * 100_000})
    log.close()

    assert path.stat().st_size < 1_200_000
    reopened = RecordLog(path)
    assert reopened.alive == {"big": bytes([99]) * 100_000}
    reopened.close()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "file"
    write_atomic(target, b"old")
    (tmp_path / "gone").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "gone", b"new")

    assert target.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "gone"]


def test_a_rewritten_file_is_not_cut_where_the_one_before_it_was_torn(path, monkeypatch):
    write_atomic(path, b"")
    file = Appender(path, durable=False)
    with monkeypatch.context() as machine:
        machine.setattr(files, "os", FaultyDisk(0, error=errno.EIO, times=3))  # the write, and both cuts
        with pytest.raises(OSError, match="Input/output"):
            file.append(b"torn")
        file.replace(b"whole")

    file.append(b", more")
    file.close()
    assert path.read_bytes() == b"whole, more"


def test_a_rewritten_file_whose_name_could_not_be_synced_is_not_cut_either(path, monkeypatch):
    """The new file is there when the last step of the rewriting fails: the sync of its directory."""
    write_atomic(path, b"")
    file = Appender(path, durable=True)
    with monkeypatch.context() as machine:
        machine.setattr(files, "os", FaultyDisk(0, error=errno.EIO, times=3))  # the write, and both cuts
        with pytest.raises(OSError, match="Input/output"):
            file.append(b"torn")
        file.close()
        rewriting = FaultyDisk()
        machine.setattr(files, "os", rewriting)
        write_atomic(path.with_name("other"), b"whole")
        machine.setattr(files, "os", FaultyDisk(rewriting.count - 1, error=errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            file.replace(b"whole")

    file.append(b", more")
    file.close()
    assert path.read_bytes() == b"whole, more"
