"""`swarmdem simulate`: many seeds of the protocol under faults in virtual time, judged and counted.

Every seed is a run of its own, so they share nothing and spread over worker processes; the order
of the report does not depend on who finished first. What is printed on standard output depends on
the arguments alone (but for the wall time in the last line), so two reports can be compared.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from swarmdem.errors import ConfigError
from swarmdem.identifiers import SECOND
from swarmdem.simulation import runs
from swarmdem.simulation.runs import Outcome, Run, Settings
from swarmdem.simulation.trace import text

PEERS_MAX = 200
"""More peers in one simulated world would take hours a seed."""
FAILURES_SHOWN = 3
"""Broken seeds told in full; of the others only the number."""
TRACE_LINES_SHOWN = 30


@dataclass(slots=True)
class Report:
    """What many seeds came to."""

    outcomes: list[Outcome] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def broken(self) -> list[Outcome]:
        """The runs in which an invariant did not hold."""
        return [outcome for outcome in self.outcomes if outcome.broken]

    @property
    def exit_code(self) -> int:
        """1 when an invariant was broken, else 0."""
        return 1 if self.broken else 0


def run(
    *,
    peers: int = 20,
    rounds: int = 30,
    seeds: int = 200,
    seed: int = 0,
    faults: bool = True,
    levels: int = 3,
    patience: float = 8.0,
    loss: float | None = None,
    forks: bool = False,
    vary: bool = True,
    workers: int = 2,
    trace: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Simulate *seeds* swarms and print what became of them.

    Args:
        peers: Peers of each swarm.
        rounds: Rounds every live peer must reach.
        seeds: How many seeds.
        seed: The first of them.
        faults: Draw faults and bad weather from each seed; False: nothing goes wrong.
        levels: Levels of groups below the root.
        patience: The charter's, in seconds.
        loss: Share of frames lost throughout; None: drawn from the seed (0 without faults).
        forks: Also draw splits that last long enough to fork a swarm.
        vary: Draw the charter's settings from each seed; False: the defaults.
        workers: Processes.
        trace: File for the whole trace of the first seed.
        say: Takes each line of the report; None: standard output.

    Raises:
        ConfigError: A number is out of range.
    """
    _check(peers, rounds, seeds, workers, loss)
    if not 0.05 <= patience <= 86_400:
        raise ConfigError(f"patience = {patience}: 0.05 to 86400 seconds")
    say = say or _to_stdout
    wanted = [
        Settings(
            seed=number,
            peers=peers,
            rounds=rounds,
            faults=faults,
            forks=forks,
            vary=vary,
            levels=levels,
            patience=patience,
            loss=loss,
        )
        for number in range(seed, seed + seeds)
    ]
    begun = time.monotonic()
    if trace is not None:
        _write_trace(wanted[0], trace)
    report = Report()
    for outcome in _played(wanted, workers):
        report.outcomes.append(outcome)
        _show_progress(len(report.outcomes), seeds, outcome)
    report.wall_s = time.monotonic() - begun
    for line in _lines(report):
        say(line)
    return report


def _write_trace(settings: Settings, path: Path) -> None:
    swarm = Run(settings, whole_trace=True)
    swarm.play()
    try:
        path.write_text(text(swarm.world.trace.lines))
    except OSError as error:
        raise ConfigError(f"--trace {path}: {error.strerror}") from error


def _check(peers: int, rounds: int, seeds: int, workers: int, loss: float | None) -> None:
    ranges = (("peers", peers, PEERS_MAX), ("rounds", rounds, 10_000), ("seeds", seeds, 10**6))
    for name, value, most in (*ranges, ("workers", workers, 256)):
        if not 1 <= value <= most:
            raise ConfigError(f"{name} = {value}: 1 to {most}")
    if loss is not None and not 0 <= loss <= 0.9:
        raise ConfigError(f"loss = {loss}: 0 to 0.9")


def _played(wanted: list[Settings], workers: int) -> Iterator[Outcome]:
    if workers == 1 or len(wanted) == 1:
        yield from map(runs.run, wanted)
        return
    with get_context("spawn").Pool(min(workers, len(wanted))) as pool:
        yield from pool.imap(runs.run, wanted)


def _lines(report: Report) -> Iterator[str]:
    outcomes = report.outcomes
    times = sorted(at / SECOND for outcome in outcomes for at in outcome.agreement)
    peer_rounds = sum(outcome.peer_rounds for outcome in outcomes) or 1
    frames = sum(outcome.frames for outcome in outcomes)
    applied, missed = sum(o.applied for o in outcomes), sum(o.missed for o in outcomes)
    rounds = sum(outcome.rounds for outcome in outcomes)
    for outcome in report.broken[:FAILURES_SHOWN]:
        yield from _failure(outcome)
    yield (
        f"seeds {len(outcomes)}, broken {len(report.broken)}, forked {sum(o.forked for o in outcomes)}"
        f" (first seed {outcomes[0].settings.seed})"
    )
    yield (
        f"rounds completed by all live peers {rounds}, certificates {sum(o.certified for o in outcomes)},"
        f" provisional {sum(o.provisional for o in outcomes)}"
    )
    yield f"results applied {applied}, missed {missed}, frames refused {sum(o.rejects for o in outcomes)}"
    if times:
        yield (
            f"virtual time from freeze to last adopter p50 {_quantile(times, 0.5):.2f} s,"
            f" p95 {_quantile(times, 0.95):.2f} s"
        )
    yield f"frames published per peer and round {frames / peer_rounds:.1f}"
    virtual = sum(o.virtual for o in outcomes) / SECOND
    yield f"virtual time {virtual:.0f} s in {report.wall_s:.1f} s"


def _failure(outcome: Outcome) -> Iterator[str]:
    settings = outcome.settings
    yield f"BROKEN at seed {settings.seed}: {outcome.broken}"
    yield from (f"  fault: {fault}" for fault in outcome.faults)
    yield from (f"  trace: {line}" for line in outcome.last_lines[-TRACE_LINES_SHOWN:])
    yield f"  repeat: {_command(settings)}"


def _command(settings: Settings) -> str:
    default = Settings(seed=settings.seed)
    parts = [
        "swarmdem simulate", f"--peers {settings.peers}", f"--rounds {settings.rounds}", "--seeds 1",
        f"--seed {settings.seed}",
    ]  # fmt: skip
    if not settings.faults:
        parts.append("--no-faults")
    if settings.forks:
        parts.append("--forks")
    if not settings.vary:
        parts.append("--plain")
    if settings.levels != default.levels:
        parts.append(f"--levels {settings.levels}")
    if settings.patience != default.patience:
        parts.append(f"--patience {settings.patience:g}")
    if settings.loss is not None:
        parts.append(f"--loss {settings.loss:g}")
    return " ".join(parts)


def _quantile(ordered: list[float], share: float) -> float:
    """Return the value below which *share* of the sorted numbers lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _show_progress(done: int, seeds: int, outcome: Outcome) -> None:
    if outcome.broken:
        sys.stderr.write(f"seed {outcome.settings.seed} broken: {outcome.broken}\n")
    elif done % max(1, seeds // 10) == 0 and seeds > 1:
        sys.stderr.write(f"{done} of {seeds} seeds\n")


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
