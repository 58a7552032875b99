"""Envelope and strict decoding: what is accepted, and that nothing else is."""

import random
import tracemalloc
from hashlib import blake2b

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given, strategies as st

from swarmdem.errors import MalformedFrameError, MisuseError, OversizeFrameError, SignatureError, WireError
from swarmdem.wire import charter as charters, codec, messages as m
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameReader, FrameSealer
from swarmdem.wire.signing import ED25519
from tests.wire import samples, strategies

PING = samples.frame_of(m.Ping(samples.fill(0xB0)))
SCOPES = (charters.charter_hash(samples.CHARTER), charters.swarm_hash("plant-7"))


class Gullible:
    """A verifier that believes everything, to get past it; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        self.asked += 1
        return True


def read(raw: bytes, verifier=ED25519):
    return FrameReader(verifier).read(raw, scopes=SCOPES)


def sealer(identity=samples.IDENTITY, session=samples.SESSION, reader=None) -> FrameSealer:
    return FrameSealer(identity, samples.CHARTER, session, reader=reader)


def signed(body: bytes, *, kind: type[m.Message] = m.Ping, length: int | None = None) -> bytes:
    """Return a frame around any *body*, with a good signature: written from docs/wire.md, not with codec."""
    header = b"SD" + bytes([1, kind.TYPE]) + bytes(2) + SCOPES[kind in m.NAMED] + bytes(2)
    header += samples.IDENTITY.public_key
    header += bytes(16) if kind in m.STANDING else (3).to_bytes(8, "big") + (1).to_bytes(8, "big")
    header += (len(body) if length is None else length).to_bytes(4, "big")
    return header + body + samples.IDENTITY.sign(b"swarmdem/1/frame" + header + body)


@given(strategies.any_message)
def test_every_message_survives_the_wire(message):
    frame = samples.frame_of(message)

    assert frame.message == message
    assert read(frame.raw) == frame


@given(strategies.plans())
def test_every_plan_survives_the_wire(plan):
    assert codec.decode_plan(codec.encode_plan(plan)) == plan


def test_header_is_where_the_document_says():
    raw = PING.raw

    assert raw[0:2] == b"SD"
    assert (raw[2], raw[3]) == (1, 5)
    assert raw[4:6] == bytes(2)
    assert raw[6:38] == charters.charter_hash(samples.CHARTER)
    assert raw[38:40] == bytes(2)
    assert raw[40:72] == samples.IDENTITY.public_key
    assert raw[72:80] == (3).to_bytes(8, "big")
    assert raw[80:88] == (1).to_bytes(8, "big")
    assert raw[88:92] == (36).to_bytes(4, "big")
    assert raw[92:128] == b"\x92\xc4\x20" + samples.fill(0xB0) + b"\x90"
    key = Ed25519PublicKey.from_public_bytes(raw[40:72])
    key.verify(raw[128:], b"swarmdem/1/frame" + raw[:128])
    assert PING.id == blake2b(raw, digest_size=32, person=b"sd/frame").digest()
    assert PING.sender == blake2b(raw[40:72], digest_size=16).digest()


def test_a_frame_written_from_the_document_is_accepted():
    assert read(signed(PING.raw[92:128])).message == PING.message


def test_tampering_with_any_byte_is_refused():
    for position in range(len(PING.raw)):
        raw = bytearray(PING.raw)
        raw[position] ^= 0x01
        with pytest.raises(WireError):
            read(bytes(raw))


def test_truncating_or_lengthening_is_refused():
    for length in range(len(PING.raw)):
        with pytest.raises(WireError):
            read(PING.raw[:length])
    with pytest.raises(WireError):
        read(PING.raw + b"\0")


@given(st.binary(max_size=400))
@example(b"")
@example(b"SD\x01\x05" + bytes(200))
def test_arbitrary_bytes_raise_nothing_but_wire_errors(raw):
    with pytest.raises(WireError):
        read(raw, Gullible())


@given(st.sampled_from(samples.MESSAGES), st.randoms(use_true_random=False), st.integers(1, 6))
def test_mutated_frames_raise_nothing_but_wire_errors(message, chance: random.Random, changes):
    raw = bytearray(samples.frame_of(message).raw)
    for _ in range(changes):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    try:
        frame = read(bytes(raw), Gullible())
    except WireError:
        return
    assert codec.encode_body(frame.message) == frame.raw[92:-64]


@given(st.sampled_from(samples.MESSAGES), st.binary(max_size=60), st.data())
def test_mutated_bodies_raise_nothing_but_wire_errors(message, splice, data):
    body = codec.encode_body(message)
    cut = data.draw(st.integers(0, len(body)))
    mutated = body[:cut] + splice + body[cut + data.draw(st.integers(0, 20)) :]
    try:
        decoded = codec.decode_body(type(message), mutated)
    except MalformedFrameError:
        return
    assert codec.encode_body(decoded) == mutated


@pytest.mark.parametrize("kind", m.KINDS.values(), ids=lambda kind: kind.__name__)
def test_no_frame_above_its_limit_reaches_signature_or_decoder(kind):
    verifier = Gullible()
    raw = b"SD\x01" + bytes([kind.TYPE]) + bytes(kind.LIMIT - 3)

    with pytest.raises(OversizeFrameError):
        read(raw, verifier)

    assert verifier.asked == 0


def test_unsigned_frame_never_reaches_the_decoder():
    raw = signed(b"\xc1 is no MessagePack")

    with pytest.raises(SignatureError):
        read(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(MalformedFrameError, match="Ping"):
        read(raw)


BOMBS = {
    "array of 2^32 - 1 items": b"\xdd\xff\xff\xff\xff",
    "map of 2^32 - 1 pairs": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "extension of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "deep nesting": b"\x91" * 3000,
    "many empty arrays": b"\xdc\xff\xff" + b"\x90" * 65_535,
    "many empty maps": b"\xdc\xff\xff" + b"\x80" * 65_535,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("kind", [*m.KINDS.values(), m.Plan], ids=lambda kind: kind.__name__)
def test_absurd_sizes_are_refused_without_taking_memory(kind, bomb):
    """
    Put the bomb in place of the whole body, and of each of its positions.
    """
    whole = samples.PLAN if kind is m.Plan else next(x for x in samples.MESSAGES if type(x) is kind)
    parts = [codec._encoder.encode(getattr(whole, name)) for name in kind.__struct_fields__]
    start = bytes([0x90 + len(parts)])
    bodies = [bomb] + [start + b"".join(parts[:position]) + bomb for position in range(len(parts))]

    tracemalloc.start()
    for body in bodies:
        with pytest.raises(MalformedFrameError):
            codec._decode(kind, body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, b"X"), (2, b"\2"), (3, b"\0"), (3, b"\x40"), (5, b"\1"), (4, b"\x80"), (39, b"\1")],
    ids=["magic", "version", "type 0", "chunk type", "sealed", "unknown flag", "other key"],
)
def test_foreign_headers_are_refused_before_the_signature(offset, value):
    verifier = Gullible()
    raw = PING.raw[:offset] + value + PING.raw[offset + 1 :]

    with pytest.raises(MalformedFrameError):
        read(raw, verifier)

    assert verifier.asked == 0


def test_length_in_the_header_must_be_that_of_the_body():
    with pytest.raises(MalformedFrameError, match="header says"):
        read(signed(PING.raw[92:128], length=35))


def test_a_frame_of_another_swarm_is_refused_even_when_remembered():
    reader = FrameReader()
    reader.read(PING.raw, scopes=SCOPES)

    with pytest.raises(MalformedFrameError, match="another swarm"):
        reader.read(PING.raw, scopes=(samples.fill(0),))


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb([samples.fill(1)]),
        msgpack.packb([samples.fill(1), [], 0]),
        b"\xdc\x00\x02" + msgpack.packb([samples.fill(1), []])[1:],
        b"\x92\xc5\x00\x20" + samples.fill(1) + b"\x90",
        msgpack.packb([samples.fill(1), []]) + b"\0",
        msgpack.packb({"base": samples.fill(1), "ext": []}),
        msgpack.packb(["a" * 32, []]),
    ],
    ids=["ext missing", "field too many", "long array header", "long bytes header", "rest", "map", "text"],
)
def test_a_body_has_exactly_one_encoding(body):
    with pytest.raises(MalformedFrameError):
        read(signed(body))


def test_extensions_even_ids_are_ignored_odd_ids_refuse():
    even = codec.encode_body(m.Ping(samples.fill(1), ((2, b"x"), (4, b""))))
    assert read(signed(even)).message.ext == ((2, b"x"), (4, b""))
    for bad in [((1, b""),), ((2, b""), (2, b"")), ((4, b""), (2, b""))]:
        with pytest.raises(MalformedFrameError, match="ext"):
            read(signed(codec.encode_body(m.Ping(samples.fill(1), bad))))


def test_standing_frames_have_no_numbers_and_all_others_do():
    vote = samples.frame_of(m.Vote(samples.fill(1), 0, 0, samples.fill(2)))
    assert (vote.session, vote.sequence) == (0, 0)
    for frame, offset in [(vote, 79), (vote, 87), (PING, 79), (PING, 87)]:
        raw = bytearray(frame.raw)
        raw[offset] = 1 if frame is vote else 0
        with pytest.raises(MalformedFrameError, match="session"):
            read(bytes(raw), Gullible())


def test_one_standing_content_has_one_frame_for_ever():
    vote = m.Vote(samples.fill(1), 0, 0, samples.fill(2))

    assert sealer(session=1).seal(vote).raw == sealer(session=9).seal(vote).raw


def test_sequence_counts_sealed_frames():
    mine = sealer(session=9)

    frames = [
        mine.seal(message) for message in (m.Ping(samples.fill(1)), m.Offline(True), m.Ping(samples.fill(1)))
    ]

    assert [(frame.session, frame.sequence) for frame in frames] == [(9, 1), (9, 2), (9, 3)]


def test_hello_and_refusal_are_signed_under_the_swarms_name():
    assert samples.frame_of(samples.MESSAGES[0]).scope == charters.swarm_hash("plant-7")
    assert PING.scope == charters.charter_hash(samples.CHARTER)


def test_a_kind_under_the_wrong_scope_is_refused():
    raw = bytearray(PING.raw)
    raw[6:38] = charters.swarm_hash("plant-7")
    frames = FrameSealer(samples.OTHER, samples.CHARTER, 1, Gullible())

    with pytest.raises(MalformedFrameError, match="wrong scope"):
        frames.open(bytes(raw))


def test_a_frame_of_another_charter_is_refused():
    stranger = FrameSealer(samples.OTHER, Charter(swarm="plant-7", levels=2), 1)

    with pytest.raises(MalformedFrameError, match="another swarm"):
        sealer().open(stranger.seal(m.Ping(samples.fill(1))).raw)


def test_what_others_would_refuse_is_not_said():
    mine = sealer()
    with pytest.raises(MisuseError, match="digests: not sorted"):
        mine.seal(m.Summary(samples.fill(1), (samples.fill(2, 16), samples.fill(1, 16)), reply=False))
    with pytest.raises(MisuseError, match="exceeds"):
        mine.seal(m.Bundle((bytes(262_144), bytes(262_144))))

    assert mine.seal(m.Ping(samples.fill(1))).sequence == 1


def test_a_vote_proves_its_content_and_nothing_else():
    vote = m.Vote(samples.fill(1), 0, 0, samples.fill(2))
    ballot = m.SignedVote(samples.OTHER.public_key, sealer(samples.OTHER).seal(vote).signature)
    mine = sealer()

    assert mine.proves(ballot, vote) == samples.OTHER.peer
    assert mine.proves(ballot, m.Vote(samples.fill(1), 0, 1, samples.fill(2))) is None
    assert mine.proves(m.SignedVote(samples.IDENTITY.public_key, ballot.signature), vote) is None


def test_a_frame_is_verified_once_however_many_peers_read_it():
    verifier = Gullible()
    reader = FrameReader(verifier)

    first = reader.read(PING.raw, scopes=SCOPES)
    second = reader.read(bytes(bytearray(PING.raw)), scopes=SCOPES)

    assert first is second
    assert verifier.asked == 1


def test_frames_sealed_in_this_process_need_no_verification():
    verifier = Gullible()
    reader = FrameReader(verifier)
    vote = m.Vote(samples.fill(1), 0, 0, samples.fill(2))

    frame = sealer(reader=reader).seal(vote)
    ballot = m.SignedVote(frame.public_key, frame.signature)

    assert reader.read(frame.raw, scopes=SCOPES) is frame
    assert sealer(samples.OTHER, reader=reader).proves(ballot, vote) == samples.IDENTITY.peer
    assert verifier.asked == 0


@pytest.mark.parametrize(
    ("bounds", "verified_again"),
    [
        ({"capacity": 32}, 0),
        ({"capacity": 30}, 2),
        ({"capacity_bytes": 32 * len(PING.raw)}, 0),
        ({"capacity_bytes": 20 * len(PING.raw)}, 12),
        ({"capacity_bytes": 15 * len(PING.raw)}, 32),
    ],
    ids=["all fit", "two too many", "all bytes fit", "bytes of twenty", "each too large to be kept"],
)
def test_reader_keeps_the_latest_frames_within_count_and_bytes(bounds, verified_again):
    """
    Read 32 frames, then again from the last to the first.
    """
    mine = sealer()
    frames = [mine.seal(m.Ping(samples.fill(number))).raw for number in range(32)]
    reader = FrameReader(verifier := Gullible(), **bounds)

    for raw in [*frames, *reversed(frames)]:
        reader.read(raw, scopes=SCOPES)

    assert verifier.asked == 32 + verified_again
