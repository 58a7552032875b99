"""The blob of an encoded model: what its bytes mean. `compression.py` writes them, `expansion.py` reads.

    blob     head, payload
    head     version, kind, flags, 0, hash of the base's raw bytes (zeros: none): 36 bytes
    payload  the kept arrays as they are, a float32 scale for every coded array (int8: for every
             block of 256 numbers of each), then
             fp16    the numbers as halves, divided by a scale that is a power of two
             int8    the differences to the base, counted in scales from -127 to 127
             sparse  length of the gaps (u32), the gaps, the values as int8
             nested  length (u32) of the root's blob, that blob, a sparse blob whose base is the root's model

All little-endian. A sparse blob holds the largest differences of all coded arrays together; all others
are 0. A gap is the number of zeros before an entry: as many bytes 255 as fit, then the rest. Which
arrays are kept is in `wire/encodings.py`. A blob is made once and named by its hash; its payload may be
behind zstd, whose bytes differ between versions, so nobody encodes a model again to compare.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod

import numpy as np

from swarmdem.errors import SchemaError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.learner import Parameters
from swarmdem.learning.parameters import model_bytes
from swarmdem.wire.charter import TensorSpec
from swarmdem.wire.encodings import HEADER_BYTES, blocks, is_kept

FP16, INT8, SPARSE, NESTED = 1, 2, 3, 4
KINDS: Mapping[str, Collection[int]] = {"raw": (), "fp16": {FP16}, "int8": {INT8}, "topk": {SPARSE, NESTED}}
"""What a swarm of each codec sends beside raw models."""

ENTRIES_SHARE = 3
"""A sparse blob has entries for at most one number in so many: beyond, int8 takes hardly more bytes."""

GAP_MAX = 255
LENGTH = struct.Struct("<I")
SCALE = np.dtype("<f4")
TINY = float(np.finfo(np.float32).tiny)
"""Least scale but 0: subnormal numbers are not alike on all machines."""

_VERSION = 1
_ZSTD = 1
_HEAD = struct.Struct(">BBBB32s")
_NO_BASE = bytes(32)


@dataclass(frozen=True, slots=True)
class Head:
    """What the first bytes of an encoded blob say."""

    kind: int
    """`FP16`, `INT8`, `SPARSE` or `NESTED`."""
    base: ModelHash | None
    """What the payload is a difference to; of a nested blob: what the root's blob in it is one to."""
    packed: bool
    """The payload is behind zstd."""

    def write(self) -> bytes:
        """Return the head as bytes."""
        return _HEAD.pack(_VERSION, self.kind, _ZSTD if self.packed else 0, 0, self.base or _NO_BASE)


@dataclass(frozen=True, slots=True)
class Base:
    """A model that both ends hold."""

    name: ModelHash
    """Hash of its raw blob."""
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Form:
    """A schema, divided."""

    kept: tuple[TensorSpec, ...]
    coded: tuple[TensorSpec, ...]
    kept_bytes: int
    starts: tuple[int, ...]
    """Of each coded array among all coded numbers, and their end."""

    @property
    def numbers(self) -> int:
        """How many numbers are coded."""
        return self.starts[-1]

    def scales(self, kind: int) -> int:
        """How many scales a payload of *kind* has."""
        if kind != INT8:
            return len(self.coded)
        return sum(blocks(stop - start) for start, stop in pairwise(self.starts))

    def fixed_bytes(self, kind: int) -> int:
        """Length of what a payload of *kind* begins with: the kept arrays and the scales."""
        return self.kept_bytes + SCALE.itemsize * self.scales(kind)

    def parts(self) -> Iterator[tuple[TensorSpec, int, int]]:
        """Yield each coded array and where it lies among all coded numbers."""
        yield from zip(self.coded, self.starts[:-1], self.starts[1:], strict=True)


@lru_cache(maxsize=16)
def form_of(schema: tuple[TensorSpec, ...]) -> Form:
    """Return how the models of *schema* are laid out."""
    kept = tuple(spec for spec in schema if is_kept(spec))
    coded = tuple(spec for spec in schema if not is_kept(spec))
    starts = [0]
    for spec in coded:
        starts.append(starts[-1] + prod(spec.shape))
    return Form(kept, coded, model_bytes(kept), tuple(starts))


def work_dtype(spec: TensorSpec) -> type[np.floating]:
    """Return the type in which an array's differences are taken and added."""
    return np.float64 if spec.dtype == "float64" else np.float32


def read_head(blob: bytes | memoryview) -> Head:
    """Return what an encoded blob is, before anything is decoded.

    Raises:
        SchemaError: It is no encoded model of this version.
    """
    if len(blob) < HEADER_BYTES:
        raise SchemaError(f"encoded model of {len(blob)} bytes")
    version, kind, flags, zero, name = _HEAD.unpack_from(blob)
    if version != _VERSION or flags > _ZSTD or zero or not FP16 <= kind <= NESTED:
        raise SchemaError("not an encoded model of this version")
    based = name != _NO_BASE
    if based != (kind != FP16):
        raise SchemaError("an encoded model with a base it has no use for, or without one")
    if kind == NESTED and flags:
        raise SchemaError("a nested model behind zstd as a whole")
    return Head(kind, ModelHash(name) if based else None, bool(flags))


def nest(root: bytes | memoryview, own: bytes) -> bytes:
    """Return a group's result with the root's beside it.

    Args:
        root: The root's blob, or that of the highest group that has a result: sparse.
        own: The group's, a difference to the root's model.
    """
    head = Head(NESTED, read_head(root).base, packed=False)
    return b"".join((head.write(), LENGTH.pack(len(root)), root, own))


def unnest(blob: bytes | memoryview) -> tuple[memoryview, memoryview]:
    """Return the root's blob and the group's own.

    Raises:
        SchemaError: They are not two sparse blobs, the first with the base that the head names.
    """
    view = memoryview(blob)[HEADER_BYTES:]
    length = LENGTH.unpack_from(view)[0] if len(view) >= LENGTH.size else len(view)
    root, own = view[LENGTH.size : LENGTH.size + length], view[LENGTH.size + length :]
    first, second = read_head(root), read_head(own)
    if first.kind != SPARSE or second.kind != SPARSE or first.base != read_head(blob).base:
        raise SchemaError("a nested model that is not made of two sparse ones")
    return root, own
