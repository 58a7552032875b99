"""Turns what the workers report into the rows of a run folder: one per round, one per tree.

No clock and no files in here: times come in as arguments, rows go out as plain mappings whose keys
are the stable format of `rounds.jsonl` and `trees.jsonl` (README, "The run folder"). Row r is the
state after r rounds. A row leaves when every live peer has reported the round and all that is
evaluated came in, or `straggle_s` after the first report of it.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from swarmdem.apps.pipes import Counts, GroupResult, GroupScored, PeerRound, Score, TreeSeen, Usage

Row = dict[str, Any]
_OfGroup = TypeVar("_OfGroup", GroupResult, GroupScored)

SETTLE_S = 2.0
"""How long results of groups are waited for once all peers have reported (they come through other pipes)."""


def rate(score: Score | None) -> float | None:
    """Return correct (or the sum of absolute errors) over samples, None where nothing was measured."""
    return score.correct / score.count if score is not None and score.count else None


@dataclass(slots=True)
class _Totals:
    """Running totals of all peers and workers; rows hold differences of these."""

    peers: dict[str, Counts] = field(default_factory=dict)
    workers: dict[int, Usage] = field(default_factory=dict)

    def now(self) -> dict[str, float]:
        counts, usage = self.peers.values(), self.workers.values()
        return {
            "bytes_sent": sum(c.bytes_sent for c in counts),
            "bytes_received": sum(c.bytes_received for c in counts),
            "messages_sent": sum(c.messages_sent for c in counts),
            "messages_received": sum(c.messages_received for c in counts),
            "bytes_shared": sum(c.bytes_shared for c in counts),
            "socket_bytes_sent": sum(u.socket_bytes_sent for u in usage),
            "socket_bytes_received": sum(u.socket_bytes_received for u in usage),
            "train_cpu_s": sum(u.train_cpu_s for u in usage),
            "evaluate_cpu_s": sum(u.evaluate_cpu_s for u in usage),
        }


@dataclass(slots=True)
class _Round:
    """What is known of one round so far."""

    first_s: float
    complete_s: float | None = None
    peers: dict[str, PeerRound] = field(default_factory=dict)
    trees: dict[str, TreeSeen] = field(default_factory=dict)
    means: dict[tuple[str, str], GroupResult] = field(default_factory=dict)
    finals: dict[tuple[str, str], GroupResult] = field(default_factory=dict)
    scores: dict[tuple[str, str], GroupScored] = field(default_factory=dict)

    def in_force(self) -> list[TreeSeen]:
        """Return the trees that peers ended the round under, in the order of their names."""
        named = {report.certificate for report in self.peers.values()}
        return [self.trees[name] for name in sorted(named & set(self.trees))]


class RoundBook:
    """Collects reports until a round's row is whole."""

    def __init__(
        self,
        *,
        evaluated: Callable[[int], bool],
        straggle_s: float,
        last_round: int = 0,
        metric: str = "accuracy",
        grouped: bool = True,
        in_cells: bool = False,
    ) -> None:
        """Begin after *last_round*.

        Args:
            evaluated: Whether a round is one that is evaluated.
            straggle_s: How long after the first report of a round its row leaves in any case.
            last_round: The last round a resumed run has a row of.
            metric: What scores are, `accuracy` or `mae`; written to evaluated rows.
            grouped: Groups have results; false where peers average with neighbours.
            in_cells: A round has a certificate for each cell; written to the rows.
        """
        self.last_round = last_round
        self.mean_wall_s = 0.0
        """Mean length of the last few rounds."""
        self._evaluated = evaluated
        self._metric = metric
        self._grouped = grouped
        self._in_cells = in_cells
        self._straggle_s = straggle_s
        self._rounds: dict[int, _Round] = {}
        self._live: set[str] = set()
        self._furthest: dict[str, int] = {}
        self._totals = _Totals()
        self._before = self._totals.now()
        self._cpu_before_s = 0.0
        self._wall_before_s = 0.0
        self._walls: deque[float] = deque(maxlen=10)

    def begin(self, now_s: float, cpu_s: float) -> None:
        """Count the first row's time and CPU from here: what came before was starting up."""
        if not self._furthest:
            self._wall_before_s, self._cpu_before_s = now_s, cpu_s

    def joined(self, peer: str) -> None:
        """Expect reports of *peer* from now on."""
        self._live.add(peer)

    def lost(self, peer: str) -> None:
        """Do not wait for *peer* any more."""
        self._live.discard(peer)

    def add(
        self, worker: int, report: PeerRound | TreeSeen | GroupResult | GroupScored, now_s: float
    ) -> None:
        """Take in what *worker* reported at *now_s*."""
        if isinstance(report, PeerRound):
            self._totals.peers[report.peer] = report.counts
            self._totals.workers[worker] = report.usage
            self._furthest[report.peer] = max(report.round, self._furthest.get(report.peer, 0))
        if report.round <= self.last_round:
            return
        entry = self._rounds.setdefault(report.round, _Round(first_s=now_s))
        match report:
            case PeerRound():
                entry.peers[report.peer] = report
            case TreeSeen():
                entry.trees.setdefault(report.certificate, report)
            case GroupScored():
                _keep_highest_term(entry.scores, report)
            case GroupResult():
                _keep_highest_term(entry.finals if report.final else entry.means, report)

    def due(self, now_s: float, cpu_s: Callable[[], float]) -> list[tuple[Row, list[Row]]]:
        """Return (row, trees) of every round that is whole at *now_s*, in order of rounds.

        Args:
            now_s: The caller's clock.
            cpu_s: Gives the CPU seconds of all processes so far; asked for whole rows only: it takes time.
        """
        return self._rows(self._whole, now_s, cpu_s)

    def rest(self, now_s: float, cpu_s: Callable[[], float]) -> list[tuple[Row, list[Row]]]:
        """Return (row, trees) of what every live peer finished, whatever is missing: no more will come.

        Args:
            now_s: When the run ended.
            cpu_s: As in `due`.
        """
        return self._rows(lambda number, _, __: self._finished(number), now_s, cpu_s)

    def _rows(
        self, ready: Callable[[int, _Round, float], bool], now_s: float, cpu_s: Callable[[], float]
    ) -> list[tuple[Row, list[Row]]]:
        rows = []
        while (number := min((r for r, e in self._rounds.items() if e.peers), default=0)) > 0:
            entry = self._rounds[number]
            if not ready(number, entry, now_s):
                break
            rows.append((self._row(number, entry, now_s, cpu_s()), _tree_rows(entry)))
            self.last_round = number
            self._rounds = {r: e for r, e in self._rounds.items() if r > number}
        return rows

    def _finished(self, number: int) -> bool:
        return all(self._furthest.get(peer, 0) >= number for peer in self._live)

    def _whole(self, number: int, entry: _Round, now_s: float) -> bool:
        if now_s - entry.first_s > self._straggle_s:
            return True
        if not self._finished(number):
            return False
        entry.complete_s = now_s if entry.complete_s is None else entry.complete_s
        unscored = self._evaluated(number) and set(entry.finals) - set(entry.scores)
        wanted = {(tree.certificate, group["id"]) for tree in entry.in_force() for group in tree.groups}
        missing = self._grouped and wanted - set(entry.finals) and now_s - entry.complete_s < SETTLE_S
        return not unscored and not missing

    def _row(self, number: int, entry: _Round, now_s: float, cpu_s: float) -> Row:
        reports = list(entry.peers.values())
        trees = entry.in_force()
        groups = [(tree.certificate, group["id"]) for tree in trees for group in tree.groups]
        losses = [report.loss for report in reports if report.loss is not None]
        totals = self._totals.now()
        row: Row = {
            "round": number,
            "certified": bool(reports) and all(report.certified for report in reports),
            "certified_by": certified_by((report.certificate, report.certified) for report in reports),
            "peers": len(self._live),
            "applied": sum(report.applied for report in reports),
            "skipped_groups": sum(key not in entry.finals for key in groups) if self._grouped else 0,
            "failovers": sum(tree.term for tree in trees) + sum(_attempts(entry, key) for key in groups),
            "loss": sum(losses) / len(losses) if losses else None,
            "wall_s": round(now_s - self._wall_before_s, 3),
            "cpu_s": round(cpu_s - self._cpu_before_s, 3),
        }
        if self._in_cells:
            row["in_cells"] = True
        for name, total in totals.items():
            change = total - self._before[name]
            row[name] = round(change, 4) if isinstance(change, float) else change
        self._walls.append(now_s - self._wall_before_s)
        self.mean_wall_s = sum(self._walls) / len(self._walls)
        self._before, self._wall_before_s, self._cpu_before_s = totals, now_s, cpu_s
        if self._evaluated(number):
            row |= {"metric": self._metric, **_scores(entry)}
        return row


def certified_by(ends: Iterable[tuple[str, bool]]) -> list[int]:
    """Return how many peers ended a round under each certificate, the most first.

    Args:
        ends: Of each peer: the plan it ended the round under, and whether that was certified.
    """
    return sorted(Counter(plan for plan, certified in ends if certified).values(), reverse=True)


def _keep_highest_term(kept: dict[tuple[str, str], _OfGroup], report: _OfGroup) -> None:
    key = (report.certificate, report.group)
    if key not in kept or report.term >= kept[key].term:
        kept[key] = report


def _attempts(entry: _Round, key: tuple[str, str]) -> int:
    """Return how many aggregators of a group gave up before its result: the term that finished it."""
    result = entry.finals.get(key) or entry.means.get(key)
    return result.term if result else 0


def _pooled(scores: list[Score]) -> Score | None:
    return sum(scores[1:], scores[0]) if scores else None


def _scores(entry: _Round) -> Row:
    """Return the five metrics of an evaluated round, pooled over the peers that reported.

    A run that was stopped in between trains no peer twice: what some then did not measure after training
    is told of nobody, because the rest are no fair sample.
    """

    def of_peers(name: str) -> float | None:
        measured = [report.scores for report in entry.peers.values() if report.scores]
        found = [scores[name] for scores in measured if name in scores]
        return rate(_pooled(found)) if len(found) == len(measured) else None

    by_level: dict[int, list[GroupScored]] = {}
    for score in entry.scores.values():
        by_level.setdefault(score.level, []).append(score)
    top = max((group["level"] for tree in entry.in_force() for group in tree.groups), default=0)
    members = {
        str(level): rate(_pooled([s.members for s in found])) for level, found in sorted(by_level.items())
    }
    everybody = {
        str(level): rate(_pooled([s.everybody for s in found])) for level, found in sorted(by_level.items())
    }
    return {
        "c_spe": {"after_training": of_peers("c_spe.after_training"), "after_update": of_peers("c_spe")},
        "c_gen": {"after_training": of_peers("c_gen.after_training"), "after_update": of_peers("c_gen")},
        "global": {"after_training": None, "after_update": everybody.get(str(top))},
        "g_spe": {"after_training": None, "after_update": members or None},
        "g_gen": {"after_training": None, "after_update": everybody or None},
        "per_peer": {peer: _own_scores(report) for peer, report in sorted(entry.peers.items())},
    }


def _own_scores(report: PeerRound) -> Row:
    """Return C-SPE and C-GEN of one peer after the update, to six decimals."""
    found = {name: rate(report.scores.get(name)) for name in ("c_spe", "c_gen")}
    return {name: None if value is None else round(value, 6) for name, value in found.items()}


def _tree_rows(entry: _Round) -> list[Row]:
    """Return one object per distinct list in force, groups in the order of the certificate."""
    rows = []
    for tree in entry.in_force():
        groups = []
        for group in tree.groups:
            key = (tree.certificate, group["id"])
            mean, final = entry.means.get(key), entry.finals.get(key)
            result = final or mean
            groups.append(
                group
                | {
                    "included": sorted(mean.included) if mean else [],
                    "cut": final.cut if final else False,
                    "aggregator": result.aggregator if result else None,
                    "term": result.term if result else None,
                }
            )
        rows.append(
            {
                "round": tree.round,
                "certificate": tree.certificate,
                "certified": tree.certified,
                "groups": groups,
            }
        )
    return rows
