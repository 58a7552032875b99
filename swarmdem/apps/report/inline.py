"""Matplotlib figures as part of a page: their colours and font are the page's, their ids do not clash."""

import hashlib
import re
from html import escape

from matplotlib.figure import Figure

from swarmdem.apps import figures
from swarmdem.apps.report.html import Html

_COLOURS = {color.lower(): f"var(--c{place})" for place, color in enumerate(figures.PALETTE)} | {
    "#000000": "currentColor"  # axes and the palette's black alike
}
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}(?=[;\"])")
_FONT = re.compile(r" font-family: [^;\"]+;")
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_VIEW_BOX = re.compile(r'viewBox="([\d. ]+)"')
_PAGE_SCALE = 1.3
"""A point of a figure in pixels of the page, at most."""


def inline(figure: Figure, label: str) -> Html:
    """Return a figure as an `<svg>` element that shrinks with the page.

    Args:
        figure: Drawn with `figures`.
        label: What it shows, for those who cannot see it.
    """
    text = _FONT.sub("", _METADATA.sub("", figures.svg(figure)))
    prefix = f"f{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    text = _ID.sub(lambda found: found[1] + prefix, text)
    text = _COLOUR.sub(lambda found: _COLOURS.get(found[0], found[0]), text)
    view_box = _VIEW_BOX.search(text)
    assert view_box is not None, "matplotlib writes a viewBox"
    opening = (
        f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="{view_box[1]}" '
        f'style="--w:{figure.get_size_inches()[0] * 72 * _PAGE_SCALE:.0f}px">'
    )
    return Html(opening + text[text.index(">") + 1 :])
