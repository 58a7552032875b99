"""From dendrograms to levels: horizontal cuts, their ties, and groups that are too small."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol.branches import Branch, trimmed
from swarmdem.protocol.clustering import Dendrogram, dendrogram
from swarmdem.protocol.cuts import absorbed, binary_cut, maxclust_labels, nested, threshold_labels

LINE = (0, 1, 10, 40, 42, 45, 46, 120)


def peers(count: int) -> list[PeerId]:
    return [PeerId(bytes(15) + bytes([i])) for i in range(count)]


def on_a_line(*places: int) -> np.ndarray:
    """Distances as differences, so that dendrograms can be drawn by hand."""
    line = np.array(places, dtype=np.int64)
    return np.abs(line[:, np.newaxis] - line[np.newaxis, :])


def over(distances: np.ndarray, *, linkage: str = "average") -> Dendrogram:
    return dendrogram(distances, linkage=linkage)


def groups(labels: list[list[int]]) -> list[list[list[int]]]:
    """By level, the items that share a label."""
    return [
        [[i for i, at in enumerate(row) if at == label] for label in dict.fromkeys(row)] for row in labels
    ]


def shape(branch: Branch) -> tuple[int, list[int], list[object]]:
    below = sorted(branch.branches, key=lambda found: min(found.members()))
    return branch.level, [peer[-1] for peer in branch.leaves], [shape(found) for found in below]


def cut(
    labels: list[list[int]], distances: np.ndarray, *, min_size: int = 1
) -> tuple[int, list[int], list[object]]:
    root = nested(labels, peers(len(distances)), distances=distances, linkage="average", min_size=min_size)
    return shape(trimmed(root, min_size=min_size))


def test_a_binary_cut_splits_at_every_level_and_hangs_early_items_higher():
    assert shape(binary_cut(over(on_a_line(*LINE)), peers(8), levels=2)) == (
        3, [7], [(2, [], [(1, [0, 1, 2], []), (1, [3, 4, 5, 6], [])])]
    )  # fmt: skip


def test_a_threshold_is_a_share_of_the_highest_merge():
    """
    0, 1 and 3 merge at 2.5 of 8.67; 0 and 2 at 2 of 4, just half of it.
    """
    tree = over(on_a_line(0, 1, 3, 10, 10))

    assert float(tree.height(tree.top)) == pytest.approx(8.67, abs=0.01)
    assert groups(threshold_labels(tree, (0.1, 0.2), squared=False)) == [
        [[0], [1], [2], [3, 4]],
        [[0, 1], [2], [3, 4]],
    ]
    low = over(on_a_line(0, 2, 5))
    assert groups(threshold_labels(low, (0.5,), squared=False)) == [[[0, 1], [2]]]
    assert groups(threshold_labels(low, (0.4999,), squared=False)) == [[[0], [1], [2]]]


def test_shares_of_squared_heights_are_squared():
    """
    By Ward {0, 3} and 9 merge at 4/3 x 7.5^2 = 75, so 3 is .3464 of the root of that.
    """
    tree = over(on_a_line(0, 3, 9) ** 2, linkage="ward")

    assert tree.height(tree.top) == 75
    assert groups(threshold_labels(tree, (0.34,), squared=True)) == [[[0], [1], [2]]]
    assert groups(threshold_labels(tree, (0.35,), squared=True)) == [[[0, 1], [2]]]


def test_a_number_of_clusters_is_what_greedy_merging_leaves():
    tree = over(on_a_line(*LINE))

    assert groups(maxclust_labels(tree, (5, 3, 2))) == [
        [[0, 1], [2], [3, 4], [5, 6], [7]],
        [[0, 1, 2], [3, 4, 5, 6], [7]],
        [[0, 1, 2, 3, 4, 5, 6], [7]],
    ]


def test_among_equal_heights_the_last_merge_is_undone_first():
    tree = over(on_a_line(5, 5, 5, 5, 5))

    assert groups(maxclust_labels(tree, (3, 2))) == [[[0, 1, 2], [3], [4]], [[0, 1, 2, 3], [4]]]
    assert groups(maxclust_labels(over(on_a_line(0, 3, 20, 23)), (3,))) == [[[0, 1], [2], [3]]]


def test_more_groups_than_items_leave_every_item_alone():
    assert groups(maxclust_labels(over(on_a_line(0, 3, 9)), (8, 3))) == [[[0], [1], [2]]] * 2


def test_levels_without_any_distance_are_one_group():
    assert groups(threshold_labels(over(on_a_line(7, 7, 7)), (0.0, 0.5), squared=False)) == [[[0, 1, 2]]] * 2


def test_the_groups_of_horizontal_cuts_are_nested_and_those_that_join_nothing_are_gone():
    """
    Of the levels 5, 3, 2: {2} hangs on the group above, {0, 1, 2} and {3..6} split again, 7 is alone.
    """
    distances = on_a_line(*LINE)
    labels = maxclust_labels(over(distances), (5, 3, 2))

    assert cut(labels, distances) == (
        4, [7], [(3, [], [(2, [2], [(1, [0, 1], [])]), (2, [], [(1, [3, 4], []), (1, [5, 6], [])])])]
    )  # fmt: skip


def test_a_group_with_one_group_below_gives_way_to_it():
    """
    {0, 1} and {2, 3} are found at all three levels; the lowest group stays, right under the root.
    """
    distances = on_a_line(0, 1, 50, 52)

    assert cut(maxclust_labels(over(distances), (2,)) * 3, distances) == (
        4, [], [(1, [0, 1], []), (1, [2, 3], [])]
    )  # fmt: skip


def test_a_group_of_everybody_gives_way_to_the_root():
    distances = on_a_line(3, 3, 3)

    assert cut(threshold_labels(over(distances), (0.5, 0.9), squared=False), distances) == (3, [0, 1, 2], [])


def test_small_groups_join_the_nearest_the_smallest_first():
    distances = on_a_line(0, 1, 2, 10, 11, 30, 31, 32, 60)
    parts = [[0, 1, 2], [3, 4], [5, 6, 7], [8]]

    assert absorbed(parts, distances=distances, linkage="average", min_size=3) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8],
    ]
    assert absorbed(parts, distances=distances, linkage="average", min_size=2) == [
        [0, 1, 2],
        [3, 4],
        [5, 6, 7, 8],
    ]
    assert absorbed(parts, distances=distances, linkage="average", min_size=6) == [
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    ]


def test_ward_absorbs_by_growth_and_not_by_distance():
    """
    3 is nearer to the pair at 10 than to the single at -5, but the single grows less: 2/2 x 64 to 4/3 x 49.
    """
    distances = on_a_line(3, 10, 10, -5) ** 2
    parts = [[0], [1, 2], [3]]

    assert absorbed(parts, distances=distances, linkage="ward", min_size=2) == [[0, 3], [1, 2]]
    assert absorbed(parts, distances=on_a_line(3, 10, 10, -5), linkage="average", min_size=2) == [
        [0, 1, 2, 3]
    ]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=14),
    st.sampled_from(["average", "ward"]),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).map(lambda found: sorted(found)[::-1]),
)
def test_every_cut_is_one_tree_of_large_enough_groups_over_all_peers(places, linkage, min_size, numbers):
    distances = on_a_line(*places) ** (2 if linkage == "ward" else 1)
    tree = over(distances, linkage=linkage)
    shares = [number / 10 for number in sorted(numbers)]
    for labels in (maxclust_labels(tree, numbers), threshold_labels(tree, shares, squared=linkage == "ward")):
        raw = nested(labels, peers(len(places)), distances=distances, linkage=linkage, min_size=min_size)
        root = trimmed(raw, min_size=min_size)

        assert sorted(root.members()) == peers(len(places))
        assert root.level == len(numbers) + 1
        for branch in raw.walk():
            assert branch is raw or len(list(branch.members())) >= min(min_size, len(places))
        for branch in root.walk():
            assert all(below.level < branch.level for below in branch.branches)
            assert branch is root or len(list(branch.members())) >= max(2, min_size)
            assert len(branch.branches) != 1 or branch.leaves
        for finer, coarser in pairwise(groups(labels)):
            assert all(any(set(low) <= set(high) for high in coarser) for low in finer)
