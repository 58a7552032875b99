"""What a run learned and what it cost, round by round: curves, and tables where a curve would be a dot."""

import statistics
from collections.abc import Sequence

from swarmdem.apps import figures
from swarmdem.apps.figures import Line
from swarmdem.apps.reading import GROUP_METRICS, METRICS, RoundRow, Run
from swarmdem.apps.report import html
from swarmdem.apps.report.html import Cell, Html, element
from swarmdem.apps.report.inline import inline

_MEASURED = {"after_update": "after the update", "after_training": "after training"}


def learning(run: Run) -> list[Html]:
    """Return the scores of peers, groups and root, what a round cost, and all rounds as a table."""
    table = html.folded("All rounds as a table", _round_table(run))
    if not run.evaluated:
        return [element("p", "No round has been evaluated yet."), *_costs(run), table]
    if len(run.evaluated) == 1:
        return [_scores(run.evaluated[0]), *_costs(run), table]
    y_label = "mean absolute error" if run.metric == "mae" else "accuracy"
    return [*_curves(run, y_label), *_levels(run, y_label), *_served(run, y_label), *_costs(run), table]


def _curves(run: Run, y_label: str) -> list[Html]:
    panels = {}
    for metric, name in METRICS.items():
        series = {label: run.series(metric, when) for when, label in _MEASURED.items()}  # type: ignore[arg-type]
        lines = [_line(label, points) for label, points in series.items() if points]
        if lines:
            panels[name] = lines
    drawn = figures.curves(panels, y_label=y_label)
    text = ", ".join(panels)
    caption = (
        "C-SPE: a peer's model on its own test data. C-GEN: on that of all peers. Global: the root's model "
        "on all test data." + (" Less is better." if run.metric == "mae" else "")
    )
    return [html.figure(inline(drawn, f"{text} by round"), caption)]


def _scores(row: RoundRow) -> Html:
    """Return the scores of the only round that was evaluated."""
    rows: list[list[str | Cell]] = []
    for when, label in _MEASURED.items():
        own, general = row.value("c_spe", when), row.value("c_gen", when)  # type: ignore[arg-type]
        if own is not None or general is not None:
            rows.append([f"peers, {label} (C-SPE, C-GEN)", html.number(own), html.number(general)])
    levels = _group_levels([row])
    for level in levels[:-1]:
        spe, gen = (html.number(row.level_value(metric, level)) for metric in GROUP_METRICS)
        rows.append([f"groups of level {level} (G-SPE, G-GEN)", spe, gen])
    rows.append(["the root (Global)", "", html.number(row.value("global"))])
    what = "mean absolute error" if row.metric == "mae" else "accuracy"
    caption = f"Round {row.round}, the only one evaluated so far: {what}"
    return html.table(caption, ["models of", "#on own test data", "#on all test data"], rows)


def _line(label: str, points: Sequence[tuple[float, float]], color: int | None = None) -> Line:
    return Line(label=label, x=[x for x, _ in points], y=[y for _, y in points], color=color)


def _levels(run: Run, y_label: str) -> list[Html]:
    """Return the scores of group models by level, where there is more than the root's."""
    levels = _group_levels(run.evaluated)
    if len(levels) < 2:
        return []
    panels = {}
    for metric, name in GROUP_METRICS.items():
        lines = []
        for level in levels:
            points = [(row.round, row.level_value(metric, level)) for row in run.evaluated]
            known = [(round, value) for round, value in points if value is not None]
            label = "root" if level == levels[-1] else f"groups of level {level}"
            lines.append(_line(label, known))
        panels[name] = lines
    caption = "G-SPE: a group's model on its members' test data. G-GEN: on that of all peers."
    return [html.figure(inline(figures.curves(panels, y_label=y_label), "G-SPE and G-GEN by round"), caption)]


def _group_levels(rows: Sequence[RoundRow]) -> list[int]:
    """Return the levels that groups were measured at; the root's is the last."""
    return sorted({int(n) for row in rows if row.g_gen for n in row.g_gen.after_update or {}})


def _served(run: Run, y_label: str) -> list[Html]:
    """Return how far apart the best and the worst served peers are, round by round."""
    panels = {}
    for metric, name in (("c_spe", "C-SPE"), ("c_gen", "C-GEN")):
        spread: dict[str, list[tuple[float, float]]] = {"best peer": [], "median peer": [], "worst peer": []}
        for row in run.evaluated:
            scores = [getattr(peer, metric) for peer in row.per_peer.values()]
            values = sorted((v for v in scores if v is not None), reverse=run.metric == "mae")
            if values:
                for label, value in zip(
                    spread, (values[-1], statistics.median(values), values[0]), strict=True
                ):
                    spread[label].append((row.round, value))
        if spread["best peer"]:
            panels[f"{name} of single peers"] = [_line(label, points) for label, points in spread.items()]
    if not panels:
        return []
    caption = "The gap between the best and the worst served peer, after the update."
    return [html.figure(inline(figures.curves(panels, y_label=y_label), "best, median, worst peer"), caption)]


def _costs(run: Run) -> list[Html]:
    if len(run.rounds) < 2:
        return []
    losses = [(row.round, row.loss) for row in run.rounds if row.loss is not None]
    known = [row for row in run.rounds if not row.interrupted]
    panels = {
        "training loss": [_line("all peers", [(n, v) for n, v in losses])],
        "seconds a round": [
            _line("wall time", [(row.round, row.wall_s) for row in known]),
            _line("CPU time", [(row.round, row.cpu_s) for row in known]),
            _line("training and evaluation", [(r.round, r.train_cpu_s + r.evaluate_cpu_s) for r in known]),
        ],
        "MB sent a round": [_line("all peers", [(row.round, row.bytes_sent / 1e6) for row in known])],
    }
    caption = "Mean loss of the peers' training, and what a round costs all peers together."
    return [html.figure(inline(figures.curves(panels), "loss, seconds and bytes by round"), caption)]


def _certified(row: RoundRow) -> str:
    by = f", by {' + '.join(map(str, row.certified_by))}" if row.split else ""
    return f"{'yes' if row.certified else 'no'}{by}"


def _round_table(run: Run) -> Html:
    titles = [
        "#round", "certified", "#installed", "#skipped groups", "#failovers", "#loss",
        *(f"#{name}" for name in METRICS.values()), "#MB sent", "#wall s", "#CPU s",
    ]  # fmt: skip
    rows = [
        [
            html.number(row.round, "d"), _certified(row), f"{row.applied} of {row.peers}",
            row.skipped_groups, row.failovers, html.number(row.loss, ".4f"),
            *(html.number(row.value(metric)) for metric in METRICS),
            html.number(row.bytes_sent / 1e6, ".2f"), html.number(row.wall_s, ".2f"),
            html.number(row.cpu_s, ".2f"),
        ]
        for row in run.rounds
    ]  # fmt: skip
    return html.table("Every round; scores are those after the update", titles, rows, sortable=True)
