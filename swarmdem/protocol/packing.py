"""Digests said to few and handed to all at once, where an electorate is a crowd and the tree is kept.

In a swarm of N peers that all say their digest to all, everybody hears N frames a round, and headers,
topics and signs of life cost more than what they say. So in a crowd (more than `situation.CROWD` electors)

- a digest without a sketch goes to the *collectors* only: the first three leaders of the base. Once the first
  has frozen its set it publishes a pack of all it holds, and then proposes. The second packs patience / 16
  after its own freeze, the third half of that later, if nobody has proposed yet. Whoever finds, patience / 8
  after it froze, that its digest is in no pack publishes it: without collectors all is as in a small swarm;
- who has nothing to repeat but that it is there says so every patience / 2 only, and a digest in a pack
  counts as said to everybody when the pack comes. A collector may hold a digest back and show it later, once
  on each base: a peer that died meanwhile seems to be there for a patience more, which delays, not decides.

A pack proves nothing by itself. Every digest in it is rebuilt as its author signed it, and checked as ever:
so a peer to which the electorate is no crowd takes packs as well.
"""

from functools import cached_property

from swarmdem.errors import WireError
from swarmdem.identifiers import FrameId, Micros, PeerId
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, PeerSeen, Publish, Reject, Report, Send
from swarmdem.protocol.plans import digest_kind, digest_of, sketched
from swarmdem.protocol.recent import Recent
from swarmdem.protocol.situation import Situation
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Digest
from swarmdem.wire.shortened import DigestPack, PackedDigest

COLLECTORS = 3
PACKED_BYTES_MAX = 400
"""Longer digests cross by themselves: a pack of them all must fit a frame."""
PACKS_KEPT = 4
"""Packs whose frames are remembered for all peers of a process."""

_opened: Recent[FrameId, tuple[Frame, ...] | None] = Recent(PACKS_KEPT)


class Packing:
    """How one peer's digest reaches the others on one base, and what it does for theirs."""

    def __init__(self, situation: Situation) -> None:
        s = self.s = situation
        self.crowd = len(s.electors) > s.crowd
        """Whether the electorate is a crowd."""
        self._sketchless = not s.base.founding and not sketched(s.charter, s.base)
        self.kept = self.crowd and self._sketchless
        """Whether digests are collected."""
        self.told_at: Micros = 0
        """When a pack last told all that this peer is there."""
        self._unsaid: Frame | None = None
        self._packed: set[FrameId] = set()
        self._times = self._pack_times()

    def _pack_times(self) -> list[Micros]:
        """Return how long after its freeze this peer packs what nobody has packed yet."""
        patience = self.s.patience
        if not self.kept or self.s.me not in self.collectors:
            return []
        place = self.collectors.index(self.s.me)
        return [0, patience // 8] if place == 0 else [(place + 1) * patience // 32]

    @cached_property
    def collectors(self) -> tuple[PeerId, ...]:
        """Who collects digests where the electorate is a crowd: so many that lead first."""
        return rank(self.s.base.electorate, self.s.base.id)[:COLLECTORS]

    @property
    def collects(self) -> bool:
        """Return whether others say their digests to this peer, to all or to few."""
        return not self.kept or self.s.me in self.collectors

    def say(self, digest: Frame) -> list[Effect]:
        """Say this peer's digest to whom it is for."""
        if not self.kept or self.s.me not in self.s.electors or not _packable(self.s.charter, digest):
            return [Publish(digest)]
        self._unsaid = digest
        return [Send(peer, digest) for peer in self.collectors if peer != self.s.me]

    def hear(self, frame: Frame) -> tuple[list[Effect], list[Frame]]:
        """Take a pack; return the digests of electors in it."""
        assert isinstance(frame.message, DigestPack)
        if frame.sender not in self.collectors or not self._sketchless:
            return [Reject(frame.sender, "packs digests and does not collect them")], []
        message, charter, sealer = frame.message, self.s.charter, self.s.sealer
        frames = _opened.get(frame.id, lambda: unpacked(message, charter, sealer), about=frame.id)
        if frames is None:
            return [Reject(frame.sender, "a pack with a digest that its author did not sign")], []
        return [], [digest for digest in frames if digest.sender in self.s.electors]

    def note(self, digest: Frame, now: Micros) -> list[Effect]:
        """Take a packed digest that is held for a word of its author, once: a pack may be sent again."""
        if not self.kept or digest.id in self._packed or digest.id not in self.s.digests.by_id:
            return []
        self._packed.add(digest.id)
        people, author = self.s.membership, digest.sender
        if author == self.s.me:
            self.told_at = now
            return []
        if people.away(author) or digest.session < people.session_of(author) or self._moved_on(author):
            return []
        fresh = people.hear(author, self.s.base.id, digest.session, now)
        return [Report(PeerSeen(author, present=True))] if fresh else []

    def _moved_on(self, author: PeerId) -> bool:
        """Return whether *author* has named a base since that is not known to lie behind this one."""
        seen, base = self.s.membership.sighting(author), self.s.base
        if seen is None or seen.base == base.id or seen.base in self.s.barred:
            return False
        return base.plan is None or seen.base != base.plan.base

    def due(self, frozen_at: Micros | None, now: Micros, *, proposed: bool) -> list[Effect]:
        """Pack what nobody has packed, and say what is in no pack, if it is time.

        Args:
            frozen_at: When this peer froze its set; None: not yet.
            now: Connected time.
            proposed: Whether the base's first leader has put a plan to the vote.
        """
        if not self.kept or frozen_at is None or not self.s.clock.connected:
            return []
        effects: list[Effect] = []
        while self._times and now >= frozen_at + self._times[0]:
            del self._times[0]
            effects += [] if proposed else self._pack()
        if self._unsaid is not None and now >= self._said_by(frozen_at):
            effects += [] if self._unsaid.id in self._packed else [Publish(self._unsaid)]
            self._unsaid = None
        return effects

    def _said_by(self, frozen_at: Micros) -> Micros:
        return frozen_at + self.s.patience // 8

    def _pack(self) -> list[Effect]:
        s = self.s
        held = sorted(s.digests.current.values(), key=lambda frame: frame.public_key)
        fresh = [f for f in held if f.id not in self._packed and f.sender in s.electors]
        chosen = [frame for frame in fresh if _packable(s.charter, frame)]
        self._packed |= {frame.id for frame in chosen}
        return [Publish(s.sealer.seal(packed(s.base.id, chosen)))] if chosen else []

    def deadlines(self, frozen_at: Micros | None) -> list[Micros]:
        """Return when `due` has something to do, past times among them."""
        if not self.kept or frozen_at is None:
            return []
        said = [self._said_by(frozen_at)] if self._unsaid is not None else []
        return [*(frozen_at + after for after in self._times), *said]


def _packable(charter: Charter, frame: Frame) -> bool:
    """Return whether a pack can hold the digest in *frame*."""
    digest = digest_of(frame)
    plain = (digest.kind, digest.seed, digest.reference, digest.scale, digest.sketch)
    return plain == (digest_kind(charter), 0, b"", 0.0, b"") and len(frame.raw) <= PACKED_BYTES_MAX


def packed(base: bytes, frames: list[Frame]) -> DigestPack:
    """Return the pack of the digests in *frames*, ascending by public key, all for *base*."""
    return DigestPack(base, tuple(map(_entry, frames)))


def _entry(frame: Frame) -> PackedDigest:
    said = digest_of(frame)
    return PackedDigest(
        frame.public_key, frame.session, frame.sequence, said.round, said.weight, said.model,
        said.model_bytes, said.age, said.training_ms, said.ext, frame.signature,
    )  # fmt: skip


def unpacked(pack: DigestPack, charter: Charter, sealer: Sealer) -> tuple[Frame, ...] | None:
    """Return the frames of the digests in a pack, as their authors signed them; None if one did not."""
    found = []
    for each in pack.digests:
        said = Digest(
            base=pack.base, round=each.round, kind=digest_kind(charter), seed=0, reference=b"",
            weight=each.weight, model=each.model, model_bytes=each.model_bytes, age=each.age,
            training_ms=each.training_ms, scale=0.0, sketch=b"", ext=each.remarks,
        )  # fmt: skip
        try:
            found.append(sealer.rebuilt(said, each.public_key, (each.session, each.sequence), each.signature))
        except WireError:
            return None
    return tuple(found)
