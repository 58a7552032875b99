"""Whole trees, round after round: churn, newcomers, peers set apart, kept trees, and every charter's laws."""

from collections.abc import Mapping
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol.forming import Previous, Shape, form
from swarmdem.protocol.hierarchy import Hierarchy, hierarchy_of, plan_groups
from swarmdem.protocol.placement import Standing
from swarmdem.protocol.sketches import Sketch
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import NORMAL, Entry, Plan


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


class Swarm:
    """Trees that follow one another under one charter."""

    def __init__(self, **wanted: object) -> None:
        self.shape = Shape(**wanted)
        self.previous = Previous()
        self.round = 0

    def go(
        self,
        rows: Mapping[int, tuple[int, ...]],
        *,
        unplaced: tuple[int, ...] = (),
        hysteresis: int = 0,
        carry: bool = False,
        scale: float = 1.0,
    ) -> Hierarchy:
        """Form the next tree of peers whose sketches hold *rows*."""
        self.round += 1
        sketches = [
            Sketch(peer(number), scale, np.array(row, dtype=np.int8).tobytes())
            for number, row in rows.items()
        ]
        tree, standing = form(
            sketches,
            [peer(number) for number in unplaced],
            base=bytes([self.round]) * 32,
            shape=self.shape,
            hysteresis=hysteresis,
            previous=self.previous,
            carry=carry,
        )
        self.previous = Previous(tree, standing)
        return tree

    def standing(self, number: int) -> Standing:
        return self.previous.standing[peer(number)]


def groups(tree: Hierarchy) -> set[tuple[int, ...]]:
    """The members of every group but the root."""
    return {tuple(int.from_bytes(member, "big") for member in group.members) for group in tree.groups[1:]}


def under_root(tree: Hierarchy) -> list[int]:
    return [int.from_bytes(leaf, "big") for leaf in tree.root.leaves]


PAIRS = {0: (0,), 1: (2,), 2: (50,), 3: (52,), 4: (100,), 5: (102,)}


TRIPLES = {i: (place,) for i, place in enumerate((0, 4, 8, 50, 54, 58, 100, 104, 108))}


def test_a_shape_is_what_the_charter_says():
    charter = Charter(
        swarm="x", levels=2, cut="maxclust", cuts=(4.0, 2.0), metric="cosine", linkage="ward", min_size=3,
        newcomers="top", outliers=2, grouping="complementary",
    )  # fmt: skip

    assert Shape.of(charter, b"sketch") == Shape(
        2, "maxclust", (4.0, 2.0), "cosine", "ward", 3, "complementary", "top", 2, b"sketch"
    )
    assert Shape.of(Charter(swarm="x")) == Shape()


@pytest.mark.parametrize(
    ("wanted", "moves"),
    [
        ({"cut": "maxclust", "cuts": (8,), "linkage": "ward"}, {0: 275, 26: 135, 77: 6}),
        ({"cut": "maxclust", "cuts": (8,), "linkage": "average"}, {0: 281, 26: 32, 77: 0}),
    ],
)
def test_hysteresis_lowers_churn(wanted, moves):
    """
    Fifty peers of two labels each, shaken for 15 rounds: how often one of them changed its group of 8.
    """
    for hysteresis, expected in moves.items():
        chance = np.random.default_rng(7)
        kinds = chance.normal(size=(10, 64))
        still = np.array([kinds[i % 10] + kinds[(i + 1 + i // 10) % 10] for i in range(50)])
        still += 0.5 * chance.normal(size=still.shape)
        swarm, moved = Swarm(levels=1, **wanted), 0
        for _ in range(15):
            rows = np.clip(np.rint(16 * (still + 0.6 * chance.normal(size=still.shape))), -127, 127)
            before = swarm.previous.hierarchy
            tree = swarm.go(dict(enumerate(rows.tolist())), hysteresis=hysteresis)
            if before is not None:
                moved += sum(tree.parent_of(peer(i)) != before.parent_of(peer(i)) for i in range(50))
        assert moved == expected


def test_the_root_is_no_group_that_peers_shared():
    """
    Without a group in common there is no bonus: 0 and 1 were together under the root only.
    """
    swarm = Swarm(levels=1)
    assert groups(swarm.go({0: (0,), 1: (100,), 2: (40,), 3: (42,)})) == {(0, 2, 3)}
    assert groups(swarm.go({0: (0,), 1: (18,), 2: (100,), 3: (82,)}, hysteresis=77)) == {(0, 1), (2, 3)}


def test_newcomers_start_under_the_root_and_descend_while_others_stay():
    swarm = Swarm(levels=2, newcomers="top")
    rows = {i: (place,) for i, place in enumerate((0, 1, 2, 20, 21, 22, 90, 91, 92, 120, 121, 122))}
    first = swarm.go(rows)
    assert swarm.standing(0) == Standing()
    assert groups(first) == {
        (0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11), (0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)
    }  # fmt: skip

    rows[20] = (22,)
    assert under_root(swarm.go(rows)) == [20]
    assert swarm.standing(20) == Standing(depth=0)

    tree = swarm.go(rows)
    assert tree.group(tree.parent_of(peer(20))).level == 2
    assert (0, 1, 2, 3, 4, 5, 20) in groups(tree)
    assert (3, 4, 5) in groups(tree)

    tree = swarm.go(rows)
    assert (3, 4, 5, 20) in groups(tree)
    assert swarm.standing(20) == Standing()


def test_newcomers_may_start_anywhere_when_the_charter_says_so():
    swarm = Swarm(levels=1)
    swarm.go({0: (0,), 1: (2,), 2: (50,), 3: (52,)})

    assert groups(swarm.go({0: (0,), 1: (2,), 2: (50,), 3: (52,), 9: (53,)})) == {(0, 1), (2, 3, 9)}


def test_a_peer_far_from_all_groups_is_set_apart_and_readmitted():
    """
    Peer 9 is far for two certificates, out of the tree for two more that it spends inside, then comes back.
    """
    swarm = Swarm(levels=1, cut="maxclust", cuts=(3,), outliers=2)
    near, gone = TRIPLES | {9: (60,)}, TRIPLES | {9: (-120,)}
    swarm.go(near)
    assert swarm.standing(9) == Standing()

    swarm.go(gone)
    assert swarm.standing(9) == Standing(streak=1)
    assert under_root(swarm.go(gone)) == [9]
    assert swarm.standing(9) == Standing(depth=0, streak=2, apart=True)
    assert groups(swarm.go(near)) == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}
    assert swarm.standing(9) == Standing(depth=0, streak=1, apart=True)
    assert under_root(swarm.go(near)) == [9]
    assert swarm.standing(9) == Standing(depth=0)
    assert groups(swarm.go(near)) == {(0, 1, 2), (3, 4, 5, 9), (6, 7, 8)}
    assert swarm.standing(9) == Standing()


def test_a_peer_set_apart_is_not_clustered():
    """
    One of three groups is the far peer's as long as it is in the clustering.
    """
    swarm = Swarm(levels=1, cut="maxclust", cuts=(3,), outliers=1)
    gone = TRIPLES | {9: (-120,)}

    assert groups(swarm.go(gone)) == {(0, 1, 2, 3, 4, 5), (6, 7, 8)}
    assert swarm.standing(9).apart
    assert groups(swarm.go(gone)) == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}


def test_a_peer_far_by_its_scale_is_far_too():
    swarm = Swarm(levels=1, outliers=1, newcomers="top")
    loud = Sketch(peer(9), 17.0, b"\x01")
    plain = [Sketch(peer(i), 1.0, bytes([i])) for i in range(6)]
    wanted = {"base": bytes(32), "shape": swarm.shape, "hysteresis": 0, "carry": False}
    tree, standing = form([*plain, loud], (), previous=Previous(), **wanted)
    assert standing[peer(9)] == Standing(depth=0, streak=1, apart=True)
    assert tree.root.leaves == (peer(9),)


def test_among_few_nobody_is_far_by_its_scale():
    swarm = Swarm(levels=1, outliers=1, newcomers="top")
    sketches = [Sketch(peer(0), 1.0, b"\x01"), Sketch(peer(9), 17.0, b"\x01")]
    wanted = {"base": bytes(32), "shape": swarm.shape, "hysteresis": 0, "carry": False}
    _, standing = form(sketches, (), previous=Previous(), **wanted)
    assert standing[peer(9)] == Standing()


def test_peers_set_apart_come_back_when_nobody_else_is_left():
    swarm = Swarm(levels=1, cut="maxclust", cuts=(3,), outliers=2)
    for _ in range(2):
        swarm.go(TRIPLES | {9: (-120,)})
    assert swarm.standing(9).apart

    swarm.go({9: (-120,)})
    swarm.go({9: (-120,)})

    assert swarm.standing(9) == Standing(depth=0)


def test_who_cannot_be_compared_hangs_under_the_root_and_keeps_its_standing():
    swarm = Swarm(levels=1, outliers=3, newcomers="top")
    swarm.go(PAIRS)
    swarm.go(PAIRS, unplaced=(9,))
    assert under_root(swarm.go(PAIRS, unplaced=(9,))) == [9]
    assert swarm.standing(9) == Standing(depth=0)


def test_a_kept_tree_takes_newcomers_under_its_root_and_loses_groups_that_join_nothing():
    swarm = Swarm(levels=2, newcomers="top")
    first = swarm.go({0: (0,), 1: (1,), 2: (20,), 3: (21,), 4: (90,), 5: (91,), 6: (120,), 7: (121,)})
    assert groups(first) == {(0, 1, 2, 3), (4, 5, 6, 7), (0, 1), (2, 3), (4, 5), (6, 7)}

    kept = swarm.go({0: (120,), 1: (0,), 2: (1,), 3: (2,), 4: (3,), 6: (7,), 7: (9,), 20: (0,)}, carry=True)

    assert groups(kept) == {(0, 1, 2, 3), (4, 6, 7), (0, 1), (2, 3), (6, 7)}
    assert under_root(kept) == [20]
    assert kept.group(kept.parent_of(peer(4))).members == (peer(4), peer(6), peer(7))
    assert {group.id for group in kept.groups} < {group.id for group in first.groups}
    assert (swarm.standing(20), swarm.standing(0)) == (Standing(depth=0), Standing())
    assert under_root(swarm.go({i: (i,) for i in (0, 1, 2, 3, 20)}, carry=True)) == [20]
    assert swarm.standing(20) == Standing(depth=0)


def test_groups_keep_their_names_from_round_to_round():
    swarm = Swarm(levels=1, cut="maxclust", cuts=(3,))
    first, second = swarm.go(PAIRS), swarm.go({**PAIRS, 6: (51,), 1: (1,)})

    assert [first.parent_of(peer(i)) for i in range(6)] == [second.parent_of(peer(i)) for i in range(6)]
    assert second.root.id == first.root.id


def test_whole_models_are_clustered_around_their_reference():
    """
    Differences go left or right of a reference far to the right: what counts is how far up a model is.
    """
    rows = {0: (60, 5), 1: (60, -30), 2: (-60, 5), 3: (-60, -30)}
    reference = pack("<f2h", 2.0, 500, 0)

    assert groups(Swarm(levels=1, metric="cosine_delta").go(rows)) == {(0, 1), (2, 3)}
    assert groups(Swarm(levels=1, metric="cosine", reference=reference).go(rows)) == {(0, 2), (1, 3)}


shapes = st.one_of(
    st.builds(
        lambda levels, **more: Shape(levels=levels, **more),
        levels=st.integers(0, 3),
        metric=st.sampled_from(["euclidean", "cosine_delta"]),
        linkage=st.sampled_from(["average", "ward"]),
        newcomers=st.sampled_from(["direct", "top"]),
        outliers=st.integers(0, 3),
    ),
    st.builds(
        lambda cuts, **more: Shape(levels=len(cuts), cut="maxclust", cuts=tuple(sorted(cuts)[::-1]), **more),
        cuts=st.sets(st.integers(1, 7), min_size=1, max_size=3),
        linkage=st.sampled_from(["average", "ward"]),
        min_size=st.integers(1, 4),
        grouping=st.sampled_from(["similar", "complementary"]),
        newcomers=st.sampled_from(["direct", "top"]),
        outliers=st.integers(0, 3),
        metric=st.just("cosine"),
        reference=st.just(pack("<f2h", 0.5, 40, 70)),
    ),
    st.builds(
        lambda cuts, **more: Shape(
            levels=len(cuts), cut="threshold", cuts=tuple(cut / 9 for cut in sorted(cuts)), **more
        ),
        cuts=st.sets(st.integers(0, 9), min_size=1, max_size=3),
        min_size=st.integers(1, 4),
        linkage=st.sampled_from(["average", "ward"]),
    ),
)
rounds = st.lists(
    st.tuples(
        st.dictionaries(
            st.integers(0, 15), st.tuples(*[st.integers(-127, 127)] * 2), min_size=1, max_size=12
        ),
        st.integers(0, 77),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


def certified(tree: Hierarchy) -> Plan:
    entries = tuple(Entry(p, bytes(32), tree.parent_of(p) or b"", False, True) for p in tree.root.members)
    return Plan(bytes(32), 1, NORMAL, (), 0, 0, b"", 0, 1, entries, plan_groups(tree))


@settings(max_examples=150, deadline=None)
@given(shapes, rounds, st.randoms(use_true_random=False))
def test_under_every_charter_a_tree_is_sound_and_the_same_for_everybody(shape, history, chance):
    previous = Previous()
    for number, (rows, hysteresis, carry) in enumerate(history):
        sketches = [
            Sketch(peer(i), 1.0 + i % 3, np.array(row, dtype=np.int8).tobytes()) for i, row in rows.items()
        ]
        wanted = {
            "base": bytes([number]) * 32,
            "shape": shape,
            "hysteresis": hysteresis,
            "previous": previous,
            "carry": carry and previous.hierarchy is not None,
        }
        tree, standing = form(sketches, (peer(20),), **wanted)
        shuffled = sketches.copy()
        chance.shuffle(shuffled)

        assert form(shuffled, (peer(20),), **wanted) == (tree, standing)
        assert sorted(leaf for group in tree.groups for leaf in group.leaves) == list(tree.root.members)
        assert tree.root.members == tuple(sorted([*(s.peer for s in sketches), peer(20)]))
        assert tree.root.level == shape.levels + 1
        assert list(standing) == list(tree.root.members)
        for group in tree.groups[1:]:
            assert group.level < tree.group(group.parent).level
            assert len(group.members) >= max(2, shape.min_size)
            assert len(group.leaves) + len(group.children) >= 2
        for name, found in standing.items():
            assert not (found.apart or found.depth == 0) or tree.parent_of(name) == tree.root.id
            assert Standing.unpack(found.pack()[0]) == found
        assert hierarchy_of(certified(tree)) == tree
        previous = Previous(hierarchy_of(certified(tree)), standing)
