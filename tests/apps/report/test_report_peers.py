"""Tables of single peers."""

import pytest

from swarmdem.apps.reading import read_run
from swarmdem.apps.report.html import joined
from swarmdem.apps.report.peers import aggregators, outliers, table_of_peers
from swarmdem.apps.report.stories import read_stories
from swarmdem.apps.report.trees import forest
from tests.apps.report.journals import troubled_run, unequal_run
from tests.apps.run_folders import tree, write_lines


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.9, 0.9, 0.9, 0.6), {"4": -1}),
        ((0.80, 0.82, 0.84, 0.86, 1.0), {"4": 1}),
        ((0.80, 0.82, 0.84, 0.86, 0.9), {}),
        ((0.9, 0.9, 0.9, 0.9, 0.889), {}),  # alike but for a sample or two
        ((0.1, 0.9, 0.9), {}),  # too few to tell
    ],
)
def test_outliers_are_far_from_the_median_by_the_others_spread(values, expected):
    assert outliers({str(place): value for place, value in enumerate(values)}) == expected


def test_errors_stand_out_by_a_share_of_the_median_since_their_unit_may_be_anything():
    prices, degrees = (14_000, 14_000, 14_000, 14_000, 14_100), (0.010, 0.010, 0.010, 0.010, 0.015)
    named = [{str(place): value for place, value in enumerate(values)} for values in (prices, degrees)]

    assert [outliers(values, relative=True) for values in named] == [{}, {"4": 1}]
    assert [outliers(values) for values in named] == [{"4": 1}, {}]


def test_the_spread_between_best_and_worst_served_is_told_and_outliers_are_flagged(tmp_path):
    run = read_run(unequal_run(tmp_path / "run"))
    made = joined(table_of_peers(run, read_stories(run), forest(run)))

    assert "C-GEN in round 2: from 0.300 (worst, cc33) to 0.800 (best, dd44), a gap of 0.500" in made
    assert made.count('<span class="flag low">low C-GEN </span>') == 1


def test_of_an_error_less_is_better(tmp_path):
    run = read_run(unequal_run(tmp_path / "run", metric="mae"))
    made = joined(table_of_peers(run, read_stories(run), forest(run)))

    assert "C-GEN in round 2: from 0.800 (worst, aa11) to 0.300 (best, cc33), a gap of 0.500" in made
    assert made.count('<span class="flag high">low C-GEN </span>') == 1


def test_scores_that_are_all_the_same_have_no_worst(tmp_path):
    run = read_run(unequal_run(tmp_path / "run"))

    assert "C-SPE in round 2: 0.900 for every peer." in joined(
        table_of_peers(run, read_stories(run), forest(run))
    )


def test_outliers_that_the_swarm_set_apart_are_named(tmp_path):
    folder = unequal_run(tmp_path / "run")
    found = tree(2)
    found["groups"][0]["included"] = ["aa11", "bb22", "cc33"]
    write_lines(folder / "trees.jsonl", [tree(1), found])
    with (folder / "run.toml").open("a") as file:
        file.write("outliers = 2\n")
    run = read_run(folder)
    made = joined(table_of_peers(run, read_stories(run), forest(run)))

    assert "Set apart, right under the root and not in its mean: dd44 (rounds 2)." in made


def test_loads_of_aggregators_add_up_over_rounds(tmp_path):
    run = read_run(troubled_run(tmp_path / "run"))
    made = joined(aggregators(run, read_stories(run)))

    assert "2 of 4 peers aggregated groups, 10 times in all." in made
    assert "did so 5 times, 2.0 times an even share." in made
