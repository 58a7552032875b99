"""Groups over time."""

from swarmdem.apps.reading import GroupRow, TreeRow, read_run
from swarmdem.apps.report.trees import Forest, bands, chip, forest, outline, view_data
from tests.apps.report.journals import troubled_run
from tests.apps.run_folders import PEERS


def woods(tmp_path):
    return forest(read_run(troubled_run(tmp_path / "run")))


def halves(round, *ids):
    """Return a tree whose two groups of two have these ids."""
    pairs = [
        GroupRow(level=1, id=id, parent="root", members=members, leaves=members)
        for id, members in zip(ids, (PEERS[:2], PEERS[2:]), strict=True)
    ]
    return TreeRow(round, f"c{round}", True, (GroupRow(level=2, id="root", members=PEERS), *pairs))


def test_groups_get_short_names_and_peers_stand_by_group(tmp_path):
    found = woods(tmp_path)

    assert found.names == {"root": "root", "pair": "A"}
    assert found.order == ("aa11", "bb22", "dd44", "cc33")
    assert found.depth == 1


def test_a_move_is_told_with_its_round_and_both_groups(tmp_path):
    assert woods(tmp_path).moves == {"aa11": [], "bb22": [], "cc33": [], "dd44": [(3, "root", "pair")]}


def test_a_band_is_one_bar_for_as_long_as_a_peer_stays(tmp_path):
    drawn = bands(woods(tmp_path), 1)

    assert "<title>dd44: root (rounds 1 to 2)</title>" in drawn
    assert "<title>dd44: A (rounds 3 to 5)</title>" in drawn
    assert "<title>aa11: A (rounds 1 to 5)</title>" in drawn
    assert "<title>round 3: 1 of 4 peers moved</title>" in drawn


def test_groups_of_one_time_differ_in_colour_and_a_colour_rests_before_it_returns():
    trees = {n: (halves(n, f"left{n}", f"right{n}"),) for n in range(1, 30)}
    colours = Forest(trees, PEERS).colours

    assert all(colours[f"left{n}"] != colours[f"right{n}"] for n in trees)
    assert all(colours[f"left{n}"] != colours[f"left{n + 1}"] for n in range(1, 29))


def test_a_group_that_stays_keeps_its_colour():
    colours = Forest({1: (halves(1, "a", "b"),), 2: (halves(2, "a", "c"),)}, PEERS).colours

    assert (colours["a"], colours["b"], colours["c"]) == (0, 1, 2)


def test_the_tree_view_gets_every_round_with_places_for_names(tmp_path):
    data = view_data(woods(tmp_path))

    assert data["peers"] == ["aa11", "bb22", "cc33", "dd44"]
    assert data["rounds"][0] == [
        1, 1, [["root", -1, 2, -1, [2, 3], 1, 4, 4, 0], ["A", 0, 1, 0, [0, 1], 0, 2, 2, 0]],
    ]  # fmt: skip
    assert data["rounds"][4][2][1] == ["A", 0, 1, 0, [0, 1, 3], 0, 3, 2, 1]


def cell(id, members, level):
    return TreeRow(1, f"c{id}", True, (GroupRow(level=level, id=id, members=members, leaves=members),))


def test_in_cells_every_cell_has_a_name_a_colour_and_its_place_in_the_tree_view():
    found = Forest({1: (cell("x", PEERS[:1], 2), cell("y", PEERS[1:], 2))}, PEERS, in_cells=True)

    assert found.names == {"x": "cell 1", "y": "cell 2"}
    assert found.colours == {"x": 0, "y": 1}
    assert found.order == ("bb22", "cc33", "dd44", "aa11"), "the largest cell first"
    assert view_data(found)["rounds"] == [
        [1, 1, [["cell 1", 0, 2, -1, [0], -1, 1, 0, 0], ["cell 2", 1, 2, -1, [1, 2, 3], -1, 3, 0, 0]]]
    ]
    assert "<title>aa11: cell 1 (round 1)</title>" in bands(found, 1)


def test_a_second_tree_of_a_round_points_at_its_own_groups():
    both = (cell("x", PEERS[:2], 2), halves(1, "a", "b"))

    [[round, certified, groups]] = view_data(Forest({1: both}, PEERS))["rounds"]

    assert (round, certified) == (1, 1)
    assert [(group[0], group[3]) for group in groups] == [("root", -1), ("root", -1), ("A", 1), ("B", 1)]


def test_a_tree_is_readable_without_a_script(tmp_path):
    found = woods(tmp_path)
    [last] = found.last
    made = outline(found, last)

    assert "level 2, 4 peers, led by bb22" in made
    assert "level 1, 3 peers, led by aa11" in made
    assert made.count("<li>") == 2 + 4


def test_ids_from_files_are_escaped(tmp_path):
    assert 'title="group &lt;b&gt;"' in chip(woods(tmp_path), "<b>")
