"""An append-only log of small records: what the protocol must find again after a crash.

A batch of records is one entry: length u32, BLAKE2b-128 of the body, body (MessagePack map of
key to value; an empty value deletes). A batch is there as a whole or not at all. The file is
rewritten when most of it is history.

What is damaged is left out and kept aside in `records.damaged` (the last damage only), and reading goes
on at the next whole entry: every later value is newer than what an earlier one would bring back. The
damaged end of a file is what a crash leaves of a batch that nobody was told of. Damage in the middle is
a failing disk: a record that only the lost batch held falls back to its value before, a vote perhaps. The
record `DOUBT` tells the core so, which then votes on nothing that it may have voted on before.
"""

import contextlib
import struct
import threading
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from swarmdem.errors import StoreError
from swarmdem.node.files import Appender, write_atomic
from swarmdem.protocol.restart import DOUBT

ABSTAINS = "this peer does not vote until a certificate shows that it cannot vote twice"
"""What losing records means, in plain words."""
_HEAD = struct.Struct("<I16s")
_REWRITE_ABOVE_BYTES = 1 << 20
_HISTORY_FACTOR = 4  # a log this many times longer than what is alive in it is rewritten
_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})  # first bytes of a MessagePack map

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


class RecordLog:
    """The records of one peer in one file; threads may write to it in turn.

    Attributes:
        alive: The records now in force.
        damage: What was left out when the file was opened, in plain words; empty when nothing was.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._turn = threading.Lock()
        self.alive: dict[str, bytes] = {}
        self.damage = ""
        try:
            self._recover()
            self._file = Appender(path, durable=durable)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error

    def _recover(self) -> None:
        """Read what is whole; leave out what is not."""
        if not self._path.exists():
            write_atomic(self._path, b"", durable=self._durable)
            return
        data = self._path.read_bytes()
        position, lost = 0, []
        while position < len(data):
            entry = _entry_at(data, position)
            if entry is None:
                following = _next_entry(data, position)
                lost.append((position, following))
                position = following
            else:
                records, position = entry
                self.alive = _merged(self.alive, records)
        if lost:
            self._repair(data, lost)

    def _repair(self, data: bytes, lost: list[tuple[int, int]]) -> None:
        """Keep the damaged bytes aside and make the log whole."""
        aside, kept = self._path.with_suffix(".damaged"), "could not be kept"
        with contextlib.suppress(OSError):
            write_atomic(aside, *(data[start:stop] for start, stop in lost), durable=self._durable)
            kept = f"are kept in {aside.name}"
        size = sum(stop - start for start, stop in lost)
        where = "at the end" if lost[-1][1] == len(data) and len(lost) == 1 else "in the middle"
        self.damage = f"{self._path}: {size} bytes {where} are damaged; they {kept}"
        if where == "in the middle":
            self.damage += f"; what follows them is in force, what only they held is lost: {ABSTAINS}"
            self.alive[DOUBT] = b"\1"
        write_atomic(self._path, _entry(self.alive) if self.alive else b"", durable=self._durable)

    def write(self, records: Mapping[str, bytes]) -> None:
        """Add *records* as one batch, durable when this returns.

        Raises:
            StoreError: The disk refused; the caller must not tell anybody of these records.
        """
        with self._turn:
            merged, entry = _merged(self.alive, records), _entry(records)
            most = max(_REWRITE_ABOVE_BYTES, _HISTORY_FACTOR * _size(merged))
            try:
                if self._file.length + len(entry) > most:
                    self._file.replace(_entry(merged))
                else:
                    self._file.append(entry)
            except OSError as error:
                raise StoreError(f"{self._path}: {error.strerror}") from error
            self.alive = merged

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _merged(alive: Mapping[str, bytes], records: Mapping[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in {**alive, **records}.items() if value}


def _size(records: Mapping[str, bytes]) -> int:
    return sum(len(key) + len(value) for key, value in records.items())


def _entry(records: Mapping[str, bytes]) -> bytes:
    body = _encoder.encode(dict(records))
    return _HEAD.pack(len(body), blake2b(body, digest_size=16).digest()) + body


def _entry_at(data: bytes, position: int) -> tuple[dict[str, bytes], int] | None:
    """Return the entry at *position* and where the next begins, or None when it is not whole."""
    start = position + _HEAD.size
    if start >= len(data) or data[start] not in _MAPS:
        return None
    length, checksum = _HEAD.unpack_from(data, position)
    if length > len(data) - start:
        return None
    body = data[start : start + length]
    if blake2b(body, digest_size=16).digest() != checksum:
        return None
    try:
        return _decoder.decode(body), start + length
    except msgspec.MsgspecError:
        return None


def _next_entry(data: bytes, damaged: int) -> int:
    """Return where the first whole entry after the *damaged* one begins, or the end of *data*."""
    if damaged + _HEAD.size <= len(data):  # most likely the length is intact
        length, _ = _HEAD.unpack_from(data, damaged)
        following = damaged + _HEAD.size + int(length)
        if following < len(data) and _entry_at(data, following) is not None:
            return following
    return next((at for at in range(damaged + 1, len(data)) if _entry_at(data, at) is not None), len(data))
