"""Elements, tables and the page around them; every text is escaped unless it is `Html` already."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any


class Html(str):
    """Text that is HTML already; any other string is escaped when it goes into an element."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows and sorts by."""

    shown: str | Html
    key: float | None = None
    """None: sorted by its text, or last among numbers."""


Content = str | Html | Cell | int | None


def element(name: str, *children: str | Html | None, **attributes: str | float | bool | None) -> Html:
    """Return an element.

    Args:
        name: Of the element.
        children: What it holds; None is left out.
        attributes: `class_` is `class`, `aria_label` is `aria-label`; None and False are left out, True
            has no value.
    """
    shown = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        shown.append(f" {attribute}" if value is True else f' {attribute}="{escape(str(value))}"')
    return Html(f"<{name}{''.join(shown)}>{joined(children)}</{name}>")


def joined(parts: Iterable[str | Html | None]) -> Html:
    """Return the parts one after the other."""
    return Html("".join(_safe(part) for part in parts if part is not None))


def _safe(part: str | Html) -> str:
    return part if isinstance(part, Html) else escape(part)


def number(value: float | None, shape: str = ".3f") -> Cell:
    """Return a number as a cell; a dash where there is none."""
    return Cell("-", None) if value is None else Cell(format(value, shape), value)


def share_bar(value: float, of: float, shape: str = ",.0f") -> Cell:
    """Return a number with a bar that is full at *of*."""
    share = min(max(value / of, 0.0), 1.0) if of else 0.0
    bar = element("span", class_="bar", style=f"--v:{share:.3f}", aria_hidden="true")
    return Cell(element("span", bar, format(value, shape), class_="amount"), value)


def table(
    caption: str, titles: Sequence[str], rows: Iterable[Sequence[Content]], *, sortable: bool = False
) -> Html:
    """Return a table whose first column names the rows.

    Args:
        caption: Above it.
        titles: Of the columns; one that begins with `#` holds numbers and is set to the right.
        rows: A cell for every title.
        sortable: Let readers sort by a column.
    """
    numeric = [title.startswith("#") for title in titles]
    heads = []
    for title, right in zip(titles, numeric, strict=True):
        name = title.removeprefix("#").replace("-", "\N{NON-BREAKING HYPHEN}")  # C-SPE is one word
        shown = element("button", name, type="button") if sortable and name else name
        heads.append(element("th", shown, scope="col", class_="n" if right else None))
    body = [_row(row, numeric) for row in rows]
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _row(row: Sequence[Content], numeric: Sequence[bool]) -> Html:
    cells = []
    for place, (content, right) in enumerate(zip(row, numeric, strict=True)):
        cell = content if isinstance(content, Cell) else Cell("" if content is None else _text(content))
        key = None if cell.key is None else f"{cell.key:.9g}"
        shape = "n" if right else None
        if place == 0:
            cells.append(element("th", cell.shown, scope="row", class_=shape, data_key=key))
        else:
            cells.append(element("td", cell.shown, class_=shape, data_key=key))
    return element("tr", *cells)


def _text(content: str | Html | int) -> str | Html:
    return f"{content:,}" if isinstance(content, int) else content


def section(title: str, *children: str | Html | None, id_: str, level: int = 2) -> Html:
    """Return a section with a heading of this level and an address on the page."""
    return element("section", element(f"h{level}", title), *children, id=id_)


def note(*children: str | Html) -> Html:
    """Return a paragraph of explanation."""
    return element("p", *children, class_="note")


def folded(summary: str | Html, *children: str | Html | None, id_: str | None = None) -> Html:
    """Return what is shown when its summary is clicked."""
    return element("details", element("summary", summary), *children, id=id_)


def figure(drawing: Html, caption: str) -> Html:
    """Return a drawing with its caption."""
    return element("figure", drawing, element("figcaption", caption))


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return the numbers that sum a run up."""
    tiles = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", *tiles, class_="facts")


def data_block(content: Any, kind: str) -> Html:
    """Return JSON for the page's script, safe inside a script element."""
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return Html(f'<script type="application/json" class="{escape(kind)}">{text}</script>')


def contents(entries: Iterable[tuple[str, str]]) -> Html:
    """Return links to sections: (id, title)."""
    links = [element("li", element("a", title, href=f"#{id_}")) for id_, title in entries]
    return element("nav", element("ul", *links), aria_label="Sections")


def page(title: str, head: Html, body: Html) -> str:
    """Return the whole document.

    Args:
        title: Of the window.
        head: Heading, summary and contents.
        body: The sections.
    """
    folder = resources.files("swarmdem.apps.report")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            element("header", head),
            element("main", body),
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )
