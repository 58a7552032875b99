"""An append-only log of small records: what the protocol must find again after a crash.

A batch of records is one entry: length u32, BLAKE2b-128 of the body, body (MessagePack map of
key to value; an empty value deletes). Reading stops at the first entry that is torn or damaged:
a batch is there as a whole or not at all. The file is rewritten when most of it is history.
"""

import os
import struct
import threading
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec

from swarmdem.errors import StoreError
from swarmdem.node.files import write_atomic

_HEAD = struct.Struct("<I16s")
_REWRITE_ABOVE_BYTES = 1 << 20
_HISTORY_FACTOR = 4  # a log this many times longer than what is alive in it is rewritten

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


class RecordLog:
    """The records of one peer in one file; threads may write to it in turn.

    Attributes:
        alive: The records now in force.
        damage: What was cut off when the file was opened, in plain words; empty when nothing was.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._turn = threading.Lock()
        self.alive: dict[str, bytes] = {}
        self.damage = ""
        self._length = self._recover()
        self._file: BinaryIO = open(path, "ab")  # noqa: SIM115 - open as long as the peer runs

    def _recover(self) -> int:
        """Read what is whole, cut off what is not, and return the length kept in bytes."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            write_atomic(self._path, b"", durable=self._durable)
            return 0
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        position = 0
        while (entry := _entry_at(data, position)) is not None:
            records, position = entry
            self._merge(records)
        if position < len(data):
            aside = self._path.with_suffix(f".damaged-{position}")
            write_atomic(aside, data[position:], durable=self._durable)
            lost = len(data) - position
            self.damage = f"{self._path}: {lost} bytes at the end are damaged; they are kept in {aside.name}"
            os.truncate(self._path, position)
        return position

    def write(self, records: Mapping[str, bytes]) -> None:
        """Add *records* as one batch, durable when this returns.

        Raises:
            StoreError: The disk refused; the caller must not tell anybody of these records.
        """
        with self._turn:
            self._append(records)

    def _append(self, records: Mapping[str, bytes]) -> None:
        entry = _entry(records)
        try:
            if self._length + len(entry) > max(_REWRITE_ABOVE_BYTES, _HISTORY_FACTOR * self._alive_bytes()):
                self._rewrite(records)
                return
            self._file.write(entry)
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self._path, self._length)  # half an entry would hide all that come after it
            raise StoreError(f"{self._path}: {error.strerror}") from error
        self._length += len(entry)
        self._merge(records)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _rewrite(self, records: Mapping[str, bytes]) -> None:
        self._merge(records)
        whole = _entry(self.alive)
        write_atomic(self._path, whole, durable=self._durable)
        self._file.close()
        self._file = open(self._path, "ab")  # noqa: SIM115
        self._length = len(whole)

    def _merge(self, records: Mapping[str, bytes]) -> None:
        for key, value in records.items():
            if value:
                self.alive[key] = value
            else:
                self.alive.pop(key, None)

    def _alive_bytes(self) -> int:
        return sum(len(key) + len(value) for key, value in self.alive.items())


def _entry(records: Mapping[str, bytes]) -> bytes:
    body = _encoder.encode(dict(records))
    return _HEAD.pack(len(body), blake2b(body, digest_size=16).digest()) + body


def _entry_at(data: bytes, position: int) -> tuple[dict[str, bytes], int] | None:
    """Return the entry at *position* and where the next begins, or None when it is not whole."""
    start = position + _HEAD.size
    if start > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, position)
    body = data[start : start + length]
    if len(body) < length or blake2b(body, digest_size=16).digest() != checksum:
        return None
    try:
        return _decoder.decode(body), start + length
    except msgspec.MsgspecError:
        return None
