"""Cells keep their size: the same parts, targets and speakers at every peer, from certificates alone."""

from hypothesis import given, strategies as st

from swarmdem.identifiers import CellId, GroupId, PeerId, PlanId
from swarmdem.protocol.cells.entries import CellEntry, site_of
from swarmdem.protocol.cells.reshaping import KnownCell, descend, merges, movers, nearest, speakers
from swarmdem.protocol.hierarchy import assemble
from swarmdem.protocol.plans import Base
from swarmdem.protocol.sketches import Sketch
from swarmdem.wire.messages import NORMAL, PROVISIONAL, Plan
from tests.protocol.cells.tried import few


def peer(number):
    return PeerId(number.to_bytes(16, "big"))


def group(number):
    return GroupId(b"g" * 15 + bytes([number]))


def base_on(tree, mode=NORMAL):
    plan = Plan(b"b" * 32, 5, mode, (), 0, 0, b"r" * 32, 0, 1, (), ())
    return Base(b"i" * 32, plan, None, tree.root.members, 5, (), 0, 0, b"r" * 32, tree)


def tree_of(*sizes, direct=0):
    """Return a root over groups of these sizes and some direct leaves."""
    groups, parents, count = {group(0): (2, None)}, {}, 0
    for number, size in enumerate(sizes, 1):
        groups[group(number)] = (1, group(0))
        for _ in range(size):
            parents[peer(count)] = group(number)
            count += 1
    for _ in range(direct):
        parents[peer(count)] = group(0)
        count += 1
    return assemble(groups, parents)


def test_a_cell_divides_between_two_groups_where_one_ends_above_half():
    tree = tree_of(6, 4)

    assert movers(base_on(tree), limit=9) == tree.group(group(2)).members


def test_a_cell_divides_within_a_group_where_none_ends_well():
    assert len(movers(base_on(tree_of(19, 1)), limit=16)) == 8
    assert len(movers(base_on(tree_of(direct=20)), limit=16)) == 8


def test_a_cell_within_its_limit_and_a_provisional_certificate_divide_nothing():
    assert movers(base_on(tree_of(6, 4)), limit=10) == ()
    assert movers(base_on(tree_of(6, 4), PROVISIONAL), limit=4) == ()


@few
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 5))
def test_more_than_half_stay_and_a_quarter_at_least_goes(sizes, direct):
    tree = tree_of(*sizes, direct=direct)
    count = len(tree.root.members)
    gone = movers(base_on(tree), limit=4)

    if count <= 4:
        assert gone == ()
    else:
        assert 2 * (count - len(gone)) > count
        assert 4 * len(gone) >= count - 3
        assert set(gone) < set(tree.root.members)


def known(number, peers, *at, scatter=0, site=""):
    cell = CellId(bytes([number]) * 16)
    entry = CellEntry(cell, PlanId(b"p" * 32), 1, peers, scatter, site=site_of(site))
    return cell, KnownCell(entry, peer(number), Sketch(peer(number), 1.0, bytes(v & 0xFF for v in at)))


def test_a_small_cell_is_merged_into_the_nearest_with_room():
    (small, _), (near, _), (far, _) = cells = [known(1, 3, 0, 0), known(2, 10, 10, 0), known(3, 10, 50, 0)]

    assert merges(dict(cells), limit=16) == {small: near}
    assert merges(dict([cells[0], known(2, 14, 10, 0), cells[2]]), limit=16) == {small: far}
    assert merges(dict([cells[0], known(2, 14, 10, 0)]), limit=16) == {}


def test_a_quarter_of_the_limit_is_enough_to_stay():
    assert merges(dict([known(1, 4, 0, 0), known(2, 10, 10, 0)]), limit=16) == {}


def test_of_two_small_cells_one_takes_in_the_other():
    cells = dict([known(1, 3, 0, 0), known(2, 2, 1, 0)])

    assert merges(cells, limit=16) == {known(2, 2)[0]: known(1, 3)[0]}


cell_lists = st.lists(st.tuples(st.integers(1, 20), st.integers(-127, 127)), min_size=1, max_size=9)


@few
@given(cell_lists)
def test_merging_overfills_no_cell_and_sends_nobody_to_one_that_ends(drawn):
    cells = dict(known(number, peers, at, 0) for number, (peers, at) in enumerate(drawn, 1))
    into = merges(cells, limit=16)
    sizes = {name: cell.entry.peers for name, cell in cells.items()}

    assert not set(into) & set(into.values())
    assert all(4 * sizes[name] < 16 for name in into)
    for target in set(into.values()):
        assert sizes[target] + sum(sizes[name] for name, to in into.items() if to == target) <= 16


def region_of(cells, *sides):
    """Return a region's base: the speakers of *cells* in the groups given by *sides*, in order."""
    groups = {group(0): (2, None), **{group(side): (1, group(0)) for side in set(sides)}}
    speakers_in_order = [cell.speaker for cell in cells.values()]
    return base_on(assemble(groups, dict(zip(speakers_in_order, map(group, sides), strict=True))))


def test_a_newcomer_goes_down_the_tree_of_cells_to_the_nearest_with_room():
    cells = dict([known(1, 5, 0, 0), known(2, 5, 10, 0), known(3, 16, 100, 0), known(4, 5, 120, 0)])
    base = region_of(cells, 1, 1, 2, 2)

    def entered(at, limit=16):
        return descend(Sketch(peer(99), 1.0, bytes([at, 0])), base, cells, limit)

    assert [entered(at)[0] for at in (0, 9, 105)] == [1, 2, 4]  # cell 3 is full
    assert entered(0, limit=5) is None


def test_only_cells_of_one_site_are_merged_and_only_those_of_its_own_does_a_newcomer_enter():
    cells = dict([known(1, 3, 0, 0, site="a"), known(2, 5, 1, 0, site="b"), known(3, 5, 99, 0, site="a")])
    base = region_of(cells, 1, 1, 2)

    def entered(site):
        return descend(Sketch(peer(99), 1.0, bytes([0, 0])), base, cells, 4, site_of(site))

    assert merges(cells, limit=16) == {known(1, 3)[0]: known(3, 5)[0]}
    assert entered("a")[0] == 1
    assert entered("b") is entered("") is None


def test_a_group_is_as_far_as_its_cells_are_on_the_average():
    cells = dict([known(1, 5, 30, 0), known(2, 5, 127, 0), known(3, 5, 60, 0)])
    base = region_of(cells, 1, 1, 2)

    assert descend(Sketch(peer(99), 1.0, bytes([10, 0])), base, cells, 16)[0] == 3


def test_a_cell_whose_peers_scatter_is_farther_than_its_centroid():
    cells = dict([known(1, 5, 0, 0, scatter=100 * 65536), known(2, 5, 9, 0)])

    assert nearest(Sketch(peer(99), 1.0, bytes([0, 0])), cells)[0] == 2
    assert nearest(Sketch(peer(99), 1.0, bytes([256 - 2, 0])), cells)[0] == 1


def test_who_speaks_stays_while_it_is_listed_and_is_followed_by_the_next():
    cell = CellId(b"c" * 16)
    first, second, *_ = speakers(base_on(tree_of(9)), cell)
    without = assemble({group(0): (1, None)}, {p: group(0) for p in map(peer, range(9)) if p != first})

    assert speakers(base_on(tree_of(9, 3)), cell)[0] in {first, peer(9), peer(10), peer(11)}
    assert speakers(base_on(without), cell)[0] == second
