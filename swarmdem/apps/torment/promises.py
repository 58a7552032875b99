"""The invariants of agreement and update, as far as journals show them.

Journals hold what each peer adopted, averaged and applied, not the frames: that votes are unique
and means are exact is for the simulator; here it is for real processes, disks and sockets to show
that what those promise holds at the peers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swarmdem.apps.torment.findings import Finding
from swarmdem.apps.torment.history import Line
from swarmdem.wire.messages import NORMAL

ONE_CERTIFICATE = "at most one normal certificate per base"
ONE_TREE = "holders of a certificate have one tree"
RISING = "the rounds a peer applies rise strictly"
ONCE = "nobody applies twice for one certificate"
ADDS_UP = "what a mean includes adds up with its weights"
HONEST = "no honest peer is taken for a liar"
WHOLE = "journals are whole"

RULES = (ONE_CERTIFICATE, ONE_TREE, RISING, ONCE, ADDS_UP, HONEST, WHOLE)


@dataclass(frozen=True, slots=True)
class _Mean:
    """One announced mean."""

    line: int
    group: str
    term: int
    weight: int
    model: str | None
    included: tuple[str, ...]
    inputs: tuple[tuple[str, int], ...]


class Promises:
    """Watches what peers saw.

    Attributes:
        seen: How many cases of each rule were looked at.
    """

    def __init__(self) -> None:
        self.seen = dict.fromkeys(RULES, 0)
        self._normal: dict[str, tuple[str, int]] = {}
        self._trees: dict[str, tuple[str, int]] = {}
        self._listed: dict[str, frozenset[str]] = {}
        self._applied: dict[str, tuple[int, int]] = {}
        self._installed: dict[tuple[str, str, int], int] = {}
        self._means: dict[str, list[_Mean]] = {}

    def on(self, line: Line) -> Iterator[Finding]:
        """See `findings.Watcher`."""
        if line.what != "saw":
            return
        peer, event = str(line.entry["peer"]), line.entry["event"]
        match event.get("event"):
            case "certified":
                yield from self._certified(line.number, event)
            case "round_finished" if event["applied"]:
                yield from self._finished(line.number, peer, event)
            case "group_averaged":
                self._means.setdefault(event["plan"], []).append(_mean(line.number, event))
            case "equivocated":
                yield Finding(HONEST, f"peer {peer[:8]} accuses {event['peer'][:8]}", line.number)
            case "torn":
                yield Finding(WHOLE, f"a line of peer {peer[:8]} is no JSON", line.number)
        self.seen[WHOLE] += 1

    def end(self) -> Iterator[Finding]:
        """See `findings.Watcher`."""
        for plan, means in self._means.items():
            for mean in means:
                self.seen[ADDS_UP] += 1
                if wrong := self._wrong(plan, mean, means):
                    what = f"group {mean.group[:8]} of certificate {plan[:8]}: {wrong}"
                    yield Finding(ADDS_UP, what, mean.line)

    def _certified(self, line: int, event: dict[str, Any]) -> Iterator[Finding]:
        plan, base, tree = event["plan"], event["base"], event["tree"]
        self._listed[plan] = frozenset(event["peers"])
        if event["mode"] == NORMAL:
            self.seen[ONE_CERTIFICATE] += 1
            other, where = self._normal.setdefault(base, (plan, line))
            if other != plan:
                what = f"base {base[:8]} has {plan[:8]} and, in line {where}, {other[:8]}"
                yield Finding(ONE_CERTIFICATE, what, line)
        self.seen[ONE_TREE] += 1
        other, where = self._trees.setdefault(plan, (tree, line))
        if other != tree:
            what = f"certificate {plan[:8]}: tree {tree[:8]} and, in line {where}, {other[:8]}"
            yield Finding(ONE_TREE, what, line)

    def _finished(self, line: int, peer: str, event: dict[str, Any]) -> Iterator[Finding]:
        round, plan = event["round"], event["plan"]
        self.seen[RISING] += 1
        last, where = self._applied.get(peer, (-1, 0))
        if round <= last:
            yield Finding(RISING, f"peer {peer[:8]}: {round} after {last} (line {where})", line)
        self._applied[peer] = (max(round, last), line)
        self.seen[ONCE] += 1
        first = self._installed.setdefault((peer, plan, round), line)
        if first != line:
            yield Finding(ONCE, f"peer {peer[:8]}, {plan[:8]}: here and in line {first}", line)

    def _wrong(self, plan: str, mean: _Mean, means: list[_Mean]) -> str:
        """Return what does not add up in a mean; nothing when all does."""
        if len(set(mean.included)) != len(mean.included):
            return "a peer is included twice"
        if plan in self._listed and not self._listed[plan].issuperset(mean.included):
            return "a peer is included that the certificate does not list"
        if sum(weight for _, weight in mean.inputs) != mean.weight:
            total = sum(weight for _, weight in mean.inputs)
            return f"its inputs weigh {total}, it says {mean.weight}"
        models = [model for model, _ in mean.inputs]
        if len(set(models)) != len(models):
            return "an input is counted twice"
        below: list[str] = []
        leaves = 0
        for model, weight in mean.inputs:
            part = _part(mean, model, means)
            if part is None:
                leaves += 1
            elif part.weight != weight:
                return f"group {part.group[:8]} counts {weight} and weighs {part.weight}"
            else:
                below += part.included
        if len(set(below)) != len(below) or not set(below) <= set(mean.included):
            return "two of its groups include one peer, or it leaves out whom a group includes"
        if len(below) + leaves != len(mean.included):
            return f"{len(below)} peers of groups and {leaves} of its own, but {len(mean.included)} included"
        return ""


def _part(mean: _Mean, model: str, means: list[_Mean]) -> _Mean | None:
    """Return whose mean an input is: a group's below, or that of the first leader, repeated by the second."""
    for other in means:
        if other.model == model and (other.group != mean.group or (other.term, mean.term) == (0, 1)):
            return other
    return None


def _mean(line: int, event: dict[str, Any]) -> _Mean:
    return _Mean(
        line=line,
        group=event["group"],
        term=event["term"],
        weight=event["weight"],
        model=event["model"],
        included=tuple(event["included"]),
        inputs=tuple((model, weight) for model, weight in event["inputs"]),
    )
