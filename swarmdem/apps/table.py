"""A run as it happens: a live table on a terminal, plain lines anywhere else.

Only a table loads what draws it: that is a twentieth of the start of a peer, which shows none.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("round", "certified", "C-SPE", "C-GEN", "Global", "groups", "sent", "left")
MEASURES = (("c_spe", "C-SPE"), ("c_gen", "C-GEN"), ("global", "Global"))
"""Keys of a row's metrics and their names in the paper."""
ERROR = "mean absolute error, in the unit of the targets"
"""What the metrics of a regression are."""
_ROWS_MAX = 30  # a longer table would scroll the terminal


class View(Protocol):
    """Where a run shows its progress."""

    def say(self, message: str) -> None:
        """Show one line of text."""

    def row(self, row: Mapping[str, Any], groups: int, left_s: float | None) -> None:
        """Show a finished round.

        Args:
            row: As written to `rounds.jsonl`.
            groups: Groups in the round's tree (in cells: in all trees), the root included.
            left_s: Estimated seconds to the end.
        """

    def close(self) -> None:
        """Leave the terminal as it was."""


def open_view(stream: TextIO | None = None) -> View:
    """Return a live table when *stream* (standard output) is a terminal, else plain lines."""
    stream = stream or sys.stdout
    return LiveTable(stream) if stream.isatty() else PlainLines(stream)


def cells(row: Mapping[str, Any], groups: int, left_s: float | None) -> tuple[str, ...]:
    """Return the texts of one round in the order of `COLUMNS`."""
    return (
        str(row["round"]),
        f"{'yes' if row['certified'] else 'no'} {row['applied']}/{row['peers']}{_behind(row)}",
        _measured(row, "c_spe"),
        _measured(row, "c_gen"),
        _measured(row, "global"),
        str(groups),
        f"{row['bytes_sent'] / 1e6:.2f} MB",  # one unit in all rows
        duration(left_s),
    )


def _behind(row: Mapping[str, Any]) -> str:
    """Return how many peers stand behind each certificate of a round, when it is not one of all."""
    by = row.get("certified_by")
    if by and row.get("in_cells") and sum(by) == row["peers"]:
        return f" ({counted(len(by), 'cell')})"
    return "" if not by or by == [row["peers"]] else f" (by {' + '.join(map(str, by))} of {row['peers']})"


def _measured(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, {}).get("after_update")
    return "" if value is None else score(value, row.get("metric", "accuracy"))


def score(value: float, metric: str) -> str:
    """Return an accuracy to three decimals, an error, which may be of any size, to four digits."""
    return f"error {value:.4g}" if metric == "mae" else f"{value:.3f}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 peer` or `2 peers`; *plural* where an s does not do."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def megabytes(count: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def duration(seconds: float | None) -> str:
    """Return seconds as `m:ss`, or nothing when unknown."""
    return "" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class PlainLines:
    """One line per round, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def row(self, row: Mapping[str, Any], groups: int, left_s: float | None) -> None:
        texts = [
            f"{name} {cell}" for name, cell in zip(COLUMNS, cells(row, groups, left_s), strict=True) if cell
        ]
        self.say("  ".join(texts))

    def close(self) -> None:
        self._stream.flush()


class LiveTable:
    """A table that grows in place; the last rounds only when it would not fit."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        self._rows: list[tuple[str, ...]] = []
        self._live = Live(self._table(), console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)

    def row(self, row: Mapping[str, Any], groups: int, left_s: float | None) -> None:
        self._rows = [*self._rows, cells(row, groups, left_s)][-_ROWS_MAX:]
        self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        self._live.stop()
        if self._rows:
            self._console.print(self._table())

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table(*COLUMNS, box=None, pad_edge=False)
        for row in self._rows:
            table.add_row(*row)
        return table
