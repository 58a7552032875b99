"""How far clusters are apart, exactly, and which two merge next: average linkage and Ward's.

`Clusters` holds the clusters that are left with the sums of distances between them, as integers;
two heights are compared as fractions. Average linkage (UPGMA) takes distances, a height is their
mean over all pairs. Ward's takes squared distances: a height is twice the growth of the sum of
squares about the means, 2 nA nB / (nA + nB) |cA - cB|^2, written in sums over pairs (`Ward`), so
that it is also defined for distances that a co-member bonus has changed.

`merge_all` finds what greedy merging by (height, smaller least item, larger least item) merges. It
follows nearest-neighbour chains: under that order both linkages keep reciprocal neighbours
reciprocal when others merge (they are reducible, and an equal height arises from equal ones only), so
both ways merge the same pairs, ties included.

Limits: `LISTED_MAX` items; distances below 2^43 for average linkage. Ward's squared distances are
shifted right until their sum over all pairs fits `_SUM_BITS` bits: at 1024 items nothing is lost up to
2^40, and of larger ones what is below the 2^39th part of the largest.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from swarmdem.errors import MisuseError
from swarmdem.protocol.sketches import Floats, Integers

LINKAGES = ("average", "ward")

_NEVER = 2**61  # above every sum of distances: 2^18 pairs, each below 2^42.1
_SUM_BITS = 61
_FLOAT_ERROR = 2.0**-48  # of the terms of a Ward height: a dozen roundings of 2^-53 and some to spare


@dataclass(frozen=True, slots=True)
class Merge:
    """Two nodes of a dendrogram become one, at height `total / pairs`."""

    left: int
    """The node that holds the smaller least leaf."""
    right: int
    total: int
    """Average linkage: sum of the distances between the leaves of the two nodes."""
    pairs: int


class Clusters(ABC):
    """Clusters of items, each in the row of its least item; `gone` marks rows without one."""

    def __init__(self, totals: Integers, within: Integers, sizes: Integers) -> None:
        """Begin with one cluster a row.

        Args:
            totals: [C, C] sums of distances between two clusters; symmetric.
            within: [C] sums of distances over the pairs inside each.
            sizes: [C] items of each.
        """
        self.totals = totals.copy()
        self.within = within.copy()
        self.sizes = sizes.copy()
        self.gone = np.zeros(len(sizes), dtype=bool)
        np.fill_diagonal(self.totals, _NEVER)

    def __len__(self) -> int:
        return int(len(self.gone) - self.gone.sum())

    @abstractmethod
    def nearest(self, here: int) -> int:
        """Return the cluster of least height from *here*, of equal ones the first."""

    @abstractmethod
    def height(self, one: int, other: int) -> tuple[int, int]:
        """Return the height at which two clusters merge as a fraction, not reduced."""

    def merge(self, keep: int, drop: int) -> None:
        """Put the cluster of row *drop* to that of the lower row *keep*."""
        self.within[keep] += self.within[drop] + self.totals[keep, drop]
        self.sizes[keep] += self.sizes[drop]
        self.gone[drop] = True
        self.totals[keep] += self.totals[drop]
        self.totals[keep, self.gone] = _NEVER
        self.totals[keep, keep] = _NEVER
        self.totals[:, keep] = self.totals[keep]
        self.totals[:, drop] = _NEVER


class Average(Clusters):
    """UPGMA over all pairs, the default of DemLearn's published code (arXiv 2007.03278 names centroids)."""

    def nearest(self, here: int) -> int:
        """Return the smallest j of least totals[j] / sizes[j], compared exactly.

        The whole parts decide; among equal ones the remainders do, as fractions with denominators
        below 2^11, which 2^22 steps tell apart. Of equal heights the smallest j has the smallest pair
        of least leaves, whatever the cluster that asks.
        """
        totals = self.totals[here]
        whole = totals // self.sizes
        whole[self.gone] = whole[here] = _NEVER  # divided by many items even that could come out small
        near = np.flatnonzero(whole == whole.min())
        if len(near) == 1:
            return int(near[0])
        rest = totals[near] - whole[near] * self.sizes[near]
        return int(near[np.argmin((rest << 22) // self.sizes[near])])

    def height(self, one: int, other: int) -> tuple[int, int]:
        """Return the mean distance over all pairs."""
        return int(self.totals[one, other]), int(self.sizes[one] * self.sizes[other])


class Ward(Clusters):
    """Least growth of the sums of squares; that of a cluster is W / n, W being summed over its pairs."""

    def nearest(self, here: int) -> int:
        """Return the smallest j of least height: floats name the few that can be it, integers decide."""
        sizes = self.sizes.astype(np.float64)
        mine, inside = float(self.sizes[here]), float(self.within[here])
        totals = self.totals[here].astype(np.float64)
        taken = inside * sizes / mine + self.within.astype(np.float64) * mine / sizes
        heights: Floats = (totals - taken) / (mine + sizes)
        error = (totals + taken) * _FLOAT_ERROR / (mine + sizes)
        away = self.gone.copy()
        away[here] = True
        limit = np.where(away, np.inf, heights + error).min()
        near = np.flatnonzero(~away & (heights - error <= limit))
        return self._least(here, near)

    def _least(self, here: int, near: Integers) -> int:
        """Return the first of least height among *near*; equal rows are looked at once."""
        best, found = Fraction(-1), -1
        while len(near):
            first = int(near[0])
            height = Fraction(*self.height(here, first))
            if found < 0 or height < best:
                best, found = height, first
            same = (
                (self.totals[here, near] == self.totals[here, first])
                & (self.within[near] == self.within[first])
                & (self.sizes[near] == self.sizes[first])
            )
            near = near[~same]
        return found

    def height(self, one: int, other: int) -> tuple[int, int]:
        """Return 2 x [W(A + B) / (nA + nB) - W(A) / nA - W(B) / nB]; the squared distance of two items."""
        a, b = int(self.sizes[one]), int(self.sizes[other])
        across, inside, beside = (
            int(self.totals[one, other]), int(self.within[one]), int(self.within[other])
        )  # fmt: skip
        return 2 * (across * a * b - inside * b * b - beside * a * a), a * b * (a + b)


def clusters_of(distances: Integers, *, linkage: str, parts: Sequence[Sequence[int]] = ()) -> Clusters:
    """Return the clusters *parts* of items, in that order; each item by itself without.

    Args:
        distances: [N, N], symmetric, not negative; for `ward` squared distances through `fitting`.
        linkage: One of `LINKAGES`.
        parts: Numbers of items; every part has one.

    Raises:
        MisuseError: The linkage is not one of these.
    """
    if linkage not in LINKAGES:
        raise MisuseError(f"linkage {linkage!r} is not one of {', '.join(LINKAGES)}")
    kind = Ward if linkage == "ward" else Average
    if not parts:
        return kind(distances, np.zeros(len(distances), np.int64), np.ones(len(distances), np.int64))
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    order = np.array([item for part in parts for item in part])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = np.add.reduceat(distances[np.ix_(order, order)], starts, axis=0)
    totals = np.add.reduceat(rows, starts, axis=1)
    return kind(totals, np.diagonal(totals) // 2, sizes)


def fitting(squared: Integers) -> Integers:
    """Return squared distances that can be summed over all pairs, shifted right where they must be."""
    if not len(squared):
        return squared
    bits = int(squared.max()).bit_length() + 2 * len(squared).bit_length() - 1
    return squared >> max(0, bits - _SUM_BITS)


def merge_all(clusters: Clusters) -> tuple[Merge, ...]:
    """Merge the nearest of all clusters until one is left, by nearest-neighbour chains.

    Returns:
        C - 1 merges (none for C = 0), each after the merges of its parts. Node i is cluster i, node
        C + i is merge i.
    """
    count = len(clusters.gone)
    nodes = list(range(count))
    merges: list[Merge] = []
    chain: list[int] = []
    while len(merges) < count - 1:
        if not chain:
            chain.append(int(np.argmin(clusters.gone)))
        here = chain[-1]
        nearest = clusters.nearest(here)
        if len(chain) < 2 or nearest != chain[-2]:
            chain.append(nearest)
            assert len(chain) <= count, "each link is nearer than the one before, so none comes twice"
            continue
        del chain[-2:]
        a, b = min(here, nearest), max(here, nearest)
        merges.append(Merge(nodes[a], nodes[b], *clusters.height(a, b)))
        nodes[a] = count + len(merges) - 1
        clusters.merge(a, b)
    return tuple(merges)
