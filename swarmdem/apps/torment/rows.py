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
    offsets = Offsets()
    cpu: dict[int, float] = {}
    rounds: list[Row] = []
    trees: list[Row] = []
    begun = False
    for line in lines:
        entry = line.entry
        if line.what == "sample":
            cpu[entry["pid"]] = entry["cpu"]
        elif line.what == "start":
            offsets.restarted(entry["peer"])
            offsets.restarted(str(entry["device"]))
        elif line.what in {"kill", "stop", "replaced", "exit"}:
            book.lost(entry["peer"])
        elif line.what == "ready" and not begun:
            book.joined(entry["peer"])  # a founder; who comes later counts from its first round on
        elif line.what == "told":
            report = _report(entry, offsets)
            if isinstance(report, PeerRound):
                begun = True
                book.joined(report.peer)
            elif not begun:
                book.begin(line.t, sum(cpu.values()))
            if isinstance(report, PeerRound | TreeSeen | GroupResult | GroupScored):
                book.add(entry["device"], report, line.t)
        for row, of_row in book.due(line.t, lambda: sum(cpu.values())):
            rounds.append(row)
            trees.extend(of_row)
    return rounds, trees


def _report(entry: dict[str, Any], offsets: Offsets) -> FromWorker:
    report: FromWorker = msgspec.convert(entry["note"], FromWorker)
    return offsets.continued(report, str(entry["device"])) if isinstance(report, PeerRound) else report
