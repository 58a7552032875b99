"""Progress of an experiment: a bar with the time left on a terminal, a line per evaluated round elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress as Bars, TextColumn

from swarmdem.apps.table import MEASURES, duration, score


class Progress:
    """The view of every run of an experiment, one after the other (`table.View`).

    Args:
        rounds: Of all runs together.
        stream: Standard output.
    """

    def __init__(self, rounds: int, stream: TextIO) -> None:
        self._rounds = rounds
        self._stream = stream
        self._done = 0
        self._title = ""
        self._began_s = time.monotonic()
        self._console = Console(file=stream)
        self._bars: Bars | None = None
        if stream.isatty() and rounds:
            self._bars = Bars(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bar = self._bars.add_task("", total=rounds, left="")
            self._bars.start()

    def begin(self, title: str, done: int) -> None:
        """Name the run that comes next, of which *done* rounds are there."""
        self._title = title
        self.say(f"{title}: {'goes on after round ' + str(done) if done else 'begins'}")

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def row(self, row: Mapping[str, Any], groups: int, left_s: float | None) -> None:
        self._done += 1
        elapsed_s = time.monotonic() - self._began_s
        left = f"{duration(elapsed_s / self._done * (self._rounds - self._done))} left of all"
        scores = "  ".join(
            f"{title} {score(row[name]['after_update'], row.get('metric', 'accuracy'))}"
            for name, title in MEASURES
            if row.get(name, {}).get("after_update") is not None
        )
        text = f"{self._title}: round {row['round']}  {scores}".rstrip()
        if self._bars is not None:
            self._bars.update(self._bar, completed=self._done, description=text, left=left)
        elif scores:
            self.say(f"{text}  {left}")

    def drop(self, rounds: int) -> None:
        """Expect so many rounds less: their run failed."""
        self._rounds -= rounds
        if self._bars is not None:
            self._bars.update(self._bar, total=self._rounds)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()


@contextmanager
def open_progress(rounds: int, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show progress over so many rounds on *stream* (standard output)."""
    progress = Progress(rounds, stream or sys.stdout)
    try:
        yield progress
    finally:
        progress.close()
