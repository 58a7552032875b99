"""A model as numbered leaves under one hash.

A blob is cut into leaves of 64 KiB (the last may be shorter). Its name is SHA-256 over a tag, its
length and the hashes of its leaves, so it has one name whatever chunk size a link uses. A signed
`BlobOffer` lists the leaf hashes; chunks carry whole leaves and no signature, because every leaf is
checked against the list before it is kept.

Limits: a blob has 1 byte to 2^20 leaves (64 GiB: what one offer can list); an `Assembly` reserves
memory for a whole blob, and only after the size was found acceptable.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from swarmdem.errors import MalformedFrameError, OversizeFrameError
from swarmdem.identifiers import ModelHash
from swarmdem.wire.frame import MAGIC, WIRE_VERSION

LEAF_BYTES = 65_536
HASH_BYTES = 32
CHUNK = 64
"""Type number of a chunk: outside the types of signed frames."""
CHUNK_LEAVES_MAX = 256
"""Leaves in one chunk message: 16 MiB."""

_LEAF_TAG = b"swarmdem/1/leaf\0"
_BLOB_TAG = b"swarmdem/1/blob\0"
_CHUNK_HEADER = struct.Struct(">2sBBH32sI")
CHUNK_HEADER_BYTES = _CHUNK_HEADER.size
_tagged = sha256(_LEAF_TAG)

Reserve = Callable[[int], memoryview]


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What a `BlobOffer` says of a blob."""

    name: ModelHash
    total_bytes: int
    leaves: bytes
    """SHA-256 of each leaf, joined."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole leaves of one blob; nothing about them is proven yet."""

    blob: ModelHash
    first: int
    """Index of the first leaf."""
    data: memoryview


def leaf_hash(leaf: bytes | memoryview) -> bytes:
    """Return SHA-256 of the leaf tag and *leaf*."""
    hasher = _tagged.copy()
    hasher.update(leaf)
    return hasher.digest()


def leaf_count(total_bytes: int) -> int:
    """Return how many leaves a blob of *total_bytes* has."""
    return -(-total_bytes // LEAF_BYTES)


def blob_name(total_bytes: int, leaves: bytes) -> ModelHash:
    """Return the name of a blob: SHA-256 of the blob tag, its length (u64) and its leaf hashes."""
    return ModelHash(sha256(_BLOB_TAG + total_bytes.to_bytes(8, "big") + leaves).digest())


def describe(data: bytes | memoryview) -> BlobInfo:
    """Return the name and leaf hashes of *data*, which must not be empty."""
    view = memoryview(data).cast("B")
    assert len(view) > 0, "a blob has at least one byte"
    starts = range(0, len(view), LEAF_BYTES)
    leaves = b"".join([leaf_hash(view[start : start + LEAF_BYTES]) for start in starts])
    return BlobInfo(blob_name(len(view), leaves), len(view), leaves)


def encode_chunk(name: ModelHash, data: bytes | memoryview, first: int, count: int) -> bytes:
    """Return the chunk message with *count* leaves of the whole blob *data*, from leaf *first* on."""
    return b"".join(chunk_parts(name, data, first, count))


def chunk_parts(
    name: ModelHash, data: bytes | memoryview, first: int, count: int
) -> tuple[bytes, memoryview]:
    """Return the header of that chunk message and its leaves, which are a view into *data*."""
    view = memoryview(data).cast("B")
    assert 0 < count <= CHUNK_LEAVES_MAX
    assert 0 <= first < leaf_count(len(view))
    header = _CHUNK_HEADER.pack(MAGIC, WIRE_VERSION, CHUNK, 0, name, first)
    return header, view[first * LEAF_BYTES : (first + count) * LEAF_BYTES]


def decode_chunk(raw: bytes | memoryview) -> Chunk:
    """Return the chunk of a message; its data are a view into *raw*.

    Raises:
        WireError: It is no chunk message, empty or too long.
    """
    if len(raw) <= CHUNK_HEADER_BYTES:
        raise MalformedFrameError(f"chunk of {len(raw)} bytes")
    if len(raw) > CHUNK_HEADER_BYTES + CHUNK_LEAVES_MAX * LEAF_BYTES:
        raise OversizeFrameError(len(raw), CHUNK_HEADER_BYTES + CHUNK_LEAVES_MAX * LEAF_BYTES)
    magic, version, kind, flags, name, first = _CHUNK_HEADER.unpack_from(raw)
    if magic != MAGIC or version != WIRE_VERSION or kind != CHUNK or flags != 0:
        raise MalformedFrameError("not a chunk of this version")
    return Chunk(ModelHash(name), first, memoryview(raw)[CHUNK_HEADER_BYTES:])


def untouched(size_bytes: int) -> memoryview:
    """Return memory that is not filled with zeros: a page is first touched when its leaf comes."""
    return np.empty(size_bytes, np.uint8).data


class Assembly:
    """Collects the leaves of one blob in any order, each verified before it is kept.

    `add` does all at once. In three steps hashing may be done in another thread: `lacks` says whether a
    chunk is worth it, `verify` hashes and copies and touches nothing else, `keep` counts.
    """

    def __init__(self, info: BlobInfo, *, limit_bytes: int, reserve: Reserve = untouched) -> None:
        """Reserve memory for the blob once its description holds together.

        Args:
            info: What the offer says.
            limit_bytes: The most there may be.
            reserve: Returns memory of a length, whatever is in it.

        Raises:
            OversizeFrameError: The blob is larger than *limit_bytes*.
            MalformedFrameError: The leaf list does not fit the length or the name.
        """
        if info.total_bytes > limit_bytes:
            raise OversizeFrameError(info.total_bytes, limit_bytes)
        if info.total_bytes <= 0 or len(info.leaves) != HASH_BYTES * leaf_count(info.total_bytes):
            raise MalformedFrameError(f"{len(info.leaves)} bytes of leaf hashes for {info.total_bytes} bytes")
        if blob_name(info.total_bytes, info.leaves) != info.name:
            raise MalformedFrameError("the leaf list is not that of the named blob")
        self.info = info
        self._bytes = reserve(info.total_bytes)
        self._held = bytearray(leaf_count(info.total_bytes))  # one byte a leaf: 0 missing, 1 held
        self._missing = len(self._held)

    @property
    def complete(self) -> bool:
        """Whether every leaf is here and verified."""
        return self._missing == 0

    def add(self, chunk: Chunk) -> int:
        """Keep the leaves of *chunk* that were missing and return how many those are.

        Raises:
            MalformedFrameError: The chunk is of another blob, does not consist of whole leaves
                within the blob, or a leaf has the wrong hash; leaves before that one are kept.
        """
        if not self.lacks(chunk):
            return 0
        good, wrong = self.verify(chunk)
        added = self.keep(good)
        if wrong is not None:
            raise wrong_leaf(wrong)
        return added

    def lacks(self, chunk: Chunk) -> bool:
        """Return whether any leaf of *chunk* is missing.

        Raises:
            MalformedFrameError: The chunk is of another blob, or does not consist of whole leaves within
                the blob.
        """
        start, stop = chunk.first * LEAF_BYTES, chunk.first * LEAF_BYTES + len(chunk.data)
        total = self.info.total_bytes
        if chunk.blob != self.info.name:
            raise MalformedFrameError("chunk of another blob")
        if stop > total or (stop % LEAF_BYTES and stop != total):
            raise MalformedFrameError(f"chunk covers bytes {start} to {stop} of a blob of {total}")
        return self._held.find(0, chunk.first, leaf_count(stop)) >= 0

    def verify(self, chunk: Chunk) -> tuple[list[int], int | None]:
        """Hash the missing leaves of a chunk that `lacks` accepted, and copy the good ones to their place.

        Returns:
            The good leaves, and the first wrong one; those after it are not looked at.
        """
        start, hashes = chunk.first * LEAF_BYTES, self.info.leaves
        good: list[int] = []
        for index in range(chunk.first, leaf_count(start + len(chunk.data))):
            if self._held[index]:
                continue
            offset = index * LEAF_BYTES
            leaf = chunk.data[offset - start : offset - start + LEAF_BYTES]
            if leaf_hash(leaf) != hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]:
                return good, index
            self._bytes[offset : offset + len(leaf)] = leaf
            good.append(index)
        return good, None

    def keep(self, leaves: Iterable[int]) -> int:
        """Count leaves as held that `verify` found good; return how many were missing until now."""
        before = self._missing
        for index in leaves:
            self._missing -= 1 - self._held[index]
            self._held[index] = 1
        return before - self._missing

    def missing_below(self, leaf: int) -> int:
        """Return how many leaves before *leaf* are missing."""
        return self._held.count(0, 0, leaf)

    def missing(
        self, *, first: int = 0, most_ranges: int = 256, most_leaves: int | None = None
    ) -> tuple[tuple[int, int], ...]:
        """Return missing leaves from *first* on as half-open ranges, at most so many ranges and leaves."""
        ranges: list[tuple[int, int]] = []
        credit = len(self._held) if most_leaves is None else most_leaves
        start = self._held.find(0, first)
        while start >= 0 and credit > 0 and len(ranges) < most_ranges:
            end = self._held.find(1, start)
            stop = min(len(self._held) if end < 0 else end, start + credit)
            ranges.append((start, stop))
            credit -= stop - start
            start = self._held.find(0, stop)
        return tuple(ranges)

    def data(self) -> memoryview:
        """Return the whole blob, read-only and without a copy; only when `complete`."""
        assert self.complete, "leaves are missing"
        return self._bytes.toreadonly()


def wrong_leaf(index: int) -> MalformedFrameError:
    """Return the error that says that a leaf is not what the list says."""
    return MalformedFrameError(f"leaf {index} has the wrong hash")
