"""One fixed message of every kind, from one fixed key: what the golden frames are made of."""

from swarmdem.wire import charter as charters, codec, messages as m
from swarmdem.wire.blobs import BlobInfo, describe
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.frame import Frame
from swarmdem.wire.shortened import DigestPack, PackedDigest, ShortCertificate, ShortMean, ShortProposal
from swarmdem.wire.signing import Identity

IDENTITY = Identity.from_private_bytes(bytes(range(32)))
OTHER = Identity.from_private_bytes(bytes(range(32, 64)))
SESSION = 3
CHARTER = Charter(
    swarm="plant-7",
    schema=(TensorSpec("bias", (10,), "float32"), TensorSpec("weight", (10, 64), "float32")),
    inputs=(("standardize", b"none"),),
    schedules=(("gamma", (1.0, 0.5)), ("tau", (1.0, 3.0))),
    hysteresis=(0, 16),
    drift=3,
    options=(("moment", 0.9),),
)
DATA = bytes(range(256)) * 513
"""A blob of three leaves, the last one shorter."""
BLOB: BlobInfo = describe(DATA)


def fill(number: int, size: int = 32) -> bytes:
    """Return *size* equal bytes, easy to find in a dump."""
    return bytes([number]) * size


PLAN = m.Plan(
    base=fill(0xB0),
    round=7,
    mode=m.NORMAL,
    lineage=(m.Fork(fill(0xF0, 16), fill(0xF1), 2),),
    epoch=1,
    seed=2**64 - 1,
    reference=fill(0xE0),
    hysteresis=16,
    tau=3,
    entries=(
        m.Entry(fill(0x01, 16), fill(0xD1), fill(0xA1, 16), True, True),
        m.Entry(fill(0x02, 16), b"", b"", True, False),
        m.Entry(fill(0x03, 16), fill(0xD3), fill(0xA0, 16), False, True),
    ),
    groups=(m.GroupEntry(fill(0xA0, 16), 2, b""), m.GroupEntry(fill(0xA1, 16), 1, fill(0xA0, 16))),
    ext=((1, bytes.fromhex("000000060200000480")), (3, b"\xf0\x14")),
)
PLAN_BODY = codec.encode_plan(PLAN)
PLAN_ID = codec.plan_id(PLAN_BODY)
_VOTE = m.Vote(fill(0xB0), m.NORMAL, 0, PLAN_ID)
_VOTES = tuple(
    m.SignedVote(signer.public_key, codec.FrameSealer(signer, CHARTER, 1).seal(_VOTE).signature)
    for signer in sorted((IDENTITY, OTHER), key=lambda signer: signer.peer)
)
_CERTIFICATE = m.Certificate(PLAN_BODY, 0, _VOTES)
_SKIP = m.Skip(fill(0xB0), m.NORMAL, 0, -1, b"")
_GROUP_SKIP = m.GroupSkip(PLAN_ID, 0, fill(0xA1, 16), 0)
_skip_frame = codec.FrameSealer(OTHER, CHARTER, 1).seal(_SKIP)
_group_skip_frame = codec.FrameSealer(OTHER, CHARTER, 1).seal(_GROUP_SKIP)

MESSAGES: tuple[m.Message, ...] = (
    m.Hello(charters.encode(CHARTER), fill(0x10, 16), 1, 1, 0, b""),
    m.Welcome(fill(0x10, 16), codec.encode_body(_CERTIFICATE)),
    m.Refusal(fill(0x10, 16), ("levels", "mixing")),
    m.Offline(leaving=True),
    m.Ping(fill(0xB0)),
    m.Digest(
        base=fill(0xB0),
        round=7,
        kind=m.PARAMETERS,
        seed=2**63,
        reference=fill(0xE0),
        weight=1,
        model=BLOB.name,
        model_bytes=BLOB.total_bytes,
        age=0,
        training_ms=2500,
        scale=0.125,
        sketch=bytes([0, 1, 127, 129, 255]),
        ext=((2, (1250).to_bytes(4, "big")), (4, b"ignored")),
    ),
    m.Summary(fill(0xB0), (fill(0x01, 16), fill(0x02, 16)), reply=True),
    m.Want(m.DIGESTS, (fill(0xD1), fill(0xD2, 16))),
    m.Bundle((_skip_frame.raw,)),
    m.Proposal(m.NORMAL, 1, PLAN_BODY, (_skip_frame.raw,)),
    _VOTE,
    m.Skip(fill(0xB0), m.PROVISIONAL, 2, 1, PLAN_ID),
    _CERTIFICATE,
    m.Mean(
        plan=PLAN_ID,
        step=0,
        group=fill(0xA1, 16),
        term=1,
        weight=300,
        included=(fill(0x01, 16), fill(0x03, 16)),
        model=BLOB.name,
        model_bytes=BLOB.total_bytes,
        skips=(_group_skip_frame.raw,),
    ),
    m.Final(PLAN_ID, 0, fill(0xA1, 16), 0, True, BLOB.name, BLOB.total_bytes, ()),
    _GROUP_SKIP,
    m.Ack(fill(0xD1)),
    m.BlobWant(BLOB.name, True, ((0, 1), (2, 3)), 1),
    m.BlobOffer(BLOB.name, BLOB.total_bytes, BLOB.leaves),
    ShortProposal(fill(0xB0), PLAN_ID, 3, 9, fill(0x5E, 64), b"\x05", (fill(0xD3),)),
    ShortCertificate(fill(0xB0), PLAN_ID, 0, b"\x03", fill(0x51, 64) + fill(0x52, 64)),
    DigestPack(
        fill(0xB0),
        (
            PackedDigest(
                fill(0x21),
                3,
                7,
                7,
                1,
                BLOB.name,
                BLOB.total_bytes,
                0,
                2500,
                ((2, b"\0\0\x04\xe2"),),
                fill(0x53, 64),
            ),
            PackedDigest(fill(0x22), 1, 9, 7, 300, fill(0xE1), BLOB.total_bytes, 2, 1800, (), fill(0x54, 64)),
        ),
    ),
    ShortMean(
        PLAN_ID,
        fill(0xA1, 16),
        0,
        300,
        b"\x05",
        BLOB.name,
        BLOB.total_bytes,
        (),
        ((2, fill(0xE2)),),
        3,
        9,
        fill(0x5F, 64),
    ),
)


def frame_of(message: m.Message) -> Frame:
    """Return *message* as the first frame of the fixed key's session."""
    return codec.FrameSealer(IDENTITY, CHARTER, SESSION).seal(message)


def name_of(message: m.Message) -> str:
    """Return the kind of *message* as files and test names call it."""
    return type(message).__name__.lower()
