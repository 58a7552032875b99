"""Frames that no honest peer would send: malformed, absurd or presumptuous, some of them well signed.

Everything an attacker can make with a key of his own: bytes that are no frame, bodies whose values are
out of every range (a NaN scale, a round of 2^63, thousands of ids, unknown odd extensions), claims to an
office one does not hold, certificates whose electors and votes were invented. The bytes are packed
here, without the checks that an honest sealer makes.
"""

import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from swarmdem.identifiers import GroupId, PlanId
from swarmdem.protocol.catchup import named_base
from swarmdem.simulation.signatures import PretendedIdentity
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.codec import HEADER_BYTES, SIGNATURE_TAG
from swarmdem.wire.frame import MAGIC, WIRE_VERSION, Frame
from swarmdem.wire.messages import (
    CERTIFICATES,
    DIGESTS,
    NAMED,
    NORMAL,
    PARAMETERS,
    PROVISIONAL,
    STANDING,
    Ack,
    Bundle,
    Certificate,
    Digest,
    Entry,
    Final,
    GroupEntry,
    GroupSkip,
    Hello,
    Mean,
    Message,
    Offline,
    Ping,
    Plan,
    Proposal,
    Refusal,
    SignedVote,
    Skip,
    Summary,
    Vote,
    Want,
    Welcome,
)
from swarmdem.wire.shortened import DigestPack, PackedDigest, ShortCertificate, ShortMean, ShortProposal

INVENTED = 2**62
"""Numbers of keys that belong to nobody begin here."""
_HEADER = struct.Struct(">2sBBH32sH32sQQI")
_encode = msgspec.msgpack.Encoder().encode


class Forger:
    """Makes one such frame after the other.

    Args:
        charter: Of the swarm that is lied to.
        rng: Chooses.
    """

    def __init__(self, charter: Charter, rng: random.Random) -> None:
        self._charter = charter
        self._rng = rng
        self._sequence = 2**40
        self._base = b"\0" * 32
        self._plan: Plan | None = None
        self._round = 0
        self._model = b"\1" * 32
        self._heard: Sequence[Frame] = ()
        self._bytes: tuple[Callable[[bytes], bytes], ...] = (self._flipped, self._truncated, self._noise)
        self._absurd: tuple[Callable[[], Any], ...] = (
            self._digest_without_a_scale, self._digest_of_a_far_round, self._digest_of_a_leap,
            self._unknown_extension, self._endless_want, self._endless_summary, self._bundle_of_noise,
            self._vote, self._skip, self._proposal, self._group_skip, self._mean, self._final,
            self._ack, self._ping, self._hello, self._welcome, self._refusal, self._offline,
            self._short_proposal, self._short_certificate, self._pack, self._short_mean,
        )  # fmt: skip

    def forge(
        self, identity: PretendedIdentity, session: int, said: Frame, heard: Sequence[Frame], *, invents: bool
    ) -> bytes:
        """Return the bytes of a frame.

        Args:
            identity: Who signs.
            session: Its start counter.
            said: What it says honestly just now.
            heard: What it heard lately.
            invents: Certificates with invented electors, too.
        """
        self._learn(said)
        self._heard = heard
        rng = self._rng
        if rng.random() < 0.25:
            sample = rng.choice([said, *heard]).raw
            return rng.choice(self._bytes)(sample)
        if invents and rng.random() < 0.25:
            return self.pack(identity, session, self._certificate(rng.choice((NORMAL, PROVISIONAL))))
        return self.pack(identity, session, rng.choice(self._absurd)())

    def pack(self, identity: PretendedIdentity, session: int, message: Message) -> bytes:
        """Return *message* encoded and signed, whatever is in it."""
        kind, body = type(message), _encode(message)
        self._sequence += 1
        numbers = (0, 0) if kind in STANDING else (session, self._sequence)
        scope = swarm_hash(self._charter.swarm) if kind in NAMED else charter_hash(self._charter)
        head = (MAGIC, WIRE_VERSION, kind.TYPE, 0, scope, 0, identity.public_key, *numbers, len(body))
        signed = _HEADER.pack(*head) + body
        return signed + identity.sign(SIGNATURE_TAG + signed)

    def _learn(self, said: Frame) -> None:
        base = named_base(said.message)
        if base:
            self._base = base
        if isinstance(said.message, Certificate):
            self._plan = codec.decode_plan(said.message.plan)
            self._round = self._plan.round
        elif isinstance(said.message, Digest):
            self._round = max(self._round, said.message.round - 1)
            self._model = said.message.model or self._model

    # Bytes that are no frame

    def _flipped(self, raw: bytes) -> bytes:
        at = self._rng.randrange(len(raw))
        return raw[:at] + bytes([raw[at] ^ 1 << self._rng.randrange(8)]) + raw[at + 1 :]

    def _truncated(self, raw: bytes) -> bytes:
        return raw[: self._rng.choice((0, 1, HEADER_BYTES, self._rng.randrange(len(raw))))]

    def _noise(self, raw: bytes) -> bytes:
        return raw[:HEADER_BYTES] + self._rng.randbytes(len(raw) - HEADER_BYTES)

    # Absurd contents

    def _hash(self) -> bytes:
        return self._rng.randbytes(32)

    def _digest(self, **changes: object) -> Digest:
        values: dict[str, Any] = {
            "base": self._base, "round": self._round + 1, "kind": PARAMETERS, "seed": 0,
            "reference": self._hash(), "weight": 1, "model": self._model,
            "model_bytes": self._charter.model_bytes, "age": 0, "training_ms": 1, "scale": 1.0,
            "sketch": bytes(self._charter.digest),
        }  # fmt: skip
        return Digest(**(values | changes))

    def _digest_without_a_scale(self) -> Digest:
        return self._digest(scale=self._rng.choice((math.nan, math.inf, -1.0, 1e-45)))

    def _digest_of_a_far_round(self) -> Digest:
        return self._digest(round=self._rng.choice((2**63, 2**32 - 1, 2**31)))

    def _digest_of_a_leap(self) -> Digest:
        return self._digest(round=self._round + 2 + self._rng.randrange(3), training_ms=2**32 - 1)

    def _unknown_extension(self) -> Message:
        ext = self._rng.choice((((1, b"?"),), ((65535, b""),), ((4, b""), (2, b""))))
        return Ping(self._base, ext=ext)

    def _endless_want(self) -> Message:
        count = self._rng.choice((1024, 4096))
        what = self._rng.choice((DIGESTS, CERTIFICATES, 9))
        return Want(what, tuple(self._hash() for _ in range(count)))

    def _endless_summary(self) -> Message:
        ids = sorted(self._rng.randbytes(16) for _ in range(self._rng.choice((1024, 1500))))
        return Summary(self._base, tuple(ids), reply=True)

    def _bundle_of_noise(self) -> Message:
        return Bundle(tuple(self._rng.randbytes(self._rng.randrange(1, 300)) for _ in range(20)))

    # Offices and rights one does not have

    def _vote(self) -> Message:
        return Vote(self._base, self._rng.randrange(3), self._rng.choice((0, 1, 65535)), PlanId(self._hash()))

    def _skip(self) -> Message:
        term = self._rng.choice((0, 3, 65534, 65535))
        return Skip(self._base, self._rng.randrange(3), term, term, self._hash())

    def _proposal(self) -> Message:
        plan = codec.encode_plan(self._invented_plan(NORMAL)) if self._rng.random() < 0.5 else self._hash()
        return Proposal(NORMAL, self._rng.choice((0, 1, 9)), plan, ())

    def _group(self) -> GroupId:
        groups = self._plan.groups if self._plan is not None else ()
        return self._rng.choice(groups).group if groups else GroupId(self._rng.randbytes(16))

    def _group_skip(self) -> Message:
        return GroupSkip(PlanId(self._base), 0, self._group(), 0)

    def _mean(self) -> Message:
        included = (PretendedIdentity(INVENTED).peer,)
        weight = self._rng.choice((1, 2**63))
        stranger = GroupId(self._rng.randbytes(16))
        return Mean(PlanId(self._base), 0, stranger, 0, weight, included, self._hash(), 2**63, ())

    def _short_proposal(self) -> Message:
        listed, signature = self._rng.choice((b"", b"\x07", b"\xff" * 128)), self._rng.randbytes(64)
        return ShortProposal(self._base, PlanId(self._hash()), 1, 1, signature, listed, (self._hash(),))

    def _short_certificate(self) -> Message:
        """Return votes that nobody cast: beside real ones, for what the others stand on or may follow it."""
        real = [frame.message for frame in self._heard if isinstance(frame.message, ShortCertificate)]
        if real and self._rng.random() < 0.5:
            told = self._rng.choice(real)
            kept = 64 * self._rng.randrange(len(told.signatures) // 64)
            invented = self._rng.randbytes(len(told.signatures) - kept)
            return msgspec.structs.replace(told, signatures=told.signatures[:kept] + invented)
        base, plan = self._rng.choice(((self._base, self._hash()), (self._hash(), self._base)))
        count = self._rng.randrange(1, 9)
        voters, signatures = bytes([(1 << count) - 1]), self._rng.randbytes(64 * count)
        return ShortCertificate(base, PlanId(plan), self._rng.randrange(2), voters, signatures)

    def _pack(self) -> Message:
        """Return digests that nobody signed: invented, or with a model that their authors did not name."""
        real = [frame for frame in self._heard if isinstance(frame.message, Digest)]
        keys = sorted({frame.public_key: frame for frame in real}.items())
        forged = [self._packed(key, frame.session, frame.sequence, frame.signature) for key, frame in keys]
        if not forged or self._rng.random() < 0.3:
            forged = [self._packed(self._hash(), 1, 1, self._rng.randbytes(64))] * self._rng.choice((1, 9))
        return DigestPack(self._base, tuple(forged))

    def _packed(self, key: bytes, session: int, sequence: int, signature: bytes) -> PackedDigest:
        size, number = self._charter.model_bytes, self._round + 1
        return PackedDigest(key, session, sequence, number, 1, self._hash(), size, 0, 1, (), signature)

    def _short_mean(self) -> Message:
        included, signature = self._rng.choice((b"\x01", b"\xff" * 128)), self._rng.randbytes(64)
        plan, group = PlanId(self._base), self._group()
        return ShortMean(plan, group, 0, 1, included, self._hash(), 2**63, (), (), 1, 1, signature)

    def _final(self) -> Message:
        cut, size = self._rng.random() < 0.5, self._rng.choice((1, 2**63))
        stranger = GroupId(self._rng.randbytes(16))
        return Final(PlanId(self._base), self._rng.choice((0, 255)), stranger, 0, cut, self._hash(), size, ())

    def _ack(self) -> Message:
        return Ack(codec.frame_id(self._hash()))

    def _ping(self) -> Message:
        return Ping(self._hash())

    def _hello(self) -> Message:
        return Hello(self._rng.randbytes(200), self._rng.randbytes(16), 1, 255, 2**64 - 1, self._hash())

    def _welcome(self) -> Message:
        return Welcome(self._rng.randbytes(16), self._rng.randbytes(100))

    def _refusal(self) -> Message:
        return Refusal(self._rng.randbytes(16), ("everything",))

    def _offline(self) -> Message:
        return Offline(self._rng.random() < 0.5)

    # Certificates whose electors nobody knows

    def _invented_plan(self, mode: int) -> Plan:
        crowd = sorted(PretendedIdentity(INVENTED + number).peer for number in range(3))
        root = GroupId(self._rng.randbytes(16))
        entries = tuple(
            Entry(peer, self._hash(), root, elector=mode == NORMAL, listed=True) for peer in crowd
        )
        base = self._rng.choice((self._base, self._hash()))
        ahead = self._round + self._rng.choice((1, 2, 100))
        groups = (GroupEntry(root, 4, b""),)
        return Plan(base, ahead, mode, (), 0, 0, self._hash(), 0, 1, entries, groups)

    def _certificate(self, mode: int) -> Certificate:
        plan = codec.encode_plan(self._invented_plan(mode))
        content = Vote(codec.decode_plan(plan).base, mode, 0, codec.plan_id(plan))
        crowd = sorted((PretendedIdentity(INVENTED + n) for n in range(3)), key=lambda who: who.peer)
        votes = []
        for who in crowd:
            raw = self.pack(who, 1, content)
            votes.append(SignedVote(who.public_key, raw[-64:]))
        return Certificate(plan, 0, tuple(votes))
