"""Exact linkage: against slow oracles, against scipy, and in every corner of the rules."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.clustering import Dendrogram, dendrogram, distances_of, together_in
from swarmdem.protocol.linkage import LINKAGES, clusters_of, fitting
from swarmdem.protocol.sketches import Sketch, median_scale, points_of

Meeting = tuple[tuple[int, ...], tuple[int, ...], Fraction]


def meetings(tree: Dendrogram) -> set[Meeting]:
    """Which items met which, and how high."""
    return {
        (tuple(tree.below(m.left)), tuple(tree.below(m.right)), Fraction(m.total, m.pairs))
        for m in tree.merges
    }


def height(one: tuple[int, ...], other: tuple[int, ...], distances: np.ndarray, linkage: str) -> Fraction:
    """The definition of each linkage, word for word."""
    across = sum(int(distances[i, j]) for i in one for j in other)
    if linkage == "average":
        return Fraction(across, len(one) * len(other))

    def spread(items: tuple[int, ...]) -> Fraction:
        return Fraction(sum(int(distances[i, j]) for i, j in combinations(items, 2)), len(items))

    return 2 * (spread(one + other) - spread(one) - spread(other))


def greedy(distances: np.ndarray, linkage: str) -> set[Meeting]:
    """Merge by (height, smaller least item, larger least item), until one is left."""
    clusters = [(i,) for i in range(len(distances))]
    found = set()
    while len(clusters) > 1:
        high, _, _, a, b = min(
            (height(a, b, distances, linkage), a[0], b[0], a, b) for a, b in combinations(sorted(clusters), 2)
        )
        found.add((a, b, high))
        clusters = [c for c in clusters if c not in (a, b)] + [tuple(sorted(a + b))]
    return found


@st.composite
def symmetric(draw: st.DrawFn, largest: int) -> np.ndarray:
    count = draw(st.integers(1, 9))
    matrix = np.zeros((count, count), dtype=np.int64)
    for i, j in combinations(range(count), 2):
        matrix[i, j] = matrix[j, i] = draw(st.integers(0, largest))
    return matrix


@settings(max_examples=300, deadline=None)
@given(symmetric(3), st.sampled_from(LINKAGES))
def test_chains_merge_what_greedy_merging_merges_when_most_distances_tie(distances, linkage):
    assert meetings(dendrogram(distances, linkage=linkage)) == greedy(distances, linkage)


@settings(max_examples=150, deadline=None)
@given(symmetric(2**42), st.sampled_from(LINKAGES))
def test_chains_merge_what_greedy_merging_merges_at_large_distances(distances, linkage):
    assert meetings(dendrogram(distances, linkage=linkage)) == greedy(distances, linkage)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_a_hundred_points_on_a_grid_merge_as_greedy_merging_merges_them(linkage):
    """
    Ten by four places for 48 points: hundreds of equal distances and clusters of many sizes.
    """
    chance = np.random.default_rng(5)
    places = np.stack([chance.integers(0, 10, 48), chance.integers(0, 4, 48)], axis=1)
    distances = ((places[:, np.newaxis] - places[np.newaxis]) ** 2).sum(axis=2)

    assert meetings(dendrogram(distances, linkage=linkage)) == greedy(distances, linkage)


def test_heights_that_differ_by_less_than_a_float_can_tell_are_told_apart():
    """
    {0, 1} to 2 is (2^42 + 2^42 - 1) / 2 and 2 to 3 is 2^42: half a unit nearer, and it decides.
    """
    far = 2**42
    matrix = np.full((4, 4), far + 5, dtype=np.int64)
    np.fill_diagonal(matrix, 0)
    matrix[0, 1] = matrix[1, 0] = 1
    matrix[2, 3] = matrix[3, 2] = far
    matrix[0, 2] = matrix[2, 0] = far
    matrix[1, 2] = matrix[2, 1] = far - 1

    assert meetings(dendrogram(matrix, linkage="average")) == {
        ((0,), (1,), Fraction(1)),
        ((0, 1), (2,), Fraction(2 * far - 1, 2)),
        ((0, 1, 2), (3,), Fraction(3 * far + 10, 3)),
    }


def test_ward_heights_that_differ_by_less_than_a_float_can_tell_are_told_apart():
    """
    By Ward {0, 1} to 2 is (2 x (2^55 + 2^55 - 1) - 1) / 3, and 2 to 3 a third more or less than that.
    """
    high = 2**55
    wanted = {}
    for nearer in (0, 1):
        matrix = np.full((4, 4), 2**57, dtype=np.int64)
        np.fill_diagonal(matrix, 0)
        matrix[0, 1] = matrix[1, 0] = 1
        matrix[0, 2] = matrix[2, 0] = high
        matrix[1, 2] = matrix[2, 1] = high - 1
        matrix[2, 3] = matrix[3, 2] = (4 * high - 3) // 3 + nearer
        wanted[nearer] = {
            items for *pair, _ in meetings(dendrogram(matrix, linkage="ward")) for items in pair
        }

    assert (4 * high - 3) % 3 == 2
    assert (2,) in wanted[0]
    assert (2, 3) in wanted[0]
    assert (0, 1, 2) in wanted[1]


@pytest.mark.parametrize("linkage", LINKAGES)
def test_equal_distances_are_merged_from_the_least_item_on(linkage):
    zero = dendrogram(np.zeros((4, 4), dtype=np.int64), linkage=linkage)

    assert meetings(zero) == {((0,), (1,), 0), ((0, 1), (2,), 0), ((0, 1, 2), (3,), 0)}


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("metric", ["euclidean", "cosine_delta"])
def test_the_tree_is_that_of_scipy_where_no_distances_tie(metric, linkage):
    chance = np.random.default_rng(11)
    rows = chance.normal(size=(60, 64)) + 2 * chance.normal(size=(6, 64))[np.arange(60) % 6]
    step = float(np.float32(np.abs(rows).max() / 127))
    whole = np.rint(rows / step).astype(np.int8)
    sketches = [Sketch(PeerId(bytes([i] * 16)), step, row.tobytes()) for i, row in enumerate(whole)]
    points = points_of(sketches, metric=metric, median=median_scale(sketches))
    nobody = together_in([-1] * 60)
    distances = distances_of(points, metric=metric, linkage=linkage, together=nobody, bonus=0)
    tree = dendrogram(distances, linkage=linkage)

    # scipy's node numbers follow its own order of merges, ours that of the chains: compare item sets.
    # scipy wants distances of Ward and 1 - cosine of the average, as we do.
    floats = points if linkage == "ward" else pdist(whole.astype(float), metric.removesuffix("_delta"))
    sets: list[frozenset[int]] = [frozenset([i]) for i in range(60)]
    heights = {}
    for left, right, high, _ in scipy_linkage(floats, linkage):
        sets.append(sets[int(left)] | sets[int(right)])
        heights[sets[-1]] = high
    ours = {frozenset(tree.below(node)): float(tree.height(node)) for node in range(60, 119)}

    assert set(ours) == set(heights)
    unit = {"euclidean": 256 * 4096 / 1, "cosine_delta": 2.0**41}[metric] if linkage == "average" else 1.0
    found = [math.sqrt(ours[s]) if linkage == "ward" else ours[s] / unit for s in heights]
    assert found == pytest.approx(list(heights.values()), rel=1e-4)


def test_a_bonus_brings_those_who_were_together_nearer():
    points = np.array([[0.0], [10.0], [100.0]])
    together = together_in([4, 4, -1])

    plain = distances_of(points, metric="euclidean", linkage="average", together=together, bonus=0)
    average = distances_of(points, metric="euclidean", linkage="average", together=together, bonus=77)
    ward = distances_of(points, metric="euclidean", linkage="ward", together=together, bonus=64)

    assert plain.tolist()[0] == [0, 40960, 409600]
    assert average.tolist()[0] == [0, 28640, 409600]
    assert ward.tolist()[0] == [0, 75, 10000]


def test_only_pairs_of_one_group_were_together():
    assert together_in([0, -1, 0, -1]).tolist() == [
        [True, False, True, False],
        [False, False, False, False],
        [True, False, True, False],
        [False, False, False, False],
    ]


def test_squared_distances_are_shifted_until_all_pairs_can_be_summed():
    largest = np.array([[0, 2**53 - 1], [2**53 - 1, 0]])

    assert fitting(largest).tolist() == largest.tolist()
    assert fitting(np.full((1024, 1024), 2**40 - 1)).max() == 2**40 - 1
    assert fitting(np.full((1024, 1024), 2**53 - 1)).max() == 2**40 - 1
    assert fitting(np.zeros((0, 0), dtype=np.int64)).shape == (0, 0)


@settings(max_examples=60, deadline=None)
@given(symmetric(1000), st.sampled_from(LINKAGES), st.data())
def test_clusters_of_parts_are_as_far_apart_as_their_items_say(distances, linkage, data):
    labels = [data.draw(st.integers(0, 3)) for _ in distances]
    parts = [tuple(i for i, label in enumerate(labels) if label == wanted) for wanted in sorted(set(labels))]
    parts.sort()
    clusters = clusters_of(distances, linkage=linkage, parts=parts)

    for (row, one), (column, other) in combinations(enumerate(parts), 2):
        assert Fraction(*clusters.height(row, column)) == height(one, other, distances, linkage)


def test_one_item_opposite_to_all_others_of_the_largest_swarm_merges_last():
    points = np.zeros((1024, 16))
    points[:, 0] = 2.0**20
    points[1023, 0] = -(2.0**20)
    distances = distances_of(
        points, metric="cosine_delta", linkage="average", together=together_in([-1] * 1024), bonus=0
    )

    tree = dendrogram(distances, linkage="average")

    assert tree.below(tree.top) == [*range(1024)]
    assert tree.children(tree.top)[1] == 1023
    assert tree.height(tree.top) == 2**42


def test_few_items_need_no_special_care():
    nothing = dendrogram(np.zeros((0, 0), dtype=np.int64), linkage="average")

    assert nothing == Dendrogram(0, ())
    assert dendrogram(np.zeros((1, 1), dtype=np.int64), linkage="ward") == Dendrogram(1, ())


def test_an_unknown_linkage_is_named():
    with pytest.raises(MisuseError, match="'single'"):
        dendrogram(np.zeros((2, 2), dtype=np.int64), linkage="single")
