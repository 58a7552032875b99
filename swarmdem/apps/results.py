"""What an experiment found: curves, means and costs over seeds, as a table and as lines of figures.

Scores are those a variant shows (after the update unless it says otherwise); Global is always that
after the update. "Last 10" is the mean over those of the last ten rounds that were evaluated, then
over seeds; deviations are over seeds (n - 1), absent for one seed. Nothing in here draws or writes.
"""

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarmdem.apps.reading import METRICS, ExperimentFolder, Result, Run, When
from swarmdem.apps.table import ERROR
from swarmdem.errors import DataError

LAST = 10
"""Rounds that are averaged at the end of a run."""

Published = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Algorithm -> round -> metric -> value."""


@dataclass(frozen=True, slots=True)
class Value:
    """A mean over seeds and its deviation, None for a single seed."""

    mean: float
    deviation: float | None = None

    def __str__(self) -> str:
        """Return three decimals, and the deviation if there is one."""
        return f"{self.mean:.3f}" + ("" if self.deviation is None else f" ± {self.deviation:.3f}")


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric by round: means over the seeds that have the round."""

    rounds: tuple[int, ...]
    values: tuple[Value, ...]


def when_of(result: Result, metric: str) -> When:
    """Return which scores of a metric are shown."""
    return "after_update" if metric == "global" else result.variant.shown


def curve(result: Result, metric: str) -> Curve:
    """Return a metric of a variant by round."""
    by_round: dict[int, list[float]] = {}
    for run in result.runs:
        for round, value in run.series(metric, when_of(result, metric)):
            by_round.setdefault(round, []).append(value)
    rounds = tuple(sorted(by_round))
    return Curve(rounds, tuple(_over_seeds(by_round[round]) for round in rounds))


def level_curve(result: Result, metric: str, level: int) -> Curve:
    """Return G-SPE or G-GEN of one level by round."""
    by_round: dict[int, list[float]] = {}
    for run in result.runs:
        for row in run.evaluated:
            if (value := row.level_value(metric, level)) is not None:
                by_round.setdefault(row.round, []).append(value)
    rounds = tuple(sorted(by_round))
    return Curve(rounds, tuple(_over_seeds(by_round[round]) for round in rounds))


def last(result: Result, metric: str) -> Value | None:
    """Return the mean over the evaluated ones of the last ten rounds, over seeds."""

    def of_run(run: Run) -> float | None:
        end = run.rounds[-1].round if run.rounds else 0
        found = [v for round, v in run.series(metric, when_of(result, metric)) if round > end - LAST]
        return statistics.fmean(found) if found else None

    return _over_runs(result.runs, of_run)


def final(result: Result, metric: str) -> Value | None:
    """Return the value of the last evaluated round, over seeds."""

    def of_run(run: Run) -> float | None:
        found = run.series(metric, when_of(result, metric))
        return found[-1][1] if found else None

    return _over_runs(result.runs, of_run)


def total(result: Result, counter: str) -> float | None:
    """Return the mean over seeds of what a run's rounds add up to."""
    found = _over_runs(
        result.runs,
        lambda run: float(sum(getattr(row, counter) for row in run.rounds)) if run.rounds else None,
    )
    return None if found is None else found.mean


def rounds_done(result: Result) -> int:
    """Return the rounds of the run that has the fewest."""
    return min((run.rounds[-1].round if run.rounds else 0 for run in result.runs), default=0)


def interrupted(result: Result) -> int:
    """Return how many rounds of all runs were lost to a stop: their costs and scores are not known."""
    return sum(row.interrupted for run in result.runs for row in run.rounds)


def spread(result: Result) -> tuple[Value, Value] | None:
    """Return C-GEN of the worst and of the best served peer in the last evaluated round, over seeds."""

    def served(choose: Callable[[Iterable[float]], float]) -> Value | None:
        def of_run(run: Run) -> float | None:
            peers = run.evaluated[-1].per_peer.values() if run.evaluated else ()
            found = [peer.c_gen for peer in peers if peer.c_gen is not None]
            return choose(found) if found else None

        return _over_runs(result.runs, of_run)

    errors = any(run.metric == "mae" for run in result.runs)  # of errors the least is best
    worst, best = (served(max), served(min)) if errors else (served(min), served(max))
    return None if worst is None or best is None else (worst, best)


def read_published(path: Path, data_set: str) -> Published:
    """Return the published curves of one data set.

    The file has the columns dataset, algorithm, round, c_spe, c_gen, global.

    Raises:
        DataError: The file is missing or malformed, or has no such data set.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["dataset"] == data_set:
                    values = {metric: float(row[metric]) for metric in METRICS if row[metric]}
                    found.setdefault(row["algorithm"], {})[int(row["round"])] = values
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not published curves ({error})") from error
    if not found:
        raise DataError(f"{path}: no data set {data_set!r}")
    return found


def published_last(published: Published, algorithm: str, metric: str, rounds: int) -> float | None:
    """Return the published mean over the last ten rounds up to *rounds*."""
    by_round = published.get(algorithm, {})
    known = [number for number in sorted(by_round) if number <= rounds and metric in by_round[number]]
    values = [by_round[number][metric] for number in known[-LAST:]]
    return statistics.fmean(values) if values else None


def markdown(folder: ExperimentFolder, published: Published | None = None) -> str:
    """Return the table of an experiment for people."""
    titles = ["variant", "seeds", "rounds", "shown", *METRICS.values()]
    compared = published is not None and any(r.variant.published in published for r in folder.results)
    titles += ["published"] if compared else []
    titles += ["final", "worst-best peer", "sent MB", "CPU s", "wall s"]
    lines = [f"# {folder.about.name}", "", folder.about.about, ""] if folder.about.about else []
    lines = lines or [f"# {folder.about.name}", ""]
    lines += [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    lines += [f"| {' | '.join(_cells(result, published, compared))} |" for result in folder.results]
    lines += [
        "",
        f"{', '.join(METRICS.values())}: {_what(folder)}mean over the evaluated ones of the last {LAST} "
        f"rounds{' ± deviation over seeds' if any(len(r.runs) > 1 for r in folder.results) else ''}; "
        "final: of the last evaluated round; worst-best peer: their C-GEN after its update; sent, CPU, "
        "wall: of a run.",
        "",
        *_stops(folder),
        *_failures(folder),
    ]
    return "\n".join(lines)


def _what(folder: ExperimentFolder) -> str:
    """Return what the scores are where they are no accuracies."""
    errors = any(run.metric == "mae" for result in folder.results for run in result.runs)
    return f"{ERROR}; " if errors else ""


def _failures(folder: ExperimentFolder) -> list[str]:
    """Return what ended runs before their last round."""
    failed = [
        f"- {result.variant.name}, seed {run.settings.get('seed')}: {run.failure}"
        for result in folder.results
        for run in result.runs
        if run.failure
    ]
    return ["Runs that failed:", "", *failed, ""] if failed else []


def _stops(folder: ExperimentFolder) -> list[str]:
    """Return what is missing from runs that were stopped within a round and resumed."""
    lost = [(result.variant.name, interrupted(result)) for result in folder.results]
    stopped = ", ".join(f"{name} {rounds}" for name, rounds in lost if rounds)
    if not stopped:
        return []
    return [f"Rounds in which a run was stopped, with bytes, CPU and wall not counted: {stopped}.", ""]


def comma_separated(folder: ExperimentFolder, published: Published | None = None) -> str:
    """Return the same table for programs, with every digit."""
    buffer = io.StringIO()
    rows = [_record(result, published) for result in folder.results]
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _cells(result: Result, published: Published | None, compared: bool) -> list[str]:
    cells = [
        result.variant.name.replace("|", "\\|"),
        f"{sum(run.finished for run in result.runs)}/{len(result.variant.runs)}",
        str(rounds_done(result)),
        result.variant.shown.replace("_", " "),
        *(str(last(result, metric) or "") for metric in METRICS),
    ]
    if compared:
        cells.append(_joined(published_values(result, published or {}).values()))
    worst_best = spread(result)
    cells.append(_joined(final(result, metric) for metric in METRICS))
    cells.append("" if worst_best is None else f"{worst_best[0].mean:.3f}-{worst_best[1].mean:.3f}")
    sent, cpu_s, wall_s = (total(result, name) for name in ("bytes_sent", "cpu_s", "wall_s"))
    cells.append("" if sent is None else f"{sent / 1e6:.2f}")
    return [*cells, *("" if seconds is None else f"{seconds:.1f}" for seconds in (cpu_s, wall_s))]


def published_values(result: Result, published: Published) -> dict[str, float | None]:
    """Return the published counterpart of `last` for each metric; None before there is a run to compare."""
    rounds = rounds_done(result)
    algorithm = result.variant.published if rounds else None
    return {
        metric: None if algorithm is None else published_last(published, algorithm, metric, rounds)
        for metric in METRICS
    }


def _joined(values: Iterable[Value | float | None]) -> str:
    means = [value.mean if isinstance(value, Value) else value for value in values]
    if all(mean is None for mean in means):
        return ""
    return " / ".join("-" if mean is None else f"{mean:.3f}" for mean in means)


def _record(result: Result, published: Published | None) -> dict[str, object]:
    row: dict[str, object] = {
        "variant": result.variant.name,
        "seeds": len(result.runs),
        "finished": sum(run.finished for run in result.runs),
        "rounds": rounds_done(result),
        "interrupted_rounds": interrupted(result),
        "metric": result.runs[0].metric if result.runs else "",
        "shown": result.variant.shown,
    }
    counterparts = published_values(result, published or {})
    for metric in METRICS:
        mean, end = last(result, metric), final(result, metric)
        row[metric] = mean and mean.mean
        row[f"{metric}_deviation"] = mean and mean.deviation
        row[f"{metric}_final"] = end and end.mean
        row[f"{metric}_published"] = counterparts[metric]
    worst_best = spread(result)
    row["c_gen_worst_peer"] = worst_best and worst_best[0].mean
    row["c_gen_best_peer"] = worst_best and worst_best[1].mean
    for counter in ("bytes_sent", "cpu_s", "train_cpu_s", "evaluate_cpu_s", "wall_s"):
        row[counter] = total(result, counter)
    return row


def _over_runs(runs: Sequence[Run], of_run: Callable[[Run], float | None]) -> Value | None:
    found = [value for run in runs if (value := of_run(run)) is not None]
    return _over_seeds(found) if found else None


def _over_seeds(values: Sequence[float]) -> Value:
    return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
