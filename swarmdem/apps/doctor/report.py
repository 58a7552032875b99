"""What the doctor found, line by line."""

from dataclasses import asdict, dataclass
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well or as safely as it should."""
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


def fail(name: str, what: str, fix: str) -> Line:
    """Return a line for something that stops a peer."""
    return Line(name, Verdict.FAIL, what, fix)


def as_json(lines: list[Line]) -> str:
    """Return the lines as one JSON object: `ok`, and `checks` with `name`, `verdict`, `what`, `fix`."""
    healthy = all(line.verdict is not Verdict.FAIL for line in lines)
    return msgspec.json.format(
        msgspec.json.encode({"ok": healthy, "checks": [asdict(line) for line in lines]}), indent=2
    ).decode()
