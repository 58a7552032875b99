"""One peer: routes each input to its machine and merges the effects.

    found or catch up -> COLLECT (train, digest) -> agree -> certificate -> update -> apply -> COLLECT

`handle` never awaits, never raises because of what another peer said, and returns its effects in
the order in which they must be performed. `next_wakeup()` is the only timer. What one base leads to
is `round.Round`; here are the things that outlive it: who is there, what is remembered, which
certificate this peer stands on.
"""

from collections.abc import Sequence

from swarmdem.identifiers import GroupId, Micros, ModelHash, PeerId, PlanId
from swarmdem.protocol import events, greeting, restart
from swarmdem.protocol.adopting import certified, regrouped
from swarmdem.protocol.catchup import Catchup, named_base
from swarmdem.protocol.copies import Copies
from swarmdem.protocol.events import Effect, Input, Persist, Publish, Reject, Report
from swarmdem.protocol.forwarding import opened
from swarmdem.protocol.lineages import Standpoint
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.pace import Pace
from swarmdem.protocol.plans import Base, base_of, digest_of, founding_base
from swarmdem.protocol.quiet import noted
from swarmdem.protocol.round import Round
from swarmdem.protocol.situation import CROWD, DigestSet, Situation
from swarmdem.protocol.starting import Legacy
from swarmdem.protocol.status import Phase, RoundRecord, Status, status_of
from swarmdem.protocol.telling import Telling
from swarmdem.protocol.watch import Watch
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import (
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
from swarmdem.wire.shortened import DigestPack, ShortCertificate, ShortMean, ShortProposal


class Core:
    """The protocol of one peer."""

    def __init__(
        self, charter: Charter, sealer: Sealer, *, stored: restart.Records | None = None, capability: int = 1,
        crowd: int = CROWD,
    ) -> None:  # fmt: skip
        """Take up what was *stored* by `Persist` before a restart, if anything.

        Args:
            charter: The swarm's settings.
            sealer: Signs for this peer; its session must be higher than in any earlier run.
            stored: Records by key, as ordered with `Persist`.
            capability: 0 (a peer that asks to be spared) to 3; counts in elections as far as it is proven.
            crowd: More electors than this are a crowd to this peer (`situation.CROWD`).
        """
        self._charter = charter
        self._sealer = sealer
        self._me, self._patience = sealer.peer, charter.patience_us
        self._crowd, self._watch = crowd, Watch(self._patience)
        self._clock = self._watch.clock
        self._membership = Membership(self._patience, 2 * charter.peers_max)
        self._catchup = Catchup(self._me, sealer, self._membership, self._patience, charter)
        self._memory = restart.recall(stored or {}, sealer)
        self._pace = Pace(capability)
        self._copies = Copies(sealer.session)
        self._offered: events.ModelOffered | None = None
        self._nonce = self._brokers = b""
        self._left = False
        self._refusals, self._telling = greeting.Refusals(self._patience), Telling(sealer, charter)
        self._group: GroupId | None = None
        self._now: Micros = 0
        self._base = self._memory.base or founding_base(charter)
        self._catchup.recall(stored or {}, self._base)
        self._round = self._open_round(DigestSet(), None)

    # The doors

    def handle(self, event: Input, now: Micros) -> list[Effect]:
        """Take one input and return what must be done about it, in order.

        Args:
            event: What happened.
            now: Microseconds on the local monotonic clock; never decreases.
        """
        assert now >= self._now, "time went backwards"
        self._now = now
        quiet = self._watch.calm(now) and not self._base.founding and not self._left
        if quiet and isinstance(event, events.Received):
            frame, round, time = event.frame, self._round, self._clock.read(now)
            if noted(frame, round, self._catchup, time):
                return []
            if round.expects(frame, time):
                return self._received(frame, time)
        slept = self._watch.woke(now)
        time = self._clock.read(now)
        if self._left:
            return []
        effects = [*slept, *self._take(event, time)]
        time = self._clock.read(now)
        if self._nonce and not self._left:
            effects += self._advance(time)
            effects += self._repeat(effects, time)
            self._watch.looked_at = now
        for effect in effects:
            if isinstance(effect, Publish):
                self._watch.sent(effect.crossing, now, time)
                self._copies.said(effect.crossing)
        return effects

    def next_wakeup(self) -> Micros | None:
        """Return when `Woke` is due, or None while only an input can lead on."""
        if self._left or not self._nonce:
            return None
        if self._watch.due:
            return self._watch.due
        time = self._clock.read(self._now)
        due = [self._round.agreement.speaks_at(self._watch.spoke_at), *self._catchup.deadlines()]
        due += self._round.deadlines(time)
        due += self._telling.deadlines() + self._refusals.deadlines(time)
        return self._watch.set(self._clock.next_wakeup(min(due)))

    def status(self) -> Status:
        """Return this peer's state in plain values."""
        time = self._clock.read(self._now)
        return status_of(
            self._me,
            self._base,
            phase=Phase.LEFT if self._left else self._round.phase,
            connected=self._clock.connected,
            others=self._membership.in_sight(time),
            update=self._round.update,
        )

    def round_record(self) -> RoundRecord | None:
        """Return the evidence for the certificate this peer stands on; None before the first."""
        if self._base.certificate is None:
            return None
        digests = self._round.listed_digests()
        return RoundRecord(PlanId(self._base.id), self._base.certificate, self._base, digests)

    # Inputs

    def _take(self, event: Input, time: Micros) -> list[Effect]:
        match event:
            case events.Woke():
                return []
            case events.Received(frame):
                return self._received(frame, time)
            case events.Started(nonce, brokers):
                self._nonce, self._brokers = nonce, brokers
                return [Publish(self._hello(), retain=True)]
            case events.ModelOffered():
                self._offered = event
                self._round.offer(event)
                return self._round.resume(time)
            case events.LinkChanged(up):
                return self._link_changed(up)
            case events.LeaveRequested():
                self._left = True
                return [*self._round.drop(), Publish(self._sealer.seal(Offline(leaving=True)))]
            case _:
                return self._round.answered(event, time)

    def _link_changed(self, up: bool) -> list[Effect]:
        if up:
            self._clock.link_found()
            return [Publish(self._hello(), retain=True)] if self._nonce else []
        self._clock.link_lost(self._now)
        return []

    def _hello(self) -> Frame:
        return greeting.hello(self._charter, self._sealer, self._nonce, self._brokers, self._base)

    # Frames

    def _received(self, frame: Frame, time: Micros) -> list[Effect]:
        if frame.sender == self._me:
            return self._echo(frame)
        message = frame.message
        if frame.session and frame.session < self._membership.session_of(frame.sender):
            if isinstance(message, Digest | Proposal | ShortProposal | DigestPack):
                # said again after a restart; proves no presence
                return self._agreed_upon(frame, time)
            return [Reject(frame.sender, "frame of an earlier session")]
        if isinstance(message, Offline):
            lost = self._membership.lose(frame.sender, frame.session, time, left=message.leaving)
            seen = [Report(events.PeerSeen(frame.sender, present=False))] if lost else []
            return [*seen, *self._round.lost(time)]
        named = named_base(message)
        effects: list[Effect] = []
        if named:
            if frame.session and self._membership.hear(frame.sender, named, frame.session, time):
                effects.append(Report(events.PeerSeen(frame.sender, present=True)))
            stray = not frame.session and self._catchup.knows_older(named)
            if named != self._base.id and not stray:
                effects += self._catchup.named(frame.sender, named, self._base, time)
        return effects + self._dispatch(frame, time)

    def _echo(self, frame: Frame) -> list[Effect]:
        if self._copies.reveals(frame):
            self._left = True  # only the key's holder can say this
            return [*self._round.drop(), Report(events.KeyRefused())]
        return self._watch.echoed(frame, self._now)

    def _dispatch(self, frame: Frame, time: Micros) -> list[Effect]:
        message, sender = frame.message, frame.sender
        match message:
            case Digest() | DigestPack() | Vote() | Skip() | Proposal() | Summary() | ShortProposal():
                return self._agreed_upon(frame, time)
            case ShortCertificate(base):
                self._telling.heard(self._base, sender, message)
                return self._round.agreement.take(frame, time) if base == self._base.id else []
            case Mean() | ShortMean() | Final() | GroupSkip() | Ack():
                return self._updated(frame, time)
            case Want():
                return self._round.wanted(sender, message)
            case Bundle(frames):
                return self._unbundle(sender, frames, time)
            case Certificate():
                return self._consider(sender, message, time)
            case Welcome():
                brought = greeting.brought(message, self._nonce, sender)
                return [brought] if isinstance(brought, Reject) else self._consider(sender, brought, time)
            case Ping(base) if base == self._base.id:
                return self._round.agreement.take(frame, time)
            case Hello():
                return self._greeted(sender, message)
            case Refusal(nonce, settings):
                if nonce == self._nonce and self._base.founding:
                    self._refusals.add(sender, settings)
                return []
            case _:
                return []

    def _agreed_upon(self, frame: Frame, time: Micros) -> list[Effect]:
        named = named_base(frame.message)
        if named and named != self._base.id:
            if not self._catchup.knows_older(named):
                self._catchup.park(frame)
            return []
        return self._round.agreement.take(frame, time)

    def _updated(self, frame: Frame, time: Micros) -> list[Effect]:
        named = named_base(frame.message)
        if self._round.update is not None and named in (b"", self._base.id):
            return self._round.update.on_frame(frame, time)
        if named and named != self._base.id and not self._catchup.knows_older(named):
            self._catchup.park(frame)
        return []

    def _unbundle(self, sender: PeerId, frames: Sequence[bytes], time: Micros) -> list[Effect]:
        effects: list[Effect] = []
        for forwarded in opened(self._sealer, sender, frames):
            if isinstance(forwarded, Reject):
                effects.append(forwarded)
            elif isinstance(forwarded.message, Digest):
                effects += self._forwarded_digest(forwarded, time)
            elif isinstance(forwarded.message, Certificate):
                effects += self._consider(sender, forwarded.message, time)
            else:
                effects += self._agreed_upon(forwarded, time)
        return effects

    def _forwarded_digest(self, frame: Frame, time: Micros) -> list[Effect]:
        if digest_of(frame).base == self._base.id:
            return self._round.agreement.on_digest(frame, time)
        return self._round.late_digest(frame, time)

    # Certificates

    def _greeted(self, sender: PeerId, hello: Hello) -> list[Effect]:
        if greeting.alike(self._charter, hello) and self._base.founding:
            return self._round.introduce(sender, self._clock.read(self._now))
        return greeting.answer(
            self._charter, self._sealer, self._catchup, self._base, sender=sender, greeting=hello
        )

    def _consider(self, sender: PeerId, certificate: Certificate, time: Micros) -> list[Effect]:
        """Adopt a certificate of others if it is valid and ahead of ours."""
        if codec.plan_id(certificate.plan) == self._base.id:
            self._telling.heard(self._base, sender, certificate)
            return []
        refused, theirs = self._catchup.consider(sender, certificate, self._standpoint(), time)
        return refused if theirs is None else self._adopt(theirs, None, time)

    def _standpoint(self) -> Standpoint:
        return Standpoint(
            self._base,
            majority_lost=self._round.agreement.voting.majority_lost,
            applied=self._memory.applied_plan == self._base.id,
            listening_since=self._clock.resumed_at,
        )

    def _adopt(self, base: Base, leader: PeerId | None, time: Micros) -> list[Effect]:
        """Stand on *base* from now on; an update that still runs is dropped."""
        plan, certificate = base.plan, base.certificate
        assert plan is not None
        assert certificate is not None
        left, self._base = self._base, base
        if left.founding:
            self._memory.founding = self._round.agreement.voting.ballots.record(left.id, ())
        effects = self._round.drop()
        self._memory.highest_round = max(self._memory.highest_round, base.round)
        effects.append(Persist("certificate", codec.encode_body(certificate)))
        effects.append(Persist("round", self._memory.highest_round.to_bytes(8, "big")))
        effects += self._memory.reassured(base, self._sealer.session) + certified(self._charter, left, base)
        self._pace.in_vain = self._round.agreement.collecting.in_vain(time)
        self._round = self._open_round(self._round.digests_for(plan), leader, self._round.legacy)
        self._telling.at = None
        met, waiting = self._catchup.adopted(base, left)
        effects += met
        before, self._group = self._group, self._round.group
        effects += regrouped(base, before, self._group)
        effects += self._round.begin(time)
        for frame in waiting:
            effects += self._dispatch(frame, time)
        return effects

    def _refound(self, time: Micros) -> list[Effect]:
        """Give up a founding whose genesis model nobody has, and found the swarm anew."""
        left, self._base = self._base, founding_base(self._charter)
        what = "the founding is given up: nobody in sight has its first model"
        effects: list[Effect] = [events.StopFetching(ModelHash(left.reference))]
        effects += [self._catchup.give_up(left, self._base), Persist("certificate", b"")]
        effects.append(Report(events.Degraded(what, passing=True)))
        self._telling.at = None
        self._round = self._open_round(DigestSet(), None)
        self._round.agreement.collecting.begin(time)
        return effects + self._round.resume(time)

    def _open_round(self, digests: DigestSet, leader: PeerId | None, legacy: Legacy | None = None) -> Round:
        people, watch = self._membership, self._watch
        situation = Situation(
            self._me, self._charter, self._sealer, people, self._clock, self._base, watch.health, self._crowd
        )
        situation.barred = self._catchup.lineages.older
        situation.silent_until = self._memory.silent_until(self._charter, self._clock.read(self._now))
        return Round(
            situation, self._memory, self._pace, certified=digests, leader=leader, offered=self._offered,
            legacy=legacy,
        )  # fmt: skip

    # Time

    def _advance(self, time: Micros) -> list[Effect]:
        """Do everything that is due now."""
        self._watch.spoke_at = max(self._watch.spoke_at, self._round.agreement.packing.told_at)
        effects = self._round.advance(time)
        if self._base.founding and self._refusals.any:
            effects += self._refusals.judged(self._membership.in_sight(time), time)
        if self._round.genesis_lost(time):
            effects += self._refound(time)
        effects += self._certify(time)
        theirs = self._catchup.judge(self._standpoint(), time)
        if theirs is not None:
            effects += self._adopt(theirs, None, time)
        effects += self._catchup.advance(time)
        effects += self._telling.due(self._base, time)
        return effects

    def _certify(self, time: Micros) -> list[Effect]:
        """Adopt the certificate the votes have just made; tell the others unless they know."""
        voting, told = self._round.agreement.voting, self._round.agreement.told
        if voting.certificate is None:
            return []
        base = base_of(voting.certificate, codec.decode_plan(voting.certificate.plan))
        leader = voting.leader_of_certificate
        authors = {**self._round.certified.current, **self._round.s.digests.current}
        adopted = self._adopt(base, leader, time)
        return (
            adopted if told == base.id else [*adopted, *self._telling.certified(base, leader, authors, time)]
        )

    def _repeat(self, effects: Sequence[Effect], time: Micros) -> list[Effect]:
        """Say again what still stands after a silence, or probe the connection."""
        if any(isinstance(effect, Publish) and effect.frame.session for effect in effects):
            return []
        if self._clock.probe_due(self._now):
            return [*self._watch.unheard(), Publish(self._round.agreement.ping())]
        if not self._clock.connected or time < self._round.agreement.speaks_at(self._watch.spoke_at):
            return []
        hello = [Publish(self._hello(), retain=True)] if self._base.founding else []
        return [*hello, *self._round.agreement.repeated(time)]
