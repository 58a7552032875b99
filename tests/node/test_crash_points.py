"""The state directory after a crash, a power cut or a refusal at every single write of a scripted run."""

import errno
import shutil

import numpy as np
import pytest

from swarmdem.errors import StoreError
from swarmdem.learning.parameters import schema_of
from swarmdem.node import files
from swarmdem.node.models import model_of
from swarmdem.node.records import RecordLog
from swarmdem.node.store import DirectoryStore
from swarmdem.protocol.events import Slot
from tests.node.faulty_disk import FaultyDisk, Killed

ROUNDS = 3


def model(value):
    parameters = {"w": np.full((2, 3), value, np.float32)}
    return model_of(parameters, schema_of(parameters))


def value_of(held):
    return int(held.parameters["w"][0, 0]) if held is not None else None


class Script:
    """What a peer writes in a few rounds, and how far it got: what it was told is on disk."""

    def __init__(self, folder):
        self.folder = folder
        self.peers = set()
        self.sessions = []
        self.applied = self.applying = 0
        self.records = {}
        self.writing = {}

    def run(self, *, goes_on=False):
        """Run; with *goes_on* after each refusal, too, as a peer with a full disk does."""
        store = self.open()
        try:
            for number in range(1, ROUNDS + 1):
                for step in (self.vote, self.upload, self.apply):
                    try:
                        step(store, number)
                    except StoreError:
                        if not goes_on:
                            raise
        finally:
            store.close()

    def open(self):
        store = DirectoryStore(self.folder)
        self.peers.add(store.identity.peer)
        self.sessions.append(store.session)
        return store

    def vote(self, store, number):
        self.write(store, {"ballots": b"%d" % number, "long": bytes([number]) * 3000})

    def upload(self, store, number):
        store.save({Slot.UPLOAD: model(100 + number)})
        self.write(store, {"digest": b"%d" % number})

    def apply(self, store, number):
        self.applying = number
        store.save({Slot.OWN: model(number), Slot.ANCHOR: model(200 + number)})
        self.applied = number
        self.write(store, {"applied": b"%d" % number})

    def write(self, store, records):
        self.writing = records
        store.write(records)
        self.records |= records
        self.writing = {}


def check(script):
    """Start again on a disk that is well: everything that was promised is there."""
    told = max(script.sessions, default=0)
    peers = set(script.peers)
    with_store = script.open()
    try:
        loaded = with_store.load(lambda slot, schema: True)
        own, anchor = value_of(loaded.get(Slot.OWN)), value_of(loaded.get(Slot.ANCHOR))
        assert len(peers | {with_store.identity.peer}) <= 1 or not peers, "identity"
        assert with_store.session > told, "every start counts"
        whole = {(n or None, 200 + n if n else None) for n in (script.applied, script.applying)}
        assert (own, anchor) in whole, "a whole model, at most one round old, with its own anchor"
        found = dict(with_store.records)
        assert found in (script.records, script.records | script.writing), "a batch is there or not"
        assert "middle" not in " ".join(with_store.damage)
        if "digest" in found:
            known = 100 + int(found["digest"])
            assert value_of(loaded[Slot.UPLOAD]) in {known, known + 1}, "written before the digest"
        with_store.write({"after": b"1"})
        with_store.save({Slot.OWN: model(99)})
    finally:
        with_store.close()
    again = DirectoryStore(script.folder)
    assert again.damage == (), "the repair is complete"
    assert again.records == {**found, "after": b"1"}
    assert value_of(again.load(lambda slot, schema: True)[Slot.OWN]) == 99
    assert not list(script.folder.rglob(".*.new")), "nothing is left of what was not finished"
    again.close()


def steps_of_a_run(folder, monkeypatch):
    disk = FaultyDisk()
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", disk)
        Script(folder).run()
    return disk.count


def struck_runs(tmp_path, monkeypatch, *, goes_on=False, **fault):
    """Yield a script for every step, after its run was struck there."""
    for at in range(steps_of_a_run(tmp_path / "whole", monkeypatch)):
        script, disk = Script(tmp_path / str(at) / "state"), FaultyDisk(at, **fault)
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", disk)
            try:
                script.run(goes_on=goes_on)
            except (Killed, StoreError) as error:
                script.error = error
            patch.setattr(files, "os", FaultyDisk())  # the disk is well again
            yield at, script, disk


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_after_a_death_at_any_write_everything_promised_is_there(tmp_path, monkeypatch, cut):
    struck = 0
    for at, script, disk in struck_runs(tmp_path, monkeypatch, **{cut: True}):
        assert disk.struck, at
        check(script)
        struck += 1

    assert struck > 100, "the script has that many steps"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_refusal_at_any_write_is_one_clear_error_and_nothing_is_lost(tmp_path, monkeypatch, error):
    for _, script, _disk in struck_runs(tmp_path, monkeypatch, error=error):
        if hasattr(script, "error"):
            assert isinstance(script.error, StoreError)
            assert str(tmp_path) in str(script.error), "names what could not be written"
        check(script)


def test_a_store_goes_on_after_refusals_once_there_is_room(tmp_path, monkeypatch):
    for at, script, _ in struck_runs(tmp_path, monkeypatch, goes_on=True, error=errno.ENOSPC, times=3):
        if script.sessions and at < 70:
            assert script.applied == ROUNDS, at
        check(script)


DAMAGES = {
    "emptied": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "cut at its last byte": lambda data: data[:-1],
    "zeroed": lambda data: bytes(len(data)),
    "a bit flipped": lambda data: data[:1] + bytes([data[1] ^ 1]) + data[2:] if len(data) > 1 else b"\xff",
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_one_damaged_file_costs_neither_identity_nor_counter_nor_model(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(files, "os", FaultyDisk())
    whole = Script(tmp_path / "whole")
    whole.run()
    paths = [path.relative_to(whole.folder) for path in whole.folder.rglob("*") if path.is_file()]
    assert len(paths) == 11, "key and copy, lock, session, log, six checkpoints"
    for path in sorted(paths):
        script = Script(tmp_path / path.name)
        shutil.copytree(whole.folder, script.folder)
        script.peers, script.sessions = set(whole.peers), list(whole.sessions)
        target = script.folder / path
        if DAMAGES[damage] is None:
            target.unlink()
        else:
            target.write_bytes(DAMAGES[damage](target.read_bytes()))
        store = script.open()
        loaded = store.load(lambda slot, schema: True)
        store.close()

        assert len(script.peers) == 1, path
        assert script.sessions == [1, 2], path
        assert value_of(loaded[Slot.OWN]) in {ROUNDS, ROUNDS - 1}, path
        assert value_of(loaded[Slot.ANCHOR]) in {200 + ROUNDS, 200 + ROUNDS - 1}, path
        if path.name != "records.log":
            assert store.records == whole.records, path


def test_damage_in_the_middle_of_the_log_costs_what_only_it_held(tmp_path):
    log = RecordLog(tmp_path / "records.log")
    for records in ({"certificate": b"1", "round": b"1"}, {"certificate": b"2"}, {"ballots": b"3"}):
        log.write(records)
    log.close()
    data = bytearray((tmp_path / "records.log").read_bytes())
    data[data.index(b"2", 30)] ^= 1
    (tmp_path / "records.log").write_bytes(data)

    log = RecordLog(tmp_path / "records.log")

    assert log.alive == {"certificate": b"1", "round": b"1", "ballots": b"3", "doubt": b"\1"}
    assert "in the middle are damaged" in log.damage
    assert b"certificate" in (tmp_path / "records.damaged").read_bytes(), "nothing is thrown away"
    log.close()
