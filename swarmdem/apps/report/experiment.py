"""The sections about an experiment: variants side by side, figures over seeds, and every run's own."""

from collections.abc import Iterator, Sequence
from typing import Any

from swarmdem.apps import drawing, results
from swarmdem.apps.reading import METRICS, ExperimentFolder, Result, Run
from swarmdem.apps.report import html
from swarmdem.apps.report.html import Cell, Html, element
from swarmdem.apps.report.inline import inline
from swarmdem.apps.report.run import overview, sections, status, tell
from swarmdem.apps.results import Published, Value

_CAPTIONS = {
    "curves": "C-SPE, C-GEN and Global by round; bands are one deviation over seeds.",
    "comparison": f"Means over the evaluated ones of the last {results.LAST} rounds.",
    "bytes": "Scores against what all peers together had sent.",
    "levels": "Peers, groups by level and the root",
    "dendrograms": "Who merges with whom",
    "sweep": f"Means over the last {results.LAST} rounds over the setting",
    "compare": f"Means over the last {results.LAST} rounds for the setting",
}


def experiment_sections(
    folder: ExperimentFolder, published: Published | None = None
) -> list[tuple[str, str, Html]]:
    """Return (id, title, section) of everything about an experiment.

    Raises:
        DataError: A file of one of its runs is damaged.
    """
    parts = [
        ("variants", "Variants", _variants(folder, published)),
        ("figures", "Figures", _figures(folder, published)),
        ("differences", "What differs between the variants", _differences(folder.results)),
        ("runs", "Runs", _runs(folder)),
    ]
    return [(id_, title, html.section(title, *content, id_=id_)) for id_, title, content in parts]


def progress(folder: ExperimentFolder) -> str:
    """Return one sentence: what was compared and how far it is."""
    wanted = sum(len(result.variant.runs) for result in folder.results)
    begun = sum(len(result.runs) for result in folder.results)
    finished = sum(run.finished for result in folder.results for run in result.runs)
    counts = {"finished": finished, "unfinished": begun - finished, "not begun": wanted - begun}
    far = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{len(folder.results)} variants, {wanted} runs: {far}."


def _variants(folder: ExperimentFolder, published: Published | None) -> Iterator[Html]:
    compared = published is not None and any(r.variant.published in published for r in folder.results)
    titles = ["variant", "#seeds", "#rounds", "shown", *(f"#{name}" for name in METRICS.values())]
    titles += [f"#{name} published" for name in METRICS.values()] if compared else []
    titles += ["#worst peer", "#best peer", "#MB sent", "#CPU s", "#wall s"]
    rows = [_variant(result, published if compared else None) for result in folder.results]
    deviation = " ± deviation over seeds" if any(len(result.runs) > 1 for result in folder.results) else ""
    caption = f"Means over the evaluated ones of the last {results.LAST} rounds{deviation}"
    yield html.table(caption, titles, rows, sortable=True)
    yield html.note(
        "Shown: whether scores of peers are those after the update or after training; Global is always after "
        "the update. Worst and best peer: their C-GEN in the last evaluated round. Costs are those of a run."
    )


def _variant(result: Result, published: Published | None) -> list[str | Cell | Html]:
    first = next(iter(result.variant.runs.values()), "")
    cells: list[str | Cell | Html] = [
        element("a", result.variant.name, href=f"#{_anchor(first)}") if result.runs else result.variant.name,
        f"{sum(run.finished for run in result.runs)} of {len(result.variant.runs)}",
        html.number(results.rounds_done(result), "d"),
        result.variant.shown.replace("_", " "),
        *(_mean(results.last(result, metric)) for metric in METRICS),
    ]
    if published is not None:
        cells += [html.number(value) for value in results.published_values(result, published).values()]
    low, high = results.spread(result) or (None, None)
    cells += [_mean(low), _mean(high)]
    for counter, unit in (("bytes_sent", 1e6), ("cpu_s", 1.0), ("wall_s", 1.0)):
        total = results.total(result, counter)
        cells.append(html.number(None if total is None else total / unit, ",.1f"))
    return cells


def _mean(value: Value | None) -> Cell:
    """Return a mean with its deviation below it, so that the columns of a wide table stay narrow."""
    if value is None:
        return Cell("-")
    below = None
    if value.deviation is not None:
        below = element("span", f" ± {value.deviation:.3f}", class_="deviation")
    return Cell(html.joined([f"{value.mean:.3f}", below]), value.mean)


def _figures(folder: ExperimentFolder, published: Published | None) -> Iterator[Html]:
    drawn = False
    for name, figure in drawing.draw(folder, published):
        kind, _, subject = name.partition("-")
        caption = _CAPTIONS.get(kind, kind) + (f": {subject}." if subject else "")
        yield html.figure(inline(figure, caption), caption)
        drawn = True
    if not drawn:
        yield element("p", "No run has been evaluated yet.")


def _differences(found: Sequence[Result]) -> Iterator[Html]:
    """Yield the settings that are not the same in all variants."""
    begun = [result for result in found if result.runs]
    settings = [{**result.runs[0].charter, **result.runs[0].settings} for result in begun]
    ignored = {"seed", "broker", "workers", "vectorise", "schema", "swarm"}
    names = sorted({name for values in settings for name in values} - ignored)
    different = [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]
    if len(begun) < 2 or not different:
        yield element("p", "Nothing but the seed.")
        return
    rows = [
        [result.variant.name, *(_setting(values.get(name)) for name in different)]
        for result, values in zip(begun, settings, strict=True)
    ]
    yield html.table("Settings as resolved", ["variant", *different], rows)


def _setting(value: Any) -> Html | str:
    return "" if value is None else element("code", str(value))


def _runs(folder: ExperimentFolder) -> Iterator[Html]:
    for result in folder.results:
        by_path = {run.path: run for run in result.runs}
        for seed, relative in sorted(result.variant.runs.items(), key=lambda item: int(item[0])):
            run = by_path.get(folder.path / relative)
            title = f"{result.variant.name}, seed {seed}"
            if run is None:
                yield element("p", f"{title}: not begun.", class_="note")
            else:
                yield _run(run, title, _anchor(relative))


def _run(run: Run, title: str, anchor: str) -> Html:
    found = sections(tell(run, f"{anchor}-", heading=4))
    return Html(
        html.folded(
            title,
            element("p", status(run)),
            overview(run),
            html.contents((id_, name) for id_, name, _ in found),
            *(section for _, _, section in found),
            id_=anchor,
        ).replace("<details ", '<details class="run" ', 1)
    )


def _anchor(relative: str) -> str:
    """Return a run's address on the page: letters that need no escaping in a link."""
    return "run-" + "".join(sign if sign.isalnum() or sign in "-._" else "_" for sign in relative)
