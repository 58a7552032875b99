"""A run as its coordinator follows it: reports come in, rows go out to the folder and the screen."""

from collections.abc import Callable, Sequence

from swarmdem.apps.continuing import Offsets
from swarmdem.apps.failures import TrainingWatch
from swarmdem.apps.gather import RoundBook, Row
from swarmdem.apps.pipes import (
    Done,
    Failed,
    FromWorker,
    GroupResult,
    GroupScored,
    Note,
    Passes,
    PeerRound,
    Ready,
    Trained,
    TrainingFailed,
    TreeSeen,
)
from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.table import View, counted
from swarmdem.errors import NoTrainingError, TransportError

LATE_S = 10.0
"""Rows are waited for so long after every worker is done."""


class Follower:
    """Merges the reports of all workers until the last round's row is written.

    Args:
        settings: Of the run.
        folder: Where rows go.
        view: Where people see them.
        peers: Ids by number.
        shares: Numbers of the peers of each worker.
        book: Turns reports into rows.
        cpu_s: Gives the CPU seconds of all processes so far.
        again: Starts a worker again; returns after how many seconds, or None: not any more.
    """

    def __init__(
        self,
        settings: SwarmSettings,
        folder: RunFolder,
        view: View,
        *,
        peers: Sequence[str],
        shares: Sequence[Sequence[int]],
        book: RoundBook,
        cpu_s: Callable[[], float],
        again: Callable[[int], float | None],
    ) -> None:
        self._settings, self._folder, self._view = settings, folder, view
        self._peers, self._shares = peers, shares
        self._book, self._cpu_s, self._again = book, cpu_s, again
        self._offsets = Offsets()
        self._away: set[str] = set()
        """Peers of workers that were started again, until they have finished a round."""
        self._restarted: set[int] = set()
        """Workers that were: what stops them in their next life, a broker that is away, is theirs alone."""
        self._watch = TrainingWatch()
        self._working = set(range(len(shares)))
        self._done: set[int] = set()
        self._done_s = 0.0
        for peer in peers:
            book.joined(peer)
            self._watch.joined(peer)

    def take(self, worker: int, report: FromWorker, now_s: float) -> None:
        """Take in what *worker* reported at *now_s*.

        Raises:
            TransportError: The broker cannot be reached, or no worker is left.
            NoTrainingError: Training fails at so many peers that no round can end.
        """
        match report:
            case PeerRound():
                self._round_ended(worker, report, now_s)
            case TreeSeen() | GroupResult() | GroupScored():
                self._book.add(worker, report, now_s)
            case Trained(peer=peer, round=round):
                self._watch.trained(peer, round)
            case TrainingFailed():
                self._training_failed(report)
            case Ready():
                self._book.begin(now_s, self._cpu_s())
            case Passes(together=together, why=why):
                way = "on" if together else "off"
                self._folder.note_choice("vectorise", way, why=why, worker=worker)
            case Note(text=note):
                self._view.say(note)
            case Failed(error=error, expected=expected):
                if expected and worker not in self._restarted:
                    raise TransportError(error)
                self._worker_failed(worker, error)
            case Done():
                self._done.add(worker)
                self._done_s = now_s

    def over(self, now_s: float) -> bool:
        """Write and show the rows that are whole at *now_s*; tell whether no more will come."""
        for row, trees in self._book.due(now_s, self._cpu_s):
            self._folder.append_round(row)
            for tree in trees:
                self._folder.append_tree(tree)
            left_s = self._book.mean_wall_s * (self._settings.rounds - row["round"])
            self._view.row(row, sum(map(_groups, trees)), left_s)
        all_done = self._working <= self._done and now_s - self._done_s > LATE_S
        return self._book.last_round >= self._settings.rounds or all_done

    def _training_failed(self, report: TrainingFailed) -> None:
        self._watch.failed(report.peer, report.round, report.error)
        if verdict := self._watch.verdict():
            rate = f"; a lower step size than --lr {self._settings.step_size:g} may help"
            raise NoTrainingError(verdict + (rate if report.not_finite else ""))

    def _round_ended(self, worker: int, report: PeerRound, now_s: float) -> None:
        if report.peer in self._away:
            self._away.discard(report.peer)
            self._book.joined(report.peer)
            self._watch.joined(report.peer)
        self._book.add(worker, self._offsets.continued(report, f"worker {worker}"), now_s)
        self._watch.ended(report.peer, report.round)

    def _worker_failed(self, worker: int, error: str) -> None:
        share = [self._peers[number] for number in self._shares[worker]]
        for peer in share:
            self._book.lost(peer)
            self._watch.lost(peer)
        pause_s = self._again(worker) if worker not in self._done else None
        whose = f"its {counted(len(share), 'peer')}"
        if pause_s is not None:
            self._view.say(f"{error}; it is started again in {pause_s:g} s, and {whose} with it")
            self._away.update(share)
            self._restarted.add(worker)
            for name in (*share, f"worker {worker}"):
                self._offsets.restarted(name)
            return
        self._view.say(f"{error}; the others go on without {whose}")
        self._working.discard(worker)
        if not self._working:
            raise TransportError(f"no worker is left: {error}")
        if verdict := self._watch.verdict():
            raise NoTrainingError(verdict)


def _groups(tree: Row) -> int:
    """Return the groups of a tree, the root included; one around a single other group adds nobody."""
    return len({tuple(group["members"]) for group in tree["groups"]})
