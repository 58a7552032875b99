"""What the doctor found, line by line."""

from dataclasses import asdict, dataclass
from enum import StrEnum

import msgspec

UNKNOWN = 3
"""Exit code when nothing failed but not all was looked at; 2 is a mistake on the command line."""


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well or as safely as it should."""
    SKIP = "skip"
    """It was not looked at."""
    FAIL = "fail"
    """A peer would not work."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    what: str
    """What was found, in one sentence."""
    fix: str = ""
    """What to do about it; empty when all is well."""

    def __str__(self) -> str:
        text = f"{self.verdict.value:<4} {self.name}: {self.what}"
        return f"{text}\n     -> {self.fix}" if self.fix else text


def ok(name: str, what: str) -> Line:
    """Return a line for something that is as it should be."""
    return Line(name, Verdict.OK, what)


def warn(name: str, what: str, fix: str) -> Line:
    """Return a line for something that works, but could be better."""
    return Line(name, Verdict.WARN, what, fix)


def skip(name: str, what: str, fix: str) -> Line:
    """Return a line for something that was not looked at."""
    return Line(name, Verdict.SKIP, what, fix)


def fail(name: str, what: str, fix: str) -> Line:
    """Return a line for something that stops a peer."""
    return Line(name, Verdict.FAIL, what, fix)


def exit_code(lines: list[Line]) -> int:
    """Return 1 when a peer would not work, else 3 when something was not looked at, else 0."""
    found = {line.verdict for line in lines}
    return 1 if Verdict.FAIL in found else UNKNOWN if Verdict.SKIP in found else 0


def conclusion(lines: list[Line]) -> str:
    """Return in one line what the others come to."""
    names = {
        verdict: ", ".join(dict.fromkeys(line.name for line in lines if line.verdict is verdict))
        for verdict in Verdict
    }
    skipped = f"; not looked at: {names[Verdict.SKIP]}" if names[Verdict.SKIP] else ""
    if names[Verdict.FAIL]:
        return f"a peer would not work: {names[Verdict.FAIL]}{skipped}"
    return f"nothing found that stops a peer{skipped}"


def as_json(lines: list[Line]) -> str:
    """Return the lines as one JSON object.

    `ok` (nothing failed), `complete` (all was looked at), and `checks` with `name`, `verdict`, `what`, `fix`.
    """
    found = {line.verdict for line in lines}
    told = {
        "ok": Verdict.FAIL not in found,
        "complete": Verdict.SKIP not in found,
        "checks": [asdict(line) for line in lines],
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()
