"""Figures: what is drawn, and that files come out."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from swarmdem.apps import dendrograms, drawing, figures
from swarmdem.apps.figures import Line
from swarmdem.apps.reading import read_experiment, read_run
from swarmdem.apps.results import read_published
from swarmdem.errors import DataError
from tests.apps.run_folders import PEERS, row, tree, write_experiment, write_lines, write_run


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.axison]


def legend(figure):
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def test_a_label_has_one_entry_in_the_legend_for_all_panels():
    lines = [
        Line(label="a", x=[1, 2], y=[0.1, 0.2]),
        Line(label="b", x=[1, 2], y=[0.3, 0.2], spread=[0.1, 0]),
    ]

    figure = figures.curves({"C-SPE": lines, "C-GEN": lines[::-1]}, y_label="accuracy")

    assert titles(figure) == ["C-SPE", "C-GEN"]
    assert legend(figure) == ["a", "b"]
    colors = [{line.get_label(): line.get_color() for line in axes.get_lines()} for axes in figure.axes]
    assert colors[0] == colors[1] == {"a": "#0072B2", "b": "#D55E00"}


def test_a_published_line_is_dashed_in_the_colour_of_its_counterpart():
    ours = Line(label="ours", x=[1, 2], y=[0.1, 0.2], color=1)
    theirs = Line(label="theirs", x=[1, 2], y=[0.1, 0.3], color=1, published=True)

    drawn = figures.curves({"C-GEN": [ours, theirs]}).axes[0].get_lines()

    assert [line.get_color() for line in drawn] == ["#D55E00", "#D55E00"]
    assert [line.is_dashed() for line in drawn] == [False, True]


def test_bars_leave_out_what_was_not_measured():
    figure = figures.bars(["a", "b"], {"Global": [(0.9, 0.1), None]})

    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.9]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_nothing_to_draw_is_no_error():
    assert figures.svg(figures.curves({})).startswith("<svg")
    assert figures.svg(figures.bars([], {})).startswith("<svg")
    assert figures.svg(figures.dendrograms({})).startswith("<svg")


def test_an_svg_is_one_element_with_its_text_and_the_same_every_time():
    first, second = (figures.svg(figures.bars(["a < b"], {"x": [(1.0, 0.0)]})) for _ in range(2))

    assert first == second
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert "a &lt; b" in first


def test_figures_are_saved_as_svg_and_png(tmp_path):
    svg, png = figures.save(figures.bars(["a"], {"x": [(1.0, 0.0)]}), tmp_path / "name.with.dots")

    assert (svg.name, png.name) == ("name.with.dots.svg", "name.with.dots.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.stat().st_size > 1000


def test_a_tree_is_a_dendrogram_whose_heights_are_levels(tmp_path):
    run = read_run(write_run(tmp_path / "run", [row(1)]))

    found = dendrograms.of_tree(run.trees[0])

    # aa11 and bb22 (places 0 and 1) are merged in their pair, then cc33 and dd44 in the root.
    assert found.merges.tolist() == [[0, 1, 1, 2], [4, 2, 2, 3], [5, 3, 2, 4]]
    assert list(found.labels) == list(PEERS)
    assert list(found.groups) == ["pair", "pair", "root", "root"]
    assert sorted(found.order()) == [0, 1, 2, 3]
    assert len(found.arcs()) == 3


def test_recorded_digests_give_distances(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    record = folder / "record" / "round-0001"
    record.mkdir(parents=True)
    write_lines(
        record / "certificate.json",
        [
            {
                "digests": [
                    {"peer": peer, "scale": 0.5, "sketch": sketch}
                    for peer, sketch in zip(PEERS, ("AAAA", "AgAA", "AAYA", "AAYC"), strict=True)
                ]
            }
        ],
    )

    found, unit = dendrograms.of_run(read_run(folder), [1])

    # Sketches (0,0,0), (2,0,0), (0,6,0), (0,6,2) at .5: pairs 1 apart, then the mean of 3, 3.2, 3.2 and 3.3.
    assert unit == "distance"
    assert found[1].merges[:, 2] == pytest.approx([1.0, 1.0, (3 + 2 * np.sqrt(10) + np.sqrt(11)) / 4])


def test_a_damaged_certificate_is_named(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    (folder / "record" / "round-0001").mkdir(parents=True)
    (folder / "record" / "round-0001" / "certificate.json").write_text("{}")

    with pytest.raises(DataError, match=r"certificate\.json: not a certificate"):
        dendrograms.of_run(read_run(folder), [1])


def test_a_lone_peer_is_a_dendrogram_without_merges(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])
    root = tree(1)["groups"][0] | {"members": ["aa11"], "leaves": ["aa11"]}
    write_lines(folder / "trees.jsonl", [tree(1) | {"groups": [root]}])

    found = dendrograms.of_tree(read_run(folder).trees[0])

    assert (found.arcs(), found.order()) == ([], [0])


@pytest.fixture
def experiment(tmp_path):
    rows = [row(1, 0.2), row(2, 0.4)]
    return read_experiment(
        write_experiment(
            tmp_path / "x",
            [
                ("a", {0: rows, 1: rows}, {"point": {"mixing": 0.6}, "published": "FedAvg"}),
                ("b", {0: rows}, {"point": {"mixing": 0.8}}),
                ("c", {0: rows}, {"point": {"metric": "cosine"}}),
                ("d", {0: rows}, {"point": {"metric": "euclidean"}}),
                ("e", {0: None}, {}),
            ],
        )
    )


def test_an_experiment_has_all_figures_its_runs_have_data_for(experiment, tmp_path):
    curves = tmp_path / "curves.csv"
    curves.write_text(
        "dataset,algorithm,round,c_spe,c_gen,global\nmnist,FedAvg,1,0.1,0.1,\nmnist,FedAvg,9,1,1,1\n"
    )

    drawn = dict(drawing.draw(experiment, read_published(curves, "mnist")))

    assert set(drawn) == {
        "curves", "comparison", "bytes", "sweep-mixing", "compare-metric",
        *(f"{kind}-{name}" for kind in ("levels", "dendrograms") for name in "abcd"),
    }  # fmt: skip
    assert titles(drawn["curves"]) == ["C-SPE", "C-GEN", "Global"]
    assert legend(drawn["curves"]) == ["a", "FedAvg (published)", "b", "c", "d"]
    assert legend(drawn["levels-a"]) == ["peers (C)", "groups of level 1 (G)", "root"]
    assert titles(drawn["dendrograms-a"]) == ["round 1", "round 2"]
    published = drawn["curves"].axes[1].get_lines()[1]
    assert (list(published.get_xdata()), list(published.get_ydata())) == ([1], [0.1]), "not beyond the run"
    sent = drawn["bytes"].axes[0].get_lines()[0]
    assert list(sent.get_xdata()) == [0.001, 0.002]
    assert [list(line.get_xdata()) for line in drawn["sweep-mixing"].axes[1].get_lines()] == [[0.6, 0.8]]


def test_an_experiment_without_results_has_no_figures(tmp_path):
    folder = read_experiment(write_experiment(tmp_path / "x", [("a", {0: [row(1)], 1: None}, {})]))

    assert list(drawing.draw(folder)) == []


def test_errors_are_called_errors_where_values_are_predicted(tmp_path):
    rows = [row(1, 3.5, metric="mae")]
    folder = read_experiment(write_experiment(tmp_path / "x", [("a", {0: rows}, {})]))

    drawn = dict(drawing.draw(folder))

    assert drawn["curves"].axes[0].get_ylabel() == "mean absolute error"
    assert not [name for name in drawn if re.match("comparison|sweep|compare", name)]
