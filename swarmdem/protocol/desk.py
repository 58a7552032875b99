"""What one peer knows in one update, and the few things every part of it does with that.

The desk is shared by the parts of the update (`update.py`, `leading.py`): the views of the groups
this peer has a part in, the models it holds, the frames that stand, and the effects of the input
being handled. It keeps time too: a moment asked about with `reached` that still lies ahead is a
candidate for the next wake-up.
"""

from bisect import bisect
from collections.abc import Mapping

from swarmdem.identifiers import GroupId, Micros, ModelHash, PeerId, PlanId
from swarmdem.protocol.deadlines import deadlines
from swarmdem.protocol.election import leaders
from swarmdem.protocol.events import Effect, Event, Fetch, Publish, Reject, Report
from swarmdem.protocol.hierarchy import Group, Hierarchy
from swarmdem.protocol.offices import Office
from swarmdem.protocol.standing import StandingFrames
from swarmdem.protocol.views import Announced, View
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Digest, Final, Mean, Plan

STEP = 0
"""The only step of a plan with tau = 1."""

SPARE_SOURCES = 3
"""Members named as holders of a group's result beside its leaders."""


class Desk:
    """One peer's knowledge of one plan's update."""

    def __init__(
        self,
        *,
        charter: Charter,
        sealer: Sealer,
        plan_id: PlanId,
        plan: Plan,
        hierarchy: Hierarchy,
        digests: Mapping[PeerId, Digest],
        upload: ModelHash | None,
        now: Micros,
    ) -> None:
        self.charter = charter
        self.sealer = sealer
        self.me = sealer.peer
        self.plan_id = plan_id
        self.plan = plan
        self.digests = dict(digests)
        self.upload = upload
        self.alone = hierarchy.root.members == (self.me,)
        self.leaders = leaders(hierarchy, plan.base)
        self.views = self._open_views(hierarchy, now)
        self.held: set[ModelHash] = {upload} if upload else set()
        self.bad: set[ModelHash] = set()
        """Models that must not be used: wrong schema, not finite."""
        self.missed: set[ModelHash] = set()
        """Results that were announced and did not arrive in time for this peer to mix them."""
        self.pending: dict[ModelHash, Fetch] = {}
        self.standing = StandingFrames(period=max(1, charter.patience_us // 8))
        self.now = now
        self.wake: Micros | None = None
        self.effects: list[Effect] = []

    def _open_views(self, hierarchy: Hierarchy, now: Micros) -> dict[GroupId, View]:
        """Return the groups this peer has a part in, and those right above and below them.

        Its part: it is a direct leaf, it leads, or it holds the seat of a child group. The groups
        around these start their clocks.
        """
        part = {hierarchy.parent_of(self.me)}
        for group in hierarchy.groups:
            if self.me in self.leaders[group.id]:
                part |= {group.id, group.parent}
        part.discard(None)
        above = {hierarchy.group(group).parent for group in part if group is not None}
        times = deadlines(hierarchy, self.charter, began=now)
        views: dict[GroupId, View] = {}
        for group in hierarchy.groups:
            if group.id in part | above or group.parent in part:
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
        return who - {self.leaders[group.id][message.term]}

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

    def announce(self, view: View, message: Mean | Final) -> None:
        """Sign a result of mine, take it as accepted and repeat it until it is acknowledged."""
        frame = self.sealer.seal(message)
        view.results(type(message))[message.term] = Announced(frame, message, self.now, owed=False)
        if not self.alone:
            self.effects.append(Publish(frame))
        until = view.times.end if _is_last(view.group, message) else view.times.down
        self.standing.add(frame, missing=self.receivers(view.group, message), now=self.now, until=until)


def _is_last(group: Group, message: Mean | Final) -> bool:
    """Return whether this is what the group's members apply."""
    return isinstance(message, Final) or group.parent is None
