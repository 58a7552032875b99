"""Does the swarm get on: nobody stuck, rounds certified, all together again after calm.

Rounds are counted as they happen, not by their numbers: when two sides meet, the next round is above
all of both, and a few peers on their own, who wait for nobody, go through numbers quickly.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from swarmdem.apps.torment.findings import Finding
from swarmdem.apps.torment.history import Line

STUCK = "no peer is stuck"
ALIVE = "no process ends that was not told to"
CERTIFIED = "rounds are certified on the larger side"
TOGETHER = "after calm all live peers meet in one certified round"

RULES = (STUCK, ALIVE, CERTIFIED, TOGETHER)

STUCK_ROUNDS = 6
"""Rounds the others may finish while a peer that nothing happens to finishes none; where these are so short
that a link's next attempt to reconnect lasts longer, the time within which all must meet."""
CERTIFIED_SHARE = 0.95
MEETING_ROUNDS = 3
MEETING_PATIENCES = 6.0
RECONNECT_S = 10.0
"""The longest wait of a link between two attempts: a healed link may be found as late as that."""


@dataclass(slots=True)
class _Device:
    peer: str = ""
    up: bool = False
    ready: bool = False
    """Takes part: a process that still starts, on a machine with much else to do, is not stuck."""
    stopped: bool = False
    cut: bool = False
    bent: int = 0
    """Faults of its links now."""
    since: int = 0
    """How often the front had moved when it became well, or finished a round."""
    since_s: float = 0.0
    """When that was."""
    finished: int = 0
    told: bool = False

    @property
    def well(self) -> bool:
        return self.up and self.ready and not (self.stopped or self.cut or self.bent)


@dataclass(slots=True)
class _Round:
    certified: set[int] = field(default_factory=set)
    loose: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Meeting:
    """After calm: who has finished which certified round."""

    line: int
    begun_s: float
    round: int
    plans: dict[str, tuple[int, dict[int, float]]] = field(default_factory=dict)


class Progress:
    """Watches how rounds go by at every device.

    Attributes:
        front: The round that more than half of the devices have finished.
        met: (rounds after calm, seconds after calm) of the first common round; None: there was none.
    """

    def __init__(self, patience_s: float) -> None:
        self.front = 0
        self._moves = 0
        self.met: tuple[int, float] | None = None
        self._patient_s = MEETING_PATIENCES * patience_s + RECONNECT_S
        self._devices: dict[int, _Device] = {}
        self._device_of: dict[str, int] = {}
        self._rounds: dict[int, _Round] = {}
        self._highest = 0
        self._meeting: _Meeting | None = None
        self._last = (0, 0.0)
        self._done = False

    @property
    def certified_rounds(self) -> tuple[int, int]:
        """Rounds that most on the larger side finished certified, and rounds in all.

        A round is what more than a third of the devices finished there: no smaller side can.
        """
        enough = len(self._devices) / 3
        rounds = [r for r in self._rounds.values() if len(r.certified) + len(r.loose) > enough]
        return sum(len(r.certified) > len(r.loose) for r in rounds), len(rounds)

    def on(self, line: Line) -> Iterator[Finding]:
        """See `findings.Watcher`."""
        self._last = (line.number, line.t)
        entry = line.entry
        match line.what:
            case "saw":
                yield from self._saw(line, entry["event"])
            case "start" | "kill" | "stop" | "continue" | "replaced" | "exit":
                self._process(line.what, entry)
                if line.what == "exit":
                    what = f"peer {entry['device']} ended with code {entry['code']}"
                    yield Finding(ALIVE, what, line.number)
            case "ready":
                device = self._devices[entry["device"]]
                device.ready = True
                self._again(device)
            case "partition" | "heal":
                self._split(entry.get("sides"))
            case "link" | "link_over":
                self._bend(entry["device"], 1 if line.what == "link" else -1)
            case "calm":
                self._meeting = _Meeting(line.number, line.t, self._highest)
            case "stalled":
                yield Finding(STUCK, entry["why"], line.number)
            case "end":
                self._done = entry["done"]

    def end(self) -> Iterator[Finding]:
        """See `findings.Watcher`."""
        good, all_ = self.certified_rounds
        if all_ - good > max(
            1, (1 - CERTIFIED_SHARE) * all_
        ):  # in a short run one round is more than the share
            yield Finding(CERTIFIED, f"{good} of {all_}, wanted {CERTIFIED_SHARE:.0%}", self._last[0])
        if self._meeting is None:
            return
        found = self._met(self._meeting)
        if found is None:
            if self._done:
                what = f"none shared in the {self._last[1] - self._meeting.begun_s:.0f} s that followed"
                yield Finding(TOGETHER, what, self._meeting.line)
            return
        self.met = found
        rounds, seconds = found
        if rounds > MEETING_ROUNDS and seconds > self._patient_s:
            what = f"only {rounds} rounds and {seconds:.0f} s after it"
            yield Finding(TOGETHER, what, self._meeting.line)

    def _saw(self, line: Line, event: dict[str, Any]) -> Iterator[Finding]:
        number = self._device_of.get(str(line.entry["peer"]))
        if number is None:
            return
        device = self._devices[number]
        kind = event.get("event")
        if kind == "certified":
            self._highest = max(self._highest, event["round"])
        if kind != "round_finished":
            return
        self._again(device)
        device.finished = event["round"]
        if self._meeting is not None and event["certified"] and event["round"] > self._meeting.round:
            _, met = self._meeting.plans.setdefault(event["plan"], (event["round"], {}))
            met.setdefault(number, line.t)
        if not device.cut:
            row = self._rounds.setdefault(event["round"], _Round())
            (row.certified if event["certified"] else row.loose).add(number)
        ordered = sorted((each.finished for each in self._devices.values()), reverse=True)
        if (front := ordered[len(ordered) // 2]) > self.front:
            self.front = front
            self._moves += 1
            self._again(device)
            yield from self._stuck(line)

    def _stuck(self, line: Line) -> Iterator[Finding]:
        for number, device in sorted(self._devices.items()):
            rounds, seconds = self._moves - device.since, line.t - device.since_s
            if rounds > STUCK_ROUNDS and seconds > self._patient_s and device.well and not device.told:
                device.told = True
                what = f"peer {number} ({device.peer[:8]}) finished nothing while {rounds} rounds went by"
                yield Finding(STUCK, what, line.number)

    def _process(self, what: str, entry: dict[str, Any]) -> None:
        device = self._devices.setdefault(entry["device"], _Device())
        if what == "start":
            device.peer, device.up = entry["peer"], True
            device.ready = device.stopped = False
            self._device_of[device.peer] = entry["device"]
        elif what in {"kill", "replaced", "exit"}:
            device.up = False
        else:
            device.stopped = what == "stop"
        self._again(device)

    def _split(self, sides: list[list[int]] | None) -> None:
        for number, device in self._devices.items():
            cut = sides is not None and number in sides[1]
            if cut != device.cut:
                device.cut = cut
                self._again(device)

    def _bend(self, number: int | None, change: int) -> None:
        for each, device in self._devices.items():
            if number in {None, each}:
                device.bent += change
                self._again(device)

    def _again(self, device: _Device) -> None:
        """Count a peer's rounds anew from here: what it missed so far has a reason."""
        device.since, device.since_s, device.told = self._moves, self._last[1], False

    def _met(self, meeting: _Meeting) -> tuple[int, float] | None:
        living = {number for number, device in self._devices.items() if device.up}
        rounds = sorted({round for round, _ in meeting.plans.values()})
        common = [
            (rounds.index(round) + 1, max(met[number] for number in living) - meeting.begun_s)
            for round, met in meeting.plans.values()
            if living and living <= met.keys()
        ]
        return min(common, default=None)
