"""What an experiment found, from fixed run folders."""

import csv
import io

import pytest

from swarmdem.apps import results
from swarmdem.apps.reading import read_experiment
from swarmdem.errors import DataError
from tests.apps.run_folders import row, write_experiment

PUBLISHED = """dataset,algorithm,round,c_spe,c_gen,global
mnist,FedAvg,0,0.1,0.1,0.1
mnist,FedAvg,1,0.8,0.2,0.4
mnist,FedAvg,2,0.9,0.4,0.6
mnist,FedAvg,3,0.9,0.9,0.9
other,FedAvg,1,0.0,0.0,0.0
"""


@pytest.fixture
def folder(tmp_path):
    """Two variants: one under two seeds of 12 rounds, the other of 2 rounds shown after training."""
    first = [row(1, 0.0), row(2), row(3, 0.4), row(4), row(12, 0.5)]
    second = [row(1, 0.0), row(2), row(3, 0.6), row(4), row(12, 0.7)]
    return read_experiment(
        write_experiment(
            tmp_path / "x",
            [
                ("a", {0: first, 1: second}, {}),
                ("b", {0: [row(1, 0.2), row(2, 0.4)]}, {"shown": "after_training", "published": "FedAvg"}),
            ],
        )
    )


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text(PUBLISHED)
    return results.read_published(path, "mnist")


def test_the_end_is_the_mean_of_the_last_ten_rounds_then_over_seeds(folder):
    value = results.last(folder.results[0], "c_gen")

    assert value.mean == pytest.approx(0.55), "(.4 + .5) / 2 and (.6 + .7) / 2: round 1 is too long ago"
    assert value.deviation == pytest.approx(0.141421, abs=1e-6)
    assert str(value) == "0.550 ± 0.141"


def test_a_single_seed_has_no_deviation(folder):
    assert results.last(folder.results[1], "c_gen") == results.Value(pytest.approx(0.15), None)


def test_peers_are_shown_after_training_where_asked_and_the_root_never(folder):
    b = folder.results[1]

    assert results.final(b, "c_gen").mean == 0.2
    assert results.final(b, "c_spe").mean == 0.95
    assert results.final(b, "global").mean == 0.5


def test_a_curve_is_the_mean_over_the_seeds_that_have_the_round(folder):
    curve = results.curve(folder.results[0], "c_gen")

    assert curve.rounds == (1, 3, 12)
    assert [value.mean for value in curve.values] == pytest.approx([0.0, 0.5, 0.6])
    assert results.level_curve(folder.results[0], "g_gen", 2).values[2].mean == pytest.approx(0.7)


def test_worst_and_best_served_peers_are_found(folder):
    low, high = results.spread(folder.results[0])

    assert (low.mean, high.mean) == (pytest.approx(0.5), pytest.approx(0.7))


def test_of_errors_the_largest_is_the_worst(tmp_path):
    rows = [row(1, 0.4, metric="mae")]
    folder = read_experiment(write_experiment(tmp_path / "x", [("a", {0: rows}, {})]))

    worst, best = results.spread(folder.results[0])

    assert (worst.mean, best.mean) == (pytest.approx(0.5), pytest.approx(0.3))


def test_published_means_end_where_the_run_does(folder, published):
    assert published["FedAvg"][2] == {"c_spe": 0.9, "c_gen": 0.4, "global": 0.6}
    assert results.published_last(published, "FedAvg", "c_gen", 2) == pytest.approx(0.7 / 3)
    assert results.published_values(folder.results[0], published) == {
        "c_spe": None, "c_gen": None, "global": None,
    }  # fmt: skip


def test_what_has_not_run_is_held_against_nothing(tmp_path, published):
    empty = read_experiment(write_experiment(tmp_path / "x", [("b", {0: []}, {"published": "FedAvg"})]))

    values = results.published_values(empty.results[0], published)

    assert values == {"c_spe": None, "c_gen": None, "global": None}


def test_the_table_says_what_people_need(folder, published):
    lines = results.markdown(folder, published).splitlines()

    assert lines[0] == "# tiny"
    assert lines[2] == "A line."
    assert lines[4] == (
        "| variant | seeds | rounds | shown | C-SPE | C-GEN | Global | published | final | worst-best peer "
        "| sent MB | CPU s | wall s |"
    )
    assert lines[6] == (
        "| a | 2/2 | 12 | after update | 0.900 ± 0.000 | 0.550 ± 0.141 | 0.650 ± 0.141 |  "
        "| 0.900 / 0.600 / 0.700 | 0.500-0.700 | 0.01 | 15.0 | 10.0 |"
    )
    assert lines[7] == (
        "| b | 1/1 | 2 | after training | 0.950 | 0.150 | 0.400 | 0.600 / 0.233 / 0.367 "
        "| 0.950 / 0.200 / 0.500 | 0.300-0.500 | 0.00 | 6.0 | 4.0 |"
    )


def test_the_table_for_programs_has_every_digit(folder, published):
    first, second = csv.DictReader(io.StringIO(results.comma_separated(folder, published)))

    assert (first["variant"], first["seeds"], first["finished"]) == ("a", "2", "2")
    assert float(first["c_gen_deviation"]) == pytest.approx(0.1414213, abs=1e-7)
    assert (second["c_gen_deviation"], second["c_gen_final"]) == ("", "0.2")
    assert float(second["c_gen_published"]) == pytest.approx(0.2333333, abs=1e-7)
    assert (second["bytes_sent"], second["cpu_s"]) == ("2000.0", "6.0")


def test_rounds_lost_to_a_stop_are_told(tmp_path, folder):
    rows = [row(1, 0.2), row(2, interrupted=True, sent=0), row(3, 0.4)]
    stopped = read_experiment(write_experiment(tmp_path / "y", [("a", {0: rows}, {})]))

    told = "Rounds in which a run was stopped, with bytes, CPU and wall not counted: a 1."
    assert told in results.markdown(stopped).splitlines()
    assert "was stopped" not in results.markdown(folder)
    assert next(csv.DictReader(io.StringIO(results.comma_separated(stopped))))["interrupted_rounds"] == "1"


def test_variants_that_have_not_begun_are_in_the_table_with_nothing(tmp_path):
    folder = read_experiment(write_experiment(tmp_path / "x", [("a", {0: None, 1: None}, {})]))

    assert "| a | 0/2 | 0 | after update |  |  |  |  |  |  |  |  |" in results.markdown(folder)
    assert results.spread(folder.results[0]) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("dataset,algorithm,round\nmnist,x,one\n", "not published curves"),
        (PUBLISHED.replace("mnist", "cifar10"), "no data set 'mnist'"),
    ],
)
def test_curves_that_do_not_fit_are_named(tmp_path, content, words):
    path = tmp_path / "curves.csv"
    path.write_text(content)

    with pytest.raises(DataError, match=words):
        results.read_published(path, "mnist")
