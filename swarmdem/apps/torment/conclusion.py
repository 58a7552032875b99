"""The end of a torment: rows for the run folder, the verdict, a short table, an exit code."""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from swarmdem.apps.reading import Run, read_run
from swarmdem.apps.results import LAST
from swarmdem.apps.runfolder import RunFolder, summarise
from swarmdem.apps.table import duration
from swarmdem.apps.torment import progress, resources
from swarmdem.apps.torment.checker import RULES, Verdict, check
from swarmdem.apps.torment.history import Line, read_history
from swarmdem.apps.torment.rows import rows_of
from swarmdem.errors import DataError

C_GEN = "C-GEN is not below that of undisturbed runs"
C_GEN_SLACK = 0.02
FINDINGS_SHOWN = 10

Say = Callable[[str], None]

_DONE = {
    "kill": "killed and restarted",
    "replaced": "replaced",
    "stop": "stopped for a while",
    "partition": "partitions",
    "broker_kill": "brokers killed",
    "broker_stop": "brokers stopped",
    "link": "links bent",
    "spared": "spared",
}
"""How a report calls what was done."""


@dataclass(frozen=True, slots=True)
class Learned:
    """C-GEN of the last rounds, and what it is held against."""

    c_gen: float | None
    """None: nothing was evaluated."""
    rounds: tuple[int, ...]
    undisturbed: tuple[float, ...]

    @property
    def least(self) -> float | None:
        """The least that will do: the lowest of the undisturbed runs, less some slack."""
        return min(self.undisturbed) - C_GEN_SLACK if self.undisturbed else None

    @property
    def enough(self) -> bool:
        """Whether C-GEN is no lower; always so with nothing to compare."""
        return self.least is None or (self.c_gen is not None and self.c_gen >= self.least)


def conclude(folder: Path, compare: Sequence[Path], say: Say) -> int:
    """Check a run's history, write what follows from it, and say it.

    Args:
        folder: The run folder.
        compare: Undisturbed runs of the same settings.
        say: Takes each line.

    Returns:
        1 when an invariant is broken or C-GEN is too low, else 0.

    Raises:
        DataError: There is no history, it is damaged, or a run to compare with is none.
    """
    lines = list(read_history(folder))
    verdict = check(lines)
    _write_rows(folder, lines, verdict)
    learned = _learned(folder, compare)
    _write_verdict(folder, verdict, learned)
    for text in table(verdict, learned):
        say(text)
    say(f"run folder {folder}")
    return 0 if not verdict.findings and learned.enough else 1


def check_runs(compare: Sequence[Path]) -> None:
    """Refuse, before anything starts, runs that nothing can be compared with.

    Raises:
        DataError: A folder is no run folder, or its C-GEN was never measured.
    """
    for path in compare:
        _last_c_gen(read_run(path))


def table(verdict: Verdict, learned: Learned) -> Iterator[str]:
    """Yield the report's lines."""
    swarm = verdict.settings.swarm
    yield (
        f"torment of {swarm.peers} peers, {verdict.settings.brokers} brokers, {swarm.rounds} rounds, seed "
        f"{swarm.seed}, patience {swarm.patience_s:g} s: {duration(verdict.wall_s)}, CPU "
        f"{verdict.resources.cpu_s:.0f} s, peak memory {verdict.resources.peak_rss / 1e6:.0f} MB"
    )
    done = (f"{verdict.done[what]} {words}" for what, words in _DONE.items() if verdict.done[what])
    yield f"  done: {', '.join(done) or 'nothing'}"
    good, all_ = verdict.progress.certified_rounds
    yield f"  rounds certified on the larger side: {good} of {all_}" + (
        f" ({good / all_:.1%})" if all_ else ""
    )
    if verdict.progress.met is not None:
        rounds, seconds = verdict.progress.met
        yield f"  after calm all met in round {rounds} of those that followed, after {seconds:.1f} s"
    if learned.c_gen is not None:
        held = "nothing to compare with (--compare)"
        if learned.least is not None:
            held = f"lowest undisturbed {min(learned.undisturbed):.3f}, least {learned.least:.3f}"
        span = f"rounds {learned.rounds[0]} to {learned.rounds[-1]}"
        yield f"  C-GEN {learned.c_gen:.3f}, mean of {span}; {held}"
    memory, files = verdict.resources.most
    yield f"  most growth of a process: {memory / 1e6:.1f} MB, {files:.0f} open files"
    for rule in RULES:
        yield f"  {_judged(verdict, rule):<8}{rule}{_cases(verdict, rule)}"
    if learned.least is not None:
        yield f"  {'ok' if learned.enough else 'BROKEN':<8}{C_GEN}"
    for finding in verdict.findings[:FINDINGS_SHOWN]:
        yield f"BROKEN {finding}"
    if len(verdict.findings) > FINDINGS_SHOWN:
        yield f"and {len(verdict.findings) - FINDINGS_SHOWN} more in verdict.json"


def _judged(verdict: Verdict, rule: str) -> str:
    if verdict.broken(rule):
        return "BROKEN"
    if rule == resources.FLAT and not verdict.resources.judged:
        return "-"
    if rule == progress.TOGETHER and verdict.progress.met is None:
        return "-"
    return "ok"


def _cases(verdict: Verdict, rule: str) -> str:
    if rule == resources.FLAT:
        return f" ({verdict.resources.judged} lived long enough)"
    if rule in verdict.promises.seen:
        return f" ({verdict.promises.seen[rule]} cases)"
    return "" if verdict.ended else " (the run did not come to its end)"


def _learned(folder: Path, compare: Sequence[Path]) -> Learned:
    run = read_run(folder)
    found = run.series("c_gen")[-LAST:]  # its numbers may have gaps, where two sides met
    others = tuple(_last_c_gen(read_run(path)) for path in compare)
    mean = statistics.fmean(value for _, value in found) if found else None
    return Learned(mean, tuple(round for round, _ in found), others)


def _last_c_gen(run: Run) -> float:
    end = run.rounds[-1].round if run.rounds else 0
    values = [value for round, value in run.series("c_gen") if round > end - LAST]
    if not values:
        raise DataError(f"--compare {run.path}: C-GEN was not measured in its last {LAST} rounds")
    return statistics.fmean(values)


def _write_rows(folder: Path, lines: Sequence[Line], verdict: Verdict) -> None:
    """Write what a run folder holds beside the history, unless an earlier check did."""
    if (folder / "summary.json").exists():
        return
    run = RunFolder(folder)
    settings, charter = run.load()
    for name in ("rounds.jsonl", "trees.jsonl"):
        (folder / name).unlink(missing_ok=True)
    rounds, trees = rows_of(lines, settings, grouped=charter.update == "tree")
    for row in rounds:
        run.append_round(row)
    for tree in trees:
        run.append_tree(tree)
    kinds = f"{verdict.settings.brokers} {settings.broker}"
    peak = verdict.resources.peak_rss
    run.write_summary(summarise(run.rows(), peers=settings.peers, broker=kinds, peak_pss_bytes=peak))


def _write_verdict(folder: Path, verdict: Verdict, learned: Learned) -> None:
    good, all_ = verdict.progress.certified_rounds
    content = {
        "findings": [asdict(finding) for finding in verdict.findings],
        "cases": verdict.promises.seen,
        "done": dict(verdict.done),
        "ended": verdict.ended,
        "wall_s": verdict.wall_s,
        "cpu_s": round(verdict.resources.cpu_s, 1),
        "rounds": all_,
        "certified_rounds": good,
        "met": verdict.progress.met,
        "growth": {"bytes": verdict.resources.most[0], "files": verdict.resources.most[1]},
        "c_gen": learned.c_gen,
        "c_gen_undisturbed": learned.undisturbed,
    }
    (folder / "verdict.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
