"""What was done and what every peer saw, as JSON lines in the order it happened.

Each line has `t`, seconds since the run began, and `what`:

    begin                    settings, the schedule
    start, ready, kill,      one peer's process: `device`, `peer` (its id), `pid`
      stop, continue,          replaced: gone for good, its device's data gets a newcomer
      replaced, exit           exit: it ended without being told to, with `code`
    broker_start, _kill,     one broker: `broker`, `pid`
      _stop, _continue
    partition, heal          `sides`: lists of devices; `brokers`: which each side reaches
    link, link_over          `style`, `device` and `broker` (null: all)
    spared                   a fault that was not done, and why
    calm                     all faults are over, everybody is up
    stalled                  the run was given up: no round ended for too long
    end                      `done`: the run came to its end
    saw                      `peer`, `event`: a line of its journal, read within `TAIL_S` of its writing
    told                     `device`, `peer`, `note`: what its process measured
    sample                   `process`, `pid`, `rss` (bytes), `files` (open), `cpu` (seconds)

What a peer saw is complete: its journal line for line, also what it wrote just before it was killed.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from swarmdem.errors import DataError

FILE = "history.jsonl"
TAIL_S = 0.05
"""Journals are looked at this often."""

Entry = dict[str, Any]


class History:
    """Appends to the history of a run."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / FILE).open("a", encoding="utf-8", buffering=1)
        self._begun_s = time.monotonic()

    @property
    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun_s

    def note(self, what: str, **more: Any) -> None:
        """Append a line."""
        line = {"t": round(self.now_s, 3), "what": what, **more}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class Tail:
    """Reads what a file got since the last look, whole lines only; follows one that was begun anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the objects of new lines; a line that is no JSON counts as `{"event": "torn"}`."""
        if self._file is None:
            if not self.path.exists():
                return []
            self._file = self.path.open("rb")
        replaced = self._replaced()  # asked first: what was written before that is still to be read
        whole, end, rest = self._file.read().rpartition(b"\n")
        self._file.seek(-len(rest), os.SEEK_CUR)  # its writer, killed and started again, may cut it off
        found = [_object(line) for line in whole.split(b"\n")] if end else []
        if replaced:
            self.close()
            found += self.new_lines()
        return found

    def _replaced(self) -> bool:
        """Tell whether the path is another file's by now."""
        assert self._file is not None
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except OSError:  # it is being begun anew at this moment
            return False

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a history that was read."""

    number: int
    entry: Entry

    @property
    def what(self) -> str:
        """What kind of line it is."""
        return str(self.entry["what"])

    @property
    def t(self) -> float:
        """Seconds since the run began."""
        return float(self.entry["t"])


def read_history(folder: Path) -> Iterator[Line]:
    """Yield the lines of a run's history; one cut short at the end is left out.

    Raises:
        DataError: There is none, or a line is damaged.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith("\n"):
                    return
                try:
                    entry = json.loads(text)
                    line = Line(number, {**entry, "what": str(entry["what"]), "t": float(entry["t"])})
                except (ValueError, TypeError, KeyError) as error:
                    raise DataError(f"{path} line {number}: not a line of a history ({error})") from error
                yield line
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; `swarmdem torment --out` writes one") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {error}") from error


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"event": "torn", "line": line.decode(errors="replace")}
