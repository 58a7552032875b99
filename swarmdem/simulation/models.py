"""Pretended models: four exact numbers instead of tensors, so that every mean can be checked.

The first three numbers are the "weights" that training moves and sketches compare; the fourth is
drawn anew by every training and in no sketch: it makes two uploads differ for certain, so that a
mean which counts one of them twice cannot be right by accident. Averages are `Fraction`s: exact.
Training rounds to integers, which keeps the fractions small over many rounds.
"""

import math
import random
import struct
from collections.abc import Iterable
from fractions import Fraction
from hashlib import blake2b

from swarmdem.identifiers import ModelHash

Vector = tuple[Fraction, Fraction, Fraction, Fraction]

MODEL_BYTES = 20_000
"""Size every pretended blob claims: 10-20 ms on a simulated link, far inside every deadline."""

_FINGERPRINTS = 2**48
_SPREAD = 3000
"""How far apart the centres of two kinds of data lie; a round's noise is about a tenth of it."""


class ModelBook:
    """Every model that ever existed in one simulated world, by name."""

    def __init__(self) -> None:
        self._vectors: dict[ModelHash, Vector] = {}

    def enter(self, vector: Vector) -> ModelHash:
        """Return the name of *vector* and remember it."""
        parts = "/".join(f"{part.numerator}:{part.denominator}" for part in vector)
        name = ModelHash(blake2b(parts.encode(), digest_size=32, person=b"sd/sim-model").digest())
        self._vectors[name] = vector
        return name

    def __getitem__(self, model: ModelHash) -> Vector:
        """Return the content of *model*; KeyError when no such model was ever made."""
        return self._vectors[model]

    def __contains__(self, model: object) -> bool:
        """Say whether a model of this name was ever made."""
        return model in self._vectors


ZERO: Vector = (Fraction(0), Fraction(0), Fraction(0), Fraction(0))
"""What a reference's own sketch is taken against."""


def initial(rng: random.Random) -> Vector:
    """Return an untrained model."""
    return (
        Fraction(rng.randrange(-50, 51)), Fraction(rng.randrange(-50, 51)), Fraction(rng.randrange(-50, 51)),
        Fraction(rng.randrange(_FINGERPRINTS)),
    )  # fmt: skip


def centre(kind: int) -> tuple[int, int, int]:
    """Return what peers with data of this *kind* learn towards: eight corners of a cube."""
    return (_SPREAD * (kind & 1), 2 * _SPREAD * (kind >> 1 & 1), 3 * _SPREAD * (kind >> 2 & 1))


def trained(start: Vector, kind: int, rng: random.Random) -> Vector:
    """Return *start* after one round: a quarter of the way to the data's centre, and some noise."""
    first, second, third = (
        Fraction(round(part + (goal - part) / 4) + rng.randrange(-300, 301))
        for part, goal in zip(start[:3], centre(kind), strict=True)
    )
    return (first, second, third, Fraction(rng.randrange(_FINGERPRINTS)))


def mean(inputs: Iterable[tuple[Vector, int]]) -> Vector:
    """Return sum(weight x model) / sum(weight) (eq. 9)."""
    pairs = list(inputs)
    total = sum(weight for _, weight in pairs)
    return tuple(sum(vector[i] * weight for vector, weight in pairs) / Fraction(total) for i in range(4))  # type: ignore[return-value]


def moved(previous: Vector, mean: Vector, gamma: Fraction) -> Vector:
    """Return (1 - gamma) x previous + gamma x mean (Dem-AI eq. 3)."""
    return mixed(mean, previous, gamma)


def amplified(vector: Vector, gain: Fraction) -> Vector:
    """Return gain x vector."""
    return tuple(gain * part for part in vector)  # type: ignore[return-value]


def mixed(parent: Vector, own: Vector, alpha: Fraction) -> Vector:
    """Return alpha x parent + (1 - alpha) x own (eq. 10)."""
    return tuple(alpha * p + (1 - alpha) * o for p, o in zip(parent, own, strict=True))  # type: ignore[return-value]


def sketch(model: Vector, reference: Vector, buckets: int, *, bits: int = 8) -> tuple[float, bytes]:
    """Return (scale, buckets) of *model* - *reference*; a bucket has *bits* (8 or 16, little-endian).

    Bucket j is the sum of the three differences under the signs given by the bits of j, so
    distances between sketches grow with distances between models.
    """
    d = [part - base for part, base in zip(model[:3], reference[:3], strict=True)]
    table = [int(sum(-x if j >> i & 1 else x for i, x in enumerate(d))) for j in range(8)]
    largest = max(map(abs, table))
    if not largest:
        return 0.0, bytes(buckets * bits // 8)
    most = 2 ** (bits - 1) - 1
    scale: float = struct.unpack("<f", struct.pack("<f", largest / most))[0]
    values = [max(-most, min(most, math.floor(value / scale + 0.5))) for value in table]
    return scale, struct.pack(
        f"<{buckets}{'b' if bits == 8 else 'h'}", *(values[j % 8] for j in range(buckets))
    )
