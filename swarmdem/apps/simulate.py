"""`swarmdem simulate`: many seeds of the protocol under faults in virtual time, judged and counted.

Every seed is a run of its own, so they share nothing and spread over worker processes; the order
of the report does not depend on who finished first. What is printed on standard output depends on
the arguments alone (but for the last line: wall time and memory), so two reports can be compared.
A run that breaks an invariant can be shrunk to a small schedule, which is printed as JSON and can be
replayed from a file.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

from swarmdem.apps.cell_report import cells_told, quantile
from swarmdem.apps.ledger import ledger_lines, ledger_of
from swarmdem.errors import ConfigError
from swarmdem.identifiers import SECOND
from swarmdem.protocol.packing import COLLECTORS
from swarmdem.simulation import runs
from swarmdem.simulation.cells import runs as cell_runs
from swarmdem.simulation.runs import Outcome, Run, Settings
from swarmdem.simulation.schedules import PEERS_MAX, Schedule, from_json, schedule_of, to_json
from swarmdem.simulation.shrinking import Shrinker
from swarmdem.simulation.trace import text
from swarmdem.wire.cells import LIMIT_MAX, LIMIT_MIN

CELL_PEERS_MAX = 100_000
"""Most peers of a simulated swarm in cells."""
FAILURES_SHOWN = 3
"""Broken seeds told in full; of the others only the number."""
TRACE_LINES_SHOWN = 30

Say = Callable[[str], None]
"""Takes one line of the report."""


@dataclass(slots=True)
class Report:
    """What many seeds came to."""

    outcomes: list[Outcome] = field(default_factory=list)
    wall_s: float = 0.0
    peak_mb: float = 0.0
    """Most memory that a process of it had."""

    @property
    def broken(self) -> list[Outcome]:
        """The runs in which an invariant did not hold."""
        return [outcome for outcome in self.outcomes if outcome.broken]

    @property
    def exit_code(self) -> int:
        """1 when an invariant was broken, else 0."""
        return 1 if self.broken else 0


def run(
    first: Settings,
    *,
    seeds: int = 1,
    workers: int = 2,
    trace: Path | None = None,
    shrink: bool = False,
    say: Say | None = None,
) -> Report:
    """Simulate *seeds* swarms and print what became of them.

    Args:
        first: The first seed's run; the others differ from it in their seed alone.
        seeds: How many.
        workers: Processes.
        trace: File for the whole trace of the first seed.
        shrink: Reduce the first run that breaks an invariant to a small schedule and print nothing else;
            the report goes to standard error.
        say: Takes each line of the report; None: standard output.

    Raises:
        ConfigError: A number is out of range.
    """
    _check(first, seeds, workers)
    flat_only = [
        name for name, given in (("shrink", shrink), ("liars", first.liars), ("crowd", first.crowd)) if given
    ]
    if first.cells and flat_only:
        raise ConfigError(f"--{flat_only[0]}: not with --cells")
    say = say or _to_stdout
    wanted = [replace(first, seed=number) for number in range(first.seed, first.seed + seeds)]
    begun = time.monotonic()
    if trace is not None:
        kind = cell_runs.CellRun if first.cells else Run
        _write_trace(kind(first, whole_trace=True), trace)
    report = Report()
    for outcome in _played(wanted, workers):
        report.outcomes.append(outcome)
        _show_progress(len(report.outcomes), seeds, outcome)
    report.wall_s, report.peak_mb = time.monotonic() - begun, _peak_mb()
    for line in _lines(report):
        (_to_stderr if shrink else say)(line)
    if shrink:
        _tell_smallest(schedule_of(report.broken[0].settings) if report.broken else None, say)
    return report


def replay(path: Path, *, trace: Path | None = None, shrink: bool = False, say: Say | None = None) -> Report:
    """Play the schedule in the file *path* and print what became of it; arguments as of `run`.

    Raises:
        ConfigError: The file cannot be read, or holds no schedule.
    """
    say = say or _to_stdout
    try:
        schedule = from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--schedule {path}: {getattr(error, 'strerror', None) or error}") from error
    except ConfigError as error:
        raise ConfigError(f"--schedule {path}: {str(error).removeprefix('schedule: ')}") from error
    begun = time.monotonic()
    if trace is not None:
        _write_trace(schedule.run(whole_trace=True), trace)
    report = Report([schedule.play()])
    report.wall_s, report.peak_mb = time.monotonic() - begun, _peak_mb()
    for line in _lines(report, f"swarmdem simulate --schedule {path}"):
        (_to_stderr if shrink else say)(line)
    if shrink:
        _tell_smallest(schedule if report.broken else None, say)
    return report


def _tell_smallest(broken: Schedule | None, say: Say) -> None:
    if broken is None:
        _to_stderr("nothing to shrink: no invariant was broken")
    else:
        say(to_json(Shrinker(tell=_to_stderr).shrink(broken)))


def _write_trace(swarm: Run, path: Path) -> None:
    swarm.play()
    try:
        path.write_text(text(swarm.world.trace.lines))
    except OSError as error:
        raise ConfigError(f"--trace {path}: {error.strerror}") from error


def _check(first: Settings, seeds: int, workers: int) -> None:
    if first.cells and not LIMIT_MIN <= first.cells <= LIMIT_MAX:
        raise ConfigError(f"--cells {first.cells}: {LIMIT_MIN} to {LIMIT_MAX} peers, or 0 for a flat swarm")
    ranges = (
        ("peers", first.peers, CELL_PEERS_MAX if first.cells else PEERS_MAX),
        ("rounds", first.rounds, 10_000),
        ("seeds", seeds, 10**6),
    )
    for name, value, most in (*ranges, ("workers", workers, 256), ("brokers", first.brokers or 1, 16)):
        if not 1 <= value <= most:
            raise ConfigError(f"--{name} {value}: 1 to {most}")
    if first.crowd and not COLLECTORS <= first.crowd <= PEERS_MAX:
        raise ConfigError(f"--crowd {first.crowd}: {COLLECTORS} to {PEERS_MAX} electors, or 0 to draw it")
    if first.loss is not None and not 0 <= first.loss <= 0.9:
        raise ConfigError(f"--loss {first.loss}: 0 to 0.9")
    if not 0.05 <= first.patience <= 86_400:
        raise ConfigError(f"--patience {first.patience}: 0.05 to 86400 seconds")


def _played(wanted: list[Settings], workers: int) -> Iterator[Outcome]:
    if workers == 1 or len(wanted) == 1:
        yield from map(_play, wanted)
        return
    with get_context("spawn").Pool(min(workers, len(wanted))) as pool:
        yield from pool.imap(_play, wanted)
        pool.close()
        pool.join()


def _play(settings: Settings) -> Outcome:
    return cell_runs.run(settings) if settings.cells else runs.run(settings)


def _peak_mb() -> float:
    """Return the most memory this process or one of its workers had (as Linux counts it: in kilobytes)."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) / 1000


def _lines(report: Report, command: str = "") -> Iterator[str]:
    outcomes = report.outcomes
    times = sorted(at / SECOND for outcome in outcomes for at in outcome.agreement)
    peer_rounds = sum(outcome.peer_rounds for outcome in outcomes) or 1
    frames = sum(outcome.frames for outcome in outcomes)
    applied, missed = sum(o.applied for o in outcomes), sum(o.missed for o in outcomes)
    rounds = sum(outcome.rounds for outcome in outcomes)
    for outcome in report.broken[:FAILURES_SHOWN]:
        yield from _failure(outcome, command or _command(outcome.settings))
    yield (f"seeds {len(outcomes)}, broken {len(report.broken)} (first seed {outcomes[0].settings.seed})")
    yield (
        f"rounds completed by all live peers {rounds}, certificates {sum(o.certified for o in outcomes)},"
        f" provisional {sum(o.provisional for o in outcomes)}"
    )
    yield f"results applied {applied}, missed {missed}, frames refused {sum(o.rejects for o in outcomes)}"
    if times:
        yield (
            f"virtual time from freeze to last adopter p50 {quantile(times, 0.5):.2f} s,"
            f" p95 {quantile(times, 0.95):.2f} s"
        )
    yield f"frames published per peer and round {frames / peer_rounds:.1f}"
    yield from ledger_lines(ledger_of([account for o in outcomes for account in o.accounts]).as_mapping())
    healed = sorted(o.healed / SECOND for o in outcomes if o.faults and not o.broken)
    if healed:
        yield (
            f"virtual time from the last fault to one certified round p50 {quantile(healed, 0.5):.1f} s,"
            f" p95 {quantile(healed, 0.95):.1f} s, longest {healed[-1]:.1f} s"
        )
    if outcomes[0].settings.cells:
        yield from cells_told(outcomes)
    virtual = sum(o.virtual for o in outcomes) / SECOND
    yield (
        f"virtual time {virtual:.0f} s in {report.wall_s:.1f} s,"
        f" {len(outcomes) / max(report.wall_s, 0.001):.2f} seeds a second,"
        f" at most {report.peak_mb:.0f} MB a process"
    )


def _failure(outcome: Outcome, command: str) -> Iterator[str]:
    yield f"BROKEN at seed {outcome.settings.seed}: {outcome.broken}"
    yield from (f"  fault: {fault}" for fault in outcome.faults)
    yield from (f"  trace: {line}" for line in outcome.last_lines[-TRACE_LINES_SHOWN:])
    yield f"  repeat: {command}"


def _command(settings: Settings) -> str:
    default = Settings(seed=settings.seed)
    parts = [
        "swarmdem simulate", f"--peers {settings.peers}", f"--rounds {settings.rounds}", "--seeds 1",
        f"--seed {settings.seed}",
    ]  # fmt: skip
    if not settings.faults:
        parts.append("--no-faults")
    if not settings.forks:
        parts.append("--no-forks")
    if not settings.vary:
        parts.append("--plain")
    if settings.levels != default.levels:
        parts.append(f"--levels {settings.levels}")
    if settings.patience != default.patience:
        parts.append(f"--patience {settings.patience:g}")
    if settings.brokers is not None:
        parts.append(f"--brokers {settings.brokers}")
    if settings.agreement != default.agreement:
        parts.append(f"--agreement {settings.agreement}")
    if settings.cells:
        parts.append(f"--cells {settings.cells}")
    if settings.liars:
        parts.append("--liars")
    if settings.crowd:
        parts.append(f"--crowd {settings.crowd}")
    if settings.loss is not None:
        parts.append(f"--loss {settings.loss:g}")
    return " ".join(parts)


def _show_progress(done: int, seeds: int, outcome: Outcome) -> None:
    if outcome.broken:
        sys.stderr.write(f"seed {outcome.settings.seed} broken: {outcome.broken}\n")
    elif done % max(1, seeds // 10) == 0 and seeds > 1:
        sys.stderr.write(f"{done} of {seeds} seeds\n")


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
