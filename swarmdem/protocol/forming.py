"""The tree of a round: from the digests listed and the tree before to groups with names.

`form` is what every voter computes; all of it is integers and sorted, so that all get one tree.
Sketches become distances (`clustering`), a dendrogram and levels (`cuts`) or balanced parts
(`complementary`); then newcomers are lifted and strangers hung under the root (`placement`), groups
that join nothing go (`branches`), and the others get their names (`identity`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.branches import Branch, kept, lifted, trimmed
from swarmdem.protocol.clustering import dendrogram, distances_of, together_in
from swarmdem.protocol.complementary import complementary
from swarmdem.protocol.cuts import binary_cut, maxclust_labels, nested, threshold_labels
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.identity import named
from swarmdem.protocol.placement import DEPTH_FREE, FEWEST, NEWCOMER, Standing, far_points
from swarmdem.protocol.sketches import Floats, Integers, Sketch, is_loud, median_scale, points_of
from swarmdem.wire.charter import Charter


@dataclass(frozen=True, slots=True)
class Shape:
    """What a charter says about trees, each field as there."""

    levels: int = 3
    cut: str = "binary"
    cuts: tuple[float, ...] = ()
    metric: str = "euclidean"
    linkage: str = "average"
    min_size: int = 1
    grouping: str = "similar"
    newcomers: str = "direct"
    outliers: int = 0
    reference: bytes | None = None
    """The reference's own sketch as a plan carries it, for the metric `cosine`: a little-endian float32
    scale, then a little-endian int16 per bucket."""

    @classmethod
    def of(cls, charter: Charter, reference: bytes | None = None) -> Self:
        """Return the shape of trees under *charter*; *reference* as the base's plan carries it."""
        return cls(
            levels=charter.levels,
            cut=charter.cut,
            cuts=charter.cuts,
            metric=charter.metric,
            linkage=charter.linkage,
            min_size=charter.min_size,
            grouping=charter.grouping,
            newcomers=charter.newcomers,
            outliers=charter.outliers,
            reference=reference,
        )


@dataclass(frozen=True, slots=True)
class Previous:
    """What the base's plan hands on; nothing while founding or right after."""

    hierarchy: Hierarchy | None = None
    standing: Mapping[PeerId, Standing] = field(default_factory=dict)


def form(
    sketches: Sequence[Sketch],
    unplaced: Sequence[PeerId],
    *,
    base: bytes,
    shape: Shape,
    hysteresis: int,
    previous: Previous,
    carry: bool,
) -> tuple[Hierarchy, dict[PeerId, Standing]]:
    """Return the tree over the peers of *sketches* and *unplaced*, whatever their order, and their standing.

    The same tree is computed by every co-hosted or simulated peer, so the last few are remembered.

    Args:
        sketches: Digests that can be compared, as the wire lets them through.
        unplaced: Peers to hang under the root: their digest has another seed or reference.
        base: Plan id that the round follows; seeds the ids of new groups.
        shape: The charter's settings.
        hysteresis: Co-member bonus in 1/256.
        previous: Tree and standing of the base's plan.
        carry: Keep the previous groups, and the standing of everybody; there must be a previous tree.
            Who was not in it hangs under the root.

    Raises:
        MisuseError: A setting of *shape* is not one of this version.
    """
    ordered = tuple(sorted(sketches, key=lambda sketch: sketch.peer))
    loose = tuple(sorted(unplaced))
    peers = {sketch.peer for sketch in ordered}.union(loose)
    assert 0 < len(peers) == len(ordered) + len(loose), "every peer once"
    asked = _Asked(
        ordered, loose, base, shape, hysteresis, previous.hierarchy, tuple(sorted(previous.standing.items()))
    )
    hierarchy, standing = _carried(asked) if carry else _formed(asked)
    return hierarchy, dict(standing)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of `form`, in one order and hashable."""

    sketches: tuple[Sketch, ...]
    unplaced: tuple[PeerId, ...]
    base: bytes
    shape: Shape
    hysteresis: int
    before: Hierarchy | None
    standing: tuple[tuple[PeerId, Standing], ...]

    @property
    def peers(self) -> list[PeerId]:
        """All peers, sorted."""
        return sorted([*(sketch.peer for sketch in self.sketches), *self.unplaced])

    def newcomers(self) -> frozenset[PeerId]:
        """Return the peers that begin under the root with this tree; none while there was no tree."""
        if self.before is None or self.shape.newcomers != "top" or not self.shape.levels:
            return frozenset()
        return frozenset(self.peers).difference(self.before.root.members)

    def starting(self) -> dict[PeerId, Standing]:
        """Return the standing of every peer before this tree says anything about it."""
        known, new = dict(self.standing), self.newcomers()
        kept = {peer: known.get(peer, Standing()) for peer in self.peers}
        return {
            peer: replace(NEWCOMER, streak=place.streak) if peer in new and not place.apart else place
            for peer, place in kept.items()
        }


_Formed = tuple[Hierarchy, Mapping[PeerId, Standing]]


@lru_cache(maxsize=16)
def _carried(asked: _Asked) -> _Formed:
    assert asked.before is not None, "only a tree that is there can be kept"
    old = kept(asked.before, asked.peers)
    root = old.joined_by(sorted(set(asked.peers).difference(old.members())))
    found = named(trimmed(root, min_size=asked.shape.min_size), base=asked.base, previous=asked.before)
    return found, asked.starting()


@lru_cache(maxsize=16)
def _formed(asked: _Asked) -> _Formed:
    shape, standing = asked.shape, asked.starting()
    apart = [sketch for sketch in asked.sketches if standing[sketch.peer].apart]
    placed = [sketch for sketch in asked.sketches if not standing[sketch.peer].apart]
    median = median_scale(placed)
    near = [sketch for sketch in placed if not is_loud(sketch, median)]
    peers = [sketch.peer for sketch in near]
    points = points_of(near, metric=shape.metric, median=median, reference=shape.reference)
    draft = _drafted(asked, peers, points)
    if shape.outliers or any(standing[peer].depth != DEPTH_FREE for peer in peers):
        beside = [sketch for sketch in apart if not is_loud(sketch, median)]
        others = points_of(beside, metric=shape.metric, median=median, reference=shape.reference)
        far = dict.fromkeys((sketch.peer for sketch in asked.sketches), len(peers) >= FEWEST)
        far |= _far(draft, peers, points, [sketch.peer for sketch in beside], others)
        for peer in sorted(set(far).difference(asked.newcomers())):
            standing[peer] = standing[peer].next(far=far[peer], levels=shape.levels, outliers=shape.outliers)
    depths = {peer: found.depth for peer, found in standing.items() if found.depth != DEPTH_FREE}
    root = lifted(draft.joined_by(sorted(set(asked.peers).difference(peers))), depths)
    found = named(trimmed(root, min_size=shape.min_size), base=asked.base, previous=asked.before)
    return found, standing


def _drafted(asked: _Asked, peers: Sequence[PeerId], points: Floats) -> Branch:
    """Return the tree over the clustered *peers*, nobody lifted."""
    shape = asked.shape
    if not peers or not shape.levels:
        return Branch(shape.levels + 1, tuple(peers))
    if shape.grouping == "complementary":
        draft = complementary(
            points,
            peers,
            numbers=shape.cuts,
            min_size=shape.min_size,
            previous=asked.before,
            hysteresis=asked.hysteresis,
        )
    else:
        together = _together(asked.before, peers)
        distances = distances_of(
            points, metric=shape.metric, linkage=shape.linkage, together=together, bonus=asked.hysteresis
        )
        draft = _cut(shape, distances, peers)
    return trimmed(draft, min_size=shape.min_size)


def _cut(shape: Shape, distances: Integers, peers: Sequence[PeerId]) -> Branch:
    tree = dendrogram(distances, linkage=shape.linkage)
    if shape.cut == "binary":
        return binary_cut(tree, peers, levels=shape.levels)
    if shape.cut == "threshold":
        labels = threshold_labels(tree, shape.cuts, squared=shape.linkage == "ward")
    elif shape.cut == "maxclust":
        labels = maxclust_labels(tree, shape.cuts)
    else:
        raise MisuseError(f"cut {shape.cut!r} is not one of binary, threshold, maxclust")
    return nested(labels, peers, distances=distances, linkage=shape.linkage, min_size=shape.min_size)


def _together(before: Hierarchy | None, peers: Sequence[PeerId]) -> NDArray[np.bool_]:
    """Return which pairs of *peers* were attached to one group below the root."""
    if before is None:
        return together_in([-1] * len(peers))
    numbers = {group.id: number for number, group in enumerate(before.groups)} | {before.root.id: -1}
    above = [before.parent_of(peer) for peer in peers]
    return together_in([numbers[group] if group is not None else -1 for group in above])


def _far(
    draft: Branch, peers: Sequence[PeerId], points: Floats, others: Sequence[PeerId], beside: Floats
) -> dict[PeerId, bool]:
    """Return who of *peers* (at *points*) and of *others* (at *beside*) is far from all groups of *draft*."""
    rows = {peer: row for row, peer in enumerate(peers)}
    lowest = [branch for branch in draft.walk() if not branch.branches]
    groups = [[rows[peer] for peer in branch.leaves] for branch in lowest if branch.leaves]
    if not groups:
        return dict.fromkeys(others, False)
    clustered, apart = far_points(points, groups, beside)
    return dict(zip(peers, clustered, strict=True)) | dict(zip(others, apart, strict=True))
