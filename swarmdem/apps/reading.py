"""Run folders as typed rows, for figures, tables and reports.

Reads what `runfolder.py` describes and changes nothing. A run may be unfinished, or lack some of
its files: `Run.missing` names them and the rest is there. Lines that were never finished are left out.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from swarmdem.errors import DataError
from swarmdem.node.journal import parts_of

METRICS: Mapping[str, str] = {"c_spe": "C-SPE", "c_gen": "C-GEN", "global": "Global"}
"""The metrics with one value a round: key in `rounds.jsonl` -> name in the paper."""
GROUP_METRICS: Mapping[str, str] = {"g_spe": "G-SPE", "g_gen": "G-GEN"}
"""The metrics with one value a level."""

When = Literal["after_update", "after_training"]
_T = TypeVar("_T")


class Score(msgspec.Struct, frozen=True):
    """One metric of one round; None where it was not measured."""

    after_update: float | None = None
    after_training: float | None = None


class LevelScores(msgspec.Struct, frozen=True):
    """One metric of one round by level of groups."""

    after_update: dict[str, float | None] | None = None
    after_training: dict[str, float | None] | None = None


class PeerScore(msgspec.Struct, frozen=True):
    """What one peer deploys, after the update: on its own and on everybody's test data."""

    c_spe: float | None = None
    c_gen: float | None = None


class RoundRow(msgspec.Struct, frozen=True, rename={"global_": "global"}, kw_only=True):
    """A line of `rounds.jsonl`; metrics are None in rounds that were not evaluated."""

    round: int
    certified: bool = False
    certified_by: tuple[int, ...] = ()
    """Peers that ended the round under each certificate, the most first; empty also where it is not told."""
    in_cells: bool = False
    """There is a certificate for each cell."""
    peers: int = 0
    applied: int = 0
    skipped_groups: int | None = None
    failovers: int | None = None
    loss: float | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    train_cpu_s: float = 0.0
    evaluate_cpu_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    bytes_shared: int = 0
    socket_bytes_sent: int = 0
    socket_bytes_received: int = 0
    interrupted: bool = False
    metric: Literal["accuracy", "mae"] = "accuracy"
    c_spe: Score | None = None
    c_gen: Score | None = None
    global_: Score | None = None
    g_spe: LevelScores | None = None
    g_gen: LevelScores | None = None
    per_peer: dict[str, PeerScore] = {}

    @property
    def split(self) -> bool:
        """Whether not all live peers stand behind its certificate: one in all, or one in each cell."""
        if self.in_cells:
            return bool(self.certified_by) and sum(self.certified_by) != self.peers
        return bool(self.certified_by) and self.certified_by != (self.peers,)

    @property
    def evaluated(self) -> bool:
        """Whether the round has metrics."""
        return self.c_gen is not None

    def value(self, metric: str, when: When = "after_update") -> float | None:
        """Return a metric of `METRICS`, None where it was not measured."""
        score: Score | None = getattr(self, "global_" if metric == "global" else metric)
        return None if score is None else getattr(score, when)

    def level_value(self, metric: str, level: int) -> float | None:
        """Return a metric of `GROUP_METRICS` after the update at *level*."""
        scores: LevelScores | None = getattr(self, metric)
        return None if scores is None or scores.after_update is None else scores.after_update.get(str(level))


class GroupRow(msgspec.Struct, frozen=True):
    """One group of a tree."""

    level: int
    id: str
    parent: str | None = None
    members: tuple[str, ...] = ()
    """Every peer below, sorted."""
    leaves: tuple[str, ...] = ()
    """Peers attached directly."""
    included: tuple[str, ...] = ()
    """Peers whose models are in its mean."""
    cut: bool = False
    """No result of its parent came in time: its own mean became its result."""
    aggregator: str | None = None
    term: int | None = None


class TreeRow(msgspec.Struct, frozen=True):
    """A line of `trees.jsonl`: a list in force at the end of a round, its groups root first."""

    round: int
    certificate: str
    certified: bool = False
    groups: tuple[GroupRow, ...] = ()

    @property
    def root(self) -> GroupRow | None:
        """The group that all others are in."""
        return next((group for group in self.groups if group.parent is None), None)


@dataclass(frozen=True)
class Run:
    """One run folder as it is now."""

    path: Path
    tables: Mapping[str, Any]
    """`run.toml`: tables `run`, `versions`, `settings`, `charter`; lists `chosen`, `resumed` and `failed`."""
    rounds: tuple[RoundRow, ...]
    trees: tuple[TreeRow, ...]
    summary: Mapping[str, Any] | None
    """`summary.json`; None while the run is unfinished."""
    missing: tuple[str, ...] = field(default=())
    """Files of a run that are not there."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return `[settings]` with the changes of later resumptions."""
        values = dict(self.tables.get("settings", {}))
        for resumed in self.tables.get("resumed", []):
            values |= {name: value for name, value in resumed.items() if name not in {"command", "started"}}
        return values

    @property
    def failure(self) -> str:
        """Return why the run ended before its last round; empty when it did not, or went on since."""
        failed = self.tables.get("failed", [])
        return "" if self.finished or not failed else str(failed[-1].get("why", ""))

    @property
    def charter(self) -> Mapping[str, Any]:
        """Return `[charter]`."""
        charter: Mapping[str, Any] = self.tables.get("charter", {})
        return charter

    @property
    def finished(self) -> bool:
        """Whether the last round that was asked for is there."""
        wanted = self.settings.get("rounds")
        return wanted is not None and bool(self.rounds) and self.rounds[-1].round >= wanted

    @cached_property
    def evaluated(self) -> tuple[RoundRow, ...]:
        """Return the rounds that have metrics."""
        return tuple(row for row in self.rounds if row.evaluated)

    @property
    def metric(self) -> str:
        """Return what the scores are: `accuracy` (more is better) or `mae` (less is better)."""
        return self.evaluated[-1].metric if self.evaluated else "accuracy"

    def series(self, metric: str, when: When = "after_update") -> list[tuple[int, float]]:
        """Return (round, value) of a metric where it was measured."""
        found = ((row.round, row.value(metric, when)) for row in self.evaluated)
        return [(round, value) for round, value in found if value is not None]

    def bytes_series(self) -> dict[int, int]:
        """Return the bytes that all peers together had sent by the end of each round."""
        sent, total = {}, 0
        for row in self.rounds:
            total += row.bytes_sent
            sent[row.round] = total
        return sent

    @property
    def peers(self) -> tuple[str, ...]:
        """Return the ids of all peers with a journal or a place in a tree, sorted."""
        journals = {path.name.partition(".")[0] for path in (self.path / "peers").glob("*.jsonl*")}
        return tuple(sorted(journals | {peer for tree in self.trees for peer in _members(tree)}))

    def journal(self, peer: str) -> Iterator[dict[str, Any]]:
        """Yield the whole lines of a peer's journal; nothing when there is none.

        Raises:
            DataError: A line is not JSON.
        """
        for part in parts_of(self.path / "peers" / f"{peer}.jsonl"):
            yield from _lines(part)


def is_run(path: Path) -> bool:
    """Tell whether *path* is a run folder."""
    return (path / "run.toml").is_file()


def read_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        DataError: It is no run folder, or one of its files is damaged; the message names file and line.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    if not is_run(path):
        raise DataError(f"{path}: not a run folder (no run.toml)")
    names = ("rounds.jsonl", "trees.jsonl", "peers", "summary.json")
    return Run(
        path=path,
        tables=_toml(path / "run.toml"),
        rounds=tuple(_typed_lines(path / "rounds.jsonl", RoundRow)),
        trees=tuple(_typed_lines(path / "trees.jsonl", TreeRow)),
        summary=_json(path / "summary.json"),
        missing=tuple(name for name in names if not (path / name).exists()),
    )


def _members(tree: TreeRow) -> tuple[str, ...]:
    return tree.root.members if tree.root is not None else ()


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: an object is expected")
    return content


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in _whole_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number}: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number}: an object is expected")
        yield row


def _typed_lines(path: Path, kind: type[_T]) -> Iterator[_T]:
    for number, line in _whole_lines(path):
        try:
            yield msgspec.json.decode(line, type=kind)
        except msgspec.MsgspecError as error:
            raise DataError(f"{path} line {number}: {error}") from error


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


class VariantRow(msgspec.Struct, frozen=True):
    """One variant in `experiment.json`."""

    name: str
    runs: dict[str, str]
    """Run folder by seed, relative to the experiment's folder."""
    shown: When = "after_update"
    """Which scores of peers its table and figures show."""
    published: str | None = None
    """Algorithm of the published curve to compare with."""
    point: dict[str, Any] = {}
    """Its place in the grid it comes from."""


class ExperimentRow(msgspec.Struct, frozen=True):
    """`experiment.json`: what an experiment's folder holds, or will hold."""

    name: str
    variants: tuple[VariantRow, ...]
    about: str = ""
    curves: str | None = None
    """Data set of the published curves to compare with."""


@dataclass(frozen=True)
class Result:
    """One variant with its runs as they are now, in the order of their seeds."""

    variant: VariantRow
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ExperimentFolder:
    """One folder of an experiment as it is now."""

    path: Path
    about: ExperimentRow
    results: tuple[Result, ...]


def is_experiment(path: Path) -> bool:
    """Tell whether *path* is an experiment's folder."""
    return (path / "experiment.json").is_file()


def read_experiment(path: Path) -> ExperimentFolder:
    """Return the experiment in a folder; runs that have not begun are left out.

    Raises:
        DataError: It is no experiment's folder, or a file is damaged.
    """
    where = path / "experiment.json"
    try:
        about = msgspec.json.decode(where.read_bytes(), type=ExperimentRow)
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{where}: {error}") from error
    results = []
    for variant in about.variants:
        folders = [path / variant.runs[seed] for seed in sorted(variant.runs, key=int)]
        results.append(Result(variant, tuple(read_run(folder) for folder in folders if is_run(folder))))
    return ExperimentFolder(path, about, tuple(results))
