"""What of a peer outlives its process: key, start counter, records and models.

A state directory holds `key.pem` (mode 0600), `lock` (held while the peer runs), `session`
(starts so far), `records.log` (`records.py`) and `models/`: per slot the current checkpoint and
the one before it, as `SLOT-HASH.safetensors`, named by an index that is itself a record: it is
written after the model files are there, so a crash leaves either the old set or the new one.

A damaged checkpoint is replaced by the one before it, and `damage` says so. A model that several
slots hold, or several peers of one process, is written once and linked (where the disk can do that).
All methods block; the driver calls them from its disk thread.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from swarmdem.errors import KeyInUseError, LearningError, StoreError
from swarmdem.learning.parameters import from_safetensors, schema_of
from swarmdem.node.files import link_atomic, write_atomic
from swarmdem.node.keys import read_key, write_key
from swarmdem.node.models import Model, Schema, model_of, to_file
from swarmdem.node.records import RecordLog
from swarmdem.protocol.events import Slot
from swarmdem.wire.signing import Identity

_log = logging.getLogger("swarmdem.node.store")

_INDEX = "/slots"  # key of the checkpoints' index among the records; no protocol record begins with a slash
Accepts = Callable[[Slot, Schema], bool]
"""Whether a model of a schema can be in a slot."""

KEY_FILE = "key.pem"
"""Where a state directory holds the peer's private key."""


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
    """`write` waits for no disk: it may run on the event loop."""

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records in force."""

    def write(self, records: Mapping[str, bytes]) -> None:
        """Add records; an empty value deletes. Durable on return."""

    def save(self, models: Mapping[Slot, Model]) -> None:
        """Put models into their slots, all or none. Durable on return."""

    def load(self, accepts: Accepts) -> dict[Slot, Model]:
        """Return the newest intact model of every slot that the swarm accepts there."""

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
        try:
            self._models.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(directory / "lock")
        except OSError as error:
            raise StoreError(f"state directory {directory}: {error.strerror}") from error
        try:
            self.identity = _identity(directory / KEY_FILE)
            self.session = self._next_session()
            self._log = RecordLog(directory / "records.log", durable=durable)
        except BaseException:
            self._lock.close()
            raise
        self.damage: tuple[str, ...] = (self._log.damage,) if self._log.damage else ()
        self._slots = self._read_index()

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records in force."""
        return {key: value for key, value in self._log.alive.items() if key != _INDEX}

    def write(self, records: Mapping[str, bytes]) -> None:
        """Add records as one batch; durable on return."""
        self._log.write(records)

    def save(self, models: Mapping[Slot, Model]) -> None:
        """Put models into their slots, all or none, keeping the checkpoints before them."""
        slots = dict(self._slots)
        try:
            for slot, model in models.items():
                name = f"{slot}-{model.name.hex()}.safetensors"
                before = [other for other in slots.get(slot, ()) if other != name]
                # The newest stays until the index names its successor; the one before it may go now.
                self._put(self._models / name, model, spare=before[1:])
                slots[slot] = (name, *before[:1])
        except OSError as error:
            raise StoreError(f"checkpoint in {self._models}: {error.strerror}") from error
        index = json.dumps({slot: list(names) for slot, names in slots.items()}, sort_keys=True)
        self._log.write({_INDEX: index.encode()})
        self._slots = slots
        self._remove_unnamed()

    def load(self, accepts: Accepts) -> dict[Slot, Model]:
        """Return the newest intact model of every slot; what was damaged joins `damage`."""
        found: dict[Slot, Model] = {}
        for slot, names in sorted(self._slots.items()):
            for number, name in enumerate(names):
                model = self._read_model(slot, name, accepts)
                if model is not None:
                    found[slot] = model
                    self._slots[slot] = names[number:]  # what is intact is the newest from now on
                    break
        return found

    def close(self) -> None:
        """Release files and lock."""
        self._log.close()
        self._lock.close()

    def _put(self, path: Path, model: Model, *, spare: Sequence[str]) -> None:
        """Write a checkpoint once per process: slots and peers that hold one model share its file."""
        if any(link_atomic(source, path, durable=self._durable) for source in model.files[-1:]):
            return
        over = self._models / spare[0] if spare else None
        write_atomic(path, *to_file(model), durable=self._durable, spare=over)
        model.files[:] = [path]

    def _read_model(self, slot: Slot, name: str, accepts: Accepts) -> Model | None:
        path = self._models / name
        try:
            arrays = from_safetensors(path.read_bytes())
            model = model_of(arrays, schema_of(arrays))
            if model.name.hex() in name and accepts(slot, model.schema):
                return model
            reason = "its content is not what its name says"
            if model.name.hex() in name:
                reason = "it is a model of another swarm"
        except (OSError, LearningError) as error:
            reason = str(error)
        self.damage += (f"checkpoint {path} is damaged ({reason}); the one before it is used, if any",)
        return None

    def _next_session(self) -> int:
        """Count this start; a peer that came back is told from its earlier self by this number."""
        path = self._directory / "session"
        try:
            session = int(path.read_text()) + 1 if path.exists() else 1
            write_atomic(path, str(session).encode(), durable=self._durable)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise StoreError(f"{path}: not a start counter; write one above all earlier starts") from error
        return session

    def _read_index(self) -> dict[Slot, tuple[str, ...]]:
        index = json.loads(self._log.alive.get(_INDEX, b"{}"))
        return {Slot(slot): tuple(names) for slot, names in index.items()}

    def _remove_unnamed(self) -> None:
        named = {name for names in self._slots.values() for name in names}
        for path in self._models.glob("*.safetensors"):
            if path.name not in named:
                path.unlink(missing_ok=True)


def _identity(path: Path) -> Identity:
    if not path.exists():
        write_key(path, Identity.generate())
    return read_key(path)


def _lock(path: Path) -> IO[bytes]:
    # flock, not lockf: it also keeps two peers of one process apart.
    file = open(path, "ab")  # noqa: SIM115 - held open as long as the peer runs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise KeyInUseError(f"{path.parent}: another running peer uses this key") from error
    os.chmod(path, 0o600)
    return file
