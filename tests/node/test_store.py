"""What outlives a process: key, start counter, records, checkpoints."""

import contextlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from swarmdem.errors import KeyInUseError, StoreError
from swarmdem.learning.parameters import schema_of
from swarmdem.node import files as state_files
from swarmdem.node.files import write_atomic
from swarmdem.node.keys import read_key, write_key
from swarmdem.node.models import model_of
from swarmdem.node.store import DirectoryStore
from swarmdem.protocol.events import Slot
from swarmdem.wire.signing import Identity
from tests.node.faulty_disk import FaultyDisk, Killed


def model(value):
    parameters = {"w": np.full((2, 3), value, np.float32), "n": np.array(7, np.int64)}
    return model_of(parameters, schema_of(parameters))


def ANY(slot, schema):
    return True


@pytest.fixture
def reopen(tmp_path):
    opened = []

    def reopen():
        if opened:
            opened.pop().close()
        opened.append(DirectoryStore(tmp_path / "state"))
        return opened[0]

    yield reopen
    for store in opened:
        store.close()


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "state" / "models").iterdir())


def test_a_key_is_made_once_and_only_its_owner_may_read_it(reopen, tmp_path):
    first = reopen().identity.peer

    assert reopen().identity.peer == first
    assert stat.S_IMODE(os.stat(tmp_path / "state" / "key.pem").st_mode) == 0o600


def test_a_key_open_to_others_is_refused_with_the_remedy(tmp_path):
    write_key(tmp_path / "key.pem", Identity.generate())
    os.chmod(tmp_path / "key.pem", 0o640)

    with pytest.raises(StoreError, match="chmod 600"):
        read_key(tmp_path / "key.pem")


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN PRIVATE KEY-----", None])
def test_a_damaged_key_is_known_from_its_copy_and_made_whole(reopen, tmp_path, damage):
    key = tmp_path / "state" / "key.pem"
    first, whole = reopen().identity.peer, key.read_bytes()
    key.unlink() if damage is None else key.write_bytes(damage)

    store = reopen()

    assert store.identity.peer == first
    assert "its copy key.copy.pem is used" in store.damage[0]
    assert key.read_bytes() == whole
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600


def test_a_key_that_its_owner_replaced_wins_over_the_copy(reopen, tmp_path):
    reopen()
    other = Identity.generate()
    (tmp_path / "state" / "key.pem").unlink()
    write_key(tmp_path / "state" / "key.pem", other)
    assert reopen().identity.peer == other.peer
    (tmp_path / "state" / "key.pem").unlink()

    assert reopen().identity.peer == other.peer


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("not a key")
    path.chmod(0o600)

    with pytest.raises(StoreError, match="not an unencrypted PEM"):
        read_key(path)


def test_a_key_is_never_overwritten(tmp_path):
    write_key(tmp_path / "key.pem", Identity.generate())

    with pytest.raises(StoreError, match="exists already"):
        write_key(tmp_path / "key.pem", Identity.generate())


def test_every_start_counts_up(reopen):
    assert [reopen().session for _ in range(3)] == [1, 2, 3]


def test_one_key_cannot_run_twice(reopen, tmp_path):
    reopen()

    with pytest.raises(KeyInUseError, match="another running peer"):
        DirectoryStore(tmp_path / "state")


def test_records_and_models_are_found_again(reopen):
    store = reopen()
    store.write({"vote": b"1"})
    store.save({Slot.OWN: model(1), Slot.ANCHOR: model(2)})

    store = reopen()
    loaded = store.load(ANY)

    assert store.records == {"vote": b"1"}
    assert loaded[Slot.OWN].name == model(1).name
    assert loaded[Slot.ANCHOR].name == model(2).name
    assert loaded[Slot.OWN].parameters["n"] == 7
    assert store.damage == ()


def test_only_the_last_two_checkpoints_of_a_slot_are_kept(reopen, tmp_path):
    store = reopen()
    for value in range(5):
        store.save({Slot.OWN: model(value)})

    assert len([name for name in files(tmp_path) if name.startswith("own-")]) == 2


def test_a_spare_checkpoint_is_written_over_and_its_other_names_keep_their_content(reopen, tmp_path):
    store = reopen()
    store.save({Slot.OWN: model(0), Slot.ANCHOR: model(0)})
    for value in (1, 2):
        store.save({Slot.OWN: model(value)})
    before = {path.stat().st_ino for path in (tmp_path / "state" / "models").glob("own-*")}
    store.save({Slot.OWN: model(3)})
    after = {path.stat().st_ino for path in (tmp_path / "state" / "models").glob("own-*")}
    store.save({Slot.OWN: model(4)})

    loaded = reopen().load(ANY)
    assert before == after, "the blocks of the oldest"
    assert (loaded[Slot.OWN].name, loaded[Slot.ANCHOR].name) == (model(4).name, model(0).name)


def test_the_only_intact_checkpoint_is_never_written_over(reopen, tmp_path, monkeypatch):
    store = reopen()
    for value in (1, 2):
        store.save({Slot.OWN: model(value)})
    models = tmp_path / "state" / "models"
    (models / f"own-{model(2).name.hex()}.safetensors").write_bytes(b"rotten")
    store = reopen()
    store.load(ANY)
    monkeypatch.setattr("swarmdem.node.files.os.open", refused)
    with pytest.raises(StoreError):
        store.save({Slot.OWN: model(3)})
    monkeypatch.undo()

    assert reopen().load(ANY)[Slot.OWN].name == model(1).name


def refused(*_, **__):
    raise OSError(28, "No space left on device")


def test_what_a_process_that_died_left_beside_is_not_written_through(tmp_path):
    kept, target = tmp_path / "kept", tmp_path / "target"
    kept.write_bytes(b"kept")
    os.link(kept, tmp_path / f".target.{os.getpid()}.new")
    write_atomic(target, b"new ", b"content")

    assert (kept.read_bytes(), target.read_bytes()) == (b"kept", b"new content")


@pytest.mark.parametrize("damage", [b"", b"garbage" * 100])
def test_a_corrupted_checkpoint_gives_way_to_the_one_before_and_it_is_said(reopen, tmp_path, damage):
    store = reopen()
    store.save({Slot.OWN: model(1)})
    store.save({Slot.OWN: model(2)})
    newest = tmp_path / "state" / "models" / f"own-{model(2).name.hex()}.safetensors"
    newest.write_bytes(damage)

    store = reopen()

    assert store.load(ANY)[Slot.OWN].name == model(1).name
    assert "own-" in store.damage[0]
    assert "damaged" in store.damage[0]


def test_a_checkpoint_with_other_values_than_its_name_says_is_not_used(reopen, tmp_path):
    store = reopen()
    store.save({Slot.OWN: model(1), Slot.ANCHOR: model(2)})
    models = tmp_path / "state" / "models"
    own = models / f"own-{model(1).name.hex()}.safetensors"
    own.write_bytes((models / f"anchor-{model(2).name.hex()}.safetensors").read_bytes())

    store = reopen()

    assert set(store.load(ANY)) == {Slot.ANCHOR}
    assert len(store.damage) == 1


def test_a_crash_between_model_files_and_index_leaves_the_old_pair(reopen, tmp_path):
    store = reopen()
    store.save({Slot.OWN: model(1), Slot.ANCHOR: model(2)})
    log = (tmp_path / "state" / "records.log").read_bytes()
    old = {path.name: path.read_bytes() for path in (tmp_path / "state" / "models").iterdir()}
    store.save({Slot.OWN: model(3), Slot.ANCHOR: model(4)})
    for name, content in old.items():
        (tmp_path / "state" / "models" / name).write_bytes(content)
    (tmp_path / "state" / "records.log").write_bytes(log)

    loaded = reopen().load(ANY)

    assert (loaded[Slot.OWN].name, loaded[Slot.ANCHOR].name) == (model(1).name, model(2).name)


def test_a_torn_index_is_said_and_the_checkpoint_before_it_is_used(reopen, tmp_path):
    store = reopen()
    store.save({Slot.OWN: model(1)})
    store.save({Slot.OWN: model(2)})
    log = tmp_path / "state" / "records.log"
    log.write_bytes(log.read_bytes()[:-1])

    store = reopen()

    assert store.load(ANY)[Slot.OWN].name == model(1).name
    assert "damaged" in store.damage[0]


def test_the_index_of_checkpoints_is_no_record_of_the_protocol(reopen):
    store = reopen()
    store.write({"round": b"7"})
    store.save({Slot.OWN: model(1)})

    assert store.records == {"round": b"7"}


@pytest.mark.parametrize("content", ["three", "", "-1", "9" * 30, "\u0663"])
def test_a_damaged_start_counter_is_known_from_the_records(reopen, tmp_path, content):
    reopen()
    reopen()
    (tmp_path / "state" / "session").write_text(content)

    store = reopen()

    assert store.session == 3
    assert "the record of starts is used, 2 so far" in store.damage[0]


def test_a_start_counter_that_nothing_tells_stops_the_peer_before_it_says_anything(reopen, tmp_path):
    reopen().close()
    (tmp_path / "state" / "session").write_text("three")
    (tmp_path / "state" / "records.log").unlink()

    with pytest.raises(StoreError, match="not a start counter"):
        DirectoryStore(tmp_path / "state")


@pytest.mark.parametrize("lose", [Path.unlink, lambda log: log.write_bytes(b"")])
def test_a_peer_that_lost_its_records_is_told_to_abstain(reopen, tmp_path, lose):
    reopen().write({"ballots": b"a vote"})
    lose(tmp_path / "state" / "records.log")

    store = reopen()

    assert store.records == {"doubt": b"\1"}
    assert "records.log has lost its records" in store.damage[0]


def test_a_first_start_that_was_cut_short_casts_no_doubt(tmp_path, monkeypatch):
    for step in range(40):
        folder = tmp_path / str(step)
        with monkeypatch.context() as machine:
            machine.setattr(state_files, "os", disk := FaultyDisk(step, kill=True))
            with contextlib.suppress(Killed):
                DirectoryStore(folder).close()
        store = DirectoryStore(folder)
        assert store.records == {}, step
        store.close()
    assert not disk.struck, "every step was tried"


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="state directory"):
        DirectoryStore(tmp_path / "file" / "state")
