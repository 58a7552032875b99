"""Names of groups from round to round: who inherits, at splits, merges and ties."""

from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import GroupId, PeerId
from swarmdem.protocol.branches import Branch, trimmed
from swarmdem.protocol.hierarchy import Hierarchy, group_id
from swarmdem.protocol.identity import named


def peers(numbers: range | list[int]) -> tuple[PeerId, ...]:
    return tuple(PeerId(bytes(15) + bytes([number])) for number in numbers)


def flat(*groups: list[int] | range, level: int = 1, loose: tuple[int, ...] = ()) -> Branch:
    """Groups of one level under a root of level 4."""
    return Branch(4, peers(list(loose)), tuple(Branch(level, peers(group)) for group in groups))


def names(tree: Hierarchy) -> dict[tuple[int, ...], GroupId]:
    return {tuple(peer[-1] for peer in group.members): group.id for group in tree.groups}


def after(*trees: Branch) -> list[dict[tuple[int, ...], GroupId]]:
    """The names of *trees* that follow one another, each on a base of its own."""
    found, previous = [], None
    for number, tree in enumerate(trees):
        previous = named(tree, base=bytes([number]) * 32, previous=previous)
        found.append(names(previous))
    return found


def test_first_names_are_those_of_the_base():
    [first] = after(flat([0, 1, 2], [3, 4]))

    assert first == {
        (0, 1, 2, 3, 4): group_id(bytes(32), 4, peers(range(5))),
        (0, 1, 2): group_id(bytes(32), 1, peers([0, 1, 2])),
        (3, 4): group_id(bytes(32), 1, peers([3, 4])),
    }


def test_a_group_keeps_its_name_while_peers_come_and_go():
    first, second = after(flat([0, 1, 2], [3, 4, 5]), flat([0, 1, 3, 9], [4, 5]))

    assert second[0, 1, 3, 9] == first[0, 1, 2]
    assert second[4, 5] == first[3, 4, 5]
    assert second[0, 1, 3, 4, 5, 9] == first[0, 1, 2, 3, 4, 5]


def test_when_a_group_splits_the_larger_part_keeps_its_name():
    first, second = after(flat([0, 1, 2, 3, 4], [8, 9]), flat([0, 1], [2, 3, 4], [8, 9]))

    assert second[2, 3, 4] == first[0, 1, 2, 3, 4]
    assert second[0, 1] == group_id(bytes([1]) * 32, 1, peers([0, 1]))


def test_when_groups_merge_the_name_of_the_larger_survives_and_the_other_never_comes_back():
    first, second, third = after(
        flat([0, 1], [2, 3, 4], [8, 9]), flat([0, 1, 2, 3, 4], [8, 9]), flat([0, 1], [2, 3, 4], [8, 9])
    )

    assert second[0, 1, 2, 3, 4] == first[2, 3, 4]
    assert third[2, 3, 4] == first[2, 3, 4]
    assert third[0, 1] not in first.values()
    assert third[8, 9] == first[8, 9]


def test_of_equal_shares_the_previous_name_that_sorts_first_goes_to_the_group_that_sorts_first():
    first, second = after(flat([0, 1], [2, 3], [8, 9]), flat([0, 2], [1, 3], [8, 9]))

    low, high = sorted([first[0, 1], first[2, 3]])
    assert (second[0, 2], second[1, 3]) == (low, high)


def test_a_name_stays_on_its_level():
    first, second = after(flat([0, 1, 2], [3, 4]), flat([0, 1, 2], [3, 4], level=2))

    assert second[0, 1, 2] != first[0, 1, 2]


trees = st.lists(st.integers(0, 3), min_size=8, max_size=8).map(
    lambda labels: trimmed(
        Branch(
            4,
            (),
            tuple(
                Branch(
                    3, (), tuple(Branch(1, peers([i for i in range(8) if labels[i] == low])) for low in pair)
                )
                for pair in ((0, 1), (2, 3))
            ),
        ),
        min_size=1,
    )
)


@settings(max_examples=100, deadline=None)
@given(trees, trees)
def test_every_group_has_one_name_and_nobody_else_has_it(one, two):
    first = named(one, base=b"first", previous=None)
    second = named(two, base=b"second", previous=first)

    assert len({group.id for group in second.groups}) == len(second.groups)
    assert second.root.id == first.root.id
    for group in second.groups:
        if group.id in first:
            assert first.group(group.id).level == group.level
            assert set(first.group(group.id).members) & set(group.members)
    assert named(one, base=b"second", previous=first) == first
