"""The hierarchical update of one plan at one peer: average up, mix down, apply (DemLearn, eq. 9 and 10).

Theory of operation. A certified plan gives every peer the same tree, the same two leaders per group
and the same nested deadlines (`deadlines.py`). Leaders pull what they need by hash and announce MEAN
(eq. 9) upward and FINAL (eq. 10) downward (`leading.py`); FINAL of the root is its MEAN, one frame.
A first leader that is late is skipped by its electors (`accusing.py`, `offices.py`) and the second
answers for term 1. A group whose parent has no result in time is cut: its mean becomes its result.

Each input records what happened (frames: `hearing.py`), then `_advance` looks at every group this peer
has a part in and does what has become possible: it is idempotent, and the only place that decides.
What to fetch is not ordered step by step either: `_needs` says what is needed now (`stock.py`).

`now` is connected time: the core stops this clock while the peer is offline. Weights are checked as
far as this peer holds the digests. Nothing another peer says raises.
"""

from collections.abc import Iterator

from swarmdem.identifiers import FrameId, GroupId, Micros, ModelHash, PeerId, Term
from swarmdem.protocol import events, leading, standby
from swarmdem.protocol.accusing import accuse_the_late
from swarmdem.protocol.conduct import Report
from swarmdem.protocol.desk import STEP, Desk
from swarmdem.protocol.events import Effect, Fetch, Reject
from swarmdem.protocol.hearing import acknowledge_held, hear_result, hear_skip
from swarmdem.protocol.installation import Installation
from swarmdem.protocol.remarks import summed_of
from swarmdem.protocol.shortening import long_mean
from swarmdem.protocol.starting import Legacy, Start, moving
from swarmdem.protocol.stock import together
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Ack, Digest, Final, GroupSkip, Mean
from swarmdem.wire.shortened import ShortMean


class Update:
    """One plan's update; one object per plan, dropped when the next certificate comes."""

    def __init__(self, start: Start) -> None:
        """Take part in the plan of *start*."""
        self._desk = Desk(start)
        self._install = Installation(start, start.hierarchy.parent_of(self._desk.me))

    # What the core asks

    @property
    def applied(self) -> bool | None:
        """None while open, True after the result was applied, False when the round was given up."""
        return self._install.applied

    @property
    def duties(self) -> tuple[tuple[GroupId, Term], ...]:
        """The groups this peer leads, highest first, with its rank in each."""
        views = self._desk.views.values()
        return tuple((view.group.id, view.rank) for view in views if view.rank is not None)

    @property
    def idle(self) -> bool:
        """The round is over here, no duty is open, nothing of mine is un-acknowledged."""
        if self.applied is None or self._desk.standing:
            return False
        return not any(leading.owes_result(self._desk, view) for view in self._desk.views.values())

    @property
    def models(self) -> tuple[ModelHash, ...]:
        """The models this peer holds and may still need or serve; sorted."""
        return self._desk.stock.models

    @property
    def legacy(self) -> Legacy | None:
        """What this update leaves for the next one; None where group models are no moving averages."""
        return self._desk.bequest() if moving(self._desk.charter) else None

    def report(self, capability: int) -> Report:
        """Return what the next digest of this peer, of this *capability*, says of this update."""
        desk = self._desk
        skipped = sorted(view.group.id for view in desk.views.values() if view.skip is not None)
        return Report(capability, desk.crossings.slow_ms, tuple(skipped))

    def next_wakeup(self) -> Micros | None:
        """Return when `on_wake` is due; always later than the `now` of the last call."""
        return self._desk.wake

    def missing_digests(self) -> tuple[FrameId, ...]:
        """Return the listed digests this peer needs as an aggregator and does not hold."""
        desk = self._desk
        wanted = {source for view in desk.views.values() for source in leading.unknown_sources(view)}
        if not wanted:  # asked after every input: do not look through a thousand entries for nothing
            return ()
        return tuple(FrameId(entry.digest) for entry in desk.plan.entries if entry.peer in wanted)

    # What happens

    def begin(self) -> list[Effect]:
        """Start: called once, first."""
        desk = self._desk
        for group, rank in self.duties:
            level = desk.views[group].group.level
            desk.report(events.Elected(desk.plan_id, desk.plan.round, group, level, rank))
        if self._install.group is None:
            desk.effects.extend(self._install.give_up("not listed"))
        return self._advance(desk.now)

    def on_frame(self, frame: Frame, now: Micros) -> list[Effect]:
        """Take a `Mean`, `Final`, `GroupSkip` or `Ack`; other plans' and our own echoes are ignored."""
        message = frame.message
        if frame.sender == self._desk.me:
            return []
        if isinstance(message, Ack):
            self._desk.standing.acknowledge(message.frame, frame.sender)
            return []
        if not isinstance(message, Mean | ShortMean | Final | GroupSkip):
            return []
        view = self._desk.views.get(message.group)
        if view is None or message.plan != self._desk.plan_id:
            return []
        if isinstance(message, ShortMean):
            long = long_mean(self._desk.sealer, view.group.members, frame)
            if long is None:
                return [Reject(frame.sender, "a short mean that stands for none")]
            frame, message = long, long.message
        assert isinstance(message, Mean | Final | GroupSkip)
        if message.step != STEP:
            return []
        self._desk.now = now
        if isinstance(message, GroupSkip):
            hear_skip(self._desk, view, frame)
        else:
            hear_result(self._desk, view, frame, message)
        return self._advance(now)

    def passes_by(self, message: Mean | ShortMean | Final) -> bool:
        """Return whether *message* is of a group of this plan in which this peer has no part."""
        return message.plan == self._desk.plan_id and message.group not in self._desk.views

    def on_digest(self, peer: PeerId, digest: Digest, now: Micros) -> list[Effect]:
        """Take a listed digest that this peer lacked."""
        self._desk.digests.setdefault(peer, digest)
        return self._advance(now)

    def on_fetched(self, model: ModelHash, now: Micros) -> list[Effect]:
        """Take note that *model* is here, whole and verified."""
        if not self._desk.stock.arrived(model):
            return []
        self._desk.crossings.arrived(model, now)
        return self._advance(now)

    def on_fetch_failed(self, model: ModelHash, now: Micros) -> list[Effect]:
        """Take note that *model* must not be used, whoever offers it."""
        return self._advance(now) if self._desk.stock.refused(model) else []

    def on_averaged(self, averaged: events.Averaged, now: Micros) -> list[Effect]:
        """Announce the mean that `FinishMean` asked for."""
        view = self._desk.views.get(averaged.group)
        if averaged.plan != self._desk.plan_id or view is None or not view.acting or view.rank in view.means:
            return []
        self._desk.now = now
        self._desk.stock.held.add(averaged.model)
        leading.announce_mean(self._desk, view, averaged.model, averaged.model_bytes, averaged.ext)
        return self._advance(now)

    def on_mixed(self, mixed: events.Mixed, now: Micros) -> list[Effect]:
        """Announce the result that `Mix` asked for."""
        view = self._desk.views.get(mixed.group)
        if mixed.plan != self._desk.plan_id or view is None or not view.mixing:
            return []
        self._desk.now = now
        view.mixing = False
        if view.acting:
            self._desk.stock.held.add(mixed.model)
            leading.announce_final(self._desk, view, mixed.model, mixed.model_bytes, summed=view.summed)
        return self._advance(now)

    def on_applied(self, applied: events.Applied, now: Micros) -> list[Effect]:
        """Close the round: the own model after eq. 10 is in place."""
        closed = self._install.done(applied)
        if not closed:
            return []
        self._desk.effects.extend(closed)
        return self._advance(now)

    def on_wake(self, now: Micros) -> list[Effect]:
        """Do what time has made due."""
        return self._advance(now)

    def drop(self) -> list[Effect]:
        """End the update: a newer certificate is in force. Nothing may be asked of it afterwards."""
        desk = self._desk
        return [*desk.stock.stop(), events.EndUpdate(desk.plan_id)]

    def _advance(self, now: Micros) -> list[Effect]:
        """Do all that has become possible at *now* and find out when to look again."""
        desk = self._desk
        desk.now, desk.wake = now, None
        self._lead()
        self._apply()
        self._order_fetches()
        if accuse_the_late(desk):
            self._lead()  # with its own skip this peer may have taken office
            self._order_fetches()
        self._forget()
        acknowledge_held(desk)
        for frame in desk.standing.due(now, desk.reached):
            desk.publish(frame)
        effects, desk.effects = desk.effects, []
        return effects

    def _lead(self) -> None:
        desk = self._desk
        downward = tuple(desk.views.values())
        for view in reversed(downward):
            leading.check_office(desk, view)
            leading.average(desk, view)
        for view in downward:
            leading.mix(desk, view)

    def _apply(self) -> None:
        """Apply the first result of the parent group that is here in time."""
        desk, install = self._desk, self._install
        if install.group is None or not install.open:
            return
        view = desk.views[install.group]
        result = view.final(desk.stock.bad)
        if result is not None and result.model is None:
            desk.effects.extend(install.give_up("nothing was averaged"))
        elif result is not None and result.model in desk.stock.held:
            agents = summed_of(result.message) or (len(view.group.members),)
            desk.effects.extend(install.apply(result.model, agents=agents))
        elif result is None and leading.headless(desk, view):
            desk.effects.extend(install.give_up("nobody is left to answer for the group"))
        elif desk.reached(view.times.end):
            if result is not None:
                desk.crossings.stuck()
            desk.effects.extend(install.give_up("no result came in time"))

    def _order_fetches(self) -> None:
        stock = self._desk.stock
        needed = together(fetch for fetch in self._needs() if stock.awaits(fetch.model))
        orders = stock.order(needed)
        for order in orders:
            if isinstance(order, Fetch):
                self._desk.crossings.ordered(order.model, self._desk.shares(order.model), self._desk.now)
        self._desk.effects.extend(orders)

    def _needs(self) -> Iterator[Fetch]:
        """Yield all that should be here: inputs of means first, then results to mix with and to apply."""
        desk, install = self._desk, self._install
        for view in desk.views.values():
            yield from leading.inputs_needed(desk, view)
        for view in desk.views.values():
            yield from leading.results_needed(desk, view)
            yield from standby.prefetches(desk, view)
        if install.group is not None and install.open:
            view = desk.views[install.group]
            result = view.final(desk.stock.bad)
            if result is not None and result.model is not None:
                yield Fetch(result.model, result.message.model_bytes, desk.holders(view, result))

    def _forget(self) -> None:
        """Let go of models that only went into a mean: a leader need not hold all of its inputs."""
        desk = self._desk
        views = desk.views.values()
        results = (result for view in views for result in view.announced)
        spent = desk.stock.held - {desk.upload, *(result.model for result in results)}
        if spent:
            spent -= {fetch.model for view in views for fetch in standby.prefetches(desk, view)}
        if desk.inherited is not None:  # other leaders may ask for the last means until the next plan
            spent -= {mean.model for mean in desk.inherited.means.values()}
        if spent:
            desk.stock.held -= spent
            desk.effects.append(events.Keep(self.models))
