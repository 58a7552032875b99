"""Envelope, version, limits and strict decoding: the only way from bytes to a message.

A frame is a fixed header, a MessagePack body and a signature over a tag, the header and the body:

    offset 0   magic "SD"        2     version  1     3  type   1     4  flags  2 (a set bit is refused)
           6   scope            32     charter's hash, or the swarm's for `Hello` and `Refusal`
          38   key               2     0: the identity key
          40   public key       32
          72   session           8    80  sequence  8    88  length of the body  4
          92   body, then the signature (64)

Integers are big-endian. Checks come in the order of their price: size, header, signature, body; what
is unsigned or too long never reaches the decoder. A body is accepted only in the one encoding that
`encode_body` produces (shortest integers, 64-bit floats, every position present), so that equal
content has equal bytes. Hashes and signatures are taken of bytes as received, never re-encoded.
"""

import struct
from collections import OrderedDict
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Any, Self, TypeVar

import msgspec

from swarmdem.errors import MalformedFrameError, MisuseError, OversizeFrameError, SignatureError, WireError
from swarmdem.identifiers import FrameId, PeerId, PlanId
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.checks import check
from swarmdem.wire.frame import MAGIC, WIRE_VERSION, Frame
from swarmdem.wire.messages import KINDS, NAMED, STANDING, Message, Plan, SignedVote
from swarmdem.wire.signing import ED25519, SIGNATURE_BYTES, Signer, Verifier, peer_id

SIGNATURE_TAG = b"swarmdem/1/frame"
"""Goes before the header in what is signed."""

_HEADER = struct.Struct(">2sBBH32sH32sQQI")
HEADER_BYTES = _HEADER.size
_SCOPE_AT = slice(6, 38)
OVERHEAD_BYTES = HEADER_BYTES + SIGNATURE_BYTES
"""Bytes of a frame beside its body."""

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (*KINDS.values(), Plan)
}
_M = TypeVar("_M", bound=Message)


def frame_id(raw: bytes) -> FrameId:
    """Return BLAKE2b-256 of a whole frame: its name."""
    return FrameId(blake2b(raw, digest_size=32, person=b"sd/frame").digest())


def plan_id(plan_body: bytes) -> PlanId:
    """Return BLAKE2b-256 of a plan's body: its name."""
    return PlanId(blake2b(plan_body, digest_size=32, person=b"sd/plan").digest())


def scope_in(raw: bytes) -> bytes:
    """Return the hash that *raw* says it is signed under, unchecked; empty where it is too short."""
    return raw[_SCOPE_AT] if len(raw) > OVERHEAD_BYTES else b""


def encode_body(message: Message) -> bytes:
    """Return the MessagePack body of *message*."""
    return _encoder.encode(message)


def decode_body(kind: type[_M], body: bytes) -> _M:
    """Return the message of this kind whose body is *body*.

    Raises:
        MalformedFrameError: Types, sizes, order or encoding are not as they must be.
    """
    message: _M = _decode(kind, body)
    return message


def encode_plan(plan: Plan) -> bytes:
    """Return the body of *plan*, as `Proposal` and `Certificate` carry it."""
    return _encoder.encode(plan)


@lru_cache(maxsize=16)
def decode_plan(body: bytes) -> Plan:
    """Return the plan whose body is *body*; the last few are remembered for all peers of a process.

    Raises:
        MalformedFrameError: Types, sizes, order or encoding are not as they must be.
    """
    plan: Plan = _decode(Plan, body)
    return plan


def _decode(kind: type, body: bytes) -> Any:
    try:
        decoded = _decoders[kind].decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedFrameError(f"{kind.__name__}: {error}") from error
    try:
        check(decoded)
    except MalformedFrameError as error:
        raise MalformedFrameError(f"{kind.__name__}.{error}") from None
    if _encoder.encode(decoded) != body:
        raise MalformedFrameError(f"{kind.__name__}: not in its shortest encoding")
    return decoded


def _pack(
    kind: type[Message], scope: bytes, public_key: bytes, numbers: tuple[int, int], body: bytes
) -> bytes:
    """Return header and body; *numbers* are session and sequence."""
    return _HEADER.pack(MAGIC, WIRE_VERSION, kind.TYPE, 0, scope, 0, public_key, *numbers, len(body)) + body


def _open(raw: bytes, verifier: Verifier, scopes: Collection[bytes]) -> Frame:
    """Return the frame of *raw*, checked in the order of the module's docstring."""
    size = len(raw)
    if size <= OVERHEAD_BYTES:
        raise MalformedFrameError(f"frame of {size} bytes")
    kind = KINDS.get(raw[3])
    if kind is None:
        raise MalformedFrameError(f"unknown type {raw[3]}")
    if size > kind.LIMIT:
        raise OversizeFrameError(size, kind.LIMIT)
    magic, version, _, flags, scope, key, public_key, session, sequence, length = _HEADER.unpack_from(raw)
    if magic != MAGIC or version != WIRE_VERSION:
        raise MalformedFrameError(f"not a frame of version {WIRE_VERSION}")
    if flags != 0 or key != 0:
        raise MalformedFrameError(f"unknown flags {flags:#x} or key {key}")
    if length != size - OVERHEAD_BYTES:
        raise MalformedFrameError(f"body of {size - OVERHEAD_BYTES} bytes, header says {length}")
    if scope not in scopes:
        raise MalformedFrameError("frame of another swarm")
    if (session, sequence) != (0, 0) if kind in STANDING else not (session and sequence):
        raise MalformedFrameError(f"{kind.__name__} with session {session}, sequence {sequence}")
    signature = raw[-SIGNATURE_BYTES:]
    if not verifier.verify(public_key, signature, SIGNATURE_TAG + raw[:-SIGNATURE_BYTES]):
        raise SignatureError(f"{kind.__name__} not signed by the key it names")
    message = _decode(kind, raw[HEADER_BYTES:-SIGNATURE_BYTES])
    return Frame(
        raw, frame_id(raw), peer_id(public_key), public_key, session, sequence, scope, signature, message
    )  # fmt: skip


class FrameReader:
    """Verifies and decodes every frame once per process, however many peers of it receive it.

    Remembers the frames it accepted, at most *capacity* of them and *capacity_bytes* together; the
    one unused for longest goes first. Frames above a sixteenth of that are not remembered.
    Not thread-safe: one event loop owns it.
    """

    def __init__(
        self, verifier: Verifier = ED25519, capacity: int = 4096, *, capacity_bytes: int = 32 * 2**20
    ) -> None:
        self._verifier = verifier
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._frames: OrderedDict[bytes, Frame] = OrderedDict()
        self._bytes = 0

    def read(self, raw: bytes, *, scopes: Collection[bytes]) -> Frame:
        """Return the frame of *raw*.

        Args:
            raw: What arrived.
            scopes: The hashes a frame may be signed under here.

        Raises:
            WireError: It is not a well-formed, correctly signed frame of these scopes.
        """
        frame = self._frames.get(raw)
        if frame is None:
            frame = _open(raw, self._verifier, scopes)
            self.remember(frame)
            return frame
        if frame.scope not in scopes:
            raise MalformedFrameError("frame of another swarm")
        self._frames.move_to_end(raw)
        return frame

    def remember(self, frame: Frame) -> None:
        """Take *frame* as verified: this process has just signed it."""
        if frame.raw in self._frames or len(frame.raw) > self._capacity_bytes // 16:
            return
        self._frames[frame.raw] = frame
        self._bytes += len(frame.raw)
        while len(self._frames) > self._capacity or self._bytes > self._capacity_bytes:
            self._bytes -= len(self._frames.popitem(last=False)[0])


class FrameSealer:
    """One peer's `Sealer`: signs under its charter and reads what others said there."""

    def __init__(
        self,
        identity: Signer,
        charter: Charter,
        session: int,
        verifier: Verifier = ED25519,
        *,
        reader: FrameReader | None = None,
    ) -> None:
        """Start at sequence 1.

        Args:
            identity: The peer's key.
            charter: The agreement all frames but `Hello` and `Refusal` are signed under.
            session: Start counter, at least 1, never used before by this key.
            verifier: Checks signatures, unless *reader* is given.
            reader: Shared by the peers of a process, so that each frame is verified once.
        """
        assert session >= 1
        self._identity = identity
        self._session = session
        self._numbers = count(1)
        self._charter_scope = charter_hash(charter)
        self._swarm_scope = swarm_hash(charter.swarm)
        self._reader = FrameReader(verifier) if reader is None else reader

    @property
    def peer(self) -> PeerId:
        """The peer whose key signs."""
        return self._identity.peer

    @property
    def session(self) -> int:
        """Start counter of this peer's current run."""
        return self._session

    def under(self, charter: Charter) -> Self:
        """Return a sealer of the same peer and session for the frames of another *charter*.

        Both count in one sequence.
        """
        other = type(self)(self._identity, charter, self._session, reader=self._reader)
        other._numbers = self._numbers
        return other

    def scope_of(self, kind: type[Message]) -> bytes:
        """Return the hash that frames of this kind are signed under."""
        return self._swarm_scope if kind in NAMED else self._charter_scope

    def seal(self, message: Message) -> Frame:
        """Return *message* encoded and signed, with the next sequence number unless it is standing.

        Raises:
            MisuseError: Others would refuse the message; nothing was signed.
        """
        kind = type(message)
        body = encode_body(message)
        try:
            decoded = decode_body(kind, body)
            if len(body) + OVERHEAD_BYTES > kind.LIMIT:
                raise OversizeFrameError(len(body) + OVERHEAD_BYTES, kind.LIMIT)
        except WireError as error:
            raise MisuseError(f"cannot say this: {error}") from error
        numbers = (0, 0)
        if kind not in STANDING:
            numbers = (self._session, next(self._numbers))
        scope, public_key = self.scope_of(kind), self._identity.public_key
        signed = _pack(kind, scope, public_key, numbers, body)
        signature = self._identity.sign(SIGNATURE_TAG + signed)
        raw = signed + signature
        frame = Frame(raw, frame_id(raw), self.peer, public_key, *numbers, scope, signature, decoded)
        self._reader.remember(frame)
        return frame

    def open(self, raw: bytes) -> Frame:
        """Verify and decode *raw* (a forwarded frame).

        Raises:
            WireError: It is not a well-formed, correctly signed frame of this swarm.
        """
        frame = self._reader.read(raw, scopes=(self._charter_scope, self._swarm_scope))
        if frame.scope != self.scope_of(type(frame.message)):
            raise MalformedFrameError(f"{type(frame.message).__name__} under the wrong scope")
        return frame

    def rebuilt(
        self, message: Message, public_key: bytes, numbers: tuple[int, int], signature: bytes
    ) -> Frame:
        """Return the frame of *message* as the holder of *public_key* signed it.

        Args:
            message: Content of a frame of this charter.
            public_key: Its sender's.
            numbers: Its session and sequence.
            signature: What its sender made of all that.

        Raises:
            WireError: They did not sign this.
        """
        kind = type(message)
        signed = _pack(kind, self.scope_of(kind), public_key, numbers, encode_body(message))
        return self.open(signed + signature)

    def proves(self, vote: SignedVote, content: Message) -> PeerId | None:
        """Return who signed the standing *content* with *vote*, or None if the signature is wrong."""
        kind = type(content)
        assert kind in STANDING, "only standing frames can be rebuilt"
        signed = _pack(kind, self.scope_of(kind), vote.public_key, (0, 0), encode_body(content))
        try:
            return self._reader.read(signed + vote.signature, scopes=(self.scope_of(kind),)).sender
        except WireError:
            return None
