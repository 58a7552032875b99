"""What a checker says: which promise was broken, how, and where in the history."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from swarmdem.apps.torment.history import Line


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise."""

    rule: str
    what: str
    line: int
    """Of the history, where it shows."""

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.rule}: {self.what} (history.jsonl line {self.line})"


class Watcher(Protocol):
    """Looks at a history line by line."""

    def on(self, line: Line) -> Iterator[Finding]:
        """Take in a line; yield what it breaks."""

    def end(self) -> Iterator[Finding]:
        """Yield what only the whole history shows."""
