"""The sections about one run: what it came to, curves, groups, peers, bytes, incidents, settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from swarmdem.apps.cell_summary import cell_line
from swarmdem.apps.ledger import ledger_of_run
from swarmdem.apps.reading import METRICS, RoundRow, Run
from swarmdem.apps.report import html, peers, trees
from swarmdem.apps.report.curves import learning
from swarmdem.apps.report.html import Content, Html, element
from swarmdem.apps.report.incidents import incidents
from swarmdem.apps.report.stories import Story, ranges, read_stories
from swarmdem.apps.report.trees import Forest, forest
from swarmdem.apps.table import megabytes
from swarmdem.wire.messages import KINDS

_BULK = {"chunk": "A piece of a model", "cleared": "A retained message taken back"}


@dataclass(frozen=True)
class Told:
    """A run with all that its report is made from, read once."""

    run: Run
    prefix: str = ""
    """In front of every id, so that several runs fit on one page."""
    heading: int = 2
    """Level of the sections' headings."""
    stories: Mapping[str, Story] = field(default_factory=dict)

    @cached_property
    def woods(self) -> Forest:
        """Its trees."""
        return forest(self.run)


def tell(run: Run, prefix: str = "", heading: int = 2) -> Told:
    """Read a run's journals.

    Raises:
        DataError: One of them is damaged.
    """
    return Told(run, prefix, heading, read_stories(run))


def sections(told: Told) -> list[tuple[str, str, Html]]:
    """Return (id, title, section) of everything about a run."""
    parts = [
        ("curves", "Learning curves", learning(told.run)),
        ("groups", "Groups over time", _groups(told)),
        ("peers", "Peers", peers.table_of_peers(told.run, told.stories, told.woods)),
        ("aggregators", "Aggregators and their loads", peers.aggregators(told.run, told.stories)),
        ("bytes", "Bytes by kind", _traffic(told)),
        ("incidents", "Failures and what was done", _incidents(told)),
        ("settings", "Settings", _settings(told.run)),
    ]
    return [
        (told.prefix + id_, title, html.section(title, *content, id_=told.prefix + id_, level=told.heading))
        for id_, title, content in parts
    ]


def status(run: Run) -> str:
    """Return one sentence: what ran and how far it is."""
    settings, done = run.settings, run.rounds[-1].round if run.rounds else 0
    wanted = settings.get("rounds")
    who = f"{settings.get('peers', len(run.peers))} peers, {settings.get('strategy', 'unknown strategy')}"
    what = f"{settings.get('data', 'unknown data')} with {settings.get('model', 'unknown model')}"
    far = (
        f"all {done} rounds"
        if run.finished
        else f"unfinished, {done} of {wanted or 'an unknown number of'} rounds"
    )
    return f"{who} on {what}, seed {settings.get('seed', 'unknown')}: {far}."


def overview(run: Run) -> Html:
    """Return the numbers that sum a run up, and what is missing."""
    rows = run.rounds
    total = {name: sum(getattr(row, name) for row in rows) for name in ("wall_s", "cpu_s", "bytes_sent")}
    learning = sum(row.train_cpu_s + row.evaluate_cpu_s for row in rows)
    pairs = [
        ("rounds", str(len(rows))),
        ("certified", f"{sum(row.certified for row in rows)} of {len(rows)}{_partly(rows)}"),
        ("peers at the end", str(rows[-1].peers if rows else len(run.peers))),
    ]
    if run.summary is not None and "cells" in run.summary:
        pairs.append(("cells", cell_line(run.summary["cells"]).removeprefix("cells ")))
    for metric, name in METRICS.items():
        if series := run.series(metric):
            pairs.append((f"{name}, round {series[-1][0]}", f"{series[-1][1]:.3f}"))
    pairs += [
        ("sent by all peers", _volume(total["bytes_sent"])),
        ("wall time", _seconds(total["wall_s"])),
        ("CPU time in rounds", _seconds(total["cpu_s"])),
    ]
    if run.summary is not None and "cpu_s" in run.summary:
        pairs.append(("CPU time with starting up", _seconds(run.summary["cpu_s"])))
    if learning:
        pairs.append(("CPU in rounds over learning", f"{total['cpu_s'] / learning:.2f} times"))
    absent = list(run.missing)
    if not run.trees and "trees.jsonl" not in absent:
        absent.append("trees (none written yet)")
    gap = (
        f"Missing in this folder: {', '.join(absent)}. What follows is made from the rest."
        if absent
        else None
    )
    return html.joined([html.facts(pairs), element("p", gap, class_="missing") if gap else None])


def _partly(rows: Sequence[RoundRow]) -> str:
    """Return in how many rounds not all peers stood behind one certificate."""
    split = sum(row.split for row in rows)
    return f", {split} of them not by all peers" if split else ""


def _volume(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else megabytes(count)


def _seconds(value: float) -> str:
    if value < 90:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _groups(told: Told) -> Iterator[Html]:
    woods = told.woods
    if not woods.last:
        yield element("p", "No tree of groups was written.")
        return
    if woods.depth == 0 and not woods.in_cells:
        yield element("p", "All peers were in one group in every round.")
        return
    yield html.note(
        f"A group keeps its name and colour for as long as it lives. {_moving(woods)} Above the rows: how "
        "many peers changed the group they hang from."
    )
    if woods.in_cells:
        yield html.note("Cells have a tree each; a region averages the models of their roots.")
    levels = range(1, max(woods.depth, 1) + 1)
    if woods.depth > 1:
        options = [
            element("option", "the group a peer hangs from" if n == 1 else f"groups of level {n}", value=n)
            for n in levels
        ]
        choice = element("select", *options, class_="level")
        yield element("label", "Show ", choice, class_="controls")
    for level in levels:
        caption = "Own group" if level == 1 else f"Group of level {level}"
        drawn = html.figure(trees.bands(woods, level), f"{caption} of every peer, round by round.")
        yield Html(drawn.replace("<figure>", f'<figure data-level="{level}">', 1))
    called = "The trees of a round, one of each cell" if woods.in_cells else "The tree of a round"
    title = element(f"h{told.heading + 1}", called)
    place = len(trees.view_data(woods)["rounds"]) - 1
    slider = Html(f'<input type="range" min="0" max="{place}" value="{place}" aria-label="Round">')
    steps = [
        element("button", text, type="button", data_step=step, aria_label=label)
        for text, step, label in (("◀", -1, "Previous tree"), ("▶", 1, "Next tree"))
    ]
    controls = element("div", steps[0], slider, steps[1], element("output"), class_="controls", hidden=True)
    outlines = (trees.outline(woods, tree) for tree in woods.last)
    fallback = element("noscript", element("p", f"Round {woods.last[0].round}:"), *outlines)
    drawing = element("div", class_="drawing scroll", tabindex="0", role="region", aria_label="Tree")
    data = html.data_block(trees.view_data(woods), "tree-data")
    yield element("div", title, controls, drawing, data, fallback, class_="treeview")
    if any(woods.moves.values()):
        yield html.folded("Who moved where", _moves(woods))


def _moving(woods: Forest) -> str:
    moved = sum(bool(moves) for moves in woods.moves.values())
    total = sum(len(moves) for moves in woods.moves.values())
    if not total:
        return "No peer ever moved."
    late = max(round for moves in woods.moves.values() for round, _, _ in moves)
    return f"{moved} of {len(woods.peers)} peers moved ({total} moves in all, the last in round {late})."


def _moves(woods: Forest) -> Html:
    by_step: dict[tuple[int, str, str], list[str]] = {}
    for peer, moves in woods.moves.items():
        for step in moves:
            by_step.setdefault(step, []).append(peer[:8])
    rows: list[Sequence[Content]] = [
        [
            html.number(round, "d"), trees.chip(woods, before), trees.chip(woods, after),
            html.number(len(moved), "d"), ", ".join(sorted(moved)),
        ]
        for (round, before, after), moved in sorted(by_step.items())
    ]  # fmt: skip
    return html.table("Moves between groups", ["#round", "from", "to", "#peers", "who"], rows, sortable=True)


def _traffic(told: Told) -> Iterator[Html]:
    run, stories = told.run, [story for story in told.stories.values() if story.counted]
    total = sum(row.bytes_sent for row in run.rounds)
    if not stories:
        yield element(
            "p",
            f"All peers together sent {_volume(total)}. What kinds of frames these were is not known: the "
            "peers' journals hold no traffic lines.",
        )
        return
    kinds = sorted({kind for story in stories for kind in (*story.bytes_, *story.arrived)})
    sizes = {kind: sum(story.bytes_[kind] for story in stories) for kind in kinds}
    frames = {kind: sum(story.frames[kind] for story in stories) for kind in sizes}
    all_bytes = max(1, sum(sizes.values()))
    doc = {
        kind.__name__.lower(): (kind.__doc__ or "").partition("\n")[0].replace("`", "")
        for kind in KINDS.values()
    } | _BULK
    ledger = ledger_of_run(run.path / "peers").as_mapping()
    each = {kind: ledger["kinds"].get(kind, {"bytes_sent": 0, "bytes_received": 0}) for kind in kinds}
    rows: list[Sequence[Content]] = [
        [
            element("code", kind), element("span", doc.get(kind, ""), class_="prose"),
            html.number(frames[kind], ",d"),
            html.share_bar(sizes[kind] / 1e3, all_bytes / 1e3, ",.1f"),
            html.number(sizes[kind] / all_bytes * 100, ".1f"),
            html.number(each[kind]["bytes_sent"], ",.0f"), html.number(each[kind]["bytes_received"], ",.0f"),
        ]
        for kind in sorted(sizes, key=lambda kind: -sizes[kind])
    ]  # fmt: skip
    models = sizes.get("chunk", 0) / all_bytes
    yield element(
        "p",
        f"All peers together sent {_volume(all_bytes)} in {sum(frames.values()):,} frames up to the ends of "
        f"their last rounds ({_volume(total)} until the run had heard of them); {models:.1%} of "
        "the bytes were pieces of models, the rest is what the swarm needs to agree.",
    )
    titles = ["kind", "what it says", "#frames", "#kB", "#%", "#bytes a peer and round*", "#received*"]
    yield html.table(
        "Sent and received by all peers, topics included, by kind of frame", titles, rows, sortable=True
    )
    yield html.note("* without a peer's first round where it has others, as the run itself said at its end.")
    if (control := ledger["control"]) is not None:
        of_control = f"{control['bytes_sent']:,} and received {control['bytes_received']:,} bytes"
        yield html.note(f"Of control traffic the median peer sent {of_control} a round*.")
    if len(stories) < len(told.stories):
        yield html.note(f"{len(told.stories) - len(stories)} peers' journals hold no traffic lines.")


def _incidents(told: Told) -> Iterator[Html]:
    found = incidents(told.run, told.stories)
    if not found:
        yield element(
            "p",
            "None: every round was certified, every group had its result, every peer installed every model.",
        )
        return
    rows: list[Sequence[Content]] = [
        [incident.what, html.number(incident.times, ",d"), ranges(incident.rounds), incident.done]
        for incident in found
    ]
    yield html.table("What went wrong", ["what", "#times", "rounds", "what was done"], rows)


def _settings(run: Run) -> Iterator[Html]:
    tables: Mapping[str, Any] = {**run.tables, "settings": run.settings}
    for name in ("run", "settings", "charter", "versions"):
        if values := tables.get(name, {}):
            shown = [[element("code", key), element("code", _value(value))] for key, value in values.items()]
            content = html.table(f"[{name}] of run.toml", ["name", "value"], shown)
            yield content if name == "run" else html.folded(f"[{name}]", content)
    chosen = [
        [element("code", each.get("setting", "")), element("code", each.get("value", "")), _why(each)]
        for each in tables.get("chosen", [])
    ]
    if chosen:
        yield html.table(
            "What was chosen where the settings leave it open", ["setting", "value", "why"], chosen
        )


def _why(chosen: Mapping[str, Any]) -> str:
    by = f"worker {chosen['worker']}: " if "worker" in chosen else ""
    return f"{by}{chosen.get('why', '')}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "; ".join(" ".join(str(part) for part in entry.values()) for entry in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
