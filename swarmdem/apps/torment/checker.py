"""The offline check: a history in, a verdict out; nothing of the run itself is needed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from swarmdem.apps.torment import progress, promises, resources
from swarmdem.apps.torment.findings import Finding
from swarmdem.apps.torment.history import Line
from swarmdem.apps.torment.progress import Progress
from swarmdem.apps.torment.promises import Promises
from swarmdem.apps.torment.resources import Resources
from swarmdem.apps.torment.settings import TormentSettings, from_history
from swarmdem.errors import DataError

RULES = (*promises.RULES, *progress.RULES, resources.FLAT)

DONE = ("kill", "stop", "replaced", "partition", "link", "broker_kill", "broker_stop", "spared")
"""Lines of a history that are counted in a report."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history comes to."""

    settings: TormentSettings
    findings: tuple[Finding, ...]
    """In the order of the history."""
    promises: Promises
    progress: Progress
    resources: Resources
    done: Counter[str]
    """How often each fault was done."""
    ended: bool
    """The run came to its end: all that can be checked was."""
    wall_s: float

    def broken(self, rule: str) -> int:
        """Return how often a promise was broken."""
        return sum(finding.rule == rule for finding in self.findings)


def check(lines: Sequence[Line]) -> Verdict:
    """Return the verdict on a history.

    Raises:
        DataError: It does not begin like one, or a line lacks what it must have.
    """
    if not lines or lines[0].what != "begin":
        raise DataError("the history does not begin with its settings: its beginning is missing")
    settings = from_history(lines[0].entry.get("settings", {}))
    watchers = Promises(), Progress(settings.patience_s), Resources()
    findings: list[Finding] = []
    done: Counter[str] = Counter()
    for line in lines:
        done[line.what] += line.what in DONE
        try:
            for watcher in watchers:
                findings.extend(watcher.on(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"history line {line.number}: not as it should be ({error!r})") from error
    for watcher in watchers:
        findings.extend(watcher.end())
    return Verdict(
        settings,
        tuple(sorted(findings, key=lambda finding: finding.line)),
        *watchers,
        done=done,
        ended=any(line.what == "end" and line.entry["done"] for line in lines),
        wall_s=lines[-1].t,
    )
