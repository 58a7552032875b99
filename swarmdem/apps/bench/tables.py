"""What measurements are shown and kept as: lines of a table, and one JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from swarmdem.errors import ConfigError
from swarmdem.node.files import write_atomic

PEERS_MAX = 1024
"""Most peers of a measured swarm."""

Row = Mapping[str, Any]
Columns = Sequence[tuple[str, str, str]]
"""Of each column: the key in a row, the title, the format of a value."""


def heading(columns: Columns) -> str:
    """Return the line of titles."""
    return "  ".join(title for _, title, _ in columns)


def line(columns: Columns, row: Row) -> str:
    """Return one row below its titles; what is missing or None is a dash."""
    cells = (form.format(row[key]) if row.get(key) is not None else "-" for key, _, form in columns)
    return "  ".join(cell.rjust(len(title)) for cell, (_, title, _) in zip(cells, columns, strict=True))


def announce(part: str, takes_s: float | None = None) -> None:
    """Say on standard error which part begins, and about how long it takes where that is known."""
    typer.echo(part if takes_s is None else f"{part}, about {_roughly(takes_s)}", err=True)


def _roughly(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def read_numbers(flag: str, text: str, *, least: int, most: int) -> tuple[int, ...]:
    """Return whole numbers that are separated by commas.

    Raises:
        ConfigError: *text* is none, or one is too small or too large.
    """
    parts = text.split(",")
    if not all(_digits(part.strip()) and least <= int(part) <= most for part in parts):
        raise ConfigError(
            f"{flag} {text}: not whole numbers from {least} to {most}, like {least},{2 * least}"
        )
    return tuple(int(part) for part in parts)


def _digits(text: str) -> bool:
    """Return whether `int` reads *text*; other alphabets have digits, too, and signs like \u00b2."""
    return text.isascii() and text.isdecimal()


def require_folder(out: Path | None) -> None:
    """Refuse a file that could not be written, before anything is measured.

    Raises:
        ConfigError: There is no such folder.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")


def write(out: Path | None, content: Mapping[str, Any]) -> None:
    """Write *content* to *out*, if that is wanted.

    Raises:
        ConfigError: It cannot be written.
    """
    if out is None:
        return
    try:
        write_atomic(out, json.dumps(content, indent=2).encode() + b"\n", durable=False)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror or error}") from None
