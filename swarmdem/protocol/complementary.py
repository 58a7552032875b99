"""Groups whose members together make up the whole: each group's mean near the swarm's.

Similar peers go to different groups. Under skewed data every group then sees all of it, so the mean
of a group generalises like that of the swarm. This is balanced anti-clustering: parts of equal size
(give or take one) with as little as possible left of B, the sum of squares between the parts'
means, `sum(n |mean - mean of all|^2)`; as much as possible then lies within the parts, and that is
summed over pairs, in integers, without any mean.

First each peer and the ones nearest to it are dealt to different parts; then peers are exchanged while
B falls. Peers that were dealt before begin where they were, and an exchange must be worth more than
the hysteresis says: there are many partitions that are almost as good as the best. Upper levels deal
groups, each as its mean, in the same way.

The result is a good partition, not the best. Limits: `LISTED_MAX` items, at most `_PASSES` rounds of
exchanges, squared distances shifted right to fit `_GAIN_BITS` bits in all.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swarmdem.identifiers import GroupId, Level, PeerId
from swarmdem.protocol.branches import SMALLEST, Branch
from swarmdem.protocol.clustering import HYSTERESIS_ONE
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.sketches import Floats, Integers, centre, squares

_PASSES = 8
_GAIN_BITS = 60


def dealt(squared: Integers, number: int, *, before: Sequence[int], hysteresis: int = 0) -> list[int]:
    """Return for each item the part it is in, 0 to *number* - 1.

    Args:
        squared: [N, N], squared distances.
        number: Parts, 1 to N.
        before: The part each item was in, negative for none.
        hysteresis: By how many 256ths of B an exchange must lower it.
    """
    count = len(squared)
    bits = int(squared.max(initial=0)).bit_length() + 3 * count.bit_length()
    fitted = squared >> max(0, bits - _GAIN_BITS)
    parts = _begun(fitted, number, before)
    _exchange(fitted, parts, number, hysteresis)
    return [int(part) for part in parts]


def _begun(squared: Integers, number: int, before: Sequence[int]) -> Integers:
    """Return a balanced partition: who had a place keeps it while there is room, the others are dealt."""
    count = len(squared)
    parts = np.full(count, -1, dtype=np.int64)
    room = _room(count, number, before)
    spread = squared.sum(axis=1)
    for item in range(count):
        part = before[item]
        if 0 <= part < number and room[part] > 0:
            parts[item] = part
            room[part] -= 1
    across = np.zeros((number, count), dtype=np.int64)
    sizes = np.bincount(parts[parts >= 0], minlength=number)
    for part in range(number):
        across[part] = squared[parts == part].sum(axis=0)
    while (parts < 0).any():
        waiting = np.flatnonzero(parts < 0)
        first = waiting[np.argmax(spread[waiting])]
        near = waiting[np.argsort(squared[first, waiting], kind="stable")]
        batch = [int(first), *(int(item) for item in near if item != first)][: int((room > 0).sum())]
        free = room > 0
        for item in batch:
            part = _farthest(across[:, item], free, sizes)
            parts[item] = part
            free[part] = False
            room[part] -= 1
            sizes[part] += 1
            across[part] += squared[item]
    return parts


def _room(count: int, number: int, before: Sequence[int]) -> Integers:
    """Return the sizes of the parts; the largest before are the ones to hold one more than the others."""
    size, more = divmod(count, number)
    held = np.bincount([part for part in before if 0 <= part < number], minlength=number)
    room = np.full(number, size, dtype=np.int64)
    room[np.argsort(-held, kind="stable")[:more]] += 1
    return room


def _farthest(sums: Integers, free: NDArray[np.bool_], sizes: Integers) -> int:
    """Return the free part whose members are farthest in the mean, of equal ones the first."""
    means = sums // np.maximum(sizes, 1)
    return int(np.argmax(np.where(free, means, -1)))


def _exchange(squared: Integers, parts: Integers, number: int, hysteresis: int) -> None:
    """Exchange items of two parts, each with the one that is worth most, until none is worth it.

    An exchange of i in A for j in B changes the sum W(A) over A's pairs by
    `T(A, j) - T(A, i) - d(i, j)`, T being an item's sum to a part. Sizes n differ by one at most, so
    a common multiple of them over n weighs W(A) / n in integers.
    """
    count = len(parts)
    size = count // number
    multiple = size * (size + 1)
    weights = multiple // np.bincount(parts, minlength=number)
    across = np.array([squared[parts == part].sum(axis=0) for part in range(number)])
    items = np.arange(count)
    left = multiple * (int(squared.sum()) // 2)
    left -= count * sum(
        int(weights[part]) * (int(across[part, parts == part].sum()) // 2) for part in range(number)
    )
    for _ in range(_PASSES):
        exchanged = False
        for one in range(count):
            here = parts[one]
            gains = weights[here] * (across[here] - across[here, one] - squared[one])
            gains += weights[parts] * (across[parts, one] - across[parts, items] - squared[one])
            gains[parts == here] = -1
            other = int(np.argmax(gains))
            gain = count * int(gains[other])
            if gain <= 0 or gain * HYSTERESIS_ONE <= hysteresis * left:
                continue
            there = parts[other]
            across[here] += squared[other] - squared[one]
            across[there] += squared[one] - squared[other]
            parts[one], parts[other] = there, here
            left -= gain
            exchanged = True
        if not exchanged:
            return


def complementary(
    points: Floats,
    peers: Sequence[PeerId],
    *,
    numbers: Sequence[float],
    min_size: int,
    previous: Hierarchy | None,
    hysteresis: int,
) -> Branch:
    """Return the tree over *peers* with *numbers* of groups from level 1 up.

    Where there are too few peers for groups of *min_size*, or of two, there are fewer groups.

    Args:
        points: [N, m], whole coordinates (`sketches.points_of`), in the order of *peers*.
        peers: Sorted; at least one.
        numbers: Falling.
        min_size: Least peers of a group.
        previous: The tree whose groups are kept where that is as good.
        hysteresis: By how many 256ths of B an exchange must lower it.
    """
    branches = [Branch(0, (peer,)) for peer in peers]
    origins: list[bytes | None] = list(peers)
    fewest = max(1, len(peers) // max(min_size, SMALLEST))
    for level, wanted in enumerate(numbers, start=1):
        number = min(int(wanted), fewest, len(branches))
        above, names = _origins(previous, level, origins, number)
        parts = dealt(squares(points), number, before=above, hysteresis=hysteresis)
        held = [[item for item in range(len(parts)) if parts[item] == part] for part in range(number)]
        points = np.stack([centre(points[items]) for items in held])
        branches = [
            Branch(
                level,
                tuple(leaf for item in items for leaf in branches[item].leaves if level == 1),
                tuple(branches[item] for item in items if level > 1),
            )
            for items in held
        ]
        origins = list(names)
    if not numbers:
        return Branch(1, tuple(peers))
    return Branch(len(numbers) + 1, (), tuple(branches))


def _origins(
    previous: Hierarchy | None, level: Level, items: Sequence[bytes | None], number: int
) -> tuple[list[int], list[GroupId | None]]:
    """Return for each item the number of the part it was in, and by part the group that this was.

    The parts are the groups of *level* that hold most of *items*: peers at level 1, groups above.
    """
    above: list[GroupId | None] = []
    for item in items:
        group = None
        if previous is not None and item is not None:
            group = previous.parent_of(PeerId(item)) if level == 1 else previous.group(GroupId(item)).parent
        above.append(group if group is not None and _level(previous, group) == level else None)
    held = Counter(group for group in above if group is not None)
    names = [name for name, _ in sorted(held.items(), key=lambda entry: (-entry[1], entry[0]))][:number]
    places = {name: part for part, name in enumerate(names)}
    known = [places.get(group, -1) if group is not None else -1 for group in above]
    return known, [*names, *[None] * (number - len(names))]


def _level(tree: Hierarchy | None, group: GroupId) -> Level:
    return tree.group(group).level if tree is not None else 0
