"""One peer on one base: update, collect (train and publish a digest), agree on what follows.

A new certificate ends the round, whatever it was doing; `core` opens the next one.
"""

from msgspec import structs

from swarmdem.identifiers import FrameId, GroupId, Micros, ModelHash, PeerId, PlanId
from swarmdem.protocol import events, uploads
from swarmdem.protocol.agreement import Agreement
from swarmdem.protocol.catchup import certificate_frame
from swarmdem.protocol.conduct import Report as Conducted
from swarmdem.protocol.events import Effect, Keep, Persist, Report, SaveModel, Send, Slot
from swarmdem.protocol.gossip import GossipUpdate
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.pace import Pace
from swarmdem.protocol.plans import digest_of, plan_time, time_of
from swarmdem.protocol.restart import Memory
from swarmdem.protocol.search import Search
from swarmdem.protocol.situation import DigestSet, Situation
from swarmdem.protocol.starting import Legacy, Start
from swarmdem.protocol.state import pack_sketch
from swarmdem.protocol.status import Phase
from swarmdem.protocol.update import Update
from swarmdem.protocol.voting import spread
from swarmdem.wire.extensions import CELL, entry
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import CERTIFICATES, DIGESTS, FOUNDING, NEWEST, Digest, Final, Mean, Plan, Want
from swarmdem.wire.shortened import ShortMean


class Round:
    """What one peer does on one base."""

    def __init__(
        self,
        situation: Situation,
        memory: Memory,
        pace: Pace,
        *,
        certified: DigestSet,
        leader: PeerId | None,
        offered: events.ModelOffered | None,
        legacy: Legacy | None = None,
    ) -> None:
        """Open the round.

        Args:
            situation: The base and what is known about it.
            memory: The durable state; its changes are ordered with `Persist`.
            pace: Training times, and the training that runs.
            certified: The digests from which the base's plan was made, as far as held.
            leader: Who proposed the base's plan, if known: it surely holds the genesis model.
            offered: The learner's first model.
            legacy: What the update before left, if there was one.
        """
        self.s = situation
        self.phase = Phase.JOINING
        self.certified = certified
        self.leader = leader
        self.update: Update | GossipUpdate | None = None
        self._memory = memory
        self._pace = pace
        self._offered = offered
        self._inherited = legacy
        self._retrain_at: Micros | None = None
        self._search = Search(situation)
        self._asked_digests_at: Micros | None = None
        self.agreement = self._open_agreement()

    def _open_agreement(self) -> Agreement:
        s, listed = self.s, self.listed_digests() if self.s.base.plan is not None else {}
        allowance = self._pace.allowance(listed.values(), s.patience)
        return Agreement(s, allowance, self._pace.hopeless(listed, s.patience + allowance))

    def begin(self, time: Micros) -> list[Effect]:
        """Begin after adopting the base: the update first, if there is one to take part in."""
        base = self.s.base
        assert base.plan is not None
        stale = base.round <= self._memory.applied_round or not self._holds_upload(base.plan)
        if base.plan.mode == FOUNDING or base.hierarchy is None or stale or self._memory.reference is None:
            return self.collect(time)
        self.phase = Phase.UPDATING
        start = self._start(PlanId(base.id), base.plan, base.hierarchy, time)
        self.update = GossipUpdate(start) if self.s.charter.update == "gossip" else Update(start)
        return [Keep(self.update.models), *self.update.begin()]

    def _holds_upload(self, plan: Plan) -> bool:
        """Return whether the model that *plan* lists of this peer, if any, was not replaced since.

        It may have been when the plan is a sibling of one this peer stood on and trained after.
        """
        listed = next((e.digest for e in plan.entries if e.listed and e.peer == self.s.me), b"")
        standing = self._memory.digest
        if not listed or standing is None:
            return not listed
        if standing.id == listed:
            self.certified.add(standing)
        held = self.certified.by_id.get(FrameId(listed))
        return held is not None and digest_of(held).model == digest_of(standing).model

    def _start(self, plan_id: PlanId, plan: Plan, hierarchy: Hierarchy, time: Micros) -> Start:
        charter, base = self.s.charter, self.s.base
        digests = self.listed_digests()
        mine = digests.get(self.s.me)
        return Start(
            charter=charter,
            sealer=self.s.sealer,
            plan_id=plan_id,
            plan=plan,
            hierarchy=hierarchy,
            digests=digests,
            upload=ModelHash(mine.model) if mine is not None else None,
            now=time,
            time=plan_time(charter, base),
            apart=frozenset(peer for peer, standing in base.state.standing.items() if standing.apart),
            conduct=base.state.conduct,
            legacy=self._inherited,
            suspicion=self.s.suspicion,
        )

    def resume(self, time: Micros) -> list[Effect]:
        """Begin where a restarted peer left off, or introduce a founder."""
        if self._offered is not None:
            self.agreement.voting.turns.offer(self._offered)
        stored = self._memory.digest
        if self.s.base.founding:
            self._memory.presence = self._memory.presence or self.s.sealer.seal(
                uploads.presence(self.s, self._memory)
            )
            effects = self._publish(self._memory.presence, time)
        elif stored is None or digest_of(stored).base != self.s.base.id:
            effects = self.collect(time)
        else:
            self.phase = Phase.AGREEING
            self.agreement.collecting.begin(time)
            effects = self._publish(stored, time)
        cast = self._memory.founding if self.s.base.founding else self._memory.ballots
        self.agreement.restore(cast, time)  # one may vote before one's own digest is out
        return effects

    def offer(self, offered: events.ModelOffered) -> None:
        """Note the learner's first model."""
        self._offered = offered

    def introduce(self, founder: PeerId, time: Micros) -> list[Effect]:
        """Show a founder who came later that this peer is there: it may have missed the broadcast."""
        known = founder in self.s.digests.current
        return [] if known or not self.s.base.founding else self.agreement.introduce(founder, time)

    def expects(self, frame: Frame, time: Micros) -> bool:
        """Return whether *frame* is one of many from which nothing follows at once: it is only held."""
        message, update = frame.message, self.update
        if isinstance(message, (Mean, ShortMean, Final)):
            return isinstance(update, Update) and frame.sender != self.s.me and update.passes_by(message)
        return self.agreement.expects(frame, time)

    # Collect

    def collect(self, time: Micros) -> list[Effect]:
        """Begin COLLECT: fetch the reference if it is missing, then train."""
        base = self.s.base
        if self._memory.reference != base.reference:
            if self._offers_reference():
                return [*self._keep_reference(), *self.collect(time)]
            self.phase = Phase.FETCHING
            self._search.since = time
            return [events.Fetch(ModelHash(base.reference), 0, self._holders(), base.state.sketch)]
        self._retrain_at = None
        self.agreement.collecting.begin(time)
        standing = self._memory.digest
        # where the upload is a cell's root model, the cell's next one is as near, and its peers may move on
        again = standing is None or entry(digest_of(standing).ext, CELL) is None
        late = uploads.again(self.s, self._memory, self._report()) if again else None
        if late is not None:
            return self._stand_by(self.s.sealer.seal(late), time)
        self.phase = Phase.TRAINING
        if self._pace.serves(base):
            return []  # what is still being trained is as good for this base, and would never be done else
        pull = self._memory.applied_round > 0
        number = 1 + self._memory.highest_round
        tick = time_of(self.s.charter, base)
        order = events.Train(base.id, number, base.seed, ModelHash(base.reference), pull, tick)
        self._pace.running, self._pace.began = order, time
        return [order]

    def _offers_reference(self) -> bool:
        """Return whether the learner's first model is the reference, and what the plan says of it is true."""
        offered, base = self._offered, self.s.base
        if offered is None or offered.model != base.reference or self._memory.highest_round:
            return False  # later the offered model is no longer held
        return not base.state.sketch or base.state.sketch == pack_sketch(offered.scale, offered.sketch)

    def genesis_lost(self, time: Micros) -> bool:
        """Return whether the founding must be given up: nobody in sight has its genesis model."""
        return self.phase is Phase.FETCHING and self._search.in_vain(time)

    def _keep_reference(self) -> list[Effect]:
        reference = ModelHash(self.s.base.reference)
        self._memory.reference = reference
        return [SaveModel(Slot.REFERENCE, reference), Persist("reference", reference)]

    def _holders(self) -> tuple[PeerId, ...]:
        """Return the listed peers, the proposer first, the others in an order of our own."""
        s, leader = self.s, self.leader
        others = [p for p in s.base.electorate if p not in (s.me, leader)]
        others.sort(key=lambda p: spread(p, s.me, 2**63))
        return (leader, *others) if leader is not None and leader != s.me else tuple(others)

    def trained(self, event: events.Trained, time: Micros) -> list[Effect]:
        """Publish the digest of the model just trained."""
        begun = self._after_update(time)  # a certificate that did not list this peer may just have come
        if not self._awaited(event.base):
            return begun
        self._pace.running = None
        if self.phase is not Phase.TRAINING:
            return begun
        self._pace.own = time - self._pace.began
        digest = uploads.upload(self.s, self._memory, event, self._pace.own, self._report())
        if event.ext:
            digest = structs.replace(digest, ext=tuple(sorted((*digest.ext, *event.ext))))
        frame = self.s.sealer.seal(digest)
        return [*begun, SaveModel(Slot.UPLOAD, event.model), *self._stand_by(frame, time)]

    def _awaited(self, base: bytes) -> bool:
        """Return whether an answer about training for *base* is to the order that runs."""
        return self._pace.running is not None and self._pace.running.base == base

    def _stand_by(self, digest: Frame, time: Micros) -> list[Effect]:
        """Make *digest* the one this peer stands by on this base."""
        self._memory.digest = digest
        self.phase = Phase.AGREEING
        return [Persist("digest", digest.raw), *self._publish(digest, time)]

    def training_failed(self, base: bytes, reason: str, time: Micros) -> list[Effect]:
        """Try again after a patience; without a digest this peer is left out until then."""
        if self._awaited(base):
            self._pace.running = None
            self._retrain_at = time + self.s.patience
        return [Report(events.Degraded(f"training failed: {reason}", passing=True))]

    def _publish(self, digest: Frame, time: Micros) -> list[Effect]:
        return [*self.agreement.on_digest(digest, time), *self.agreement.packing.say(digest)]

    def _report(self) -> Conducted:
        capability = self._pace.capability
        return Conducted(capability) if self.update is None else self.update.report(capability)

    # The update

    def listed_digests(self) -> dict[PeerId, Digest]:
        """Return the digests that the base's plan lists, as far as held."""
        plan = self.s.base.plan
        assert plan is not None
        held = ((e.peer, self.certified.by_id.get(FrameId(e.digest))) for e in plan.entries if e.listed)
        return {peer: digest_of(frame) for peer, frame in held if frame is not None}

    def digests_for(self, plan: Plan) -> DigestSet:
        """Return the digests held for a *plan* that follows this base, or the one this base followed."""
        base = self.s.base
        if plan.base == base.id:
            return self.s.digests
        sibling = base.plan is not None and plan.base == base.plan.base
        return self.certified if sibling else DigestSet()

    def lost(self, time: Micros) -> list[Effect]:
        """Take note that a peer said goodbye, or a broker in its name: nobody need wait for it."""
        return self.update.on_wake(time) if self.update is not None else []

    def late_digest(self, frame: Frame, time: Micros) -> list[Effect]:
        """Take a digest that the base's plan lists and this peer lacked."""
        if self.update is None or frame.id not in self.update.missing_digests():
            return []
        self.certified.add(frame)
        return self.update.on_digest(frame.sender, digest_of(frame), time)

    def wanted(self, sender: PeerId, want: Want) -> list[Effect]:
        """Send what another peer asks for, as far as it is held here."""
        if want.what in (CERTIFICATES, NEWEST):
            held = self.s.base.certificate
            return [Send(sender, certificate_frame(self.s.sealer, self.s.base))] if held else []
        effects = self.agreement.on_want(sender, want)
        if effects or want.what != DIGESTS:
            return effects
        found = [self.certified.find(i) for i in dict.fromkeys(want.ids)]
        return self.agreement.bundles(sender, [frame for frame in found if frame is not None])

    def answered(
        self,
        event: events.Trained
        | events.TrainingFailed
        | events.Fetched
        | events.FetchFailed
        | events.Averaged
        | events.Mixed
        | events.Applied,
        time: Micros,
    ) -> list[Effect]:
        """Take the shell's answer to an order about models."""
        if isinstance(event, events.Trained):
            return self.trained(event, time)
        if isinstance(event, events.TrainingFailed):
            return self.training_failed(event.base, event.reason, time)
        if self.phase is Phase.FETCHING and getattr(event, "model", None) == self.s.base.reference:
            if isinstance(event, events.FetchFailed):
                self._search.unusable = True
                what = f"the reference model cannot be used: {event.reason}"
                return [Report(events.Degraded(what, passing=True))]
            return [*self._keep_reference(), *self.collect(time)]
        if self.update is None:
            return []
        match event:
            case events.Fetched(model):
                return self.update.on_fetched(model, time)
            case events.FetchFailed(model, reason):
                degraded = Report(events.Degraded(f"a model was refused: {reason}", passing=True))
                return [degraded, *self.update.on_fetch_failed(model, time)]
            case events.Averaged():
                return self.update.on_averaged(event, time)
            case events.Mixed():
                return self.update.on_mixed(event, time)
            case events.Applied():
                return self._written(self.update.on_applied(event, time))

    def _written(self, closed: list[Effect]) -> list[Effect]:
        """Return what closes the update, if anything, after a record of it: what is told must be on disk."""
        if not closed:
            return []
        base = self.s.base
        self._memory.applied_round, self._memory.applied_plan = base.round, base.id
        return [Persist("applied", base.round.to_bytes(8, "big") + base.id), *closed]

    def _after_update(self, time: Micros) -> list[Effect]:
        """Begin the next COLLECT once the update is over here."""
        update = self.update
        if update is None or update.applied is None or self.phase is not Phase.UPDATING:
            return []
        if update.applied:
            self._pace.running = None  # it began from the model that is replaced now
        return self.collect(time)

    def _ask_digests(self, time: Micros) -> list[Effect]:
        """Ask two other listed peers for digests that an aggregator lacks."""
        missing = self.update.missing_digests() if self.update is not None else ()
        if not missing:
            self._asked_digests_at = None
            return []
        if self._asked_digests_at is not None and time < self._asked_digests_at + self.s.patience // 8:
            return []
        self._asked_digests_at = time
        want = self.s.sealer.seal(Want(DIGESTS, missing))
        return [Send(peer, want) for peer in self._holders()[:2]]

    # Time

    def advance(self, time: Micros) -> list[Effect]:
        """Do everything that is due, except adopting the certificate that may have come of it."""
        effects = self.agreement.advance(time)
        if self.agreement.voting.certificate is not None:
            return effects
        if self.update is not None:
            at = self.update.next_wakeup()
            if at is not None and time >= at:
                effects += self.update.on_wake(time)
            effects += self._ask_digests(time)
            effects += self._after_update(time)
        if self._retrain_at is not None and time >= self._retrain_at:
            effects += self.collect(time)
        return effects

    def deadlines(self, time: Micros) -> list[Micros]:
        """Return the connected times at which `advance` has something to do."""
        due = self.agreement.deadlines(time)
        if self.update is not None and (at := self.update.next_wakeup()) is not None:
            due.append(at)
        if self._asked_digests_at is not None:
            due.append(self._asked_digests_at + self.s.patience // 8)
        if self.phase is Phase.FETCHING and self._search.given_up_at() > time:
            due.append(self._search.given_up_at())
        return due + ([self._retrain_at] if self._retrain_at is not None else [])

    def drop(self) -> list[Effect]:
        """End the update, because a new certificate is adopted or the peer leaves."""
        return self.update.drop() if self.update is not None else []

    @property
    def legacy(self) -> Legacy | None:
        """What this round's update leaves for the next."""
        return self.update.legacy if self.update is not None else None

    @property
    def group(self) -> GroupId | None:
        """The group this peer is attached to; None when it is not listed."""
        tree = self.s.base.hierarchy
        return tree.parent_of(self.s.me) if tree is not None else None
