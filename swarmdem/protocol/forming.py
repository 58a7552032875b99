"""The tree of a round: from the digests listed and the tree before to groups with names.

`form` is what every voter computes; all of it is integers and sorted, so that all get one tree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from swarmdem.identifiers import PeerId
from swarmdem.protocol.clustering import Sketch, dendrogram
from swarmdem.protocol.hierarchy import Hierarchy, binary_cut
from swarmdem.protocol.placement import Standing
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
        sketches: Digests that can be compared, each without a `sketch_fault`.
        unplaced: Peers to hang under the root: their digest has another seed or reference.
        base: Plan id that the round follows; seeds the ids of new groups.
        shape: The charter's settings.
        hysteresis: Co-member bonus in 1/256.
        previous: Tree and standing of the base's plan.
        carry: Keep the previous tree; there must be one.
    """
    ordered = tuple(sorted(sketches, key=lambda sketch: sketch.peer))
    loose = tuple(sorted(unplaced))
    peers = {sketch.peer for sketch in ordered}.union(loose)
    assert 0 < len(peers) == len(ordered) + len(loose), "every peer once"
    hierarchy = _form(ordered, loose, base, shape)
    return hierarchy, {peer: Standing() for peer in sorted(peers)}


@lru_cache(maxsize=16)
def _form(
    sketches: tuple[Sketch, ...], unplaced: tuple[PeerId, ...], base: bytes, shape: Shape
) -> Hierarchy:
    return binary_cut(dendrogram(sketches, metric=shape.metric), unplaced, base, shape.levels)
