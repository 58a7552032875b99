"""The blob of an encoded model: what its bytes mean. `compression.py` writes them, `expansion.py` reads.

    blob     head, payload
    head     version, kind, flags, 0, hash of the base's raw bytes (zeros: none): 36 bytes
    payload  the kept arrays as they are, a float32 scale for every coded array, then
             fp16    the numbers as halves, divided by a scale that is a power of two
             int8    the differences to the base, counted in scales from -127 to 127
             sparse  length of the gaps (u32), the gaps, the values as int8

All little-endian. A sparse blob holds the largest differences of all coded arrays together; all others
are 0. A gap is the number of zeros before an entry: as many bytes 255 as fit, then the rest. Which
arrays are kept is in `wire/encodings.py`. A blob is made once and named by its hash; its payload may be
behind zstd, whose bytes differ between versions, so nobody encodes a model again to compare.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from swarmdem.errors import SchemaError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.learner import Parameters
from swarmdem.learning.parameters import model_bytes
from swarmdem.wire.charter import TensorSpec
from swarmdem.wire.encodings import HEADER_BYTES, is_kept

FP16, INT8, SPARSE = 1, 2, 3
KINDS: Mapping[str, Collection[int]] = {"raw": (), "fp16": {FP16}, "int8": {INT8}, "topk": {INT8, SPARSE}}
"""What a swarm of each codec sends beside raw models; where a base is not common, `topk` takes int8."""

ENTRIES_SHARE = 3
"""A sparse blob has entries for at most one number in so many: beyond, int8 takes hardly more bytes."""

GAP_MAX = 255
LENGTH = struct.Struct("<I")
SCALE = np.dtype("<f4")
TINY = float(np.finfo(np.float32).tiny)
"""Least scale but 0: subnormal numbers are not alike on all machines."""

_VERSION = 1
_ZSTD, _COMMON = 1, 2
_HEAD = struct.Struct(">BBBB32s")
_NO_BASE = bytes(32)


@dataclass(frozen=True, slots=True)
class Head:
    """What the first bytes of an encoded blob say."""

    kind: int
    """`FP16`, `INT8` or `SPARSE`."""
    base: ModelHash | None
    """What the payload is a difference to."""
    packed: bool
    """The payload is behind zstd."""
    common: bool = False
    """A result that many peers receive: a base for what they send next."""

    def write(self) -> bytes:
        """Return the head as bytes."""
        flags = (_ZSTD if self.packed else 0) | (_COMMON if self.common else 0)
        return _HEAD.pack(_VERSION, self.kind, flags, 0, self.base or _NO_BASE)


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

    @property
    def fixed_bytes(self) -> int:
        """Length of the part of a payload that all kinds have."""
        return self.kept_bytes + SCALE.itemsize * len(self.coded)

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
    if version != _VERSION or flags > _ZSTD | _COMMON or zero or kind not in {FP16, INT8, SPARSE}:
        raise SchemaError("not an encoded model of this version")
    based = name != _NO_BASE
    if based != (kind != FP16):
        raise SchemaError("an encoded model with a base it has no use for, or without one")
    return Head(kind, ModelHash(name) if based else None, bool(flags & _ZSTD), bool(flags & _COMMON))
