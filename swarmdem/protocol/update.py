"""The hierarchical update of one plan at one peer: average up, mix down, apply (DemLearn, eq. 9 and 10).

Theory of operation. A certified plan gives every peer the same tree, the same two leaders per group
and the same nested deadlines (`deadlines.py`). Leaders pull what they need by hash and announce MEAN
(eq. 9) upward and FINAL (eq. 10) downward (`leading.py`); FINAL of the root is its MEAN, one frame.
A first leader that is late is skipped by its electors (`accusing.py`, `offices.py`) and the second
answers for term 1. A group whose parent has no result in time is cut: its mean becomes its result.

Each input records what happened, then `_advance` looks at every group this peer has a part in and
does what has become possible: it is idempotent, and the only place that decides. What to fetch is
not ordered step by step either: `_needs` says what is needed now, and the difference to what was
ordered becomes `Fetch` and `StopFetching`.

`now` is connected time: the core stops this clock while the peer is offline. Weights are checked as
far as this peer holds the digests. Nothing another peer says raises.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from swarmdem.identifiers import FrameId, GroupId, Micros, ModelHash, PeerId, PlanId, Term
from swarmdem.protocol import events, leading
from swarmdem.protocol.accusing import accuse_the_late
from swarmdem.protocol.checking import SKIPPED, flaw
from swarmdem.protocol.desk import STEP, Desk
from swarmdem.protocol.events import Effect, Fetch, Publish, Send, StopFetching
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.views import Announced, View
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import PROVISIONAL, Ack, Digest, Final, GroupSkip, Mean, Plan


class Update:
    """One plan's update; one object per plan, dropped when the next certificate comes."""

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
        """Take part in *plan*.

        Args:
            charter: The swarm's.
            sealer: Signs what this peer says.
            plan_id: Id of *plan*.
            plan: The certified plan.
            hierarchy: Its tree.
            digests: Those of the listed digests that this peer holds.
            upload: This peer's trained model, which its own digest names; None when it has none.
            now: When the certificate became this peer's base.
        """
        self._desk = Desk(
            charter=charter,
            sealer=sealer,
            plan_id=plan_id,
            plan=plan,
            hierarchy=hierarchy,
            digests=digests,
            upload=upload,
            now=now,
        )
        self._parent = hierarchy.parent_of(self._desk.me)
        self._convicted: set[tuple[PeerId, GroupId]] = set()
        self._applying = False
        self.applied: bool | None = None
        """None while open, True after the result was applied, False when the round was given up."""

    # What the core asks

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
        return tuple(sorted(self._desk.held))

    def next_wakeup(self) -> Micros | None:
        """Return when `on_wake` is due; always later than the `now` of the last call."""
        return self._desk.wake

    def missing_digests(self) -> tuple[FrameId, ...]:
        """Return the listed digests this peer needs as an aggregator and does not hold."""
        wanted = {source for view in self._desk.views.values() for source in leading.unknown_sources(view)}
        return tuple(FrameId(entry.digest) for entry in self._desk.plan.entries if entry.peer in wanted)

    # What happens

    def begin(self) -> list[Effect]:
        """Start: called once, first."""
        desk = self._desk
        for group, rank in self.duties:
            level = desk.views[group].group.level
            desk.report(events.Elected(desk.plan_id, desk.plan.round, group, level, rank))
        if self._parent is None:
            self._finish("not listed")
        return self._advance(desk.now)

    def on_frame(self, frame: Frame, now: Micros) -> list[Effect]:
        """Take a `Mean`, `Final`, `GroupSkip` or `Ack`; other plans' and our own echoes are ignored."""
        message = frame.message
        if frame.sender == self._desk.me:
            return []
        if isinstance(message, Ack):
            self._desk.standing.acknowledge(message.frame, frame.sender)
            return []
        if not isinstance(message, Mean | Final | GroupSkip) or message.plan != self._desk.plan_id:
            return []
        view = self._desk.views.get(message.group)
        if view is None or message.step != STEP:
            return []
        self._desk.now = now
        if isinstance(message, GroupSkip):
            self._on_skip(view, frame)
        else:
            self._on_result(view, frame, message)
        return self._advance(now)

    def on_digest(self, peer: PeerId, digest: Digest, now: Micros) -> list[Effect]:
        """Take a listed digest that this peer lacked."""
        self._desk.digests.setdefault(peer, digest)
        return self._advance(now)

    def on_fetched(self, model: ModelHash, now: Micros) -> list[Effect]:
        """Take note that *model* is here, whole and verified."""
        if self._desk.pending.pop(model, None) is None:
            return []
        self._desk.held.add(model)
        return self._advance(now)

    def on_fetch_failed(self, model: ModelHash, now: Micros) -> list[Effect]:
        """Take note that *model* must not be used, whoever offers it."""
        if self._desk.pending.pop(model, None) is None:
            return []
        self._desk.bad.add(model)
        return self._advance(now)

    def on_averaged(self, averaged: events.Averaged, now: Micros) -> list[Effect]:
        """Announce the mean that `FinishMean` asked for."""
        view = self._desk.views.get(averaged.group)
        if averaged.plan != self._desk.plan_id or view is None or not view.acting or view.rank in view.means:
            return []
        self._desk.now = now
        self._desk.held.add(averaged.model)
        leading.announce_mean(self._desk, view, averaged.model, averaged.model_bytes)
        return self._advance(now)

    def on_mixed(self, mixed: events.Mixed, now: Micros) -> list[Effect]:
        """Announce the result that `Mix` asked for."""
        view = self._desk.views.get(mixed.group)
        if mixed.plan != self._desk.plan_id or view is None or not view.mixing:
            return []
        self._desk.now = now
        view.mixing = False
        if view.acting:
            self._desk.held.add(mixed.model)
            leading.announce_final(self._desk, view, mixed.model, mixed.model_bytes, cut=False)
        return self._advance(now)

    def on_applied(self, applied: events.Applied, now: Micros) -> list[Effect]:
        """Close the round: the own model after eq. 10 is in place."""
        if applied.plan != self._desk.plan_id or not self._applying:
            return []
        self._applying = False
        self._finish("", model=applied.model)
        return self._advance(now)

    def on_wake(self, now: Micros) -> list[Effect]:
        """Do what time has made due."""
        return self._advance(now)

    def drop(self) -> list[Effect]:
        """End the update: a newer certificate is in force. Nothing may be asked of it afterwards."""
        desk = self._desk
        return [*(StopFetching(model) for model in sorted(desk.pending)), events.EndUpdate(desk.plan_id)]

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
        self._acknowledge()
        desk.effects.extend(Publish(frame) for frame in desk.standing.due(now, desk.reached))
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

    def _on_skip(self, view: View, frame: Frame) -> None:
        if not view.office.elects(frame.sender):
            self._desk.reject(frame, "not an elector of this group")
            return
        view.office.record(frame)
        if view.rank == 1:
            self._send_ack(frame)

    def _on_result(self, view: View, frame: Frame, message: Mean | Final) -> None:
        desk = self._desk
        results = view.results(type(message))
        known = results.get(message.term)
        mine = desk.me in desk.receivers(view.group, message)
        if known is not None and known.frame.id == frame.id:
            if mine and not known.owed:
                self._send_ack(frame)
            return
        wrong = flaw(desk, view, frame, message)
        if wrong:
            desk.reject(frame, wrong)
            if wrong is SKIPPED and mine:
                self._send_ack(frame)  # no use in repeating it to me
        elif known is not None:
            self._on_second_answer(view, known, frame)
        elif (message.term == 0 and view.deposed) or desk.now >= view.times.end:
            if mine:
                self._send_ack(frame)  # overtaken or too late: no need to repeat it
        else:
            results[message.term] = Announced(frame, message, desk.now, owed=mine)
            if message.term == 1 and view.skip is not None:
                desk.standing.overtake(view.skip)

    def _on_second_answer(self, view: View, known: Announced, frame: Frame) -> None:
        """Refuse a second result of one leader for one term; within one session it is a crime."""
        desk = self._desk
        desk.reject(frame, "a second result for one term")
        accused = (frame.sender, view.group.id)
        if (
            known.frame.session == frame.session
            and known.message != frame.message
            and accused not in self._convicted
        ):
            self._convicted.add(accused)
            desk.report(events.Equivocated(frame.sender, known.frame.id, frame.id))

    def _apply(self) -> None:
        """Apply the first result of the parent group that is here in time."""
        desk = self._desk
        if self._parent is None or self.applied is not None or self._applying:
            return
        view = desk.views[self._parent]
        result = view.final(desk.bad)
        if result is not None and result.model is None:
            self._finish("nothing was averaged")
        elif result is not None and result.model in desk.held:
            self._applying = True
            desk.effects.append(
                events.Apply(
                    plan=desk.plan_id,
                    round=desk.plan.round,
                    group=self._parent,
                    parent=result.model,
                    upload=desk.upload,
                )
            )
        elif desk.reached(view.times.end):
            self._finish("no result came in time")

    def _finish(self, reason: str, *, model: ModelHash | None = None) -> None:
        desk = self._desk
        self.applied = not reason
        desk.report(
            events.RoundFinished(
                plan=desk.plan_id,
                round=desk.plan.round,
                certified=desk.plan.mode != PROVISIONAL,
                applied=self.applied,
                model=model,
                group=self._parent,
                reason=reason,
            )
        )

    def _needs(self) -> dict[ModelHash, Fetch]:
        """Return all that should be here and is not."""
        desk = self._desk
        needed: dict[ModelHash, Fetch] = {}
        for view in desk.views.values():
            needed.update(leading.inputs_needed(view))
        for fetch in self._results_needed():
            if fetch.model not in desk.held and fetch.model not in desk.bad:
                sources = needed[fetch.model].sources if fetch.model in needed else ()
                needed[fetch.model] = replace(fetch, sources=tuple(dict.fromkeys((*sources, *fetch.sources))))
        return needed

    def _results_needed(self) -> Iterator[Fetch]:
        desk = self._desk
        for view in desk.views.values():
            yield from leading.results_needed(desk, view)
        if self._parent is not None and self.applied is None and not self._applying:
            view = desk.views[self._parent]
            result = view.final(desk.bad)
            if result is not None and result.model is not None:
                yield Fetch(result.model, result.message.model_bytes, desk.holders(view, result))

    def _order_fetches(self) -> None:
        desk = self._desk
        needed = self._needs()
        for model in sorted(desk.pending.keys() - needed.keys()):
            del desk.pending[model]
            desk.effects.append(StopFetching(model))
        for model, fetch in needed.items():
            ordered = desk.pending.get(model)
            if ordered is fetch:
                continue
            if ordered is None or not set(fetch.sources) <= set(ordered.sources):
                desk.pending[model] = fetch
                desk.effects.append(fetch)

    def _forget(self) -> None:
        """Let go of models that only went into a mean: a leader need not hold all of its inputs."""
        desk = self._desk
        views = desk.views.values()
        results = (result for view in views for result in (*view.means.values(), *view.finals.values()))
        spent = desk.held - {desk.upload, *(result.model for result in results)}
        if spent:
            desk.held -= spent
            desk.effects.append(events.Keep(self.models))

    def _acknowledge(self) -> None:
        """Acknowledge the results whose models are here, or not needed here."""
        for view in self._desk.views.values():
            for result in (*view.means.values(), *view.finals.values()):
                if result.owed and result.model not in self._desk.pending:
                    result.owed = False
                    self._send_ack(result.frame)

    def _send_ack(self, frame: Frame) -> None:
        ack = self._desk.sealer.seal(Ack(frame=frame.id))
        self._desk.effects.append(Send(frame.sender, ack))
