"""The rows of a run folder (`rounds.jsonl`, `trees.jsonl`, `summary.json`) from a history.

A torment thus leaves a folder that `swarmdem report` and figures read like any other run's. Where
the swarm was split, a row counts the peers of both sides: it is certified only when all of them were.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from swarmdem.apps.continuing import Offsets
from swarmdem.apps.gather import RoundBook, Row
from swarmdem.apps.pipes import FromWorker, GroupResult, GroupScored, PeerRound, TreeSeen
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.torment.history import Line

STRAGGLE_PATIENCES = 3.0
"""A row leaves so long after the first report of its round, whoever has not reported it."""


def rows_of(
    lines: Iterable[Line], settings: SwarmSettings, *, grouped: bool = True
) -> tuple[list[Row], list[Row]]:
    """Return the rows of rounds and of trees.

    Args:
        lines: The history.
        settings: Of the swarm.
        grouped: Groups have results; false where peers average with neighbours.
    """
    book = RoundBook(
        evaluated=settings.evaluated,
        straggle_s=STRAGGLE_PATIENCES * settings.patience_s,
        grouped=grouped,
    )
    reader = _Reader(book)
    found: list[tuple[Row, list[Row]]] = []
    for line in lines:
        reader.take(line)
        found += book.due(line.t, reader.cpu_s)
    found += book.rest(reader.now_s, reader.cpu_s)
    return [row for row, _ in found], [tree for _, trees in found for tree in trees]


class _Reader:
    """Tells a round book what a history says, line by line."""

    def __init__(self, book: RoundBook) -> None:
        self.now_s = 0.0
        self._book = book
        self._offsets = Offsets()
        self._cpu: dict[int, float] = {}
        self._begun = False
        self._gone: set[str] = set()
        """Ended or stopped: what is read from their journals after that is no sign of life."""

    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    def take(self, line: Line) -> None:
        self.now_s = line.t
        entry = line.entry
        match line.what:
            case "sample":
                self._cpu[entry["pid"]] = entry["cpu"]
            case "start":
                self._offsets.restarted(entry["peer"])
                self._offsets.restarted(str(entry["device"]))
                self._gone.discard(entry["peer"])
            case "continue":
                self._gone.discard(entry["peer"])
            case "kill" | "stop" | "replaced" | "exit":
                self._gone.add(entry["peer"])
                self._book.lost(entry["peer"])
            case "ready" if not self._begun:
                self._book.joined(entry["peer"])  # a founder; who comes later counts from its first round on
            case "told":
                self._told(entry)

    def _told(self, entry: dict[str, Any]) -> None:
        report: FromWorker = msgspec.convert(entry["note"], FromWorker)
        if isinstance(report, PeerRound):
            report = self._offsets.continued(report, str(entry["device"]))
            self._begun = True
            if report.peer not in self._gone:
                self._book.joined(report.peer)
        elif not self._begun:
            self._book.begin(self.now_s, self.cpu_s())
        if isinstance(report, PeerRound | TreeSeen | GroupResult | GroupScored):
            self._book.add(entry["device"], report, self.now_s)
