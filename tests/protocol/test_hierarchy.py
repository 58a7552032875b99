"""Groups: the binary cut, names and hashes, and trees that come from the network."""

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.errors import MisuseError
from swarmdem.identifiers import GroupId, PeerId
from swarmdem.protocol.forming import Previous, Shape, form
from swarmdem.protocol.hierarchy import Hierarchy, group_id, hierarchy_of, plan_groups
from swarmdem.protocol.sketches import Sketch
from swarmdem.wire.messages import NORMAL, Entry, GroupEntry, Plan

BASE = bytes(range(32))
GOLDEN = Path(__file__).with_name("golden_tree.txt")


def peer(number: int) -> PeerId:
    return PeerId(bytes(15) + bytes([number]))


def on_a_line(*positions: int) -> list[Sketch]:
    """One bucket each: distances are differences of position, so dendrograms can be drawn by hand."""
    return [
        Sketch(peer(i), 1.0, position.to_bytes(1, "big", signed=True)) for i, position in enumerate(positions)
    ]


def formed(
    sketches: list[Sketch],
    unplaced: tuple[PeerId, ...] = (),
    *,
    base: bytes = BASE,
    hysteresis: int = 0,
    previous: Hierarchy | None = None,
    **settings: object,
) -> Hierarchy:
    """The tree under a charter of these *settings*."""
    return form(
        sketches,
        unplaced,
        base=base,
        shape=Shape(**settings),
        hysteresis=hysteresis,
        previous=Previous(previous, {}),
        carry=False,
    )[0]


def tree(sketches: list[Sketch], unplaced: tuple[PeerId, ...] = (), *, levels: int = 3) -> Hierarchy:
    return formed(sketches, unplaced, levels=levels)


def shape(hierarchy: Hierarchy, group: GroupId | None = None) -> tuple[int, list[int], list[object]]:
    """A group as (level, numbers of its direct leaves, the shapes of its children by least member)."""
    here = hierarchy.group(group) if group else hierarchy.root
    children = sorted(here.children, key=lambda child: hierarchy.group(child).members)
    return here.level, [leaf[-1] for leaf in here.leaves], [shape(hierarchy, child) for child in children]


def plan_of(hierarchy: Hierarchy, absent: tuple[PeerId, ...] = ()) -> Plan:
    members = set(hierarchy.root.members)
    entries = tuple(
        Entry(p, bytes(32) if p in members else b"", hierarchy.parent_of(p) or b"", p in absent, p in members)
        for p in sorted(members.union(absent))
    )
    return Plan(BASE, 1, NORMAL, (), 0, 0, b"", 0, 1, entries, plan_groups(hierarchy))


def test_the_root_splits_in_two_at_every_level_and_early_leaves_hang_higher():
    """
    On the line 0 1 | 10 | 40 42 45 46 | 120: 120 is met first, then 10, each hangs where it is met.
    """
    line = on_a_line(0, 1, 10, 40, 42, 45, 46, 120)

    assert shape(tree(line)) == (
        4,
        [7],
        [(3, [], [(2, [2], [(1, [0, 1], [])]), (2, [], [(1, [3, 4], []), (1, [5, 6], [])])])],
    )


def test_at_level_1_all_leaves_below_become_one_group():
    line = on_a_line(0, 1, 10, 40, 42, 45, 46, 120)

    assert shape(tree(line, levels=2)) == (3, [7], [(2, [], [(1, [0, 1, 2], []), (1, [3, 4, 5, 6], [])])])
    assert shape(tree(line, levels=1)) == (2, [7], [(1, [0, 1, 2, 3, 4, 5, 6], [])])


def test_without_levels_the_root_is_the_only_group():
    assert shape(tree(on_a_line(0, 90, 3, 70), levels=0)) == (1, [0, 1, 2, 3], [])


@pytest.mark.parametrize(
    ("positions", "wanted"),
    [
        ((5,), (4, [0], [])),
        ((5, 5), (4, [0, 1], [])),
        ((5, 90), (4, [0, 1], [])),
        ((5, 90, 91), (4, [0], [(3, [1, 2], [])])),
        ((7, 7, 7), (4, [2], [(3, [0, 1], [])])),
        ((7, 7, 7, 7, 7), (4, [4], [(3, [3], [(2, [2], [(1, [0, 1], [])])])])),
    ],
)
def test_small_and_equal_swarms_have_the_tree_the_rules_give(positions, wanted):
    assert shape(tree(on_a_line(*positions))) == wanted


def test_outliers_and_unplaced_peers_hang_under_the_root_beside_the_binary_split():
    line = on_a_line(0, 1, 60, 61)
    loud = Sketch(peer(9), 17.0, b"\x01")

    assert shape(tree([*line, loud], (peer(20), peer(12)))) == (
        4, [9, 12, 20], [(3, [0, 1], []), (3, [2, 3], [])]
    )  # fmt: skip
    assert shape(tree([], (peer(2), peer(1)))) == (4, [1, 2], [])
    assert shape(tree(on_a_line(4), (peer(1),))) == (4, [0, 1], [])


def test_a_group_is_named_by_base_level_and_sorted_members():
    members = [peer(1), peer(2)]
    content = b"\x20" + BASE + b"\x03" + peer(1) + peer(2)

    assert group_id(BASE, 3, members) == blake2b(content, digest_size=16, person=b"sd/group").digest()
    assert group_id(BASE, 2, members) != group_id(BASE, 3, members)
    assert tree(on_a_line(0, 1, 60, 61)).group(group_id(BASE, 3, [peer(2), peer(3)])).leaves == (
        peer(2),
        peer(3),
    )


def test_groups_come_highest_level_first_then_by_id():
    found = tree(on_a_line(*range(0, 120, 5)))
    keys = [(-group.level, group.id) for group in found.groups]

    assert keys == sorted(keys)
    assert found.groups[0] == found.root
    assert found.root.parent is None
    assert found.root.members == tuple(peer(i) for i in range(24))


def test_lookups_answer_for_strangers_too():
    found = tree(on_a_line(0, 1, 60))

    assert found.parent_of(peer(2)) == found.root.id
    assert found.parent_of(peer(77)) is None
    assert found.root.id in found
    assert GroupId(bytes(16)) not in found
    with pytest.raises(KeyError):
        found.group(GroupId(bytes(16)))


def test_the_tree_hash_covers_every_group_and_attachment():
    found = tree(on_a_line(0, 1, 60))
    low, root = found.groups[1], found.root
    content = (
        root.id + b"\x04" + bytes(16) + b"\0\0\0\x01" + peer(2)
        + low.id + b"\x03" + root.id + b"\0\0\0\x02" + peer(0) + peer(1)
    )  # fmt: skip

    assert found.tree_hash() == blake2b(content, digest_size=32, person=b"sd/tree").digest()


sketch_rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 64.0]), st.binary(min_size=4, max_size=4)),
    min_size=1,
    max_size=14,
)


def drawn(rows: list[tuple[float, bytes]]) -> list[Sketch]:
    return [
        Sketch(peer(i), scale, values.replace(b"\x80", b"\x7f")) for i, (scale, values) in enumerate(rows)
    ]


@settings(max_examples=100, deadline=None)
@given(sketch_rows, st.integers(0, 4), st.sampled_from(["euclidean", "cosine_delta"]), st.integers(0, 3))
def test_every_tree_holds_each_peer_once_and_is_read_back_from_its_plan_unchanged(
    rows, levels, metric, loose
):
    unplaced = [peer(100 + i) for i in range(loose)]
    found = formed(drawn(rows), tuple(unplaced), levels=levels, metric=metric)
    attached = sorted(leaf for group in found.groups for leaf in group.leaves)

    assert attached == [*(peer(i) for i in range(len(rows))), *unplaced]
    assert found.root.level == levels + 1
    assert sum(group.level == 1 for group in found.groups) <= 2**levels
    for group in found.groups[1:]:
        assert found.group(group.parent).level == group.level + 1
        assert len(group.leaves) + len(group.children) >= 2
    assert hierarchy_of(plan_of(found, absent=(peer(200),))) == found


@settings(max_examples=50, deadline=None)
@given(sketch_rows, st.randoms(use_true_random=False))
def test_the_order_in_which_peers_are_listed_does_not_matter(rows, chance):
    sketches = drawn(rows)
    shuffled = sketches.copy()
    chance.shuffle(shuffled)

    assert (
        tree(shuffled, (peer(101), peer(100))).tree_hash()
        == tree(sketches, (peer(100), peer(101))).tree_hash()
    )


def test_a_tree_asked_for_again_is_not_computed_again():
    """
    Co-hosted peers compute the same tree many times; another base is another tree.
    """
    line = on_a_line(0, 3, 70, 75)

    assert tree(line, (peer(8), peer(9))) is tree(line[::-1], (peer(9), peer(8)))
    other = formed(line, base=bytes(32))
    assert other.root.id != tree(line).root.id


@pytest.mark.parametrize("setting", [{"cut": "median"}, {"metric": "cosine"}, {"linkage": "single"}])
def test_settings_of_other_versions_are_named(setting):
    with pytest.raises(MisuseError, match=str(*setting.values())):
        formed(on_a_line(1, 2), **setting)


def golden_sketches() -> list[Sketch]:
    """Twenty sketches of 64 buckets from a hash in counter mode: three kinds, one loud, one silent."""
    sketches = []
    for number in range(20):
        kind = blake2b(bytes([number % 3]), digest_size=64).digest()
        noise = blake2b(b"noise" + bytes([number]), digest_size=64).digest()
        values = bytes(((k // 4 + n // 6) % 127) for k, n in zip(kind, noise, strict=True))
        scale = {4: 32.0, 11: 0.0}.get(number, 1.0 + number / 32)
        sketches.append(Sketch(PeerId(blake2b(bytes([number]), digest_size=16).digest()), scale, values))
    return sketches


GOLDEN_SETTINGS: dict[str, dict[str, object]] = {
    "ward": {"linkage": "ward"},
    "ward of angles": {"linkage": "ward", "metric": "cosine_delta"},
    "cosine": {"metric": "cosine", "reference": pack("<f64h", 0.75, *range(-3200, 3200, 100))},
    "threshold": {"cut": "threshold", "cuts": (0.4, 0.7, 0.95)},
    "threshold of ward": {"cut": "threshold", "cuts": (0.2, 0.5, 0.7), "linkage": "ward"},
    "maxclust": {"cut": "maxclust", "cuts": (7, 4, 2), "min_size": 3},
    "maxclust of ward": {"cut": "maxclust", "cuts": (9, 5, 3), "linkage": "ward"},
    "complementary": {"cut": "maxclust", "cuts": (6, 3, 2), "grouping": "complementary"},
    "complementary angles": {
        "cut": "maxclust", "cuts": (6, 3, 2), "grouping": "complementary", "metric": "cosine_delta"
    },
}  # fmt: skip


def golden_text() -> str:
    """The golden trees as text: a line per group, its leaves below it; of other settings the hash alone.

    The trees of other settings follow the first one, with the largest co-member bonus.
    """
    lines = []
    for metric in ("euclidean", "cosine_delta"):
        found = formed(golden_sketches(), metric=metric)
        lines.append(f"{metric} {found.tree_hash().hex()}")
        for group in found.groups:
            parent = group.parent.hex() if group.parent else "-"
            lines.append(f"  {group.level} {group.id.hex()} {parent}")
            lines.extend(f"      {leaf.hex()}" for leaf in group.leaves)
    first = formed(golden_sketches())
    for name, wanted in GOLDEN_SETTINGS.items():
        found = formed(golden_sketches(), base=bytes(32), hysteresis=77, previous=first, **wanted)
        lines.append(f"{name} {found.tree_hash().hex()}")
    return "\n".join(lines) + "\n"


def test_the_golden_trees_are_what_they_were():
    """
    Another machine, numpy or release must give these very trees, or swarms cannot agree.
    """
    assert golden_text() == GOLDEN.read_text()


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_another_process_under_another_hash_seed_computes_the_same_trees(hash_seed):
    program = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('golden', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "sys.stdout.write(module.golden_text())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, __file__],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout == GOLDEN.read_text()


def group(number: int, level: int, parent: int | None) -> GroupEntry:
    return GroupEntry(GroupId(bytes([number] * 16)), level, b"" if parent is None else bytes([parent] * 16))


def entry(number: int, parent: int | None, *, listed: bool = True) -> Entry:
    return Entry(peer(number), bytes(32), b"" if parent is None else bytes([parent] * 16), True, listed)


GROUPS = (group(1, 3, None), group(2, 2, 1), group(3, 1, 2))
ENTRIES = (entry(1, 1), entry(2, 3), entry(3, 3), entry(4, None, listed=False))


def received(groups: tuple[GroupEntry, ...] = GROUPS, entries: tuple[Entry, ...] = ENTRIES) -> Plan:
    return Plan(BASE, 1, NORMAL, (), 0, 0, b"", 0, 1, entries, groups)


def test_a_well_formed_plan_of_any_making_is_read():
    found = hierarchy_of(received())

    assert found is not None
    assert [(g.level, [p[-1] for p in g.leaves], [p[-1] for p in g.members]) for g in found.groups] == [
        (3, [1], [1, 2, 3]),
        (2, [], [2, 3]),
        (1, [2, 3], [2, 3]),
    ]


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(received(groups=()), id="no groups"),
        pytest.param(received(entries=()), id="no entries"),
        pytest.param(received(groups=(group(1, 3, None), group(2, 3, None), group(3, 1, 2))), id="two roots"),
        pytest.param(received(groups=(group(1, 3, 3), *GROUPS[1:])), id="a cycle through the root"),
        pytest.param(
            received(groups=(GROUPS[0], group(2, 2, 3), group(3, 2, 2))), id="a cycle beside the root"
        ),
        pytest.param(received(groups=(GROUPS[0], group(2, 2, 2), GROUPS[2])), id="its own parent"),
        pytest.param(received(groups=(GROUPS[0], group(2, 2, 9), GROUPS[2])), id="an unknown parent"),
        pytest.param(
            received(groups=(GROUPS[0], group(2, 3, 1), GROUPS[2])), id="a child as high as its parent"
        ),
        pytest.param(received(groups=(GROUPS[0], GROUPS[1], group(3, 0, 2))), id="a group on level 0"),
        pytest.param(received(groups=(group(1, 0, None),), entries=(entry(1, 1),)), id="a root on level 0"),
        pytest.param(received(groups=(GROUPS[0], GROUPS[2], GROUPS[1])), id="groups out of order"),
        pytest.param(received(groups=(*GROUPS, GROUPS[2])), id="a group twice"),
        pytest.param(received(groups=(*GROUPS[:2], group(2, 1, 1), GROUPS[2])), id="one id on two levels"),
        pytest.param(
            received(groups=(*GROUPS[:2], group(2, 1, 1)), entries=(entry(1, 2),)), id="one id twice"
        ),
        pytest.param(received(groups=(*GROUPS, group(4, 1, 2))), id="a group without peers"),
        pytest.param(received(entries=(ENTRIES[1], ENTRIES[0], *ENTRIES[2:])), id="entries out of order"),
        pytest.param(received(entries=(ENTRIES[0], *ENTRIES)), id="a peer twice"),
        pytest.param(received(entries=(entry(1, 9), *ENTRIES[1:])), id="attached to an unknown group"),
        pytest.param(received(entries=(entry(1, None), *ENTRIES[1:])), id="listed but not attached"),
        pytest.param(
            received(entries=(*ENTRIES[:3], entry(4, 1, listed=False))), id="attached but not listed"
        ),
        pytest.param(
            received(entries=(*ENTRIES[:3], entry(4, 9, listed=False))), id="an absent peer with a parent"
        ),
        pytest.param(received(entries=(ENTRIES[0],)), id="two groups left empty"),
    ],
)
def test_a_plan_that_is_not_one_tree_over_its_listed_is_refused(plan):
    assert hierarchy_of(plan) is None


small = st.integers(0, 4)
loose_groups = st.lists(st.builds(group, small, small, st.none() | small), max_size=4).map(tuple)
loose_entries = st.lists(st.builds(entry, small, st.none() | small, listed=st.booleans()), max_size=4).map(
    tuple
)


@settings(max_examples=300, deadline=None)
@given(loose_groups, loose_entries)
def test_reading_any_plan_gives_a_sound_tree_or_none(groups, entries):
    plan = received(groups, entries)
    found = hierarchy_of(plan)

    if found is not None:
        assert plan_groups(found) == groups
        assert found.root.members == tuple(e.peer for e in entries if e.listed)
        assert all((found.parent_of(e.peer) or b"") == e.parent for e in entries)
