"""What happened at one peer, as JSON lines: every event, one `round` and one `traffic` line per round.

Ids are hex digits, keys are sorted, one object a line; a line is written whole when the event
happens. The `round` line carries the hashes all peers of a round must share: certificate and tree.
The `traffic` line says what was sent, received, refused and lost since the one before, or since the peer
started: `sent` and `received` map a kind of frame to [frames, bytes], `refused` a reason to a number of
arrivals; `dropped` are arrivals, `unsent` frames.
Of a peer that speaks for its cell, what happened in the region has `region_` before its name.
What went wrong (`degraded`, `recovered`, `explained`) also says `at` what time of this machine's clock.

A file that has grown to its limit becomes the older part, `ID.jsonl.1`, in place of the one before, and a
new one is begun: so a peer that runs for years keeps the newest lines, twice the limit at most.

A disk that refuses costs lines, never the peer: how many were lost is told as soon as there is room.
"""

import contextlib
import dataclasses
import errno
import fcntl
import logging
import os
import re
import time
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from swarmdem.errors import StoreError
from swarmdem.identifiers import PeerId, PlanId, Round
from swarmdem.node.cells import InRegion
from swarmdem.node.counters import PeerCounters
from swarmdem.node.explaining import Explained
from swarmdem.node.troubles import moment
from swarmdem.protocol.events import Certified, Degraded, Recovered, RoundFinished

_log = logging.getLogger("swarmdem.node.journal")

PART_BYTES = 64 * 2**20
"""Where a part of a journal ends unless told otherwise: hours of a fast swarm, months of a slow one."""
_encoder = msgspec.json.Encoder(order="sorted")
_names: dict[type, tuple[str, tuple[str, ...]]] = {}
_TREES_MAX = 64  # certificates remembered until their round is over


class Journal:
    """Appends to one file; without a path it forgets everything.

    Args:
        path: The file.
        part_bytes: Where it becomes the older part; None: never.
    """

    def __init__(self, path: Path | None, part_bytes: int | None = PART_BYTES) -> None:
        self._file: BinaryIO | None = None
        self._end = 0  # of what is whole: the file is this peer's alone
        self._path = path
        self._part_bytes = part_bytes
        self._trees: dict[PlanId, bytes] = {}
        self._counted: PeerCounters | None = None
        self._lost = 0
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _opened(path)
                self._end = os.fstat(self._file.fileno()).st_size
            except BlockingIOError:
                raise StoreError(f"journal {path}: another peer writes it") from None
            except OSError as error:
                raise StoreError(f"journal {path}: {error.strerror}") from error

    def note(self, event: object) -> None:
        """Append *event* (a dataclass), and the round's line when it ends a round."""
        if self._file is None:
            return
        if isinstance(event, InRegion):
            self._append({"event": f"region_{event_name(event.event)}", **_plain_fields(event.event)})
            return
        at = {"at": moment(time.time())} if isinstance(event, Degraded | Recovered | Explained) else {}
        self._append({"event": event_name(event), **_plain_fields(event), **at})
        if isinstance(event, Certified):
            self._remember(event)
        elif isinstance(event, RoundFinished):
            tree = self._trees.get(event.plan, b"").hex() or None
            line = {"event": "round", "round": event.round, "certificate": event.plan.hex(), "tree": tree}
            self._append(line)

    def note_traffic(self, round: Round, counters: PeerCounters) -> None:
        """Append what the peer sent, received, refused and lost since it was told last."""
        if self._file is not None:
            self._append({"event": "traffic", "round": round, **counters.since(self._counted)})
            self._counted = counters

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written is lost
                self._file.close()
            self._file = None

    def _remember(self, event: Certified) -> None:
        self._trees[event.plan] = event.tree
        if len(self._trees) > _TREES_MAX:
            del self._trees[next(iter(self._trees))]

    def _append(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        lines = [_encoder.encode(line) + b"\n"]
        if self._lost:
            lines.insert(0, _encoder.encode({"event": "lines_lost", "count": self._lost}) + b"\n")
        data = b"".join(lines)
        full = self._part_bytes is not None and self._end + len(data) > self._part_bytes
        if full and self._end:
            self._begin_anew()
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - half a line is none
            self._end += len(data)
            self._lost = 0
        except OSError as error:
            if not self._lost:
                _log.warning("journal_refused reason=%s", error.strerror)
            self._lost += 1
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)  # half a line would spoil the next

    def _begin_anew(self) -> None:
        """Make what is written the older part and begin a new one; where that must wait, go on as before."""
        assert self._path is not None
        assert self._file is not None
        try:
            with contextlib.suppress(FileNotFoundError):  # renamed before, and then no new one could be made
                os.replace(self._path, older_part(self._path))
            begun = _opened(self._path)
        except OSError:
            return
        self._file.close()
        self._file = begun
        self._end = os.fstat(begun.fileno()).st_size


def _opened(path: Path) -> BinaryIO:
    """Open a journal for one peer alone: parts of two would replace each other.

    Raises:
        BlockingIOError: Another peer has it open.
        OSError: It cannot be opened.
    """
    file = open(path, "ab", buffering=0)  # noqa: SIM115 - open while the peer runs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError as error:  # a file system without locks
        _log.info("journal_not_locked path=%s reason=%s", path, error.strerror)
    return file


def older_part(path: Path) -> Path:
    """Return where the older part of the journal at *path* lies, if it has one."""
    return path.with_name(f"{path.name}.1")


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return the parts of the journal at *path* that are there, the older first."""
    return tuple(part for part in (older_part(path), path) if part.exists())


def journal_file(path: Path | None, peer: PeerId) -> Path | None:
    """Return the file that *path* stands for: in an existing directory, one named after the peer."""
    return path / f"{peer.hex()}.jsonl" if path is not None and path.is_dir() else path


def event_name(event: object) -> str:
    """Return an event's name as the journal writes it: `RoundFinished` is `round_finished`."""
    return _named(type(event))[0]


def _named(kind: type) -> tuple[str, tuple[str, ...]]:
    """Return the name of a kind of event, and those of its fields; found out once."""
    if kind not in _names:
        assert dataclasses.is_dataclass(kind)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
        _names[kind] = name, tuple(field.name for field in dataclasses.fields(kind))
    return _names[kind]


def _plain_fields(event: object) -> dict[str, Any]:
    return {name: _plain(getattr(event, name)) for name in _named(type(event))[1]}


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case Enum():
            return value.value
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value
