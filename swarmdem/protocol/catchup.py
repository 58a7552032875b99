"""Finding the certificate others stand on: joining, falling behind, forks, and helping others.

A frame that names an unknown base makes us ask its sender for that certificate; a frame that names
an older one is answered with ours, at once by few and late by some, or N peers would send N
certificates each. What is better to stand on is decided in `lineages`; a valid certificate that is not
(yet) is held as long as somebody names it and judged again every `patience` / 8, for counts change.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from swarmdem.errors import WireError
from swarmdem.identifiers import Micros, PeerId
from swarmdem.protocol.certificates import Proven, names_electors, open_certificate
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Persist, Reject, Send
from swarmdem.protocol.lineages import Lineages, Standpoint
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base
from swarmdem.protocol.voting import spread
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import (
    CERTIFICATES,
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
from swarmdem.wire.shortened import DigestPack, ShortCertificate, ShortMean, ShortProposal

PARKED_MAX = 256
"""Frames kept for a certificate that is on its way."""
PARKED_OF_ONE_MAX = 8
"""The same per sender."""
HELD_MAX = 16
"""Certificates of others that are valid, named by somebody, and not preferred to ours so far."""
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
    lineages: Lineages = field(init=False)
    _held: OrderedDict[bytes, Proven] = field(default_factory=OrderedDict)
    _judge_at: Micros = 0
    _parked: OrderedDict[bytes, Frame] = field(default_factory=OrderedDict)
    _wanted: dict[bytes, tuple[PeerId, Micros]] = field(default_factory=dict)
    _answers: dict[PeerId, Micros] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin without any lineage."""
        self.lineages = Lineages(self.me, self.charter, self.membership)

    def recall(self, stored: Mapping[str, bytes], base: Base) -> None:
        """Take back what was written before a restart; *base* is what this peer stood on."""
        self.lineages.recall(stored.get("peers", b""), stored.get("given_up", b""))
        self.lineages.meet(base)

    def give_up(self, founding: Base, base: Base) -> Effect:
        """Note that *base* takes the place of *founding*, which this peer never takes up again."""
        self.adopted(base, founding)
        return Persist("given_up", self.lineages.abandon(founding))

    def adopted(self, base: Base, left: Base) -> tuple[list[Effect], list[Frame]]:
        """Note that *base* replaced *left*; return what to write and the frames that waited for it."""
        fresh = self.lineages.stand_on(base, left)
        self._held.pop(base.id, None)
        self._wanted.clear()
        self._answers.clear()
        waiting = [f for f in self._parked.values() if named_base(f.message) == base.id]
        self._parked.clear()
        return [Persist("peers", self.lineages.record())] if fresh else [], waiting

    def knows_older(self, base: bytes) -> bool:
        """Return whether we stood on *base* before."""
        return base in self.lineages.older

    def park(self, frame: Frame) -> None:
        """Keep a frame that names a base we do not know yet; no pack: what is in it can be asked for."""
        if isinstance(frame.message, DigestPack):
            return
        of_one = sum(f.sender == frame.sender for f in self._parked.values())
        if of_one < PARKED_OF_ONE_MAX and len(self._parked) < PARKED_MAX:
            self._parked[frame.id] = frame

    def named(self, peer: PeerId, base: bytes, ours: Base, now: Micros) -> list[Effect]:
        """Note that *peer* names *base*, which is not ours; answer if it has named an old one for long."""
        if base in self.lineages.older:
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
        elif base not in self._wanted and base not in self._held and len(self._wanted) < PARKED_MAX:
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
        """Return when `advance` or `judge` has something to do."""
        due = [due for _, due in self._wanted.values()]
        return [*due, self._judge_at] if self._held else due

    def consider(
        self, sender: PeerId, certificate: Certificate, at: Standpoint, now: Micros
    ) -> tuple[list[Effect], Base | None]:
        """Return the base to adopt if a certificate of others is valid and preferred (see `lineages`)."""
        name = codec.plan_id(certificate.plan)
        self._wanted.pop(name, None)
        if self.knows_older(name):
            return [], None
        theirs = open_certificate(certificate, self.sealer, self.charter)
        if theirs is None:
            return [Reject(sender, "certificate without the votes it needs")], None
        if not _of_its_electors(theirs.plan, at.ours):
            return [Reject(sender, "certificate of another electorate")], None
        if self.lineages.prefers(theirs, at, now):
            return [], theirs.base
        self._hold(theirs, now)
        return [], None

    def _hold(self, theirs: Proven, now: Micros) -> None:
        if not self._held:
            self._judge_at = now + self.patience // 8
        self._held[theirs.base.id] = theirs
        while len(self._held) > HELD_MAX:
            self._held.popitem(last=False)

    def judge(self, at: Standpoint, now: Micros) -> Base | None:
        """Return the held certificate that is preferred by now; forget those that nobody names."""
        if not self._held or now < self._judge_at:
            return None
        self._judge_at = now + self.patience // 8
        named = set(self.membership.bases(now).values())
        for name in [name for name in self._held if name not in named]:
            del self._held[name]
        ahead = sorted(self._held.values(), key=lambda held: (-held.base.round, held.base.id))
        return next((held.base for held in ahead if self.lineages.prefers(held, at, now)), None)

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
        case ShortProposal(base) | DigestPack(base):
            return base
        case ShortCertificate(_, plan):
            return plan
        case Mean(plan) | ShortMean(plan) | Final(plan) | GroupSkip(plan):
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
