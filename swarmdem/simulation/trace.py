"""The text of a run: one line per event, a hash over all of them, the last ones kept.

A line is `time peer what`: virtual microseconds, the peer's number (`--` for the world), and what
happened. `<` is a frame that arrived, `>` one that left, `!` a fault. Lines hold nothing that
depends on a process (no `hash()`, no addresses), so equal seeds give equal text anywhere.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import fields
from hashlib import blake2b
from typing import Any

from swarmdem.identifiers import Micros
from swarmdem.wire.frame import Frame

KEPT = 200
"""Lines kept for a failure report when the whole text is not asked for."""
_BATCH = 512


class Trace:
    """Collects the lines of one run.

    Args:
        whole: Keep every line (tests, small runs) instead of the last `KEPT`.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.lines: deque[str] = deque(maxlen=None if whole else KEPT)
        self.count = 0
        self._pending: list[str] = []
        self._hash = blake2b(digest_size=16)

    def line(self, now: Micros, peer: int | None, what: str) -> None:
        """Add one line."""
        text = f"{now} {'--' if peer is None else peer} {what}"
        self.lines.append(text)
        self._pending.append(text)
        self.count += 1
        if len(self._pending) >= _BATCH:
            self._flush()

    def digest(self) -> str:
        """Return the hash of all lines so far, as 32 hex digits."""
        self._flush()
        return self._hash.copy().hexdigest()

    def last(self, count: int = 40) -> list[str]:
        """Return the last lines, at most `KEPT` unless the trace is whole."""
        return list(self.lines)[-count:]

    def _flush(self) -> None:
        if self._pending:
            self._hash.update(("\n".join(self._pending) + "\n").encode())
            self._pending.clear()


def shown(value: object) -> str:
    """Return *value* as a trace shows it: bytes by their first eight hex digits, long tuples by size."""
    if isinstance(value, bytes):
        return value[:4].hex() or "-"
    if isinstance(value, Frame):
        return label(value)
    if isinstance(value, tuple):
        return f"[{' '.join(map(shown, value))}]" if len(value) <= 8 else f"[{len(value)} items]"
    return str(value)


def label(frame: Frame) -> str:
    """Return kind and short id of a frame."""
    return f"{type(frame.message).__name__} {frame.id[:4].hex()}"


def record(value: Any) -> str:
    """Return a dataclass as `Name field=value ...`; what only swarms in cells have is left out elsewhere."""
    told = ((field.name, getattr(value, field.name)) for field in fields(value))
    parts = (
        f"{name}={shown(content)}"
        for name, content in told
        if name not in _OF_CELLS or content not in _NOTHING
    )
    return " ".join([type(value).__name__, *parts])


_OF_CELLS = frozenset({"above", "below", "ext"})
_NOTHING = (None, ())


def text(lines: Iterable[str]) -> str:
    """Join lines as a golden file holds them."""
    return "".join(f"{line}\n" for line in lines)
