"""What one peer knows in one update, and the few things every part of it does with that.

The desk is shared by the parts of the update (`update.py`, `leading.py`): the views of the groups
this peer has a part in, the models it holds, the frames that stand, and the effects of the input
being handled. It keeps time too: a moment asked about with `reached` that still lies ahead is a
candidate for the next wake-up.
"""

from bisect import bisect
from collections.abc import Iterable

from swarmdem.identifiers import FrameId, GroupId, Micros, ModelHash, PeerId
from swarmdem.protocol.crossings import Crossings
from swarmdem.protocol.deadlines import deadlines
from swarmdem.protocol.election import leaders
from swarmdem.protocol.events import Effect, Event, Publish, Reject, Report
from swarmdem.protocol.hierarchy import Group
from swarmdem.protocol.offices import Office
from swarmdem.protocol.shortening import shorten_mean
from swarmdem.protocol.standing import StandingFrames
from swarmdem.protocol.starting import GroupMean, Legacy, Start, inherited, moving
from swarmdem.protocol.stock import Stock
from swarmdem.protocol.views import Announced, View
from swarmdem.wire.cells import cell_settings
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Final, Mean

STEP = 0
"""The only step of a plan: a tree kept for longer is in several plans."""

SPARE_SOURCES = 3
"""Members named as holders of a group's result beside its leaders."""

HOLDERS_MAX = 8
"""Peers noted as holders of a group's mean."""


class Desk:
    """One peer's knowledge of one plan's update."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.charter = start.charter
        self.sealer = start.sealer
        self.me = start.sealer.peer
        self.plan_id = start.plan_id
        self.plan = start.plan
        self.hierarchy = start.hierarchy
        self.digests = dict(start.digests)
        self.upload = start.upload
        self.alone = start.hierarchy.root.members == (self.me,)
        self.leaders = leaders(start.hierarchy, start.plan.base, start.conduct.weights)
        self.views = self._open_views(start.now)
        self.inherited = inherited(start)
        """What the update before left, as far as it counts in this one."""
        kept = self.inherited.held if self.inherited is not None else ()
        self.stock = Stock([*kept, *([start.upload] if start.upload else [])])
        self.crossings = Crossings(
            expected=start.conduct.model_us(self.charter),
            usual=self.charter.transfer_us,
            grace=self.charter.patience_us // 8,
        )
        self.missed: set[ModelHash] = set()
        """Results that were announced and did not arrive in time for this peer to mix them."""
        self.convicted: set[tuple[PeerId, GroupId]] = set()
        """Leaders that gave a group two results for one term, as reported."""
        self._short: dict[FrameId, Frame | None] = {}
        """In what form this peer's means cross."""
        self.standing = StandingFrames(period=max(1, start.charter.patience_us // 8))
        self.now = start.now
        self.wake: Micros | None = None
        self.effects: list[Effect] = []

    def _open_views(self, now: Micros) -> dict[GroupId, View]:
        """Return the groups this peer has a part in, and those right above and below them.

        Its part: it is a direct leaf, it leads, or it holds the seat of a child group. The groups
        around these start their clocks. Where group models are moving averages all groups are in
        view: this peer may lead any of them in the next round.
        """
        hierarchy = self.hierarchy
        part = {hierarchy.parent_of(self.me)}
        for group in hierarchy.groups:
            if self.me in self.leaders[group.id]:
                part |= {group.id, group.parent}
        part.discard(None)
        above = {hierarchy.group(group).parent for group in part if group is not None}
        times = deadlines(
            hierarchy, self.charter, began=now, model_us=self.start.conduct.model_us(self.charter)
        )
        everything = moving(self.charter)
        views: dict[GroupId, View] = {}
        for group in hierarchy.groups:
            if everything or group.id in part | above or group.parent in part:
                ranks = self.leaders[group.id]
                office = Office(group, self.leaders)
                views[group.id] = View(
                    group=group,
                    times=times[group.id],
                    office=office,
                    rank=ranks.index(self.me) if self.me in ranks else None,
                    elector=office.elects(self.me),
                )
        return views

    def reached(self, when: Micros) -> bool:
        """Return whether *when* has come; if not, wake up then."""
        if when <= self.now:
            return True
        if self.wake is None or when < self.wake:
            self.wake = when
        return False

    def gone(self, *peers: PeerId) -> bool:
        """Return whether all of *peers* are taken for gone; if not, look again when they would be."""
        suspicion = self.start.suspicion
        if suspicion is None or not peers or self.me in peers:
            return False
        return all(self.reached(suspicion.gone_at(peer, self.start.now)) for peer in peers)

    def stretched(self, half: Micros) -> Micros:
        """Return how long an elector waits for a leader that has *half*, one of two.

        The less this peer's own timing can be trusted the longer, but never so long that the second
        leader would have no third of its own half left.
        """
        suspicion = self.start.suspicion
        if suspicion is None:
            return half
        return min(suspicion.health.stretch(half), 2 * half - half // 3)

    def shares(self, model: ModelHash) -> int:
        """Return how many downloads share a link with that of *model*: the inputs of its group."""
        of = [v for v in self.views.values() if any(r.model == model for r in v.announced)]
        if not of:
            of = [view for view in self.views.values() if view.acting]
        return max((len(v.group.leaves) + len(v.group.children) for v in of), default=1)

    def report(self, event: Event) -> None:
        """Tell the journal and the application."""
        self.effects.append(Report(event))

    def reject(self, frame: Frame, reason: str) -> None:
        """Count a refused frame."""
        self.effects.append(Reject(frame.sender, reason))

    def parent_of(self, group: Group) -> View | None:
        """Return the view of a group's parent; None for the root.

        Only for groups this peer has a part in: their parents are in view.
        """
        return None if group.parent is None else self.views[group.parent]

    def last_mean(self, view: View) -> GroupMean | None:
        """Return the group's mean of the round before, if it counts and may still come."""
        mean = self.inherited.means.get(view.group.id) if self.inherited is not None else None
        if mean is None or mean.model in self.stock.bad:
            return None
        return mean if mean.model in self.stock.held or self.sources(mean.holders) else None

    def sources(self, holders: Iterable[PeerId]) -> tuple[PeerId, ...]:
        """Return those of *holders* that take part in this plan, this peer aside."""
        return tuple(p for p in holders if p != self.me and self.hierarchy.parent_of(p) is not None)

    def bequest(self) -> Legacy:
        """Return what this update leaves for the next."""
        means: dict[GroupId, GroupMean] = {}
        for view in self.views.values():
            mean = view.mean(self.stock.bad)
            if mean is not None and mean.model is not None:
                holders = (mean.frame.sender, *view.office.ranks, *self._takers(view.group))
                unique = tuple(dict.fromkeys(holders))[:HOLDERS_MAX]
                means[view.group.id] = GroupMean(mean.model, mean.message.model_bytes, unique)
        held = {mean.model for mean in means.values()} & self.stock.held
        return Legacy(self.plan_id, means, held)

    def _takers(self, group: Group) -> tuple[PeerId, ...]:
        """Return who got a group's mean: its parent's leaders, at the root whoever gets its result."""
        if group.parent is not None:
            return self.leaders[group.parent]
        return (*group.leaves, *(self.leaders[child][0] for child in group.children))

    def receivers(self, group: Group, message: Mean | Final) -> set[PeerId]:
        """Return who must have a result: they acknowledge it, and it is repeated until they do.

        MEAN: both leaders of the parent, and the second leader, who keeps a copy. FINAL: the direct
        leaves, and both leaders of each child group. The root's MEAN is both.
        """
        who: set[PeerId] = set()
        if isinstance(message, Mean) and message.term == 0:
            who.update(self.leaders[group.id][1:])
        if isinstance(message, Mean) and group.parent is not None:
            who.update(self.leaders[group.parent])
        else:
            who.update(group.leaves, *(self.leaders[child] for child in group.children))
        return who.difference(self.leaders[group.id][message.term : message.term + 1])

    def holders(self, view: View, result: Announced) -> tuple[PeerId, ...]:
        """Return who to fetch a result from, best first: its announcer, then the other leader.

        The model that members apply is soon held by many, so a few of them, others for each peer,
        are named as well: without them a leader that dies half-way through serving would leave too
        few electors without the result to depose it, and these would get nothing.
        """
        group = view.group
        best = [result.frame.sender, *view.office.ranks]
        if _is_last(group, result.message):
            takers = sorted({*group.leaves, *(self.leaders[child][0] for child in group.children)})
            after_me = bisect(takers, self.me)
            best += [*takers[after_me:], *takers[:after_me]][:SPARE_SOURCES]
        return tuple(peer for peer in dict.fromkeys(best) if peer != self.me)

    def publish(self, frame: Frame) -> None:
        """Say a frame of mine to all."""
        self.effects.append(Publish(frame, short=self._short.get(frame.id)))

    def announce(self, view: View, message: Mean | Final) -> None:
        """Sign a result of mine, take it as accepted and repeat it until it is acknowledged."""
        frame = self.sealer.seal(message)
        view.results(type(message))[message.term] = Announced(frame, message, self.now, owed=False)
        if isinstance(message, Mean) and cell_settings(self.charter.ext) is None:
            # who speaks for a cell reads its means without an update of its own
            self._short[frame.id] = shorten_mean(self.sealer, view.group.members, frame)
        if not self.alone:
            self.publish(frame)
        until = view.times.end if _is_last(view.group, message) else view.times.down
        self.standing.add(frame, missing=self.receivers(view.group, message), now=self.now, until=until)


def _is_last(group: Group, message: Mean | Final) -> bool:
    """Return whether this is what the group's members apply."""
    return isinstance(message, Final) or group.parent is None
