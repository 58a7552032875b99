"""What one peer's digest says, and how far two of them are apart, in whole numbers.

Every voter must find the same distances on a Pi and on a PC. Sketches are brought to one integer
step (1/256 of the median scale) as points with whole coordinates; their dot products are sums below
2^53, exact in float64 in any order, fused or not. The only roundings are IEEE square root, division
and round-to-even, which are correctly rounded everywhere.

Under `cosine_delta` and `cosine` (of w = reference + difference; DemLearn, arXiv 2007.03278, Fig. 8) a
point is scaled to length 2^20, so that a squared distance is 2^41 x (1 - cosine). Limits: the
reference's sketch is exact to 20 bits of its largest bucket, below which differences of peers vanish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from struct import unpack

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId

METRICS = ("euclidean", "cosine_delta", "cosine")

OUTLIER_MEDIANS = 16
"""A sketch whose scale exceeds this many medians is not clustered."""

_STEPS_PER_MEDIAN = 256
_STEP_MAX = 4095  # 12 bits: |bucket| < 2^19, dot products < 2^51 at 8192 buckets
_REFERENCE_STEP_MAX = 2**32  # |bucket| < 2^47 and still exact; peers' differences vanish long before
_COORDINATE_BITS = 20  # of a point before it is scaled to its length: squares < 2^51 at 2046 buckets
_DISTANCE_ONE = 2.0**12  # fraction bits of a Euclidean distance
_UNIT_LENGTH = 2.0**20  # length of a cosine vector

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sketch:
    """One peer's digest as clustering sees it: bucket k stands for `scale * values[k]`."""

    peer: PeerId
    scale: float
    """A float32 value; zero says that all buckets are zero, whatever `values` holds."""
    values: bytes
    """int8 buckets; as many for every peer."""


def median_scale(sketches: Sequence[Sketch]) -> Fraction:
    """Return the lower median of the scales that are not zero; zero when all are.

    The median and not the largest is the common step: one peer that publishes a huge scale would
    otherwise blind everybody's distances.
    """
    scales = sorted(s.scale for s in sketches if s.scale != 0)
    return Fraction(scales[(len(scales) - 1) // 2]) if scales else Fraction(0)


def is_loud(sketch: Sketch, median: Fraction) -> bool:
    """Return whether the scale is so far above the *median* that the sketch cannot be compared."""
    return Fraction(sketch.scale) > OUTLIER_MEDIANS * median


def points_of(
    sketches: Sequence[Sketch], *, metric: str, median: Fraction, reference: bytes | None = None
) -> Floats:
    """Return one point of whole coordinates per sketch, one row each.

    Args:
        sketches: None of them loud.
        metric: One of `METRICS`.
        median: The swarm's `median_scale`.
        reference: Sketch of the reference under `cosine`: a little-endian float32 scale, then a
            little-endian int16 per bucket.

    Raises:
        MisuseError: The metric is not one of these, or is `cosine` without a reference.
    """
    if metric not in METRICS:
        raise MisuseError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if metric == "cosine" and reference is None:
        raise MisuseError("metric 'cosine' compares whole models and needs a sketch of the reference")
    if not sketches:
        return np.zeros((0, 0))
    steps = [_step(Fraction(s.scale), median, _STEP_MAX) for s in sketches]
    buckets = np.frombuffer(b"".join(s.values for s in sketches), dtype=np.int8)
    rows: Floats = buckets.reshape(len(sketches), -1) * np.array(steps, dtype=np.float64)[:, np.newaxis]
    if metric == "euclidean":
        return rows
    if metric == "cosine" and reference is not None:
        rows = _shortened(rows.astype(np.int64) + _reference_steps(reference, median))
    return _unit(rows)


def _step(scale: Fraction, median: Fraction, largest: int) -> int:
    return min(max(round(_STEPS_PER_MEDIAN * scale / median), 1), largest) if scale else 0


def _reference_steps(reference: bytes, median: Fraction) -> Integers:
    """Return the reference in steps of median / 256, each bucket rounded once."""
    scale = Fraction(unpack("<f", reference[:4])[0])
    buckets = np.frombuffer(reference[4:], dtype="<i2").astype(np.int64)
    if not median or not scale:
        return buckets * (1 if scale else 0)
    exact = min(_STEPS_PER_MEDIAN * scale / median, Fraction(_REFERENCE_STEP_MAX))
    return np.array([round(exact * bucket) for bucket in buckets.tolist()], dtype=np.int64)


def _shortened(rows: Integers) -> Floats:
    """Halve each row as often as it takes to bring its coordinates below 2^20; no angle changes."""
    largest = np.abs(rows).max(axis=1).tolist()
    halvings = [max(0, size.bit_length() - _COORDINATE_BITS) for size in largest]
    halves = np.array([[1 << (times - 1) if times else 0] for times in halvings], dtype=np.int64)
    return ((rows + halves) >> np.array(halvings, dtype=np.int64)[:, np.newaxis]).astype(np.float64)


def _unit(vectors: Floats) -> Floats:
    """Scale every row to length 2^20; a zero vector stays zero."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    units: Floats = np.rint(vectors * _UNIT_LENGTH / np.where(lengths == 0, 1.0, lengths))
    return units


def squares(points: Floats, others: Floats | None = None) -> Integers:
    """Return |a - b|^2 for every a of *points* and every b of *others* (of themselves without).

    Coordinates are whole; all sums stay below 2^53.
    """
    second = points if others is None else others
    dots = (points @ second.T).astype(np.int64)
    lengths = (points * points).sum(axis=1).astype(np.int64)
    second_lengths = (second * second).sum(axis=1).astype(np.int64)
    found: Integers = lengths[:, np.newaxis] + second_lengths[np.newaxis, :] - 2 * dots
    return found


def roots(squared: Integers) -> Integers:
    """Return distances in 1/4096 of a step, rounded down."""
    return np.floor(np.sqrt(squared.astype(np.float64)) * _DISTANCE_ONE).astype(np.int64)


def centre(points: Floats) -> Floats:
    """Return the mean of at least one of *points*, each coordinate rounded to even."""
    mean: Floats = np.rint(points.sum(axis=0) / len(points))
    return mean
