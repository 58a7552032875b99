"""One peer: routes each input to its machine and merges the effects.

    found or catch up -> COLLECT (train, digest) -> agree -> certificate -> update -> apply -> COLLECT

`handle` never awaits, never raises because of what another peer said, and returns its effects in
the order in which they must be performed. `next_wakeup()` is the only timer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from swarmdem.errors import WireError
from swarmdem.identifiers import (
    MILLISECOND,
    FrameId,
    GroupId,
    Level,
    Micros,
    ModelHash,
    PeerId,
    PlanId,
    Round,
)
from swarmdem.protocol import events, restart
from swarmdem.protocol.agreement import Agreement
from swarmdem.protocol.catchup import Catchup, certificate_frame
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.events import (
    Effect,
    Input,
    Keep,
    Persist,
    Publish,
    Reject,
    Report,
    SaveModel,
    Send,
    Slot,
)
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base, base_of, digest_of, founding_base, open_certificate
from swarmdem.protocol.situation import DigestSet, Situation
from swarmdem.protocol.update import Update
from swarmdem.protocol.voting import spread
from swarmdem.wire import charter as charters
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import WIRE_VERSION, Frame, Sealer
from swarmdem.wire.messages import (
    CERTIFICATES,
    DIGESTS,
    FOUNDING,
    NEWEST,
    NORMAL,
    PARAMETERS,
    PRESENCE,
    Ack,
    Bundle,
    Certificate,
    Digest,
    Final,
    GroupSkip,
    Hello,
    Mean,
    Offline,
    Ping,
    Proposal,
    Refusal,
    Skip,
    Summary,
    Vote,
    Want,
    Welcome,
)


class Phase(StrEnum):
    """What this peer is doing."""

    JOINING = "joining"
    """No certificate yet: founding, or waiting to be welcomed."""
    FETCHING = "fetching"
    """Waiting for the reference model before the first training."""
    TRAINING = "training"
    AGREEING = "agreeing"
    """Its digest is out; waiting for the certificate."""
    UPDATING = "updating"
    """The hierarchical update runs."""
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Status:
    """A peer at one moment."""

    peer: PeerId
    phase: Phase
    base: PlanId | None
    round: Round
    certified: bool
    connected: bool
    peers: tuple[PeerId, ...]
    """Peers in sight, this one included."""
    group: GroupId | None
    level: Level
    duties: tuple[tuple[GroupId, int], ...]
    idle: bool
    """Nobody waits for anything of this peer's update."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The evidence of one round: what was certified, and the digests it lists."""

    plan_id: PlanId
    certificate: Certificate
    base: Base
    digests: Mapping[PeerId, Digest]


class Core:
    """The protocol of one peer."""

    def __init__(
        self, charter: Charter, sealer: Sealer, *, stored: Mapping[str, bytes] | None = None
    ) -> None:
        """Take up what was *stored* by `Persist` before a restart, if anything.

        Args:
            charter: The swarm's settings.
            sealer: Signs for this peer; its session must be higher than in any earlier run.
            stored: Records by key, as ordered with `Persist`.
        """
        self._charter = charter
        self._sealer = sealer
        self._me = sealer.peer
        self._patience = charter.patience_us
        self._clock = ConnectedClock(self._patience)
        self._membership = Membership(self._patience, 2 * charter.peers_max)
        self._catchup = Catchup(self._me, sealer, self._membership, self._patience)
        self._memory = restart.recall(stored or {}, sealer)
        self._base = self._memory.base or founding_base(charter)
        self._previous = DigestSet()
        self._update: Update | None = None
        self._phase = Phase.JOINING
        self._nonce = b""
        self._offered: events.ModelOffered | None = None
        self._train_began: Micros = 0
        self._retrain_at: Micros | None = None
        self._durations: list[Micros] = []
        self._sent_at: Micros = 0
        self._tell_at: Micros | None = None
        self._asked_digests_at: Micros | None = None
        self._group: GroupId | None = None
        self._degraded = ""
        self._now: Micros = 0
        self._open_agreement(0)

    # The doors

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        """Take one input and return what must be done about it, in order.

        Args:
            event: What happened.
            now: Microseconds on the local monotonic clock; never decreases.
        """
        assert now >= self._now, "time went backwards"
        self._now = now
        time = self._clock.read(now)
        if self._phase is Phase.LEFT:
            return []
        effects = self._take(event, time)
        effects += self._advance(self._clock.read(now))
        time = self._clock.read(now)
        for effect in effects:
            if isinstance(effect, Publish):
                self._clock.sent(effect.frame.id, now)
                self._sent_at = time
        return effects

    def next_wakeup(self) -> Micros | None:
        """Return when `Woke` is due, or None while only an input can lead on."""
        if self._phase is Phase.LEFT or not self._nonce:
            return None
        due = [self._sent_at + self._patience // 4, *self._catchup.deadlines()]
        due += self._agreement.deadlines(self._clock.read(self._now))
        if self._update is not None and (at := self._update.next_wakeup()) is not None:
            due.append(at)
        if self._asked_digests_at is not None:
            due.append(self._asked_digests_at + self._patience // 8)
        due += [at for at in (self._retrain_at, self._tell_at) if at is not None]
        return self._clock.next_wakeup(min(due))

    def status(self) -> Status:
        """Return this peer's state in plain values."""
        base, tree = self._base, self._base.hierarchy
        time = self._clock.read(self._now)
        update = self._update
        return Status(
            peer=self._me,
            phase=self._phase,
            base=None if base.founding else PlanId(base.id),
            round=base.round,
            certified=base.plan is not None and base.plan.mode == NORMAL,
            connected=self._clock.connected,
            peers=tuple(sorted({self._me, *self._membership.in_sight(time)})),
            group=self._group,
            level=tree.group(self._group).level if tree is not None and self._group is not None else 0,
            duties=update.duties if update is not None else (),
            idle=update is None or update.idle,
        )

    def round_record(self) -> RoundRecord | None:
        """Return the evidence for the certificate this peer stands on; None before the first."""
        if self._base.plan is None or self._base.certificate is None:
            return None
        return RoundRecord(PlanId(self._base.id), self._base.certificate, self._base, self._listed_digests())

    # Inputs

    def _take(self, event: Input, time: Micros) -> list[Effect]:
        match event:
            case events.Woke():
                return []
            case events.Received(frame):
                return self._received(frame, time)
            case events.Started(nonce):
                return self._started(nonce, time)
            case events.ModelOffered():
                self._offered = event
                self._agreement.voting.genesis = self._charter.genesis or event.model
                return self._resume(time)
            case events.LinkChanged(up):
                return self._link_changed(up)
            case events.Trained():
                return self._trained(event, time)
            case events.TrainingFailed(base, reason):
                if base == self._base.id:
                    self._retrain_at = time + self._patience
                return [Report(events.Degraded(f"training failed: {reason}"))]
            case events.LeaveRequested():
                self._phase = Phase.LEFT
                frame = self._sealer.seal(Offline(leaving=True))
                return [*(self._update.drop() if self._update else []), Publish(frame)]
            case _:
                return self._answered(event, time)

    def _answered(
        self,
        event: events.Fetched | events.FetchFailed | events.Averaged | events.Mixed | events.Applied,
        time: Micros,
    ) -> list[Effect]:
        """Take the shell's answer to an order about models."""
        fetched = isinstance(event, events.Fetched | events.FetchFailed)
        if fetched and self._phase is Phase.FETCHING and event.model == self._base.reference:
            if isinstance(event, events.FetchFailed):
                return [Report(events.Degraded(f"the reference model cannot be used: {event.reason}"))]
            return [*self._keep_reference(), *self._collect(time)]
        if self._update is None:
            return []
        match event:
            case events.Fetched(model):
                return self._update.on_fetched(model, time)
            case events.FetchFailed(model, reason):
                degraded = Report(events.Degraded(f"a model was refused: {reason}"))
                return [degraded, *self._update.on_fetch_failed(model, time)]
            case events.Averaged():
                return self._update.on_averaged(event, time)
            case events.Mixed():
                return self._update.on_mixed(event, time)
            case events.Applied():
                return self._update.on_applied(event, time)

    def _started(self, nonce: bytes, time: Micros) -> list[Effect]:
        self._nonce = nonce
        self._sent_at = time
        return [Publish(self._hello(), retain=True)]

    def _resume(self, time: Micros) -> list[Effect]:
        """Begin where the stored records left off."""
        if self._base.founding:
            presence = self._digest(PRESENCE, b"", 0, 0, 0.0, b"", 0)
            return [*self._agreement.on_digest(presence, time), Publish(presence)]
        stored = self._memory.digest
        if stored is not None and digest_of(stored).base == self._base.id:
            self._phase = Phase.AGREEING
            self._agreement.collect_from(time)
            effects = [*self._agreement.on_digest(stored, time), Publish(stored)]
            self._agreement.restore(self._memory.ballots, time)
            return effects
        return self._collect(time)

    def _link_changed(self, up: bool) -> list[Effect]:
        if up:
            self._clock.link_found()
            return [Publish(self._hello(), retain=True)] if self._nonce else []
        self._clock.link_lost(self._now)
        return []

    def _hello(self) -> Frame:
        base = b"" if self._base.founding else self._base.id
        body = charters.encode(self._charter)
        version = WIRE_VERSION
        return self._sealer.seal(Hello(body, self._nonce, version, version, 0, base))

    # Training

    def _collect(self, time: Micros) -> list[Effect]:
        """Begin COLLECT: fetch the reference if it is missing, then train."""
        base = self._base
        if self._memory.reference != base.reference:
            if self._offered is not None and self._offered.model == base.reference:
                return [*self._keep_reference(), *self._collect(time)]
            self._phase = Phase.FETCHING
            return [events.Fetch(ModelHash(base.reference), 0, self._reference_holders())]
        self._phase = Phase.TRAINING
        self._train_began = time
        self._retrain_at = None
        self._agreement.collect_from(time)
        pull = self._memory.applied_round > 0
        round_number = 1 + self._memory.highest_round
        return [events.Train(base.id, round_number, base.seed, ModelHash(base.reference), pull)]

    def _keep_reference(self) -> list[Effect]:
        reference = ModelHash(self._base.reference)
        self._memory.reference = reference
        return [SaveModel(Slot.REFERENCE, reference), Persist("reference", reference)]

    def _reference_holders(self) -> tuple[PeerId, ...]:
        leader = self._agreement_leader
        others = [p for p in self._base.electorate if p not in (self._me, leader)]
        others.sort(key=lambda p: spread(p, self._me, 2**63))
        return (leader, *others) if leader is not None and leader != self._me else tuple(others)

    def _trained(self, event: events.Trained, time: Micros) -> list[Effect]:
        if event.base != self._base.id or self._phase is not Phase.TRAINING:
            return []
        duration = time - self._train_began
        self._durations = [*self._durations[-7:], duration]
        weight = 1 if self._charter.weights == "agents" else event.weight
        frame = self._digest(
            PARAMETERS, event.model, event.model_bytes, weight, event.scale, event.sketch, duration
        )
        self._memory.digest = frame
        self._phase = Phase.AGREEING
        kept: list[Effect] = [SaveModel(Slot.UPLOAD, event.model), Persist("digest", frame.raw)]
        return [*kept, *self._agreement.on_digest(frame, time), Publish(frame)]

    def _digest(
        self, kind: int, model: bytes, size: int, weight: int, scale: float, sketch: bytes, duration: Micros
    ) -> Frame:
        memory, base = self._memory, self._base
        return self._sealer.seal(
            Digest(
                base=base.id,
                round=1 + memory.highest_round,
                kind=kind,
                seed=base.seed,
                reference=base.reference if kind == PARAMETERS else b"",
                weight=min(weight, 0xFFFFFFFF),
                model=model,
                model_bytes=size,
                age=max(0, memory.highest_round - memory.applied_round),
                training_ms=min(duration // MILLISECOND, 0xFFFFFFFF),
                scale=scale,
                sketch=sketch,
            )
        )

    # Frames

    def _received(self, frame: Frame, time: Micros) -> list[Effect]:
        if frame.sender == self._me:
            return self._echo(frame)
        message = frame.message
        if frame.session and frame.session < self._membership.session_of(frame.sender):
            return [Reject(frame.sender, "frame of an earlier session")]
        if isinstance(message, Offline):
            lost = self._membership.lose(frame.sender, frame.session)
            return [Report(events.PeerSeen(frame.sender, present=False))] if lost else []
        named = _named_base(message)
        effects: list[Effect] = []
        if named:
            if frame.session and self._membership.hear(frame.sender, named, frame.session, time):
                effects.append(Report(events.PeerSeen(frame.sender, present=True)))
            if named != self._base.id:
                self._catchup.named(frame.sender, named, self._base, time)
        return effects + self._dispatch(frame, time)

    def _echo(self, frame: Frame) -> list[Effect]:
        if not self._clock.echoed(frame.id, self._now):
            return []
        return self._recovered()

    def _dispatch(self, frame: Frame, time: Micros) -> list[Effect]:
        message, sender = frame.message, frame.sender
        match message:
            case Digest() | Vote() | Skip() | Proposal() | Summary():
                return self._agreed_upon(frame, time)
            case Mean() | Final() | GroupSkip() | Ack():
                return self._updated(frame, time)
            case Want():
                return self._wanted(sender, message)
            case Bundle(frames):
                return self._unbundle(sender, frames, time)
            case Certificate():
                return self._consider(sender, message, time)
            case Welcome(nonce, body):
                if nonce != self._nonce:
                    return [Reject(sender, "welcome to somebody else")]
                return self._consider_body(sender, body, time)
            case Hello():
                return self._on_hello(sender, message)
            case Refusal(nonce, settings):
                if nonce == self._nonce and self._base.founding:
                    return [Report(events.CharterRefused(sender, settings))]
                return []
            case _:
                return []

    def _agreed_upon(self, frame: Frame, time: Micros) -> list[Effect]:
        message, agreement = frame.message, self._agreement
        named = _named_base(message)
        if named and named != self._base.id:
            if not self._catchup.knows_older(named):
                self._catchup.park(frame)
            return []
        match message:
            case Digest():
                return agreement.on_digest(frame, time)
            case Vote():
                return agreement.voting.on_vote(frame)
            case Skip():
                return agreement.voting.on_skip(frame)
            case Summary():
                return agreement.on_summary(frame.sender, message)
            case Proposal(_, _, plan):
                return self._proposed(frame, plan, time)
            case _:
                return []

    def _proposed(self, frame: Frame, body: bytes, time: Micros) -> list[Effect]:
        try:
            base = codec.decode_plan(body).base
        except WireError as error:
            return [Reject(frame.sender, f"plan: {error}")]
        if base == self._base.id:
            return self._agreement.voting.on_proposal(frame, time)
        if not self._catchup.knows_older(base):
            self._catchup.named(frame.sender, base, self._base, time)
        return []

    def _updated(self, frame: Frame, time: Micros) -> list[Effect]:
        named = _named_base(frame.message)
        if self._update is not None and named in (b"", self._base.id):
            return self._update.on_frame(frame, time)
        if named and named != self._base.id and not self._catchup.knows_older(named):
            self._catchup.park(frame)
        return []

    def _wanted(self, sender: PeerId, want: Want) -> list[Effect]:
        if want.what in (CERTIFICATES, NEWEST):
            if self._base.certificate is None or (want.ids and want.what == NEWEST):
                return []
            return [Send(sender, certificate_frame(self._sealer, self._base))]
        effects = self._agreement.on_want(sender, want)
        if effects or want.what != DIGESTS:
            return effects
        found = [self._previous.find(i) for i in want.ids]
        return self._agreement.bundles(sender, [frame for frame in found if frame is not None])

    def _unbundle(self, sender: PeerId, frames: Sequence[bytes], time: Micros) -> list[Effect]:
        effects: list[Effect] = []
        for raw in frames:
            try:
                frame = self._sealer.open(raw)
            except WireError as error:
                effects.append(Reject(sender, f"forwarded frame: {error}"))
                continue
            match frame.message:
                case Digest():
                    effects += self._forwarded_digest(frame, time)
                case Proposal() | Vote() | Skip():
                    effects += self._agreed_upon(frame, time)
                case Certificate():
                    effects += self._consider(sender, frame.message, time)
                case _:
                    effects.append(Reject(sender, "forwards what may not be forwarded"))
        return effects

    def _forwarded_digest(self, frame: Frame, time: Micros) -> list[Effect]:
        digest = digest_of(frame)
        if digest.base == self._base.id:
            return self._agreement.on_digest(frame, time)
        update = self._update
        if update is None or frame.id not in update.missing_digests():
            return []
        self._previous.add(frame)
        return update.on_digest(frame.sender, digest, time)

    def _on_hello(self, sender: PeerId, hello: Hello) -> list[Effect]:
        if hello.charter != charters.encode(self._charter):
            return self._on_other_charter(sender, hello)
        fresh = hello.base == b"" or self._catchup.knows_older(hello.base)
        if not fresh or self._base.certificate is None or not self._catchup.welcomes(self._base):
            return []
        body = codec.encode_body(self._base.certificate)
        return [Send(sender, self._sealer.seal(Welcome(hello.nonce, body)))]

    def _on_other_charter(self, sender: PeerId, hello: Hello) -> list[Effect]:
        try:
            differing = charters.differences(self._charter, charters.decode(hello.charter))
        except WireError as error:
            return [Reject(sender, str(error))]
        text = f"peer {sender.hex()} uses another charter; settings that differ: {', '.join(differing)}"
        effects: list[Effect] = [Report(events.Degraded(text))]
        if self._catchup.welcomes(self._base):
            effects.append(Publish(self._sealer.seal(Refusal(hello.nonce, differing[:64]))))
        return effects

    # Certificates

    def _consider_body(self, sender: PeerId, body: bytes, time: Micros) -> list[Effect]:
        try:
            certificate = codec.decode_body(Certificate, body)
        except WireError as error:
            return [Reject(sender, f"certificate: {error}")]
        return self._consider(sender, certificate, time)

    def _consider(self, sender: PeerId, certificate: Certificate, time: Micros) -> list[Effect]:
        """Adopt a certificate of others if it is valid and ahead of ours."""
        plan_id = codec.plan_id(certificate.plan)
        if plan_id == self._base.id:
            self._tell_at = None
            return []
        if self._catchup.knows_older(plan_id):
            return []
        plan = open_certificate(certificate, self._sealer)
        if plan is None:
            return [Reject(sender, "certificate without the votes it needs")]
        theirs = base_of(certificate, plan)
        prefers = self._catchup.prefers(
            theirs,
            self._base,
            may_leave=self._agreement.voting.uncertified_since is not None,
            applied=self._memory.applied_plan == self._base.id,
            now=time,
        )
        return self._adopt(theirs, time) if prefers else []

    def _adopt(self, base: Base, time: Micros) -> list[Effect]:
        """Stand on *base* from now on; an update that still runs is dropped."""
        assert base.plan is not None
        assert base.certificate is not None
        left, self._base = self._base, base
        self._previous = self._agreement.s.digests if base.plan.base == left.id else DigestSet()
        effects: list[Effect] = self._update.drop() if self._update is not None else []
        self._update = None
        self._memory.highest_round = max(self._memory.highest_round, base.round)
        effects.append(Persist("certificate", codec.encode_body(base.certificate)))
        effects.append(Persist("round", self._memory.highest_round.to_bytes(8, "big")))
        p90 = self._pace()
        self._open_agreement(p90)
        waiting = self._catchup.adopted(base, left)
        self._tell_at = self._asked_digests_at = self._retrain_at = None
        tree = base.hierarchy.tree_hash() if base.hierarchy is not None else b""
        plan = base.plan
        effects.append(
            Report(
                events.Certified(
                    PlanId(base.id),
                    plan.base,
                    plan.round,
                    plan.mode,
                    base.certificate.term,
                    base.electorate,
                    tree,
                )
            )
        )
        effects += self._begin_update(time) if base.plan.mode != FOUNDING else self._collect(time)
        for frame in waiting:
            effects += self._dispatch(frame, time)
        return effects

    def _open_agreement(self, p90: Micros) -> None:
        situation = Situation(
            self._me, self._charter, self._sealer, self._membership, self._clock, self._base
        )
        self._agreement_leader: PeerId | None = getattr(self, "_agreement_leader", None)
        self._agreement = Agreement(situation, p90)

    def _pace(self) -> Micros:
        """Return p90 of the training times that the last digests and this peer report."""
        limit = 20 * self._patience
        times = [digest_of(f).training_ms * MILLISECOND for f in self._previous.current.values()]
        times = sorted(min(t, limit) for t in [*times, *self._durations] if t > 0)
        return times[min(len(times) - 1, 9 * len(times) // 10)] if times else 2 * self._patience

    def _listed_digests(self) -> dict[PeerId, Digest]:
        plan = self._base.plan
        assert plan is not None
        held = ((e.peer, self._previous.by_id.get(FrameId(e.digest))) for e in plan.entries if e.listed)
        return {peer: digest_of(frame) for peer, frame in held if frame is not None}

    # The update

    def _begin_update(self, time: Micros) -> list[Effect]:
        base = self._base
        assert base.plan is not None
        assert base.hierarchy is not None
        if base.round <= self._memory.applied_round or self._memory.reference is None:
            return self._collect(time)
        digests = self._listed_digests()
        mine = digests.get(self._me)
        upload = ModelHash(mine.model) if mine is not None else None
        self._phase = Phase.UPDATING
        self._update = Update(
            charter=self._charter,
            sealer=self._sealer,
            plan_id=PlanId(base.id),
            plan=base.plan,
            hierarchy=base.hierarchy,
            digests=digests,
            upload=upload,
            now=time,
        )
        effects: list[Effect] = [Keep(())]
        parent = base.hierarchy.parent_of(self._me)
        if parent is not None and parent != self._group:
            group = base.hierarchy.group(parent)
            effects.append(Report(events.GroupChanged(base.round, parent, group.level, len(group.members))))
        self._group = parent
        return effects + self._update.begin()

    def _after_update(self, time: Micros) -> list[Effect]:
        """Begin the next COLLECT once the update is over here."""
        update = self._update
        if update is None or update.applied is None or self._phase is not Phase.UPDATING:
            return []
        if not update.applied:
            return self._collect(time)
        self._memory.applied_round, self._memory.applied_plan = self._base.round, self._base.id
        record = self._base.round.to_bytes(8, "big") + self._base.id
        return [Persist("applied", record), *self._collect(time)]

    # Time

    def _advance(self, time: Micros) -> list[Effect]:
        """Do everything that is due now."""
        effects: list[Effect] = []
        if not self._nonce:
            return effects
        effects += self._agreement.advance(time)
        effects += self._certify(time)
        if self._update is not None:
            at = self._update.next_wakeup()
            if at is not None and time >= at:
                effects += self._update.on_wake(time)
            effects += self._ask_digests(time)
            effects += self._after_update(time)
        effects += self._catchup.advance(self._base, time)
        if self._retrain_at is not None and time >= self._retrain_at:
            effects += self._collect(time)
        if self._tell_at is not None and time >= self._tell_at:
            self._tell_at = None
            effects.append(Publish(certificate_frame(self._sealer, self._base)))
        return effects + self._repeat(effects, time)

    def _certify(self, time: Micros) -> list[Effect]:
        """Adopt the certificate the votes have just made; tell the others unless they know."""
        certificate = self._agreement.voting.certificate
        if certificate is None:
            return []
        self._agreement_leader = self._agreement.voting.leader_of_certificate
        base = base_of(certificate, codec.decode_plan(certificate.plan))
        leads = self._agreement_leader == self._me
        effects = self._adopt(base, time)
        if leads:
            effects.append(Publish(certificate_frame(self._sealer, self._base)))
        else:
            self._tell_at = time + spread(self._me, base.id, self._patience // 8)
        return effects

    def _ask_digests(self, time: Micros) -> list[Effect]:
        """Ask the other listed peers for digests that an aggregator lacks."""
        assert self._update is not None
        missing = self._update.missing_digests()
        if not missing:
            self._asked_digests_at = None
            return []
        if self._asked_digests_at is not None and time < self._asked_digests_at + self._patience // 8:
            return []
        self._asked_digests_at = time
        want = self._sealer.seal(Want(DIGESTS, missing))
        return [Send(peer, want) for peer in self._reference_holders()[:2]]

    def _repeat(self, effects: Sequence[Effect], time: Micros) -> list[Effect]:
        """Say again what still stands after a silence, or probe the connection."""
        published = any(isinstance(effect, Publish) for effect in effects)
        if self._clock.probe_due(self._now) and not published:
            return [*self._disconnected(), Publish(self._alive())]
        if published or not self._clock.connected or time < self._sent_at + self._patience // 4:
            return []
        frames = self._agreement.standing()
        if self._base.founding:
            return [Publish(self._hello(), retain=True), *(Publish(f) for f in frames)]
        return [*(Publish(frame) for frame in frames), Publish(self._alive())]

    def _alive(self) -> Frame:
        return self._sealer.seal(Ping(self._base.id))

    def _disconnected(self) -> list[Effect]:
        if self._degraded or self._sent_at == 0:
            return []
        self._degraded = "no broker brings back what this peer sends"
        return [Report(events.Degraded(self._degraded))]

    def _recovered(self) -> list[Effect]:
        what, self._degraded = self._degraded, ""
        return [Report(events.Recovered(what))] if what else []


def _named_base(message: object) -> bytes:
    """Return the base a message names; a plan's fence is the base its sender stands on."""
    match message:
        case Ping(base) | Digest(base) | Summary(base) | Vote(base) | Skip(base):
            return base
        case Mean(plan) | Final(plan) | GroupSkip(plan):
            return plan
        case Certificate(body):
            return codec.plan_id(body)
        case _:
            return b""
