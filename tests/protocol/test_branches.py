"""Unfinished trees: what trimming takes out, whom lifting lifts, what stays of an old tree."""

from swarmdem.identifiers import PeerId
from swarmdem.protocol.branches import Branch, kept, lifted, trimmed
from swarmdem.protocol.identity import named


def peers(*numbers: int) -> tuple[PeerId, ...]:
    return tuple(PeerId(bytes(15) + bytes([number])) for number in numbers)


def branch(level: int, leaves: tuple[int, ...] = (), *branches: Branch) -> Branch:
    return Branch(level, peers(*leaves), branches)


DEEP = branch(
    4, (9,), branch(3, (8,), branch(2, (), branch(1, (0, 1)), branch(1, (2, 3)))), branch(2, (4, 5))
)


def test_a_tree_in_which_all_groups_join_something_stays():
    assert trimmed(DEEP, min_size=2) == DEEP


def test_groups_of_one_peer_and_of_none_are_dissolved():
    wild = branch(4, (), branch(3, (), branch(2, (1,)), branch(1, (2, 3))), branch(3), branch(3, (4,)))

    assert trimmed(wild, min_size=1) == branch(4, (4,), branch(3, (1,), branch(1, (2, 3))))


def test_a_group_with_one_group_below_and_no_peers_is_replaced_by_it():
    chain = branch(4, (7,), branch(3, (), branch(2, (), branch(1, (0, 1)))))

    assert trimmed(chain, min_size=1) == branch(4, (7,), branch(1, (0, 1)))


def test_the_root_takes_over_its_only_group():
    chain = branch(4, (), branch(3, (), branch(2, (5,), branch(1, (0, 1)))))

    assert trimmed(chain, min_size=1) == branch(4, (5,), branch(1, (0, 1)))
    assert trimmed(branch(3, (), branch(2)), min_size=1) == branch(3)


def test_groups_below_the_least_size_are_dissolved_with_all_below():
    assert trimmed(DEEP, min_size=3) == branch(4, (9, 4, 5), branch(3, (8,), branch(2, (0, 1, 2, 3))))
    assert trimmed(DEEP, min_size=6) == branch(4, (9, 8, 0, 1, 2, 3, 4, 5))


def test_a_lifted_peer_hangs_on_the_first_group_that_is_high_enough():
    depths = dict(zip(peers(0, 1, 2, 3), (0, 1, 2, 3), strict=True))

    assert lifted(DEEP, depths) == branch(
        4, (9, 0), branch(3, (8, 1), branch(2, (2,), branch(1), branch(1, (3,)))), branch(2, (4, 5))
    )


def test_where_a_level_is_missing_a_lifted_peer_hangs_higher():
    assert lifted(DEEP, dict.fromkeys(peers(4, 5), 1)) == branch(4, (9, 4, 5), *DEEP.branches[:1], branch(2))


def test_a_kept_tree_loses_who_is_gone():
    old = named(DEEP, base=b"base", previous=None)
    found = kept(old, peers(0, 2, 3, 8, 77))

    assert sorted(found.members()) == list(peers(0, 2, 3, 8))
    assert trimmed(found, min_size=1) == branch(4, (8,), branch(2, (0,), branch(1, (2, 3))))


def test_joined_peers_hang_on_the_group_itself():
    assert branch(2, (1,), branch(1, (4, 5))).joined_by(peers(2)) == branch(2, (1, 2), branch(1, (4, 5)))
