"""From a dendrogram to K levels of groups.

- `binary`, of DemLearn's published code: the root (level `levels` + 1) has the dendrogram's two
  children, each split again down to level 1, where all items below become one group; an item met
  early hangs directly on the higher group.
- `threshold`, of the text (Dem-AI, arXiv 2003.09301: a new level where groups are farther apart than
  its threshold): the groups of a level are what had merged at a share of the highest merge. Ward's
  heights are squared distances, so their shares are squared.
- `maxclust`: the groups of a level are what was left when so many clusters were left.

The last two are nested horizontal cuts; groups of fewer than `min_size` are merged with the nearest
group under the same parent, the smallest first, from the top level down. A group that joins nothing
is left in; `branches.trimmed` takes it out.

To add a cut: a function that returns a `Branch` here, its name in `charter.cut` and in `forming`.
"""

from collections.abc import Sequence
from fractions import Fraction

from swarmdem.identifiers import Level, PeerId
from swarmdem.protocol.branches import Branch
from swarmdem.protocol.clustering import Dendrogram
from swarmdem.protocol.linkage import clusters_of
from swarmdem.protocol.sketches import Integers

Parts = list[list[int]]
"""Items by part, each part sorted, the parts by their least item."""


def binary_cut(tree: Dendrogram, peers: Sequence[PeerId], *, levels: int) -> Branch:
    """Split from the top of *tree* over *peers*, once a level."""

    def branch(node: int, level: Level) -> Branch:
        nodes = (tree.children(node) if level > 1 else ()) or tree.below(node)
        return Branch(
            level,
            tuple(peers[child] for child in nodes if child < tree.count),
            tuple(branch(child, level - 1) for child in nodes if child >= tree.count),
        )

    return branch(tree.top, levels + 1)


def threshold_labels(tree: Dendrogram, shares: Sequence[float], *, squared: bool) -> list[list[int]]:
    """Return for each of *shares* (rising, 0 to 1) which cluster each item is in at that height.

    A cluster is named by its node of *tree*; one merged at the very height is whole.

    Args:
        tree: Of at least one item.
        shares: Of the highest merge, one per level from 1.
        squared: Whether heights are squared distances.
    """
    highest = tree.height(tree.top)
    limits = [Fraction(share) ** (2 if squared else 1) * highest for share in shares]
    heights = [tree.height(node) for node in range(tree.top + 1)]
    return [_labels(tree, [height <= limit for height in heights]) for limit in limits]


def maxclust_labels(tree: Dendrogram, numbers: Sequence[float]) -> list[list[int]]:
    """Return for each of *numbers* (falling) which cluster each item is in where so many were left."""
    ranks = _merge_ranks(tree)
    return [_labels(tree, [rank <= tree.count - int(number) for rank in ranks]) for number in numbers]


def _merge_ranks(tree: Dendrogram) -> list[int]:
    """Return by node how many merges greedy merging has done with it; 0 for an item."""
    least = list(range(tree.count))
    keys = []
    for index, merge in enumerate(tree.merges):
        least.append(least[merge.left])
        key = (tree.height(tree.count + index), least[merge.left], least[merge.right])
        keys.append((key, tree.count + index))
    ranks = [0] * (tree.count + len(tree.merges))
    for rank, (_, node) in enumerate(sorted(keys), start=1):
        ranks[node] = rank
    return ranks


def _labels(tree: Dendrogram, whole: Sequence[bool]) -> list[int]:
    """Return for each item the highest node over it that is *whole*, by node; itself when there is none."""
    labels = list(range(tree.count))
    pending = [tree.top]
    while pending:
        node = pending.pop()
        if whole[node]:
            for item in tree.below(node):
                labels[item] = node
        else:
            pending.extend(tree.children(node))
    return labels


def nested(
    labels: Sequence[Sequence[int]],
    peers: Sequence[PeerId],
    *,
    distances: Integers,
    linkage: str,
    min_size: int,
) -> Branch:
    """Return the tree of horizontal cuts: a group of level k is what has one label in *labels*[k - 1].

    Args:
        labels: By level from 1, by item; nested.
        peers: By item.
        distances: Of the dendrogram, to find the nearest group by.
        linkage: Of the dendrogram.
        min_size: Least peers of a group.
    """

    def branch(items: Sequence[int], level: Level) -> Branch:
        if level == 1:
            return Branch(level, tuple(peers[item] for item in items))
        below: dict[int, list[int]] = {}
        for item in items:
            below.setdefault(labels[level - 2][item], []).append(item)
        parts = absorbed(list(below.values()), distances=distances, linkage=linkage, min_size=min_size)
        return Branch(level, (), tuple(branch(part, level - 1) for part in parts))

    return branch(range(len(peers)), len(labels) + 1)


def absorbed(parts: Parts, *, distances: Integers, linkage: str, min_size: int) -> Parts:
    """Return *parts* with each smaller than *min_size* merged with the nearest, the smallest first."""
    if len(parts) < 2 or min(len(part) for part in parts) >= min_size:
        return parts
    found: dict[int, list[int]] = dict(enumerate(parts))
    clusters = clusters_of(distances, linkage=linkage, parts=parts)
    while len(found) > 1:
        small = min(found, key=lambda row: (len(found[row]), row))
        if len(found[small]) >= min_size:
            break
        other = clusters.nearest(small)
        keep, drop = min(small, other), max(small, other)
        clusters.merge(keep, drop)
        found[keep] = sorted(found[keep] + found.pop(drop))
    return list(found.values())
