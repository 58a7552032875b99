"""Who resembles whom: exact average linkage over the sketches of a round's digests.

Every voter must compute the same tree on a Pi and on a PC, so integers decide and floats never do.
Sketches are brought to one integer step (1/256 of the median scale), their dot products are sums
below 2^53 (exact in float64 in any order, fused or not), a distance is an integer, and two linkage
heights are compared as fractions. The only roundings are IEEE square root, division and
round-to-even, which are correctly rounded everywhere.

The result is that of greedy merging by (height, smaller least leaf, larger least leaf), leaves
ordered by peer id. It is found with nearest-neighbour chains: average linkage keeps reciprocal
neighbours reciprocal under that order, ties included, so both ways merge the same pairs.

Linkage: UPGMA over all pairs, the default of DemLearn's published code (the text of arXiv
2007.03278 describes centroid distances). Limits: `LISTED_MAX` sketches of at most 8192 buckets,
time and memory grow with the square of their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from struct import pack, unpack

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId
from swarmdem.wire.messages import LISTED_MAX

METRICS = ("euclidean", "cosine_delta")
"""Distances of version 1; `cosine` of whole parameters needs more than a sketch of differences."""

OUTLIER_MEDIANS = 16
"""A sketch whose scale exceeds this many medians is not clustered."""

_STEPS_PER_MEDIAN = 256
_STEP_MAX = 4095  # 12 bits: |bucket| < 2^19, dot products < 2^51 at 8192 buckets
_DISTANCE_ONE = 2.0**12  # fraction bits of a Euclidean distance
_UNIT_LENGTH = 2.0**20  # length of a cosine vector
_NEVER = 2**61  # above every sum of distances: 2^18 pairs, each below 2^42.1
_FLOAT32_NORMAL_MIN = 2.0**-126

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


@dataclass(frozen=True, slots=True)
class Merge:
    """Two nodes of a dendrogram become one, at height `total / pairs`."""

    left: int
    """The node that holds the smaller least leaf."""
    right: int
    total: int
    """Sum of the distances between the leaves of the two nodes."""
    pairs: int


@dataclass(frozen=True, slots=True)
class Dendrogram:
    """The binary tree over some peers: node i is leaf i, node len(leaves) + i is merge i."""

    leaves: tuple[PeerId, ...]
    """Sorted."""
    merges: tuple[Merge, ...]
    """A node precedes the one it is merged into; the last is the top."""
    outliers: tuple[PeerId, ...]
    """Peers left out for their scale; sorted."""

    def children(self, node: int) -> tuple[int, ...]:
        """Return the two nodes that *node* was merged from; none for a leaf."""
        if node < len(self.leaves):
            return ()
        merge = self.merges[node - len(self.leaves)]
        return merge.left, merge.right

    def below(self, node: int) -> list[int]:
        """Return the leaves of *node*, sorted; a leaf's own number for a leaf."""
        found, pending = [], [node]
        while pending:
            here = pending.pop()
            if here < len(self.leaves):
                found.append(here)
            pending.extend(self.children(here))
        return sorted(found)


def sketch_fault(scale: float, values: bytes, *, buckets: int) -> str:
    """Return why a sketch must be refused, or nothing when it may be clustered."""
    try:
        narrowed = unpack("<f", pack("<f", scale))[0]
    except OverflowError:
        return "scale is not a finite float32 value"
    if not narrowed == scale < np.inf:
        return "scale is not a finite float32 value"
    if scale != 0 and scale < _FLOAT32_NORMAL_MIN:
        return "scale is negative or subnormal"
    if len(values) != buckets:
        return f"sketch has {len(values)} buckets instead of {buckets}"
    return "sketch holds -128" if b"\x80" in values else ""


def dendrogram(sketches: Sequence[Sketch], *, metric: str) -> Dendrogram:
    """Cluster *sketches* of one seed and reference, in any order.

    Args:
        sketches: One per peer, each without a `sketch_fault`; may be empty.
        metric: One of `METRICS`.

    Raises:
        MisuseError: The metric is not one of this version.
    """
    if metric not in METRICS:
        raise MisuseError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    assert len(sketches) <= LISTED_MAX
    ordered = sorted(sketches, key=lambda sketch: sketch.peer)
    median = median_scale(ordered)
    near = [s for s in ordered if Fraction(s.scale) <= OUTLIER_MEDIANS * median]
    inside = tuple(s.peer for s in near)
    vectors = _common_vectors(near, median)
    distances = _euclidean(vectors) if metric == "euclidean" else _cosine(vectors)
    far = tuple(s.peer for s in ordered if Fraction(s.scale) > OUTLIER_MEDIANS * median)
    return Dendrogram(inside, average_linkage(distances), far)


def median_scale(sketches: Sequence[Sketch]) -> Fraction:
    """Return the lower median of the scales that are not zero; zero when all are.

    The median and not the largest is the common step: one peer that publishes a huge scale would
    otherwise blind everybody's distances.
    """
    scales = sorted(s.scale for s in sketches if s.scale != 0)
    return Fraction(scales[(len(scales) - 1) // 2]) if scales else Fraction(0)


def _common_vectors(sketches: Sequence[Sketch], median: Fraction) -> Floats:
    """Return the sketches in steps of median / 256 as whole numbers, one row each."""
    if not sketches:
        return np.zeros((0, 0))
    steps = [
        min(max(round(_STEPS_PER_MEDIAN * Fraction(s.scale) / median), 1), _STEP_MAX) if s.scale else 0
        for s in sketches
    ]
    buckets = np.frombuffer(b"".join(s.values for s in sketches), dtype=np.int8)
    rows = buckets.reshape(len(sketches), -1).astype(np.float64)
    return rows * np.array(steps, dtype=np.float64)[:, np.newaxis]


def _squared(vectors: Floats) -> Integers:
    """Return |a - b|^2 for every pair of rows of whole numbers."""
    dots = (vectors @ vectors.T).astype(np.int64)
    lengths = np.diagonal(dots)
    squares: Integers = lengths[:, np.newaxis] + lengths[np.newaxis, :] - 2 * dots
    return squares


def _euclidean(vectors: Floats) -> Integers:
    return np.floor(np.sqrt(_squared(vectors).astype(np.float64)) * _DISTANCE_ONE).astype(np.int64)


def _cosine(vectors: Floats) -> Integers:
    """Return 2^41 x (1 - cosine); a zero vector stays zero."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    units = np.rint(vectors * _UNIT_LENGTH / np.where(lengths == 0, 1.0, lengths))
    return _squared(units)


def average_linkage(distances: Integers) -> tuple[Merge, ...]:
    """Merge the nearest of all clusters until one is left (UPGMA), by nearest-neighbour chains.

    Args:
        distances: [N, N], symmetric, not negative, below 2^43; N at most `LISTED_MAX`.

    Returns:
        N - 1 merges (none for N = 0), each after the merges of its parts. See `Dendrogram` for
        the numbers of the nodes.
    """
    count = len(distances)
    totals = distances.copy()  # a cluster lives in the row and column of its least leaf
    np.fill_diagonal(totals, _NEVER)
    sizes = np.ones(count, dtype=np.int64)
    gone = np.zeros(count, dtype=bool)
    nodes = list(range(count))
    merges: list[Merge] = []
    chain: list[int] = []
    while len(merges) < count - 1:
        if not chain:
            chain.append(int(np.argmin(gone)))
        here = chain[-1]
        nearest = _nearest(totals[here], sizes)
        if len(chain) < 2 or nearest != chain[-2]:
            chain.append(nearest)
            assert len(chain) <= count, "each link is nearer than the one before, so none comes twice"
            continue
        del chain[-2:]
        a, b = min(here, nearest), max(here, nearest)
        merges.append(Merge(nodes[a], nodes[b], int(totals[a, b]), int(sizes[a] * sizes[b])))
        nodes[a] = count + len(merges) - 1
        sizes[a] += sizes[b]
        gone[b] = True
        totals[a] += totals[b]
        totals[a, gone] = _NEVER
        totals[a, a] = _NEVER
        totals[:, a] = totals[a]
        totals[:, b] = _NEVER
    return tuple(merges)


def _nearest(totals: Integers, sizes: Integers) -> int:
    """Return the smallest j of least totals[j] / sizes[j], compared exactly.

    The whole parts decide; among equal ones the remainders do, as fractions with denominators
    below 2^11, which 2^22 steps tell apart. Of equal heights the smallest j has the smallest pair
    of least leaves, whatever the cluster that asks.
    """
    whole = totals // sizes
    near = np.flatnonzero(whole == whole.min())
    if len(near) > 1:
        rest = totals[near] - whole[near] * sizes[near]
        return int(near[np.argmin((rest << 22) // sizes[near])])
    return int(near[0])
