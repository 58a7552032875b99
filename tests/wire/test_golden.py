"""The bytes of version 1, fixed: a change here breaks every other implementation."""

import textwrap
from pathlib import Path

import msgpack
import msgspec
import pytest

from swarmdem.wire import blobs, charter as charters, codec
from swarmdem.wire.messages import KINDS
from tests.wire import samples

GOLDEN = Path(__file__).parent / "golden"


def dump(raw: bytes) -> str:
    """Return *raw* as hex digits, 48 bytes a line."""
    return "\n".join(textwrap.wrap(raw.hex(), 96)) + "\n"


def read(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def plain(value):
    """Return what any MessagePack library makes of a struct: lists, numbers, bytes, strings."""
    if isinstance(value, msgspec.Struct):
        return [plain(getattr(value, name)) for name in value.__struct_fields__]
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("message", samples.MESSAGES, ids=samples.name_of)
def test_frame_is_byte_for_byte_the_golden_one(message, expect_text):
    expect_text(GOLDEN / f"{samples.name_of(message)}.hex", dump(samples.frame_of(message).raw))


@pytest.mark.parametrize("message", samples.MESSAGES, ids=samples.name_of)
def test_golden_frame_opens_to_the_message_it_was_made_of(message):
    sealer = codec.FrameSealer(samples.OTHER, samples.CHARTER, 1)

    frame = sealer.open(read(samples.name_of(message)))

    assert frame.message == message
    assert frame.sender == samples.IDENTITY.peer


@pytest.mark.parametrize("message", samples.MESSAGES, ids=samples.name_of)
def test_another_library_reads_the_same_values(message):
    body = read(samples.name_of(message))[92:-64]

    assert msgpack.unpackb(body) == plain(message)


@pytest.mark.parametrize("message", samples.MESSAGES, ids=samples.name_of)
def test_another_library_writes_the_same_body(message):
    assert msgpack.packb(plain(message)) == read(samples.name_of(message))[92:-64]


def test_every_kind_has_a_golden_frame():
    frames = {path.stem for path in GOLDEN.glob("*.hex")} - {"plan", "charter", "chunk"}

    assert frames == {kind.__name__.lower() for kind in KINDS.values()}
    assert {type(message) for message in samples.MESSAGES} == set(KINDS.values())


def test_plan_charter_and_chunk_are_byte_for_byte_the_golden_ones(expect_text):
    expect_text(GOLDEN / "plan.hex", dump(samples.PLAN_BODY))
    expect_text(GOLDEN / "charter.hex", dump(charters.encode(samples.CHARTER)))
    expect_text(GOLDEN / "chunk.hex", dump(blobs.encode_chunk(samples.BLOB.name, samples.DATA, 2, 1)))


def test_another_library_reads_plan_and_charter():
    assert msgpack.unpackb(read("plan")) == plain(samples.PLAN)
    assert msgpack.unpackb(read("charter")) == plain(samples.CHARTER)


def test_names_and_hashes_are_the_golden_ones(expect_text):
    """
    Every hash of the format, of inputs that `docs/wire.md` states.
    """
    lines = {
        "private key": samples.IDENTITY.private_bytes(),
        "public key": samples.IDENTITY.public_key,
        "peer id": samples.IDENTITY.peer,
        "swarm hash": charters.swarm_hash("plant-7"),
        "charter hash": charters.charter_hash(samples.CHARTER),
        "plan id": samples.PLAN_ID,
        "frame id of ping.hex": codec.frame_id(read("ping")),
        "leaf 2 hash": blobs.leaf_hash(samples.DATA[2 * 65_536 :]),
        "blob name": samples.BLOB.name,
    }

    expect_text(GOLDEN / "hashes.txt", "".join(f"{name}: {value.hex()}\n" for name, value in lines.items()))
