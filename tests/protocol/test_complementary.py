"""Groups that make up the whole: every label in every group, equal sizes, and what keeps them."""

from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol.branches import Branch, trimmed
from swarmdem.protocol.complementary import complementary, dealt
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.identity import named
from swarmdem.protocol.sketches import squares


def peers(count: int) -> list[PeerId]:
    return [PeerId(i.to_bytes(16, "big")) for i in range(count)]


def label_pairs(count: int, seed: int, *, noise: float = 10.0) -> tuple[np.ndarray, list[set[int]]]:
    """Sketches of peers that each hold two of ten labels, all labels by as many, and these labels."""
    chance = np.random.default_rng(seed)
    kinds = 20 * chance.normal(size=(10, 64))
    labels = [{i % 10, (i + 1 + i // 10 % 9) % 10} for i in range(count)]
    chance.shuffle(labels)
    rows = [sum(kinds[label] for label in held) + noise * chance.normal(size=64) for held in labels]
    return np.rint(np.array(rows)), labels


def between(squared: np.ndarray, parts: list[int]) -> Fraction:
    """The sum of squares between the parts' means, from its definition over pairs."""

    def spread(items: list[int]) -> Fraction:
        return Fraction(sum(int(squared[i, j]) for i, j in combinations(items, 2)), len(items))

    rows = [[i for i, part in enumerate(parts) if part == wanted] for wanted in sorted(set(parts))]
    return spread(list(range(len(parts)))) - sum(spread(items) for items in rows)


@pytest.mark.parametrize("seed", range(5))
def test_each_of_five_groups_of_fifty_label_pairs_holds_all_ten_labels(seed):
    points, labels = label_pairs(50, seed)
    parts = dealt(squares(points), 5, before=[-1] * 50)
    by_chance = np.random.default_rng(seed).permutation(np.arange(50) % 5).tolist()

    assert Counter(parts) == dict.fromkeys(range(5), 10)
    for part in range(5):
        assert set().union(*(labels[i] for i in range(50) if parts[i] == part)) == set(range(10))
    assert between(squares(points), parts) < between(squares(points), by_chance) / 3


def test_groups_of_alike_peers_are_taken_apart():
    """
    Two of each of four kinds on a line: each part gets one of every kind.
    """
    line = np.array([[0.0], [0.0], [10.0], [10.0], [20.0], [20.0], [30.0], [30.0]])
    parts = dealt(squares(line), 2, before=[-1] * 8)

    assert all(parts[i] != parts[i + 1] for i in (0, 2, 4, 6))
    assert between(squares(line), parts) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=13), st.data())
def test_no_exchange_of_two_is_left_that_helps_and_sizes_differ_by_one_at_most(places, data):
    squared = squares(np.array(places, dtype=np.float64)[:, np.newaxis])
    number = data.draw(st.integers(1, len(places)))
    before = data.draw(st.lists(st.integers(-1, number), min_size=len(places), max_size=len(places)))
    parts = dealt(squared, number, before=before)
    sizes = Counter(parts)

    assert set(sizes) == set(range(number))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for i, j in combinations(range(len(places)), 2):
        swapped = list(parts)
        swapped[i], swapped[j] = parts[j], parts[i]
        assert between(squared, swapped) >= between(squared, parts)


def test_an_exchange_must_be_worth_more_than_the_hysteresis():
    """
    0 and 4 against 1 and 8 exchange 0 for 1: B falls from 25/4 to 9/4, by .64 = 163.84 / 256.
    """
    squared = squares(np.array([[0.0], [1.0], [4.0], [8.0]]))
    before = [0, 1, 0, 1]

    assert between(squared, before) == Fraction(25, 4)
    assert between(squared, [1, 0, 0, 1]) == Fraction(9, 4)
    assert dealt(squared, 2, before=before, hysteresis=163) == [1, 0, 0, 1]
    assert dealt(squared, 2, before=before, hysteresis=164) == before


def test_who_leaves_and_comes_moves_nobody_else_but_to_even_out_sizes():
    points, _ = label_pairs(40, 3)
    parts = dealt(squares(points), 4, before=[-1] * 40)
    newer = np.concatenate([points[:36], label_pairs(4, 9)[0]])
    again = dealt(squares(newer), 4, before=[*parts[:36], -1, -1, -1, -1], hysteresis=256)

    assert sum(again[i] != parts[i] for i in range(36)) <= 2
    assert set(Counter(again).values()) == {10}


def test_the_largest_squares_do_not_overflow():
    """
    1024 items as far apart as sketches can be: sums are shifted, the two kinds still split evenly.
    """
    kinds = np.arange(1024) % 2
    squared = np.where(kinds[:, np.newaxis] == kinds[np.newaxis, :], 0, 2**53 - 1)
    parts = dealt(squared, 4, before=[-1] * 1024)

    assert Counter(zip(parts, kinds.tolist(), strict=True)) == dict.fromkeys(
        [(part, kind) for part in range(4) for kind in (0, 1)], 128
    )


def formed(
    points: np.ndarray, numbers: tuple[int, ...], *, previous: Hierarchy | None = None, min_size: int = 1
) -> Branch:
    raw = complementary(
        points, peers(len(points)), numbers=numbers, min_size=min_size, previous=previous, hysteresis=26
    )
    return trimmed(raw, min_size=min_size)


def test_upper_groups_join_whole_lower_groups_in_equal_numbers():
    points, _ = label_pairs(48, 1)
    root = formed(points, (8, 4, 2))

    assert root.level == 4
    assert [(branch.level, len(list(branch.members()))) for branch in root.walk()] == [
        (4, 48),
        *[(3, 24), (2, 12), (1, 6), (1, 6), (2, 12), (1, 6), (1, 6)] * 2,
    ]


def test_few_peers_are_fewer_groups():
    points, _ = label_pairs(7, 1)

    sizes = [len(branch.leaves) for branch in formed(points, (5,)).branches]
    assert sorted(sizes) == [2, 2, 3]
    assert [len(branch.leaves) for branch in formed(points, (5,), min_size=3).branches] in ([3, 4], [4, 3])
    assert formed(points, (5,), min_size=4) == Branch(2, tuple(peers(7)))
    assert formed(points[:1], (3, 2)) == Branch(3, tuple(peers(1)))


def test_groups_last_while_sketches_shake():
    """
    Ten rounds of noise and a hysteresis of a tenth: no peer leaves its group, no group the one above.
    """
    points, _ = label_pairs(48, 2)
    chance = np.random.default_rng(4)
    first = previous = named(formed(points, (8, 2)), base=bytes(32), previous=None)
    for number in range(10):
        shaken = points + np.rint(2 * chance.normal(size=points.shape))
        previous = named(
            formed(shaken, (8, 2), previous=previous), base=bytes([number] * 32), previous=previous
        )

    assert [previous.parent_of(peer) for peer in peers(48)] == [first.parent_of(peer) for peer in peers(48)]
    assert previous == first
