"""Who resembles whom: the dendrogram over the sketches of a round's digests.

Sketches become points (`sketches`), points distances, distances merges (`linkage`), all of it in
integers. Peers that shared a group before may be taken for nearer than they are (`bonus`), so that a
tree changes only when it gains something. Limits: `LISTED_MAX` sketches of at most 8192 buckets, time
and memory grow with the square of their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from swarmdem.protocol.linkage import Merge, clusters_of, fitting, merge_all
from swarmdem.protocol.sketches import Floats, Integers, roots, squares

HYSTERESIS_ONE = 256
"""The co-member bonus counts in these parts of a distance."""


@dataclass(frozen=True, slots=True)
class Dendrogram:
    """The binary tree over some items: node i is item i, node `count` + i is merge i."""

    count: int
    merges: tuple[Merge, ...]
    """A node precedes the one it is merged into; the last is the top."""

    @property
    def top(self) -> int:
        """The node of all items; there is at least one."""
        return self.count + len(self.merges) - 1

    def children(self, node: int) -> tuple[int, ...]:
        """Return the two nodes that *node* was merged from; none for an item."""
        if node < self.count:
            return ()
        merge = self.merges[node - self.count]
        return merge.left, merge.right

    def below(self, node: int) -> list[int]:
        """Return the items of *node*, sorted; an item's own number for an item."""
        found, pending = [], [node]
        while pending:
            here = pending.pop()
            if here < self.count:
                found.append(here)
            pending.extend(self.children(here))
        return sorted(found)

    def height(self, node: int) -> Fraction:
        """Return the height at which *node* was merged; 0 for an item."""
        if node < self.count:
            return Fraction(0)
        merge = self.merges[node - self.count]
        return Fraction(merge.total, merge.pairs)


def distances_of(
    points: Floats, *, metric: str, linkage: str, together: NDArray[np.bool_], bonus: int
) -> Integers:
    """Return the distances that *linkage* takes, [N, N].

    Squared ones for `ward`, and under the cosine metrics, where they measure 1 - cosine.

    Args:
        points: [N, m], whole coordinates (`sketches.points_of`).
        metric: One of `sketches.METRICS`.
        linkage: One of `linkage.LINKAGES`.
        together: [N, N], pairs that shared a group; for `ward` it is the squared distance of these
            that becomes less.
        bonus: By how many 256ths, rounded down after.
    """
    found = squares(points)
    if metric == "euclidean" and linkage != "ward":
        found = roots(found)
    if bonus:
        found = np.where(together, (found * (HYSTERESIS_ONE - bonus)) >> 8, found)
    return fitting(found) if linkage == "ward" else found


def dendrogram(distances: Integers, *, linkage: str) -> Dendrogram:
    """Cluster items by `distances_of` them; of equal heights the least items merge first.

    Raises:
        MisuseError: The linkage is not one of `linkage.LINKAGES`.
    """
    return Dendrogram(len(distances), merge_all(clusters_of(distances, linkage=linkage)))


def together_in(groups: Sequence[int]) -> NDArray[np.bool_]:
    """Return which pairs have the same number in *groups* that is not negative, [N, N]."""
    numbers = np.array(groups, dtype=np.int64)
    same: NDArray[np.bool_] = (numbers[:, np.newaxis] == numbers[np.newaxis, :]) & (numbers >= 0)
    return same
