"""The figures of an experiment: which lines belong in which figure.

    curves                C-SPE, C-GEN, Global by round, published curves along (paper, Fig. 4-6)
    levels-VARIANT        the same variant's peers, groups by level and root (paper, Fig. 4)
    sweep-SETTING         the end of a run over a setting with numbers (paper, Fig. 7: mixing)
    compare-SETTING       the end of a run for a setting with names (paper, Fig. 8: metric)
    comparison            the end of a run for every variant
    bytes                 C-GEN and Global against what all peers together had sent
    dendrograms-VARIANT   who merges with whom in six rounds of the first seed (paper, Fig. 9)

A figure for which there are no data is left out.
"""

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from swarmdem.apps import dendrograms, figures
from swarmdem.apps.figures import Line
from swarmdem.apps.reading import GROUP_METRICS, METRICS, ExperimentFolder, Result, Run
from swarmdem.apps.results import Curve, Published, Value, curve, last, level_curve

_DENDROGRAMS = 6


def draw(folder: ExperimentFolder, published: Published | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure) of everything an experiment's runs have data for."""
    results = [result for result in folder.results if any(run.evaluated for run in result.runs)]
    if not results:
        return
    y_label = "mean absolute error" if results[0].runs[0].metric == "mae" else "accuracy"
    yield "curves", figures.curves(_curves(results, published or {}), y_label=y_label)
    if len(results) > 1:
        yield "comparison", _comparison(results)
    yield "bytes", figures.curves(_against_bytes(results), x_label="MB sent by all peers", y_label=y_label)
    yield from _grids(results, y_label)
    for result in results:
        slug = next(iter(result.variant.runs.values())).rsplit("/", 1)[-1].rsplit("-s", 1)[0]
        if levels := _levels(result):
            yield f"levels-{slug}", figures.curves(levels, y_label=y_label)
        if found := run_dendrograms(result.runs[0]):
            yield f"dendrograms-{slug}", found


def run_dendrograms(run: Run) -> Figure | None:
    """Return the dendrograms of six rounds of a run, first and last among them; None without groups."""
    known = sorted({tree.round for tree in run.trees if len(tree.groups) > 1})
    if not known:
        return None
    step = max(len(known) - 1, 1) / (_DENDROGRAMS - 1)
    rounds = sorted({known[min(round(number * step), len(known) - 1)] for number in range(_DENDROGRAMS)})
    found, unit = dendrograms.of_run(run, rounds)
    return figures.dendrograms({f"round {number}": tree for number, tree in found.items()}, y_label=unit)


def _curves(results: Sequence[Result], published: Published) -> dict[str, list[Line]]:
    panels: dict[str, list[Line]] = {}
    for metric, title in METRICS.items():
        lines = []
        for place, result in enumerate(results):
            if (found := curve(result, metric)).rounds:
                lines.append(_line(result.variant.name, found, color=place))
            if by_round := published.get(result.variant.published or "", {}):
                end = max(found.rounds, default=0)
                rounds = [
                    number for number in sorted(by_round) if number <= end and metric in by_round[number]
                ]
                values = [by_round[number][metric] for number in rounds]
                name = f"{result.variant.published} (published)"
                lines.append(Line(label=name, x=rounds, y=values, published=True, color=place))
        if lines:
            panels[title] = lines
    return panels


def _line(label: str, found: Curve, *, color: int | None = None) -> Line:
    return Line(
        label=label,
        x=found.rounds,
        y=[value.mean for value in found.values],
        spread=[value.deviation or 0.0 for value in found.values],
        color=color,
    )


def _levels(result: Result) -> dict[str, list[Line]]:
    """Return specialisation and generalisation of peers, groups by level, and the root."""
    levels = sorted(
        {
            int(level)
            for run in result.runs
            for row in run.evaluated
            if row.g_gen is not None
            for level in row.g_gen.after_update or {}
        }
    )
    if len(levels) < 2:
        return {}
    panels = {}
    for title, of_peers, of_groups in (
        ("specialisation", "c_spe", "g_spe"),
        ("generalisation", "c_gen", "g_gen"),
    ):
        lines = [_line("peers (C)", curve(result, of_peers))]
        for level in levels:
            name = "root" if level == levels[-1] else f"groups of level {level} (G)"
            lines.append(_line(name, level_curve(result, of_groups, level)))
        panels[f"{title}: {METRICS[of_peers]}, {GROUP_METRICS[of_groups]}"] = lines
    return panels


def _against_bytes(results: Sequence[Result]) -> dict[str, list[Line]]:
    panels: dict[str, list[Line]] = {}
    for metric in ("c_gen", "global"):
        lines = []
        for place, result in enumerate(results):
            found = curve(result, metric)
            sent = [run.bytes_series() for run in result.runs]
            if not found.rounds:
                continue
            means = [
                sum(series[number] for series in sent if number in series)
                / max(sum(number in series for series in sent), 1)
                for number in found.rounds
            ]
            values = [value.mean for value in found.values]
            x = [mean / 1e6 for mean in means]
            lines.append(Line(label=result.variant.name, x=x, y=values, color=place))
        if lines:
            panels[METRICS[metric]] = lines
    return panels


def _comparison(results: Sequence[Result]) -> Figure:
    names = [result.variant.name for result in results]
    return figures.bars(names, {title: _ends(results, metric) for metric, title in METRICS.items()})


def _ends(results: Sequence[Result], metric: str) -> list[tuple[float, float] | None]:
    return [_pair(last(result, metric)) for result in results]


def _pair(value: Value | None) -> tuple[float, float] | None:
    return None if value is None else (value.mean, value.deviation or 0.0)


def _grids(results: Sequence[Result], y_label: str) -> Iterator[tuple[str, Figure]]:
    """Yield one figure per setting of which several values were run, all else being equal."""
    settings = sorted({name for result in results for name in result.variant.point})
    for setting in settings:
        swept = [result for result in results if setting in result.variant.point]
        if len({str(result.variant.point[setting]) for result in swept}) < 2:
            continue
        if all(type(result.variant.point[setting]) in {int, float} for result in swept):
            panels = {title: _sweep(swept, setting, metric) for metric, title in METRICS.items()}
            panels = {title: lines for title, lines in panels.items() if lines}
            yield f"sweep-{setting}", figures.curves(panels, x_label=setting, y_label=y_label, markers=True)
        else:
            names = [result.variant.name for result in swept]
            panels_of_bars = {title: _ends(swept, metric) for metric, title in METRICS.items()}
            yield f"compare-{setting}", figures.bars(names, panels_of_bars)


def _sweep(results: Sequence[Result], setting: str, metric: str) -> list[Line]:
    """Return a line per combination of the other settings of the grid."""
    by_rest: dict[str, list[tuple[float, Value]]] = {}
    for result in results:
        others = (f"{name}={value}" for name, value in result.variant.point.items() if name != setting)
        if (end := last(result, metric)) is not None:
            by_rest.setdefault(" ".join(others), []).append((result.variant.point[setting], end))
    lines = []
    for rest, points in sorted(by_rest.items()):
        ordered = sorted(points, key=lambda point: point[0])
        lines.append(
            Line(
                label=rest or "mean of the last 10 rounds",
                x=[x for x, _ in ordered],
                y=[value.mean for _, value in ordered],
                spread=[value.deviation or 0.0 for _, value in ordered],
            )
        )
    return lines
