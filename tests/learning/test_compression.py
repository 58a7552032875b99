"""Models to fewer bytes and back: what each kind keeps, and what a reader refuses."""

import struct
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from swarmdem.errors import LearningError, MisuseError, NotFiniteError, SchemaError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.compression import encode, encode_sparse
from swarmdem.learning.encoded import (
    FP16,
    INT8,
    NESTED,
    SPARSE,
    Base,
    Head,
    nest,
    read_head,
    unnest,
)
from swarmdem.learning.expansion import decode
from swarmdem.learning.parameters import from_bytes, schema_of
from swarmdem.wire.encodings import HEADER_BYTES, sizes

NAME = ModelHash(b"b" * 32)
NUMBERS = np.random.default_rng(5)
OLD = {
    "bias": np.zeros(10, np.float32),
    "mask": np.array([True, False]),
    "weight": NUMBERS.normal(0, 0.1, (64, 100)).astype(np.float32),
    "wide": NUMBERS.normal(0, 0.1, 300),
}
SCHEMA = schema_of(OLD)
SIZE = sizes(SCHEMA)
NEW = {
    "bias": np.linspace(-1, 1, 10, dtype=np.float32),
    "mask": np.array([False, True]),
    "weight": OLD["weight"] + NUMBERS.standard_t(3, (64, 100)).astype(np.float32) * np.float32(0.01),
    "wide": OLD["wide"] + NUMBERS.normal(0, 0.01, 300),
}
BASE = Base(NAME, OLD)


def read(blob, base=OLD, schema=SCHEMA):
    head = read_head(blob)
    return from_bytes(decode(blob, head, schema, base if head.base else None), schema)


def largest(difference):
    return float(np.abs(difference).max())


@pytest.mark.parametrize("kind", [FP16, INT8, SPARSE])
def test_kept_arrays_travel_exactly(kind):
    if kind == SPARSE:
        blob = encode_sparse(NEW, SCHEMA, base=BASE, budget=2000).blob
    else:
        blob = encode(NEW, SCHEMA, kind, base=None if kind == FP16 else BASE)

    for name in ("bias", "mask"):
        np.testing.assert_array_equal(read(blob)[name], NEW[name])


def test_halves_are_off_by_half_a_unit_of_eleven_bits_and_half_as_long():
    blob = encode(NEW, SCHEMA, FP16)

    assert len(blob) <= SIZE.fp16() < 0.52 * SIZE.raw
    np.testing.assert_allclose(read(blob)["weight"], NEW["weight"], rtol=2**-11, atol=2**-25)


def test_halves_hold_models_far_outside_their_own_range():
    model = {"w": np.full(100, 1e29, np.float32), "x": np.full(100, 1e-30, np.float32)}
    schema = schema_of(model)

    back = read(encode(model, schema, FP16), schema=schema)
    np.testing.assert_allclose(back["w"], model["w"], rtol=2**-10)
    np.testing.assert_allclose(back["x"], model["x"], rtol=2**-10)


def test_int8_is_off_by_half_a_step_of_each_block_and_a_quarter_as_long():
    blob = encode(NEW, SCHEMA, INT8, base=BASE)

    assert len(blob) <= SIZE.int8() < 0.27 * SIZE.raw
    for name in ("weight", "wide"):
        wanted, error = (NEW[name] - OLD[name]).reshape(-1), (read(blob)[name] - NEW[name]).reshape(-1)
        for start in range(0, wanted.size, 256):
            step = largest(wanted[start : start + 256]) / 127
            assert 0.2 * step < largest(error[start : start + 256]) <= 0.501 * step


def test_an_outlier_makes_its_block_coarse_and_no_other():
    old = {"w": np.zeros(1000, np.float32)}
    new = {"w": np.linspace(-1, 1, 1000, dtype=np.float32)}
    new["w"][300] = 1e6
    schema = schema_of(old)
    back = read(encode(new, schema, INT8, base=Base(NAME, old)), schema=schema, base=old)["w"]

    error = np.abs(back - new["w"])
    assert error[256:512].max() > 0.4
    assert max(error[:256].max(), error[512:].max()) < 0.005


def test_a_model_equal_to_its_base_comes_back_bit_by_bit():
    sparse = encode_sparse(OLD, SCHEMA, base=BASE, budget=2000)

    for blob in (encode(OLD, SCHEMA, INT8, base=BASE), sparse.blob):
        assert all(np.array_equal(read(blob)[name], OLD[name]) for name in OLD)
        assert len(blob) < 250
    assert sparse.least == np.inf
    assert not any(left.any() for left in sparse.left.values())


@pytest.mark.parametrize("budget", [SIZE.sparse_least(), 300, 1000, 2500])
def test_a_sparse_blob_keeps_its_budget_and_sends_the_largest_differences(budget):
    made = encode_sparse(NEW, SCHEMA, base=BASE, budget=budget)

    assert 0.6 * budget < len(made.blob) <= budget
    back = read(made.blob)
    sent = {name: back[name] != OLD[name] for name in ("weight", "wide")}
    smallest = min(np.abs(NEW[n] - OLD[n])[sent[n]].min() for n in sent if sent[n].any())
    left_out = max(np.abs(NEW[n] - OLD[n])[~sent[n]].max() for n in sent)
    assert smallest >= left_out


def test_what_was_sent_and_what_is_left_are_the_difference():
    made = encode_sparse(NEW, SCHEMA, base=BASE, budget=1000)
    back = read(made.blob)

    for name in ("weight", "wide"):
        np.testing.assert_allclose(back[name] + made.left[name], NEW[name], atol=1e-6)
        assert made.left[name].dtype == np.float32


def test_with_the_residual_every_change_arrives_in_the_end():
    """A peer that wants to go the same way again and again; a tenth of it fits each time."""
    drift = {name: NEW[name] - OLD[name] for name in ("weight", "wide")}
    model, blind, residual = OLD, OLD, None
    for _ in range(40):
        wanted = {**model, **{name: (model[name] + drift[name]).astype(OLD[name].dtype) for name in drift}}
        made = encode_sparse(wanted, SCHEMA, base=Base(NAME, model), budget=900, residual=residual)
        residual, model = made.left, read(made.blob, model)
        wanted = {**blind, **{name: (blind[name] + drift[name]).astype(OLD[name].dtype) for name in drift}}
        blind = read(encode_sparse(wanted, SCHEMA, base=Base(NAME, blind), budget=900).blob, blind)

    way = np.linalg.norm(40 * drift["weight"])
    error, without = (
        np.linalg.norm(end["weight"] - OLD["weight"] - 40 * drift["weight"]) / way for end in (model, blind)
    )
    assert error < 0.2 < 0.4 < without


def test_a_budget_below_the_least_is_refused():
    with pytest.raises(MisuseError, match="50 bytes"):
        encode_sparse(NEW, SCHEMA, base=BASE, budget=50)


def test_a_base_of_another_schema_is_refused():
    for other in ({"weight": OLD["weight"]}, {**OLD, "wide": np.zeros(299)}):
        with pytest.raises(SchemaError):
            encode(NEW, SCHEMA, INT8, base=Base(NAME, other))
        with pytest.raises(SchemaError):
            encode_sparse(NEW, SCHEMA, base=Base(NAME, other), budget=1000)


finite = st.floats(-(2.0**99), 2.0**99, width=32)
models = st.builds(
    lambda w, n, k: {"k": k, "n": n, "w": w},
    arrays.arrays(np.float32, st.just((7, 11)), elements=finite),
    arrays.arrays(np.float16, st.just(80), elements=st.floats(-6e4, 6e4, width=16)),
    arrays.arrays(np.int32, st.just(3), elements=st.integers(-(2**31), 2**31 - 1)),
)


@settings(max_examples=60, deadline=None)
@given(models, models, st.sampled_from([FP16, INT8, SPARSE]))
def test_whatever_the_numbers_a_model_comes_back_near_or_is_refused(model, base, kind):
    schema = schema_of(model)
    try:
        if kind == SPARSE:
            blob = encode_sparse(model, schema, base=Base(NAME, base), budget=200).blob
        else:
            blob = encode(model, schema, kind, base=None if kind == FP16 else Base(NAME, base))
        back = read(blob, base, schema)
    except NotFiniteError:  # a coarse step beyond what a dtype can hold
        return

    np.testing.assert_array_equal(back["k"], model["k"])
    if kind == FP16:
        bound = largest(model["w"]) * 2**-11
    elif kind == INT8:
        bound = largest(model["w"].astype(np.float64) - base["w"]) / 250
    else:
        bound = largest(model["w"].astype(np.float64) - base["w"]) * 1.01
    assert largest(back["w"].astype(np.float64) - model["w"]) <= bound + 1e-6 * largest(model["w"]) + 1e-37


# Reading what others wrote


def blob_of(kind, payload, base=NAME):
    return Head(kind, base if kind != FP16 else None, packed=False).write() + payload


def sparse_payload(gaps, values, scales=(1.0, 1.0)):
    fixed = NEW["bias"].tobytes() + NEW["mask"].tobytes() + np.array(scales, "<f4").tobytes()
    return fixed + struct.pack("<I", len(gaps)) + bytes(gaps) + bytes(v & 255 for v in values)


def test_a_sparse_blob_written_by_hand_is_read():
    back = read(blob_of(SPARSE, sparse_payload([2, 255, 0], [5, -127], scales=(0.5, 1.0))))

    flat = (back["weight"] - OLD["weight"]).reshape(-1)
    assert np.flatnonzero(flat).tolist() == [2, 258]
    np.testing.assert_allclose(flat[[2, 258]], [2.5, -63.5], rtol=1e-5)
    np.testing.assert_array_equal(back["wide"], OLD["wide"])


BAD_SPARSE = {
    "entry beyond the last number": ([255] * 26 + [70], [1]),
    "gaps that end in the air": ([3, 255], [1]),
    "gaps that lead nowhere": ([255, 255], []),
    "more values than places": ([3], [1, 1]),
    "a count of zero": ([3], [0]),
    "a count of -128": ([3], [-128]),
    "an entry where there is no scale": ([3], [1], (0.0, 1.0)),
    "a negative scale": ([3], [1], (-1.0, 1.0)),
    "a scale that is no number": ([3], [1], (float("nan"), 1.0)),
    "a subnormal scale": ([3], [1], (1e-40, 1.0)),
    "too many entries": ([0] * 2300, [1] * 2300),
}


@pytest.mark.parametrize("parts", BAD_SPARSE.values(), ids=BAD_SPARSE)
def test_a_sparse_blob_is_read_in_one_way_only(parts):
    with pytest.raises(SchemaError):
        read(blob_of(SPARSE, sparse_payload(*parts)))


def test_what_comes_out_infinite_or_too_large_is_refused():
    for scale in (3e38, 1e29):
        with pytest.raises(NotFiniteError, match="'weight'"):
            read(blob_of(SPARSE, sparse_payload([3], [127], scales=(scale, 1.0))))


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"", "0 bytes"),
        (bytes(35), "35 bytes"),
        (b"\2\2\0\0" + NAME, "this version"),
        (b"\1\5\0\0" + NAME, "this version"),
        (b"\1\2\2\0" + NAME, "this version"),
        (b"\1\2\0\1" + NAME, "this version"),
        (b"\1\4\1\0" + NAME, "nested"),
        (b"\1\1\0\0" + NAME, "base"),
        (b"\1\2\0\0" + bytes(32), "base"),
        (b"\1\3\0\0" + bytes(32), "base"),
    ],
)
def test_a_head_that_says_nothing_known_is_refused(blob, why):
    with pytest.raises(SchemaError, match=why):
        read_head(blob)


def packed(kind, data):
    return b"\1" + bytes([kind, 1, 0]) + NAME + data


@pytest.mark.parametrize("kind", [INT8, SPARSE])
def test_a_small_blob_never_grows_into_a_large_one(kind):
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(2**28))
    streamed = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(2**28))
    tracemalloc.start()
    try:
        for data in (bomb, streamed, bomb[:20], b"junk", b""):
            with pytest.raises(SchemaError):
                read(packed(kind, data))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_frame_that_lies_about_its_length_or_is_followed_by_more_is_refused():
    payload = encode(NEW, SCHEMA, INT8, base=BASE)[HEADER_BYTES:]
    length = SIZE.int8() - HEADER_BYTES
    short = zstandard.ZstdCompressor().compress(bytes(length - 1))
    for data in (short, payload + b"\0", zstandard.ZstdCompressor().compress(bytes(length)) + b"more"):
        with pytest.raises(SchemaError):
            read(packed(INT8, data))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([INT8, SPARSE]), st.data())
def test_a_blob_that_was_tampered_with_is_read_or_refused_and_nothing_else(kind, data):
    blob = encode(NEW, SCHEMA, INT8, base=BASE) if kind == INT8 else encode_sparse(
        NEW, SCHEMA, base=BASE, budget=1000
    ).blob  # fmt: skip
    changed = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(4, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(HEADER_BYTES, len(blob)))
    try:
        back = read(bytes(changed[:cut]))
    except LearningError:
        return
    assert all(np.isfinite(back[name]).all() for name in ("weight", "wide"))


def test_a_nested_blob_is_two_sparse_ones_whose_heads_agree():
    root = encode_sparse(NEW, SCHEMA, base=BASE, budget=800).blob
    own = encode_sparse(OLD, SCHEMA, base=Base(ModelHash(b"r" * 32), NEW), budget=500).blob
    blob = nest(root, own)

    assert read_head(blob) == Head(NESTED, NAME, packed=False)
    assert [bytes(part) for part in unnest(blob)] == [root, own]
    dense = encode(NEW, SCHEMA, INT8, base=BASE)
    for bad in (nest(dense, own), nest(root, dense), blob[:40], blob[: HEADER_BYTES + 4 + len(root)]):
        with pytest.raises(SchemaError):
            unnest(bad)
    with pytest.raises(SchemaError, match="two sparse"):
        unnest(blob[:4] + bytes(31) + b"\1" + blob[HEADER_BYTES:])
