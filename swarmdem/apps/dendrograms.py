"""Dendrograms of a round (DemLearn, arXiv 2007.03278, Fig. 9): who merges with whom, and how far apart.

Two sources: the groups of `trees.jsonl`, where heights are levels; or, of a run with `--record`, the
digests of a certificate, where heights are distances of average linkage (Ward's where the charter says
so) in floating point. The second is a picture: which tree was in force, integers decided on the wire.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.apps.reading import GroupRow, Run, TreeRow
from swarmdem.errors import DataError, MissingExtraError

try:
    from scipy.cluster import hierarchy
except ImportError as error:
    raise MissingExtraError("dendrograms", "experiments") from error


@dataclass(frozen=True, slots=True)
class Dendrogram:
    """A binary tree of merges over n peers."""

    merges: NDArray[np.float64]
    """scipy's linkage matrix, shape (n - 1, 4): two clusters, their height, the peers in the result."""
    labels: Sequence[str]
    """Of each peer."""
    groups: Sequence[str]
    """Id of the group each peer is attached to: its colour."""

    def arcs(self) -> list[tuple[list[float], list[float]]]:
        """Return each merge as the x and y of a bracket; leaf number i of `order` stands at 10 i + 5."""
        if len(self.merges) == 0:
            return []
        drawn = hierarchy.dendrogram(self.merges, no_plot=True)
        return [
            ([float(x) for x in xs], [float(y) for y in ys])
            for xs, ys in zip(drawn["icoord"], drawn["dcoord"], strict=True)
        ]

    def order(self) -> list[int]:
        """Return the peers' places from left to right."""
        if len(self.merges) == 0:
            return list(range(len(self.labels)))
        return [int(leaf) for leaf in hierarchy.leaves_list(self.merges)]


def of_tree(tree: TreeRow) -> Dendrogram:
    """Return the groups of a round as a dendrogram whose heights are levels.

    A group with k children is k - 1 merges at its level.

    Raises:
        DataError: The tree has no root.
    """
    if tree.root is None:
        raise DataError(f"trees.jsonl round {tree.round}: no root")
    peers = list(tree.root.members)
    place = {peer: number for number, peer in enumerate(peers)}
    merges: list[tuple[float, float, float, float]] = []

    def merged(group: GroupRow) -> tuple[int, int]:
        """Return the cluster that *group* becomes and its size."""
        children = [merged(child) for child in tree.groups if child.parent == group.id]
        children += [(place[peer], 1) for peer in group.leaves]
        cluster, size = children[0]
        for other, count in children[1:]:
            size += count
            merges.append((cluster, other, group.level, size))
            cluster = len(peers) + len(merges) - 1
        return cluster, size

    merged(tree.root)
    return Dendrogram(
        np.array(merges, np.float64).reshape(-1, 4), [p[:4] for p in peers], _groups(tree, peers)
    )


def of_record(
    folder: Path, tree: TreeRow, *, method: str = "average", metric: str = "euclidean"
) -> Dendrogram:
    """Return the dendrogram of the digests that a round's certificate lists.

    Args:
        folder: `record/round-NNNN` of a run.
        tree: Of the same round: gives the groups.
        method: `average` or `ward`.
        metric: `euclidean`; anything else is taken for a cosine distance.

    Raises:
        DataError: `certificate.json` is missing or damaged.
    """
    path = folder / "certificate.json"
    try:
        digests: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["digests"]
        peers = [str(digest["peer"]) for digest in digests]
        sketches = [_sketch(base64.b64decode(d["sketch"]), float(d["scale"]), metric) for d in digests]
        vectors = np.stack(sketches) if sketches else np.zeros((0, 1))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a certificate ({error})") from error
    if len(peers) < 2:
        return Dendrogram(np.zeros((0, 4)), [p[:4] for p in peers], _groups(tree, peers))
    euclidean = metric == "euclidean" or method == "ward"
    merges = hierarchy.linkage(vectors, method, "euclidean" if euclidean else "cosine")
    return Dendrogram(merges, [peer[:4] for peer in peers], _groups(tree, peers))


def of_run(run: Run, rounds: Sequence[int]) -> tuple[dict[int, Dendrogram], str]:
    """Return the dendrograms of some rounds, and what their heights are.

    Rounds without a tree of more than one peer are left out. Recorded digests are used when every
    one of the rounds has them.
    """
    trees: dict[int, TreeRow] = {}
    for tree in run.trees:
        if tree.round in rounds and tree.root is not None and len(tree.root.members) > 1:
            trees.setdefault(tree.round, tree)
    folders = {round: run.path / "record" / f"round-{round:04d}" for round in trees}
    if trees and all((folder / "certificate.json").exists() for folder in folders.values()):
        method = "ward" if run.charter.get("linkage") == "ward" else "average"
        metric = str(run.charter.get("metric", "euclidean"))
        found = {
            round: of_record(folders[round], tree, method=method, metric=metric)
            for round, tree in trees.items()
        }
        return found, "distance"
    return {round: of_tree(tree) for round, tree in trees.items()}, "level"


def _sketch(data: bytes, scale: float, metric: str) -> NDArray[np.float64]:
    """Return a digest's sketch in its own unit; that of a model itself (`cosine`) has 16 bits a bucket."""
    kind = np.dtype("<i2") if metric == "cosine" else np.dtype(np.int8)
    return np.frombuffer(data, kind).astype(np.float64) * scale


def _groups(tree: TreeRow, peers: Sequence[str]) -> list[str]:
    of_peer = {peer: group.id for group in tree.groups for peer in group.leaves}
    return [of_peer.get(peer, "") for peer in peers]
