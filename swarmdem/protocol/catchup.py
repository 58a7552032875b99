"""Finding the certificate others stand on: joining, falling behind, forks, and helping others.

A frame that names an unknown base makes us ask its sender for that certificate; a frame that names
an older one is answered with ours, at once by few and late by some, or N peers would send N
certificates each.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b

from swarmdem.errors import WireError
from swarmdem.identifiers import Micros, PeerId
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Reject, Send
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base, base_of, beats_founding, behind, names_electors, open_certificate
from swarmdem.protocol.voting import spread
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import (
    CERTIFICATES,
    FOUNDING,
    NORMAL,
    PROVISIONAL,
    Certificate,
    Digest,
    Final,
    GroupSkip,
    Mean,
    Message,
    Ping,
    Plan,
    Proposal,
    Skip,
    Summary,
    Vote,
    Want,
)

PARKED_MAX = 256
"""Frames kept for a certificate that is on its way."""
PARKED_OF_ONE_MAX = 8
"""The same per sender."""
REMEMBERED_MAX = 256
"""Certificates whose place in the lineages is remembered."""
ANSWERS_MAX = 1024
"""Peers behind us that are waited for before they are answered."""
WELCOMERS = 3
"""Ranks of E that answer at once."""


@dataclass(slots=True)
class Catchup:
    """What this peer knows of certificates other than its own."""

    me: PeerId
    sealer: Sealer
    membership: Membership
    patience: Micros
    charter: Charter
    _paths: OrderedDict[bytes, tuple[bytes, ...]] = field(default_factory=OrderedDict)
    _older: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    _parked: OrderedDict[bytes, Frame] = field(default_factory=OrderedDict)
    _wanted: dict[bytes, tuple[PeerId, Micros]] = field(default_factory=dict)
    _answers: dict[PeerId, Micros] = field(default_factory=dict)

    def adopted(self, base: Base, left: Base) -> list[Frame]:
        """Note that *base* replaced *left*; return the frames that waited for it."""
        self._remember(base)
        self._older[left.id] = None
        while len(self._older) > REMEMBERED_MAX:
            self._older.popitem(last=False)
        self._older.pop(base.id, None)
        self._wanted.clear()
        self._answers.clear()
        waiting = [f for f in self._parked.values() if named_base(f.message) == base.id]
        self._parked.clear()
        return waiting

    def _remember(self, base: Base) -> None:
        self._paths[base.id] = tuple(fork.id for fork in base.lineage)
        while len(self._paths) > REMEMBERED_MAX:
            self._paths.popitem(last=False)

    def knows_older(self, base: bytes) -> bool:
        """Return whether we stood on *base* before."""
        return base in self._older

    def park(self, frame: Frame) -> None:
        """Keep a frame that names a base we do not know yet."""
        of_one = sum(f.sender == frame.sender for f in self._parked.values())
        if of_one < PARKED_OF_ONE_MAX and len(self._parked) < PARKED_MAX:
            self._parked[frame.id] = frame

    def named(self, peer: PeerId, base: bytes, ours: Base, now: Micros) -> list[Effect]:
        """Note that *peer* names *base*, which is not ours; answer if it has named an old one for long."""
        if base in self._older:
            if peer in self._answers:
                if now < self._answers[peer] or ours.certificate is None:
                    return []
                self._answers[peer] = now + self.patience // 2
                return [Send(peer, self.sealer.seal(ours.certificate))]
            while len(self._answers) >= ANSWERS_MAX:
                del self._answers[next(iter(self._answers))]
            first = not ours.electorate or self.me in rank(ours.electorate, ours.id)[:WELCOMERS]
            if first:
                self._answers[peer] = now + self.patience // 8
            elif blake2b(self.me + peer + base, digest_size=1).digest()[0] % 4 == 0:
                self._answers[peer] = now + self.patience // 2
        elif base not in self._wanted and len(self._wanted) < PARKED_MAX:
            self._wanted[base] = (peer, now + spread(self.me, base, self.patience // 16))
        return []

    def advance(self, now: Micros) -> list[Effect]:
        """Ask for unknown certificates."""
        effects: list[Effect] = []
        for base, (peer, due) in sorted(self._wanted.items()):
            if now >= due:
                holders = sorted(p for p, b in self.membership.bases(now).items() if b == base)
                following = holders[(holders.index(peer) + 1) % len(holders)] if peer in holders else peer
                self._wanted[base] = (following, now + self.patience // 8)
                effects.append(Send(peer, self.sealer.seal(Want(CERTIFICATES, (base,)))))
                if not holders:
                    del self._wanted[base]
        return effects

    def deadlines(self) -> list[Micros]:
        """Return when `advance` has something to do."""
        return [due for _, due in self._wanted.values()]

    def consider(
        self,
        sender: PeerId,
        certificate: Certificate,
        ours: Base,
        *,
        may_leave: bool,
        applied: bool,
        now: Micros,
    ) -> tuple[list[Effect], Base | None]:
        """Return the base to adopt if a certificate of others is valid and preferred (see `prefers`)."""
        if self.knows_older(codec.plan_id(certificate.plan)):
            return [], None
        plan = open_certificate(certificate, self.sealer, self.charter)
        if plan is None:
            return [Reject(sender, "certificate without the votes it needs")], None
        if not _of_its_electors(plan, ours):
            return [Reject(sender, "certificate of another electorate")], None
        theirs = base_of(certificate, plan)
        wanted = self.prefers(theirs, ours, may_leave=may_leave, applied=applied, now=now)
        return [], theirs if wanted else None

    def prefers(self, theirs: Base, ours: Base, *, may_leave: bool, applied: bool, now: Micros) -> bool:
        """Return whether the valid certificate *theirs* replaces what we stand on (round.md, LINEAGE).

        Args:
            theirs: The certificate offered.
            ours: What this peer stands on.
            may_leave: This peer found no majority of its base's electorate (provisional condition).
            applied: A result of our plan has been applied here.
            now: Connected time.
        """
        assert theirs.plan is not None
        self._remember(theirs)
        if theirs.id == ours.id or theirs.id in self._older:
            return False
        if ours.plan is None:
            return True
        if theirs.plan.base == ours.id:
            return theirs.plan.mode == NORMAL or self.me in theirs.electorate or may_leave
        if theirs.plan.base == ours.plan.base:
            if theirs.plan.mode == ours.plan.mode == FOUNDING:
                return beats_founding(theirs, ours)
            if theirs.plan.mode == NORMAL and ours.plan.mode == PROVISIONAL and not applied:
                return True
        if behind(ours, theirs):
            return True
        return not behind(theirs, ours) and self._fork_wins(theirs, ours, now)

    def _fork_wins(self, theirs: Base, ours: Base, now: Micros) -> bool:
        """A true fork: the lineage more live peers stand on wins, then the lower path."""
        mine = tuple(fork.id for fork in ours.lineage)
        other = tuple(fork.id for fork in theirs.lineage)
        if mine == other:
            return False
        named = [self._paths.get(base) for base in self.membership.bases(now).values()]
        live_mine = 1 + sum(path == mine for path in named)
        live_other = sum(path == other for path in named)
        return live_other > live_mine or (live_other == live_mine and other < mine)

    def welcomes(self, ours: Base) -> bool:
        """Return whether this peer answers newcomers at once."""
        if ours.certificate is None:
            return False
        return self.me not in ours.electorate or self.me in rank(ours.electorate, ours.id)[:WELCOMERS]


def _of_its_electors(plan: Plan, ours: Base) -> bool:
    """Return whether *plan* names the electors of its base, as far as that base is known here."""
    if ours.plan is None:
        return True
    if plan.base == ours.id:
        return names_electors(plan, ours.electorate)
    siblings = plan.base == ours.plan.base
    return not siblings or names_electors(plan, {e.peer for e in ours.plan.entries if e.elector})


def certificate_frame(sealer: Sealer, base: Base) -> Frame:
    """Return our certificate, signed by us."""
    assert isinstance(base.certificate, Certificate)
    return sealer.seal(base.certificate)


def named_base(message: Message) -> bytes:
    """Return the base a message names; a plan that fences a message is what its sender stands on."""
    match message:
        case Ping(base) | Digest(base) | Summary(base) | Vote(base) | Skip(base):
            return base
        case Mean(plan) | Final(plan) | GroupSkip(plan):
            return plan
        case Certificate(body):
            return codec.plan_id(body)
        case Proposal(_, _, body):
            try:
                return codec.decode_plan(body).base
            except WireError:
                return b""
        case _:
            return b""
