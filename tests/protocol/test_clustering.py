"""Exact average linkage: against a slow oracle, against scipy, and in every corner of the rules."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.clustering import Dendrogram, Sketch, average_linkage, dendrogram, sketch_fault


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def int8(*values: int) -> bytes:
    return np.array(values, dtype=np.int8).tobytes()


def sketches_of(*rows: tuple[float, bytes]) -> list[Sketch]:
    return [Sketch(peer(i), scale, values) for i, (scale, values) in enumerate(rows)]


def distance(one: tuple[float, bytes], two: tuple[float, bytes], *, metric: str = "euclidean") -> int:
    return dendrogram(sketches_of(one, two), metric=metric).merges[0].total


def meetings(tree: Dendrogram) -> set[tuple[tuple[int, ...], tuple[int, ...], int, int]]:
    """Which leaves met which, at what sum of distances over how many pairs."""
    return {(tuple(tree.below(m.left)), tuple(tree.below(m.right)), m.total, m.pairs) for m in tree.merges}


def greedy(distances: np.ndarray) -> set[tuple[tuple[int, ...], tuple[int, ...], int, int]]:
    """The definition, word for word: merge by (height, smaller least leaf, larger least leaf)."""
    clusters = [(i,) for i in range(len(distances))]
    found = set()
    while len(clusters) > 1:
        candidates = []
        for a, b in combinations(sorted(clusters), 2):
            total = sum(int(distances[i, j]) for i in a for j in b)
            candidates.append((Fraction(total, len(a) * len(b)), a[0], b[0], a, b, total))
        _, _, _, a, b, total = min(candidates)
        found.add((a, b, total, len(a) * len(b)))
        clusters = [c for c in clusters if c not in (a, b)] + [tuple(sorted(a + b))]
    return found


def tree_over(distances: np.ndarray) -> Dendrogram:
    return Dendrogram(tuple(peer(i) for i in range(len(distances))), average_linkage(distances), ())


@st.composite
def symmetric(draw: st.DrawFn, largest: int) -> np.ndarray:
    count = draw(st.integers(1, 9))
    matrix = np.zeros((count, count), dtype=np.int64)
    for i, j in combinations(range(count), 2):
        matrix[i, j] = matrix[j, i] = draw(st.integers(0, largest))
    return matrix


@settings(max_examples=300, deadline=None)
@given(symmetric(3))
def test_chains_merge_what_greedy_merging_merges_when_most_distances_tie(distances):
    assert meetings(tree_over(distances)) == greedy(distances)


@settings(max_examples=100, deadline=None)
@given(symmetric(2**42))
def test_chains_merge_what_greedy_merging_merges_at_large_distances(distances):
    assert meetings(tree_over(distances)) == greedy(distances)


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

    assert meetings(tree_over(matrix)) == {
        ((0,), (1,), 1, 1),
        ((0, 1), (2,), 2 * far - 1, 2),
        ((0, 1, 2), (3,), 3 * far + 10, 3),
    }


def test_equal_distances_are_merged_from_the_least_leaf_on():
    identical = dendrogram(sketches_of(*[(1.0, int8(5, 6))] * 4), metric="euclidean")

    assert meetings(identical) == {((0,), (1,), 0, 1), ((0, 1), (2,), 0, 2), ((0, 1, 2), (3,), 0, 3)}


@pytest.mark.parametrize("metric", ["euclidean", "cosine_delta"])
def test_the_tree_is_that_of_scipy_where_no_distances_tie(metric):
    chance = np.random.default_rng(11)
    rows = chance.normal(size=(60, 64)) + 2 * chance.normal(size=(6, 64))[np.arange(60) % 6]
    step = np.float32(np.abs(rows).max() / 127)
    whole = np.rint(rows / step).astype(np.int8)
    tree = dendrogram(sketches_of(*((float(step), row.tobytes()) for row in whole)), metric=metric)

    # scipy's node numbers follow its own order of merges, ours that of the chains: compare leaf sets.
    floats = pdist(whole.astype(float)) if metric == "euclidean" else pdist(whole.astype(float), "cosine")
    sets: list[frozenset[int]] = [frozenset([i]) for i in range(60)]
    for left, right, _, _ in linkage(floats, "average"):
        sets.append(sets[int(left)] | sets[int(right)])

    assert {frozenset(tree.below(60 + i)) for i in range(59)} == set(sets[60:])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]), st.binary(min_size=3, max_size=3)), max_size=9
    ),
    st.randoms(use_true_random=False),
    st.sampled_from(["euclidean", "cosine_delta"]),
)
def test_the_order_in_which_sketches_are_listed_does_not_matter(rows, chance, metric):
    sketches = sketches_of(*((scale, values.replace(b"\x80", b"\x81")) for scale, values in rows))
    shuffled = sketches.copy()
    chance.shuffle(shuffled)

    assert dendrogram(shuffled, metric=metric) == dendrogram(sketches, metric=metric)


def test_a_euclidean_distance_counts_in_4096ths_of_a_256th_of_the_median_scale():
    assert distance((0.5, int8(3, 0)), (0.5, int8(0, 4))) == 5 * 256 * 4096


def test_a_cosine_distance_is_2_to_the_41_times_1_minus_cosine():
    east, north, west, still = int8(100, 0), int8(0, 3), int8(-7, 0), int8(0, 0)

    assert distance((1.0, east), (1.0, north), metric="cosine_delta") == 2**41
    assert distance((1.0, east), (1.0, west), metric="cosine_delta") == 2**42
    assert distance((1.0, east), (1.0, int8(50, 0)), metric="cosine_delta") == 0
    assert distance((1.0, east), (1.0, still), metric="cosine_delta") == 2**40
    assert distance((1.0, still), (0.0, still), metric="cosine_delta") == 0


@pytest.mark.parametrize(
    ("scale", "step"),
    [
        (1.0, 256),
        (1.5 / 256, 2),
        (2.5 / 256, 2),
        (3.5 / 256, 4),
        (0.25 / 256, 1),
        (15.0, 3840),
        (16.0, 4095),
        (0.0, 0),
    ],
)
def test_steps_round_to_even_and_stay_within_12_bits(scale, step):
    """
    The sketch of one bucket lies at 1 x step; its distance to the zero sketch shows the step.
    """
    tree = dendrogram(
        sketches_of((scale, int8(1)), (0.0, int8(1)), *[(1.0, int8(127))] * 3), metric="euclidean"
    )

    assert ((0,), (1,), step * 4096, 1) in meetings(tree)
    assert tree.outliers == ()


def test_the_common_step_is_the_lower_median_of_the_scales_that_are_not_zero():
    """
    Of 0, 0, 0, 1, 2, 8, 16 it is 2: scales 1 and 2 take 128 and 256 steps. Of 1, 2 it is 1: 256 and 512.
    """
    small = [(1.0, int8(1)), (2.0, int8(1))]
    rest = [(8.0, int8(100)), (16.0, int8(100)), *[(0.0, int8(0))] * 3]

    assert ((0,), (1,), 128 * 4096, 1) in meetings(dendrogram(sketches_of(*small, *rest), metric="euclidean"))
    assert distance(*small) == 256 * 4096


def test_without_any_scale_all_distances_are_zero():
    assert distance((0.0, int8(9, 9)), (0.0, int8(-9, 0))) == 0


def test_only_scales_above_16_medians_are_outliers():
    above = float(np.nextafter(np.float32(16), np.float32(17)))
    near = [(1.0, int8(1)), (1.0, int8(2)), (1.0, int8(3)), (1.0, int8(4))]
    tree = dendrogram(
        sketches_of((above, int8(1)), *near, (16.0, int8(1)), (1e30, int8(1))), metric="euclidean"
    )

    assert tree.outliers == (peer(0), peer(6))
    assert tree.leaves == tuple(peer(i) for i in range(1, 6))
    assert len(tree.merges) == 4


@pytest.mark.parametrize("buckets", [1024, 8192])
def test_the_largest_sketches_are_still_compared_exactly(buckets):
    """
    Opposite corners of the largest sketch: 2 x 127 x 4095 in every bucket, summed in whole numbers.
    """
    heavy = [(16.0, int8(*[127] * buckets)), (16.0, int8(*[-127] * buckets))]
    light = [(1.0, int8(*[0] * buckets))] * 3
    tree = dendrogram(sketches_of(*light, *heavy), metric="euclidean")
    squared = buckets * (127 * 4095) ** 2
    to_zero = math.floor(math.sqrt(squared) * 4096)
    across = math.floor(math.sqrt(4 * squared) * 4096)

    assert squared < 2**51
    assert ((0, 1, 2), (3,), 3 * to_zero, 3) in meetings(tree)
    assert ((0, 1, 2, 3), (4,), 3 * to_zero + across, 4) in meetings(tree)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(2**-30, 2**30, width=32), st.lists(st.integers(-127, 127), min_size=5, max_size=5)
        ),
        min_size=2,
        max_size=7,
    ),
    st.sampled_from(["euclidean", "cosine_delta"]),
)
def test_trees_are_those_of_an_oracle_in_whole_numbers(rows, metric):
    tree = dendrogram(sketches_of(*((scale, int8(*values)) for scale, values in rows)), metric=metric)
    scales = sorted(scale for scale, _ in rows)
    median = Fraction(scales[(len(scales) - 1) // 2])
    inside = [row for row in rows if Fraction(row[0]) <= 16 * median]
    vectors = [
        [value * min(max(round(256 * Fraction(scale) / median), 1), 4095) for value in values]
        for scale, values in inside
    ]
    if metric == "cosine_delta":
        lengths = [math.sqrt(sum(x * x for x in vector)) or 1.0 for vector in vectors]
        vectors = [[round(x * 2**20 / length) for x in v] for v, length in zip(vectors, lengths, strict=True)]
    matrix = np.zeros((len(inside), len(inside)), dtype=np.int64)
    for i, j in combinations(range(len(inside)), 2):
        squared = sum((x - y) ** 2 for x, y in zip(vectors[i], vectors[j], strict=True))
        root = math.floor(math.sqrt(squared) * 4096)
        matrix[i, j] = matrix[j, i] = root if metric == "euclidean" else squared

    assert len(tree.outliers) == len(rows) - len(inside)
    assert meetings(tree) == greedy(matrix)


def test_few_sketches_need_no_special_care():
    assert dendrogram([], metric="euclidean") == Dendrogram((), (), ())
    assert dendrogram(sketches_of((1.0, int8(1))), metric="euclidean") == Dendrogram((peer(0),), (), ())


def test_an_unknown_metric_is_named():
    with pytest.raises(MisuseError, match="'cosine'"):
        dendrogram([], metric="cosine")


@pytest.mark.parametrize(
    ("scale", "values", "fault"),
    [
        (0.5, int8(127, -127), ""),
        (0.0, int8(0, 0), ""),
        (2.0**-126, int8(1, 1), ""),
        (2.0**-127, int8(1, 1), "scale is negative or subnormal"),
        (-1.0, int8(1, 1), "scale is negative or subnormal"),
        (math.nan, int8(1, 1), "scale is not a finite float32 value"),
        (math.inf, int8(1, 1), "scale is not a finite float32 value"),
        (1e39, int8(1, 1), "scale is not a finite float32 value"),
        (0.1, int8(1, 1), "scale is not a finite float32 value"),
        (1.0, int8(1, -128), "sketch holds -128"),
        (1.0, int8(1), "sketch has 1 buckets instead of 2"),
    ],
)
def test_a_sketch_that_cannot_be_compared_exactly_is_refused(scale, values, fault):
    assert sketch_fault(scale, values, buckets=2) == fault
