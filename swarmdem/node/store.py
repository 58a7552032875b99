"""What of a peer outlives its process: key, start counter, records and models.

A state directory holds `key.pem` (mode 0600) and a copy of it, `lock` (held while the peer runs),
`session` (starts so far), `records.log` (`records.py`) and `models/`: per slot the current checkpoint
and the one before it, as `SLOT-HASH.safetensors`, named by an index that is itself a record: it is
written after the model files are there, so a crash leaves either the old set or the new one.

One damaged or missing file costs nothing but what only it held, and `damage` says so: the key has its
copy, the start counter is a record too, a checkpoint gives way to the one before it, and where the index
names nothing that is there, the newest checkpoint that the folder holds is taken. A model that several
slots hold, or several peers of one process, is written once and linked (where the disk can do that).
All methods block: they belong in the disk thread. `waiting.py` goes on when the disk refuses.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import msgspec

from swarmdem.errors import KeyInUseError, LearningError, StoreError
from swarmdem.node.files import link_atomic, make_directory, remove, sweep, write_atomic
from swarmdem.node.keys import kept_key
from swarmdem.node.models import Model, Schema, from_checkpoint, to_checkpoint
from swarmdem.node.records import ABSTAINS, RecordLog
from swarmdem.protocol.events import Slot
from swarmdem.protocol.restart import DOUBT
from swarmdem.wire.messages import Message
from swarmdem.wire.signing import Identity

# Records of the store itself; no record of the protocol begins with a slash.
_OWN = "/"
_INDEX = "/slots"
_SESSION = "/session"
_index = msgspec.json.Decoder(dict[str, tuple[str, ...]])
Accepts = Callable[[Slot, Schema], bool]
"""Whether a model of a schema can be in a slot."""

KEY_FILE = "key.pem"
"""Where a state directory holds the peer's private key."""
_DIGITS_MAX = 19  # of a start counter: it is 64 bits on the wire


class Store(Protocol):
    """What the shell needs of a store."""

    identity: Identity
    session: int
    """Start counter of this run, at least 1; higher than in any run before."""
    damage: tuple[str, ...]
    """What was found damaged, in plain words."""
    in_memory: bool
    """Nothing is written at all."""
    quick: bool
    """Nothing waits for the disk itself: `write` may run on the event loop, and `save` of a short model."""

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records in force."""

    def write(self, records: Mapping[str, bytes]) -> None:
        """Add records; an empty value deletes. Durable on return."""

    def save(self, models: Mapping[Slot, Model]) -> None:
        """Put models into their slots, all or none. Durable on return."""

    def load(self, accepts: Accepts) -> dict[Slot, Model]:
        """Return the newest intact model of every slot that the swarm accepts there."""

    def withholds(self, message: Message) -> bool:
        """Return whether *message* must not leave now, because what it promises could not be written."""

    def close(self) -> None:
        """Release files and lock."""


class MemoryStore:
    """A store for a peer that need not survive its process."""

    in_memory = True
    quick = True
    session = 1

    def __init__(self, identity: Identity | None = None) -> None:
        self.identity = identity or Identity.generate()
        self.damage: tuple[str, ...] = ()

    @property
    def records(self) -> Mapping[str, bytes]:
        return {}

    def write(self, records: Mapping[str, bytes]) -> None:
        pass

    def save(self, models: Mapping[Slot, Model]) -> None:
        pass

    def load(self, accepts: Accepts) -> dict[Slot, Model]:
        return {}

    def withholds(self, message: Message) -> bool:
        return False

    def close(self) -> None:
        pass


class DirectoryStore:
    """A store in one directory, which it creates.

    Args:
        directory: Where.
        durable: Wait for the disk itself (fsync) on every write. Without it everything survives
            the process being killed, but not a power cut.

    Raises:
        KeyInUseError: Another running peer has this directory.
        StoreError: The directory or the key cannot be used.
    """

    in_memory = False

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self._directory = directory
        self._models = directory / "models"
        self._durable = durable
        self.quick = not durable
        self.damage: tuple[str, ...] = ()
        try:
            make_directory(self._models, mode=0o700)
            self._lock = _lock(directory / "lock")
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"state directory {directory}: a file is there") from error
        except OSError as error:
            raise StoreError(f"state directory {directory}: {error.strerror}") from error
        try:
            for folder in (directory, self._models):
                sweep(folder)
            self._there = {path.name for path in self._models.glob("*.safetensors")}
            self._log = RecordLog(directory / "records.log", durable=durable)
        except BaseException:
            self._lock.close()
            raise
        try:
            self.identity, damage = kept_key(directory / KEY_FILE, durable=durable)
            self.damage = tuple(what for what in (self._log.damage, damage) if what)
            self._index_lost = _INDEX not in self._log.alive
            self.session = self._next_session()
        except BaseException:
            self._log.close()
            self._lock.close()
            raise
        self._slots = self._read_index()

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records in force."""
        return {key: value for key, value in self._log.alive.items() if not key.startswith(_OWN)}

    def write(self, records: Mapping[str, bytes]) -> None:
        """Add records as one batch; durable on return."""
        self._log.write(records)

    def save(self, models: Mapping[Slot, Model]) -> None:
        """Put models into their slots, all or none, keeping the checkpoints before them."""
        slots = dict(self._slots)
        try:
            make_directory(self._models, mode=0o700)
            for slot, model in models.items():
                name = f"{slot}-{model.name.hex()}.safetensors"
                before = [other for other in slots.get(slot, ()) if other != name]
                # The newest stays until the index names its successor; the one before it may go now.
                self._there.add(name)
                self._put(self._models / name, model, spare=before[1:])
                slots[slot] = (name, *before[:1])
            self._log.write({_INDEX: msgspec.json.encode(slots, order="sorted")})
        except OSError as error:
            raise StoreError(f"checkpoint in {self._models}: {error.strerror}") from error
        self._slots = slots
        self._remove_unnamed()

    def load(self, accepts: Accepts) -> dict[Slot, Model]:
        """Return the newest intact model of every slot; what was damaged joins `damage`."""
        found: dict[Slot, Model] = {}
        for slot in Slot:
            names = self._slots.get(slot, ())
            for name in (*names, *self._unnamed(slot, names)):
                model = self._read_model(slot, name, accepts)
                if model is not None:
                    found[slot] = model
                    # What is intact is the newest from now on.
                    self._slots[slot] = (name, *names[names.index(name) + 1 :]) if name in names else (name,)
                    break
        return found

    def withholds(self, message: Message) -> bool:
        """Withhold nothing: writing fails aloud."""
        return False

    def close(self) -> None:
        """Release files and lock."""
        self._log.close()
        self._lock.close()

    def _put(self, path: Path, model: Model, *, spare: Sequence[str]) -> None:
        """Write a checkpoint once per process: slots and peers that hold one model share its file."""
        if any(link_atomic(source, path, durable=self._durable) for source in model.files[-1:]):
            return
        over = self._models / spare[0] if spare else None
        write_atomic(path, *to_checkpoint(model), durable=self._durable, spare=over)
        model.files[:] = [path]

    def _read_model(self, slot: Slot, name: str, accepts: Accepts) -> Model | None:
        path = self._models / name
        try:
            model = from_checkpoint(path.read_bytes())
            if model.name.hex() in name and accepts(slot, model.schema):
                return model
            reason = "its content is not what its name says"
            if model.name.hex() in name:
                reason = "it is a model of another swarm"
        except (OSError, LearningError) as error:
            reason = str(error)
        self.damage += (f"checkpoint {path} is damaged ({reason}); the one before it is used, if any",)
        return None

    def _unnamed(self, slot: Slot, names: Sequence[str]) -> Iterator[str]:
        """Yield the checkpoints that a lost or outdated index should name, the newest first.

        Where the index is whole and names nothing, what lies there is of a save that was not finished.
        """
        if not names and not self._index_lost:
            return
        with contextlib.suppress(OSError):
            paths = [path for path in self._models.glob(f"{slot}-*.safetensors") if path.name not in names]
            for path in sorted(paths, key=lambda path: (-path.stat().st_mtime_ns, path.name)):
                self.damage += (f"the index of {self._models} is out of date; {path.name} is used",)
                yield path.name

    def _next_session(self) -> int:
        """Count this start; a peer that came back is told from its earlier self by this number."""
        path = self._directory / "session"
        recorded = int.from_bytes(self._log.alive.get(_SESSION, b""), "big")
        try:
            text = path.read_text() if path.exists() else "0"
        except (OSError, ValueError) as error:
            text = f"{type(error).__name__}: not readable"
        counted = int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS_MAX else None
        if counted is None and not recorded:
            raise StoreError(f"{path}: not a start counter; write one above all earlier starts")
        if counted is None or counted < recorded:
            self.damage += (f"{path} is damaged; the record of starts is used, {recorded} so far",)
        session = max(counted or 0, recorded) + 1
        # Before a start is counted there is an index: without one the log has been lost.
        if session == 1:
            self._log.write({_INDEX: b"{}"})
        elif self._index_lost:
            self._log.write({DOUBT: b"\1"})
            self.damage += (f"{self._directory / 'records.log'} has lost its records: {ABSTAINS}",)
        try:
            write_atomic(path, str(session).encode(), durable=self._durable)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        self._log.write({_SESSION: session.to_bytes(8, "big")})
        return session

    def _read_index(self) -> dict[Slot, tuple[str, ...]]:
        try:
            index = _index.decode(self._log.alive.get(_INDEX, b"{}"))
        except msgspec.MsgspecError as error:
            self.damage += (f"the index of {self._models} is damaged: {error}",)
            self._index_lost, index = True, {}
        known = {slot.value for slot in Slot}
        return {Slot(slot): names[:2] for slot, names in index.items() if slot in known}

    def _remove_unnamed(self) -> None:
        named = {name for names in self._slots.values() for name in names}
        left = {name for name in self._there - named if not remove(self._models / name)}
        self._there = named | left


def _lock(path: Path) -> IO[bytes]:
    # flock, not lockf: it also keeps two peers of one process apart.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = open(descriptor, "wb")  # noqa: SIM115 - held open as long as the peer runs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise KeyInUseError(f"{path.parent}: another running peer uses this key") from error
    return file
