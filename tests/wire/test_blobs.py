"""Blobs: one name whatever the chunks, and no byte kept unproven."""

import struct
from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import MalformedFrameError, OversizeFrameError, WireError
from swarmdem.identifiers import ModelHash
from swarmdem.wire.blobs import (
    LEAF_BYTES,
    Assembly,
    BlobInfo,
    blob_name,
    decode_chunk,
    describe,
    encode_chunk,
    leaf_count,
)

DATA = bytes(range(256)) * 1100
"""Five leaves, the last one of 19,456 bytes."""
INFO = describe(DATA)
LIMIT = 2**20


def chunk(first: int, count: int, data: bytes = DATA):
    return decode_chunk(encode_chunk(INFO.name, data, first, count))


def test_name_is_the_hash_of_length_and_leaf_hashes():
    leaves = b"".join(
        sha256(b"swarmdem/1/leaf\0" + DATA[start : start + 65_536]).digest()
        for start in range(0, len(DATA), 65_536)
    )

    assert INFO.leaves == leaves
    assert INFO.name == sha256(b"swarmdem/1/blob\0" + (281_600).to_bytes(8, "big") + leaves).digest()
    assert INFO.total_bytes == 281_600


def test_chunk_layout_is_as_documented():
    raw = encode_chunk(INFO.name, DATA, 4, 1)

    assert raw[:6] == b"SD\x01\x40\x00\x00"
    assert raw[6:38] == INFO.name
    assert raw[38:42] == bytes([0, 0, 0, 4])
    assert raw[42:] == DATA[4 * 65_536 :]


@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_any_chunk_size_in_any_order_gives_the_blob(count, chance):
    chunks = [chunk(first, count) for first in range(0, 5, count)]
    chance.shuffle(chunks)
    assembly = Assembly(INFO, limit_bytes=LIMIT)

    added = sum(assembly.add(each) for each in chunks * 2)

    assert added == 5
    assert assembly.complete
    assert bytes(assembly.data()) == DATA
    assert assembly.missing() == ()


def test_missing_leaves_are_asked_for_within_ranges_and_credit():
    assembly = Assembly(INFO, limit_bytes=LIMIT)
    assert assembly.missing() == ((0, 5),)
    assert assembly.missing(most_leaves=2) == ((0, 2),)

    assembly.add(chunk(1, 1))
    assembly.add(chunk(3, 1))

    assert assembly.missing() == ((0, 1), (2, 3), (4, 5))
    assert assembly.missing(most_leaves=2) == ((0, 1), (2, 3))
    assert assembly.missing(most_ranges=1) == ((0, 1),)
    assert assembly.missing(most_leaves=0) == ()


def test_a_wrong_leaf_is_refused_and_those_before_it_kept():
    forged = bytearray(DATA)
    forged[70_000] ^= 1
    assembly = Assembly(INFO, limit_bytes=LIMIT)

    with pytest.raises(MalformedFrameError, match="leaf 1"):
        assembly.add(chunk(0, 3, bytes(forged)))

    assert assembly.missing() == ((1, 5),)
    assembly.add(chunk(0, 5))
    assert bytes(assembly.data()) == DATA


def test_chunks_outside_the_blob_or_of_parts_of_leaves_are_refused():
    assembly = Assembly(INFO, limit_bytes=LIMIT)
    header = struct.Struct(">2sBBH32sI")
    for first, size in [(5, 1), (4, LEAF_BYTES), (0, 100), (2**32 - 1, LEAF_BYTES), (3, LEAF_BYTES + 19_457)]:
        raw = header.pack(b"SD", 1, 64, 0, INFO.name, first) + bytes(size)
        with pytest.raises(MalformedFrameError, match="covers"):
            assembly.add(decode_chunk(raw))
    with pytest.raises(MalformedFrameError, match="another blob"):
        assembly.add(decode_chunk(encode_chunk(ModelHash(bytes(32)), DATA, 0, 1)))


def test_absurd_sizes_are_refused_before_memory_is_taken():
    with pytest.raises(OversizeFrameError):
        Assembly(BlobInfo(INFO.name, 2**60, INFO.leaves), limit_bytes=LIMIT)
    for total in (0, -1, LEAF_BYTES, len(DATA) + LEAF_BYTES):
        with pytest.raises(MalformedFrameError, match="leaf hashes"):
            Assembly(BlobInfo(INFO.name, total, INFO.leaves), limit_bytes=LIMIT)


def test_a_leaf_list_that_is_not_the_named_one_is_refused():
    with pytest.raises(MalformedFrameError, match="named blob"):
        Assembly(BlobInfo(INFO.name, len(DATA) - 1, INFO.leaves), limit_bytes=LIMIT)
    with pytest.raises(MalformedFrameError, match="named blob"):
        Assembly(BlobInfo(INFO.name, len(DATA), bytes(5 * 32)), limit_bytes=LIMIT)


@pytest.mark.parametrize(("size", "leaves"), [(1, 1), (65_535, 1), (65_536, 1), (65_537, 2), (131_072, 2)])
def test_leaves_at_the_edges(size, leaves):
    info = describe(bytes(size))
    assembly = Assembly(info, limit_bytes=size)

    assembly.add(decode_chunk(encode_chunk(info.name, bytes(size), 0, leaves)))

    assert leaf_count(size) == leaves
    assert info.name == blob_name(size, info.leaves)
    assert bytes(assembly.data()) == bytes(size)


def test_arrays_are_described_by_their_bytes():
    assert describe(memoryview(DATA).cast("f")) == INFO


@given(st.binary(max_size=120))
def test_decoding_a_chunk_raises_nothing_but_wire_errors(raw):
    with pytest.raises(WireError):
        decode_chunk(raw)


def test_a_chunk_above_sixteen_mebibytes_is_refused():
    raw = encode_chunk(INFO.name, DATA, 0, 1)

    with pytest.raises(OversizeFrameError):
        decode_chunk(raw[:42] + bytes(16 * 2**20 + 1))
