"""The sketch by which peers compare models: CountSketch of (parameters - reference).

A linear map to a few buckets that keeps distances: the squared distance of two sketches estimates
that of the models with a relative deviation of sqrt(2 / buckets) (2.2 % of the distance at 1024).
Buckets and signs come from a counter hash, not from a library's random stream, so that every
implementation in every language gets the same (Charikar, Chen and Farach-Colton 2002;
feature hashing, Weinberger et al. 2009). Each peer's own bytes count: nobody recomputes another's
sketch, hence the last bit of a float sum need not agree between machines.

Limits: 2 bytes per parameter are kept for the hash tables of the last two (seed, model size, buckets) up
to `CACHED_MAX` parameters; larger models hash anew each time.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import MisuseError, NotFiniteError, SchemaError
from swarmdem.learning.learner import Parameters
from swarmdem.learning.parameters import vectors

BLOCK = 65_536
"""Parameters per partial sum: fixes the float result, and hashing stays within the cache."""

CACHED_MAX = 8_000_000
"""Most parameters whose hash table is kept (16 MB each, two kept)."""

BUCKETS_MIN, BUCKETS_MAX = 16, 8192

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TINY = float(np.finfo(np.float32).tiny)

Vector = NDArray[np.float32]
Table = NDArray[np.uint16]
"""Of consecutive parameters: twice the bucket, and 1 more where the sign is negative."""


def sketch(parameters: Parameters, reference: Parameters, *, seed: int, size: int) -> tuple[float, bytes]:
    """Return the scale and the int8 buckets of the difference of two models.

    Args:
        parameters: The trained model.
        reference: What is subtracted: the swarm's reference, or under `basis = updates` the model that
            training began with. Same names and shapes; integer buffers stay out of both.
        seed: Names the hash function; 64 bits.
        size: Number of buckets, 16 to 8192.

    Returns:
        The step of one count (a float32 value, 0 for equal models, never subnormal) and *size*
        signed bytes from -127 to 127.

    Raises:
        MisuseError: *size* is out of range.
        SchemaError: The models differ in size.
        NotFiniteError: A sum of differences is not finite.
    """
    if not BUCKETS_MIN <= size <= BUCKETS_MAX:
        raise MisuseError(f"a sketch of {size} buckets; {BUCKETS_MIN} to {BUCKETS_MAX} are possible")
    own, base = vectors(parameters), vectors(reference)
    if [part.size for part in own] != [part.size for part in base]:
        sizes = (sum(part.size for part in parts) for parts in (own, base))
        raise SchemaError("model of {} parameters, reference of {}".format(*sizes))
    return _quantise(_sums(own, base, seed=seed, size=size), np.dtype(np.int8))


def sketch16(parameters: Parameters, *, seed: int, size: int) -> tuple[float, bytes]:
    """Return the scale and the int16 buckets of a model itself, not of a difference.

    Added to the sketch of a difference from this model it gives the sketch of the other one: sketches
    are linear. That is what the metric `cosine` compares (DemLearn, arXiv 2007.03278, Fig. 8). The
    finer step keeps the rounding of the large model below that of the small difference.

    Args:
        parameters: The model; integer buffers stay out.
        seed: Names the hash function; 64 bits.
        size: Number of buckets, 16 to 8192.

    Returns:
        The step of one count (a float32 value, never subnormal) and *size* little-endian int16 numbers
        from -32767 to 32767.

    Raises:
        MisuseError: *size* is out of range.
        NotFiniteError: A sum is not finite.
    """
    if not BUCKETS_MIN <= size <= BUCKETS_MAX:
        raise MisuseError(f"a sketch of {size} buckets; {BUCKETS_MIN} to {BUCKETS_MAX} are possible")
    return _quantise(_sums(vectors(parameters), seed=seed, size=size), np.dtype("<i2"))


def is_sketch16(sketched: tuple[float, bytes], parameters: Parameters, *, seed: int) -> bool:
    """Return whether *sketched* (scale, buckets) is what `sketch16` gives of a model, here or elsewhere.

    The last bit of a float sum need not agree between machines: a bucket may be one step off, and a bit.

    Raises:
        MisuseError: It has too few or too many buckets.
        NotFiniteError: A sum is not finite.
    """
    scale, buckets = sketched
    step, own = sketch16(parameters, seed=seed, size=len(buckets) // 2)
    theirs, ours = (np.frombuffer(counts, "<i2").astype(np.float64) for counts in (buckets, own))
    return bool(np.abs(scale * theirs - step * ours).max() <= 1.5 * step)


def _sums(own: Sequence[Vector], base: Sequence[Vector] = (), *, seed: int, size: int) -> NDArray[np.float64]:
    """s[b] = sum over i of sign_i x (own_i - base_i), blocks added in order; no *base* is zeros."""
    count = sum(part.size for part in own)
    most = min(count, BLOCK)
    weights, places = np.empty(most), np.empty(most, np.intp)  # fresh ones for each block cost as much again
    signed = np.zeros(2 * size)
    for table, block in zip(_tables(seed, count, size), _differences(own, base), strict=True):
        weights[: block.size] = block
        places[: block.size] = table
        signed += np.bincount(places[: block.size], weights[: block.size], minlength=2 * size)
    with np.errstate(invalid="ignore"):  # of infinities; `_quantise` refuses the outcome
        return signed[::2] - signed[1::2]


def _differences(own: Sequence[Vector], base: Sequence[Vector]) -> Iterator[Vector]:
    """Yield own - base as stretches of `BLOCK` in one buffer, so that nothing of the model's size is made."""
    block, filled = np.empty(min(sum(part.size for part in own), BLOCK), np.float32), 0
    for number, part in enumerate(own):
        done = 0
        while done < part.size:
            count = min(part.size - done, block.size - filled)
            piece, ours = block[filled : filled + count], part[done : done + count]
            if base:
                np.subtract(ours, base[number][done : done + count], out=piece)
            else:
                piece[...] = ours
            done, filled = done + count, filled + count
            if filled == block.size:
                yield block
                filled = 0
    if filled:
        yield block[:filled]


def _quantise(sums: NDArray[np.float64], dtype: np.dtype[Any]) -> tuple[float, bytes]:
    most = float(np.abs(sums).max())
    with np.errstate(over="ignore", under="ignore"):
        scale = float(np.float32(most / np.iinfo(dtype).max))
    if not np.isfinite(scale):
        raise NotFiniteError("the sketch of the model is not finite")
    if scale < _TINY:
        return 0.0, bytes(sums.size * dtype.itemsize)
    return scale, np.rint(sums / scale).astype(dtype).tobytes()


def _tables(seed: int, count: int, size: int) -> Iterator[Table]:
    if count <= CACHED_MAX:
        yield from _cached(seed, count, size)
    else:
        yield from starmap(_table, _blocks(seed, count, size))


@lru_cache(maxsize=2)
def _cached(seed: int, count: int, size: int) -> tuple[Table, ...]:
    return tuple(starmap(_table, _blocks(seed, count, size)))


def _blocks(seed: int, count: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    for start in range(0, count, BLOCK):
        yield seed, start, min(start + BLOCK, count), size


def _table(seed: int, start: int, stop: int, size: int) -> Table:
    """Hash the counters *start* to *stop* (splitmix64, Steele, Lea and Flood 2014)."""
    x = np.arange(start + 1, stop + 1, dtype=np.uint64)
    x *= _GAMMA
    x += np.uint64(seed)
    x ^= x >> np.uint64(30)
    x *= _MIX_1
    x ^= x >> np.uint64(27)
    x *= _MIX_2
    x ^= x >> np.uint64(31)
    buckets = ((x >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)  # multiply-shift, no modulo
    return (2 * buckets + (x & np.uint64(1))).astype(np.uint16)
