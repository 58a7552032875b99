"""Why a round did not go as it should, in a sentence with its cause, from one peer's point of view.

    missed       rounds went by without this peer
    left out     a round does not list this peer
    uncertified  a round goes on without the votes of a majority
    late         a certificate took another attempt, or far longer than usual
    no update    a round ended here without a result
    incomplete   this peer, as aggregator, averaged without some of the models
    left         this peer is not part of the swarm any more

A cause is what this peer itself saw: its own outages, training and disk, the certificate with the digests it
lists, who was last in sight. Where it saw nothing, the sentence says so instead of guessing.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from swarmdem.identifiers import PeerId, PlanId, Round, brief
from swarmdem.node.driver import NodeEvent
from swarmdem.node.trainer import TrainingFinished
from swarmdem.node.troubles import Trouble, Troubles
from swarmdem.protocol.election import leaders, rank
from swarmdem.protocol.events import (
    Certified,
    CharterRefused,
    GroupAveraged,
    GroupFinished,
    KeyRefused,
    PeerSeen,
    RoundFinished,
)
from swarmdem.protocol.reports import Readable
from swarmdem.protocol.status import RoundRecord
from swarmdem.wire.messages import FOUNDING, PROVISIONAL

INTERVALS_KEPT = 9
"""Times between certificates that tell what is usual."""
NAMED_MAX = 6
"""Peers named in one sentence."""


@dataclass(frozen=True, slots=True)
class Explained(Readable):
    """Why a round, or this peer's part in it, did not go as it should; a node's own event."""

    round: Round
    about: str
    """`missed`, `left out`, `uncertified`, `late`, `no update`, `incomplete` or `left`."""
    why: str
    """A sentence."""


PeerEvent = NodeEvent | Explained
"""All that a peer's event stream and journal tell."""
Evidence = Callable[[], RoundRecord | None]
"""Returns what the certificate rests on that a peer stands on."""


class Explainer:
    """Follows one peer's events and explains those that need it.

    Args:
        me: Whose.
        patience_s: The charter's.
        troubles: What was and is wrong here; noted before this explainer hears of an event.
        clock: Seconds since the epoch, as in *troubles*.
    """

    def __init__(
        self, me: PeerId, patience_s: float, troubles: Troubles, clock: Callable[[], float] = time.time
    ) -> None:
        self._me = me
        self._patience_s = patience_s
        self._troubles = troubles
        self._clock = clock
        self._began = clock()
        self._round: Round = 0
        self._plan: PlanId | None = None
        self._certified_at: float | None = None
        self._intervals: list[float] = []
        self._awaiting: Certified | None = None  # a certificate whose round is not over here
        self._training_since: float | None = None
        self._trained_s = 0.0
        self._gone: set[PeerId] = set()
        self._fresh = True  # no certificate since the start

    def resume(self, plan: PlanId | None, round: Round) -> None:
        """Take note of the certificate that this peer stood on when it stopped."""
        self._plan, self._round = plan, round

    def note(self, event: NodeEvent, record: Evidence) -> list[Explained]:
        """Return what is to be explained about *event*.

        Args:
            event: What happened.
            record: Returns the evidence of the certificate this peer stands on; asked only where it is
                needed, because it looks at every peer.
        """
        match event:
            case PeerSeen(peer, present):
                (self._gone.discard if present else self._gone.add)(peer)
            case TrainingFinished(duration_s=duration_s):
                self._training_since, self._trained_s = None, duration_s
            case Certified():
                return self._certified(event, record)
            case RoundFinished():
                return self._finished(event, record)
            case GroupAveraged():
                return self._averaged(event, record())
            case GroupFinished(cut=True, round=round, group=group):
                why = "no result of the group above came in time; the group's own mean became its result"
                return [Explained(round, "incomplete", f"group {brief(group)}: {why}")]
            case CharterRefused(by, settings):
                what = f"peer {brief(by)} says the swarm runs under another charter; other settings: "
                return [Explained(self._round, "left", what + ", ".join(settings))]
            case KeyRefused():
                return [Explained(self._round, "left", "its key was started again elsewhere, and later")]
        return []

    def left(self, failure: BaseException | None) -> Explained:
        """Return why this peer leaves: the application asked, or *failure*."""
        if failure is None:
            return Explained(self._round, "left", "the application asked this peer to leave")
        return Explained(self._round, "left", f"it broke: {type(failure).__name__}: {failure}")

    # Certificates

    def _certified(self, event: Certified, record: Evidence) -> list[Explained]:
        now = self._clock()
        told: list[Explained] = []
        if event.mode != FOUNDING:
            told += self._dropped(event)
            told += self._missed(event, now)
            told += self._left_out(event, now)
        if event.mode == PROVISIONAL:
            told.append(self._uncertified(event, _evidence_of(event, record)))
        elif event.mode != FOUNDING:
            told += self._late(event, record, now)
        if self._certified_at is not None and event.round == self._round + 1:
            self._intervals = [*self._intervals[1 - INTERVALS_KEPT :], now - self._certified_at]
        self._round, self._plan, self._certified_at = event.round, event.plan, now
        self._fresh = False
        self._awaiting = event if event.mode != FOUNDING else None
        # After a founding there is nothing to update: training begins at once.
        self._training_since = now if event.mode == FOUNDING else None
        return told

    def _dropped(self, event: Certified) -> list[Explained]:
        before = self._awaiting
        if before is None:
            return []
        why = f"the certificate of round {event.round} came before the result of round {before.round}"
        return [Explained(before.round, "no update", f"{why}; its update was dropped")]

    def _missed(self, event: Certified, now: float) -> list[Explained]:
        missed = range(self._round + 1, event.round)
        if not missed or self._plan is None:
            return []
        which = f"round {missed[0]}" if len(missed) == 1 else f"rounds {missed[0]} to {missed[-1]}"
        cause = "it was not running" if self._fresh else ""
        cause = cause or self._own_trouble(now) or self._still_training(now)
        cause = cause or "no certificate of them reached it before a later one did"
        return [Explained(missed[0], "missed", f"{which} went by without this peer: {cause}")]

    def _left_out(self, event: Certified, now: float) -> list[Explained]:
        if self._me in event.peers:
            return []
        if self._plan is None:
            cause = "it has just joined"
        elif event.base != self._plan and self._fresh:
            cause = "it has just come back"
        elif event.base != self._plan:
            cause = f"it stood on another certificate (round {self._round}) while this one was agreed upon"
        else:
            cause = self._own_trouble(now) or self._still_training(now)
            took = f"its training took {self._trained_s:.1f} s"
            cause = cause or f"its digest reached the proposer too late ({took})"
        return [Explained(event.round, "left out", f"round {event.round} does not list this peer: {cause}")]

    def _uncertified(self, event: Certified, record: RoundRecord | None) -> Explained:
        head = f"round {event.round} has no votes of a majority and goes on uncertified"
        if record is None or record.base.plan is None:
            return Explained(event.round, "uncertified", head)
        entries = record.base.plan.entries
        electors = [entry.peer for entry in entries if entry.elector]
        silent = [entry.peer for entry in entries if entry.elector and not entry.listed]
        were = f"{len(silent)} {'was' if len(silent) == 1 else 'were'}"
        why = f"of the {len(electors)} peers that could vote, {were} not heard in time: {self._whom(silent)}"
        return Explained(event.round, "uncertified", f"{head}: {why}" if silent else head)

    def _late(self, event: Certified, record: Evidence, now: float) -> list[Explained]:
        if event.term > 0:
            evidence = _evidence_of(event, record)
            if evidence is None or evidence.base.plan is None:
                return []
            electors = [entry.peer for entry in evidence.base.plan.entries if entry.elector]
            turns = rank(electors, event.base)
            slow = [turns[term % len(turns)] for term in range(event.term)] if turns else []
            why = f"{self._whom(slow)} had the turn and gave no proposal that enough peers took in time"
            head = f"round {event.round} took {event.term + 1} attempts"
            return [Explained(event.round, "late", f"{head}: {why}")]
        if self._certified_at is None or len(self._intervals) < 3:
            return []
        took, usual = now - self._certified_at, median(self._intervals)
        if took <= max(2 * usual, usual + self._patience_s):
            return []
        evidence = _evidence_of(event, record)
        if evidence is None:
            return []
        head = f"round {event.round} took {took:.1f} s, {usual:.1f} s are usual"
        return [Explained(event.round, "late", f"{head}: {self._slowest(evidence, now)}")]

    def _slowest(self, record: RoundRecord, now: float) -> str:
        own = self._own_trouble(now)
        if own:
            return own
        slowest = max(record.digests.items(), key=lambda item: (item[1].training_ms, item[0]), default=None)
        if slowest is not None and slowest[1].training_ms / 1000 > self._patience_s:
            peer, digest = slowest
            return f"{self._whom([peer])} trained for {digest.training_ms / 1000:.1f} s"
        plan = record.base.plan
        awaited = [entry.peer for entry in plan.entries if not entry.listed] if plan is not None else []
        if awaited:
            return f"{self._whom(awaited)} did not come in time, and the others waited"
        return "this peer did not see why"

    # Updates

    def _finished(self, event: RoundFinished, record: Evidence) -> list[Explained]:
        self._awaiting = None
        self._training_since = self._clock()
        if event.applied or event.reason == "not listed":  # the certificate has told why
            return []
        return [Explained(event.round, "no update", self._no_update(event, record()))]

    def _no_update(self, event: RoundFinished, record: RoundRecord | None) -> str:
        head = f"round {event.round} ended here without a result: {event.reason}"
        own = self._own_trouble(self._clock())
        if own:
            return f"{head}; {own}"
        tree = record.base.hierarchy if record is not None and record.plan_id == event.plan else None
        if tree is None or event.group is None or record is None:
            return head
        plan, weights = record.base.plan, record.base.state.conduct.weights
        assert plan is not None
        chosen = leaders(tree, plan.base, weights)[event.group]
        lost = [peer for peer in chosen if peer in self._gone]
        if len(lost) == len(chosen):
            return f"{head}; the aggregators of its group went out of sight: {self._whom(lost)}"
        gone = f", of whom {self._whom(lost)} went out of sight" if lost else ""
        return f"{head}; its group was to be averaged by {self._whom(chosen)}{gone}"

    def _averaged(self, event: GroupAveraged, record: RoundRecord | None) -> list[Explained]:
        tree = record.base.hierarchy if record is not None and record.plan_id == event.plan else None
        if tree is None:
            return []
        absent = sorted(set(tree.group(event.group).members) - set(event.included))
        if not absent:
            return []
        gone = [peer for peer in absent if peer in self._gone]
        why = f"; {self._whom(gone)} went out of sight" if gone else ""
        which = f"group {brief(event.group)} of level {event.level} was averaged without {self._whom(absent)}"
        return [Explained(event.round, "incomplete", f"{which}: no model of theirs came in time{why}")]

    # Causes

    def _own_trouble(self, now: float) -> str:
        """Return what was wrong here since the last certificate, empty when nothing was."""
        begin = self._certified_at if self._certified_at is not None else self._began
        return "; ".join(_told(trouble, now) for trouble in self._troubles.since(begin)[:2])

    def _still_training(self, now: float) -> str:
        if self._training_since is None:
            return ""
        return f"its training, begun {now - self._training_since:.1f} s ago, was not finished"

    def _whom(self, peers: Sequence[PeerId]) -> str:
        return _named("this peer" if peer == self._me else brief(peer) for peer in peers)


def _evidence_of(event: Certified, record: Evidence) -> RoundRecord | None:
    """Return the evidence of this certificate; None when another has overtaken it already."""
    evidence = record()
    return evidence if evidence is not None and evidence.plan_id == event.plan else None


def _told(trouble: Trouble, now: float) -> str:
    if trouble.passing:
        return trouble.what
    over = f"for {trouble.lasted(now):.0f} s" if trouble.until is not None else "still"
    return f"{trouble.what} ({over})"


def _named(peers: Iterable[str]) -> str:
    names = sorted(set(peers))
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
