"""Figures of runs and experiments: data in, a matplotlib `Figure` out; nothing is shown or kept.

No pyplot and no global state, so that a report may draw from any thread. Colours are those of Okabe
and Ito, told apart by colour-blind readers; lines differ by dash and marker as well once colours
repeat. Needs the extra `experiments`; importing this module without it raises `MissingExtraError`.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmdem.apps.dendrograms import Dendrogram
from swarmdem.errors import MissingExtraError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise MissingExtraError("figures", "experiments") from error

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A00")
"""Okabe and Ito's colours, the yellow darkened to be seen on white."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)))
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "svg.hashsalt": "swarmdem",  # the same data give the same file
    "text.parse_math": False,  # names of variants are people's own: a $ in them is a $
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a figure, in one of its panels."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    """Half the height of the band around `y` (a deviation over seeds); None: no band."""
    published: bool = False
    """From somebody else's measurements: drawn thin and dashed."""
    color: int | None = None
    """Place in the palette; None: that of the label among the labels of the figure."""


def curves(
    panels: Mapping[str, Sequence[Line]], *, x_label: str = "round", y_label: str = "", markers: bool = False
) -> Figure:
    """Return one panel per entry of *panels* beside each other, with one legend for all.

    Args:
        panels: Title -> lines; lines of one label look the same in every panel.
        x_label: Under every panel.
        y_label: Left of the first panel.
        markers: Mark the points: for few of them, as in a sweep over a setting.
    """
    with mpl.rc_context(_STYLE):
        labels = list(dict.fromkeys(line.label for lines in panels.values() for line in lines))
        rows = -(-len(labels) // 3)
        figure = Figure(figsize=(3.4 * max(len(panels), 1), 3.0 + 0.2 * rows), layout="constrained")
        grid = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
        shown: dict[str, Line2D] = {}
        for axes, (title, lines) in zip(grid, panels.items(), strict=False):
            axes.set_title(title)
            axes.set_xlabel(x_label)
            for line in lines:
                shown[line.label] = _draw(axes, line, labels.index(line.label), markers)
            if all(float(x).is_integer() for line in lines for x in line.x):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[0].set_ylabel(y_label)
        if shown:
            figure.legend(
                list(shown.values()), list(shown), loc="outside lower center", ncols=min(3, len(shown))
            )
        return figure


def bars(names: Sequence[str], panels: Mapping[str, Sequence[tuple[float, float] | None]]) -> Figure:
    """Return horizontal bars, a panel per metric and a bar per name.

    Args:
        names: What is compared, from above.
        panels: Title -> (value, deviation) for each name, None where there is none.
    """
    with mpl.rc_context(_STYLE):
        size = (2.6 * max(len(panels), 1) + 1.6, 0.7 + 0.3 * max(len(names), 1))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, max(len(panels), 1), squeeze=False, sharey=True)[0]
        for axes, (title, values) in zip(grid, panels.items(), strict=False):
            axes.set_title(title)
            axes.grid(visible=False, axis="y")
            for place, found in enumerate(values):
                if found is None:
                    continue
                axes.barh(place, found[0], xerr=found[1] or None, color=PALETTE[place % len(PALETTE)])
                axes.annotate(f" {found[0]:.3f}", (sum(found), place), va="center", fontsize=8)
            axes.margins(x=0.2)
        grid[0].set_yticks(range(len(names)), names)
        grid[0].invert_yaxis()
        return figure


def dendrograms(found: Mapping[str, Dendrogram], *, y_label: str = "") -> Figure:
    """Return dendrograms beside each other, three in a row.

    Args:
        found: Title -> dendrogram.
        y_label: What the heights are.
    """
    with mpl.rc_context(_STYLE):
        columns = min(3, max(len(found), 1))
        rows = max(-(-len(found) // columns), 1)
        figure = Figure(figsize=(3.6 * columns, 2.4 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (title, dendrogram) in zip(grid.flat, found.items(), strict=False):
            axes.set_title(title)
            axes.grid(visible=False, axis="x")
            _draw_dendrogram(axes, dendrogram)
        for axes in list(grid.flat)[len(found) :]:
            axes.set_axis_off()
        for row in grid:
            row[0].set_ylabel(y_label)
        return figure


def svg(figure: Figure) -> str:
    """Return a figure as an `<svg>` element with a transparent ground, for a page."""
    with mpl.rc_context(_STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as *stem*.svg and *stem*.png and return both paths."""
    paths = (stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png"))
    with mpl.rc_context(_STYLE):
        figure.savefig(paths[0], format="svg", metadata={"Date": None})
        figure.savefig(paths[1], format="png", dpi=150)
    return paths


def _draw(axes: Axes, line: Line, place: int, markers: bool) -> Line2D:
    """Draw one line and return what stands for it in the legend."""
    place = place if line.color is None else line.color
    color = PALETTE[place % len(PALETTE)]
    again = place // len(PALETTE)
    (drawn,) = axes.plot(
        line.x,
        line.y,
        color=color,
        label=line.label,
        linestyle=(0, (2, 2)) if line.published else _DASHES[again % len(_DASHES)],
        linewidth=1.0 if line.published else 1.6,
        alpha=0.75 if line.published else 1.0,
        marker=_MARKERS[place % len(_MARKERS)] if markers or len(line.x) == 1 else "",
        markersize=4,
    )
    if line.spread is not None and any(line.spread):
        low = [y - spread for y, spread in zip(line.y, line.spread, strict=True)]
        high = [y + spread for y, spread in zip(line.y, line.spread, strict=True)]
        axes.fill_between(line.x, low, high, color=color, alpha=0.15, linewidth=0)
    return drawn


def _draw_dendrogram(axes: Axes, dendrogram: Dendrogram) -> None:
    for xs, ys in dendrogram.arcs():
        axes.plot(xs, ys, color=PALETTE[0], linewidth=0.9)
    order = dendrogram.order()
    groups = list(dict.fromkeys(dendrogram.groups[leaf] for leaf in order))
    for place, leaf in enumerate(order):
        color = PALETTE[groups.index(dendrogram.groups[leaf]) % len(PALETTE)]
        axes.plot([10 * place + 5], [0], marker="o", markersize=3, color=color, clip_on=False)
    if len(order) <= 24:
        labels = [dendrogram.labels[leaf] for leaf in order]
        axes.set_xticks([10 * place + 5 for place in range(len(order))], labels, rotation=90, fontsize=6)
    else:
        axes.set_xticks([])
    axes.set_ylim(bottom=0)
