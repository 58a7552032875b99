"""Cells as points: the mean sketch of one, how far its peers scatter about it, and distances, in integers.

Sketches are linear, so the mean of the peers' sketches is the sketch of the mean of their models (eq. 9), and
whoever holds the digests of a cell's certificate can compute what its speaker tells the region. With the
squared distance of a point to a cell taken as

    |x - centroid|^2 + scatter

it is exactly the mean squared distance to the cell's peers; between two cells both scatters are added. All
values are brought to one step, 1/256 of the median scale at hand (`sketches`), and are whole from there on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from struct import pack, unpack

import numpy as np

from swarmdem.identifiers import PeerId
from swarmdem.protocol.cells.entries import SCATTER_MAX
from swarmdem.protocol.sketches import Sketch, is_loud, median_scale, points_of, squares

_STEPS = 256
_FLOAT32_MAX = 3.4028234663852886e38
_FLOAT32_NORMAL_MIN = 2.0**-126


@dataclass(frozen=True, slots=True)
class Centroid:
    """The mean sketch of some peers."""

    scale: float
    """A float32 value: bucket k of the mean is `scale * values[k]`."""
    values: bytes
    """int8 buckets."""
    scatter: int
    """Mean squared distance of the peers to it, in (scale / 256)^2; rounded."""


def centroid(sketches: Sequence[Sketch], weights: Mapping[PeerId, int]) -> Centroid | None:
    """Return the weighted mean of *sketches*; None when none can be compared or all weights are 0.

    Args:
        sketches: Of one seed and reference, in any order; loud ones (`sketches.is_loud`) are left out.
        weights: What each peer counts for in eq. 9.
    """
    median = median_scale(sketches)
    heard = sorted((s for s in sketches if not is_loud(s, median)), key=lambda s: s.peer)
    counts = [weights.get(sketch.peer, 0) for sketch in heard]
    total = sum(counts)
    if not total:
        return None
    points = points_of(heard, metric="euclidean", median=median).astype(np.int64)
    sums = [sum(w * v for w, v in zip(counts, column, strict=True)) for column in points.T.tolist()]
    largest = max(map(abs, sums), default=0)
    step = median * largest / (_STEPS * total * 127) if largest else median
    scale = _float32(step)
    values = (
        bytes((2 * s * 127 + largest) // (2 * largest) & 0xFF for s in sums) if largest else bytes(len(sums))
    )
    squared = (points * points).sum(axis=1).tolist()
    spread = Fraction(sum(w * q for w, q in zip(counts, squared, strict=True)), total) - Fraction(
        sum(s * s for s in sums), total * total
    )
    if not scale:
        return Centroid(scale, values, 0)
    scatter = round(spread * median**2 / Fraction(scale) ** 2)
    return Centroid(scale, values, min(scatter, SCATTER_MAX))


def distances(point: Sketch, others: Sequence[tuple[Sketch, int]]) -> list[int]:
    """Return the squared distance of *point* to each of *others*, (centroid, scatter), in one common step."""
    sketches = [point, *(sketch for sketch, _ in others)]
    median = median_scale(sketches)
    points = points_of(sketches, metric="euclidean", median=median)
    found = squares(points[:1], points[1:])[0].tolist() if others else []
    return [
        square + scatter_in(scatter, sketch.scale, median)
        for square, (sketch, scatter) in zip(found, others, strict=True)
    ]


def scatter_in(scatter: int, scale: float, median: Fraction) -> int:
    """Return a *scatter* told in (scale / 256)^2 in (median / 256)^2, rounded."""
    return round(scatter * (Fraction(scale) / median) ** 2) if median else 0


def _float32(value: Fraction) -> float:
    """Return *value* as the float32 that a digest may carry: 0 where it is too small for a normal one."""
    bounded = min(float(value), _FLOAT32_MAX)
    narrowed: float = unpack("<f", pack("<f", bounded))[0]
    return narrowed if narrowed >= _FLOAT32_NORMAL_MIN else 0.0
