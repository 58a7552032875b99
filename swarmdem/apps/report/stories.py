"""What the journals of a run's peers tell, one story a peer.

A journal is read once, front to back. Events that name no round belong to the one that the peer was
in when they happened: the one after the last it had finished.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from swarmdem.apps.reading import Run
from swarmdem.errors import DataError


class _Line(msgspec.Struct, frozen=True):
    """The fields of journal lines that are told here; each event has some of them."""

    event: str
    round: int | None = None
    peer: str | None = None
    by: str | None = None
    present: bool = True
    applied: bool = True
    reason: str = ""
    about: str = ""
    what: str = ""
    tick: int = 0
    loss: float | None = None
    silent: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    sent: dict[str, tuple[int, int]] = {}
    received: dict[str, tuple[int, int]] = {}
    refused: dict[str, int] = {}
    dropped: int = 0
    unsent: int = 0


@dataclass(slots=True)
class Trouble:
    """A `Degraded` of one peer."""

    what: str
    round: int
    over: bool = False
    """A `Recovered` followed."""


@dataclass(slots=True)
class Story:
    """What one peer's journal tells."""

    peer: str
    finished: set[int] = field(default_factory=set)
    applied: set[int] = field(default_factory=set)
    kept: dict[str, set[int]] = field(default_factory=dict)
    """Rounds whose model it did not install, by reason."""
    loss: float | None = None
    """Of the last training."""
    frames: Counter[str] = field(default_factory=Counter)
    bytes_: Counter[str] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    """Bytes received, by kind."""
    refused: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    unsent: int = 0
    counted: bool = False
    """It has `traffic` lines."""
    troubles: list[Trouble] = field(default_factory=list)
    lost_sight: dict[str, set[int]] = field(default_factory=dict)
    """Peers it lost out of sight and then finished another round, with the rounds."""
    silent: Counter[str] = field(default_factory=Counter)
    """Neighbours whose models did not come (gossip), by peer."""
    ticks: dict[int, int] = field(default_factory=dict)
    """Rounds in which drift set the schedules' clock back, and where to."""
    equivocated: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    """Why it could not take part, in words."""
    _gone: set[tuple[str, int]] = field(default_factory=set)

    @property
    def sent(self) -> int:
        """Bytes it sent, as its `traffic` lines tell."""
        return self.bytes_.total()

    def _tell(self, line: _Line) -> None:
        now = max(self.finished, default=0) + 1 if line.round is None else line.round
        match line.event:
            case "round_finished":
                self._finish(now, line)
            case "training_finished":
                self.loss = line.loss
            case "traffic":
                self._count(line)
            case "degraded":
                self.troubles.append(Trouble(line.what, now))
            case "recovered":
                for trouble in self.troubles:
                    trouble.over = trouble.over or trouble.what == line.what
            case "peer_seen" | "explained":
                self._lose_sight(line, now)
            case "neighbours_averaged":
                self.silent.update(line.silent)
            case "plasticity_raised":
                self.ticks[now] = line.tick
            case "equivocated" if line.peer is not None:
                self.equivocated.add(line.peer)
            case "charter_refused":
                self.refusals.append(f"the swarm runs under another charter ({', '.join(line.settings)})")
            case "key_refused":
                self.refusals.append("its key was started again elsewhere")

    def _lose_sight(self, line: _Line, now: int) -> None:
        if line.peer is not None and not line.present:
            self._gone.add((line.peer, now))
        elif line.about == "left":  # so do the others: the run is stopped, to be resumed perhaps
            self._gone.clear()

    def _finish(self, round: int, line: _Line) -> None:
        self.finished.add(round)
        if line.applied:
            self.applied.add(round)
        else:
            self.kept.setdefault(line.reason or "no reason told", set()).add(round)
        # Who goes out of sight at the end of a run has left, not failed.
        for peer, lost in self._gone:
            self.lost_sight.setdefault(peer, set()).add(lost)
        self._gone.clear()

    def _count(self, line: _Line) -> None:
        self.counted = True
        for kind, (frames, size) in line.sent.items():
            self.frames[kind] += frames
            self.bytes_[kind] += size
        for kind, (_, size) in line.received.items():
            self.arrived[kind] += size
        self.refused.update(line.refused)
        self.dropped += line.dropped
        self.unsent += line.unsent


def read_stories(run: Run) -> dict[str, Story]:
    """Return the story of every peer of a run, an empty one where there is no journal.

    Raises:
        DataError: A journal is damaged; the message names file and line or field.
    """
    stories = {}
    for peer in run.peers:
        stories[peer] = story = Story(peer)
        for row in run.journal(peer):
            try:
                story._tell(msgspec.convert(row, _Line))
            except msgspec.ValidationError as error:
                raise DataError(f"{run.path / 'peers' / f'{peer}.jsonl'}: {error}") from error
    return stories


def ranges(rounds: Iterable[int]) -> str:
    """Return rounds as people write them: `1-3, 7`."""
    found: list[list[int]] = []
    for number in sorted(set(rounds)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
