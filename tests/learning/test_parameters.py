import numpy as np
import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import NotFiniteError, SchemaError
from swarmdem.learning import parameters as p
from swarmdem.wire.charter import TensorSpec

MODEL = {
    "weight": np.array([[1.0, -2.0], [0.5, 0.0]], np.float32),
    "flag": np.array([True, False, True]),
    "steps": np.array(7, np.int64),
}
SCHEMA = (
    TensorSpec("flag", (3,), "bool"),
    TensorSpec("steps", (), "int64"),
    TensorSpec("weight", (2, 2), "float32"),
)


def test_the_schema_is_sorted_by_the_bytes_of_the_names():
    named = {name: np.zeros(1, np.float32) for name in ("b", "ä", "Z", "a.10", "a.9")}

    assert [spec.name for spec in p.schema_of(named)] == ["Z", "a.10", "a.9", "b", "ä"]
    assert p.schema_of(MODEL) == SCHEMA


def test_the_bytes_are_the_arrays_in_order_little_endian():
    data = p.to_bytes(MODEL, SCHEMA)

    assert data.hex() == "010001" + "0700000000000000" + "0000803f" + "000000c0" + "0000003f" + "00000000"
    assert p.model_bytes(SCHEMA) == 27 == len(data)


def test_big_endian_and_fortran_arrays_travel_alike():
    turned = {**MODEL, "weight": np.asfortranarray(MODEL["weight"]).astype(">f4")}

    assert p.to_bytes(turned, SCHEMA) == p.to_bytes(MODEL, SCHEMA)


def test_reading_gives_back_what_was_written_even_at_odd_offsets():
    back = p.from_bytes(p.to_bytes(MODEL, SCHEMA), SCHEMA)

    assert list(back) == ["flag", "steps", "weight"]
    for name, array in MODEL.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].shape == array.shape
        assert not back[name].flags.writeable
        assert back[name].flags.aligned


def test_an_aligned_model_is_read_without_a_copy():
    schema = (TensorSpec("w", (1000,), "float32"),)
    data = bytes(4000)

    assert p.from_bytes(data, schema)["w"].base is not None


@given(st.binary(max_size=60))
def test_reading_foreign_bytes_raises_nothing_but_learning_errors(data):
    try:
        p.from_bytes(data, SCHEMA)
    except (SchemaError, NotFiniteError):
        return
    assert len(data) == 27


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e30, -2e30])
def test_values_that_must_not_enter_a_model_are_refused_on_both_ways(value):
    schema = (TensorSpec("w", (3,), "float32"),)
    model = {"w": np.array([0, value, 1], np.float32)}

    with pytest.raises(NotFiniteError, match="'w'"):
        p.to_bytes(model, schema)
    with pytest.raises(NotFiniteError, match="'w'"):
        p.from_bytes(model["w"].tobytes(), schema)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weight": np.zeros((4,), np.float32)}, r"'weight' is float32\[4\], not float32\[2, 2\]"),
        ({"weight": np.zeros((2, 2))}, "'weight' is float64"),
        ({"more": np.zeros(1, np.float32)}, "more"),
    ],
)
def test_a_model_of_another_schema_is_refused_by_the_name_of_the_array(change, named):
    with pytest.raises(SchemaError, match=named):
        p.to_bytes({**MODEL, **change}, SCHEMA)


def test_a_renamed_array_is_refused():
    renamed = {"flags" if name == "flag" else name: array for name, array in MODEL.items()}

    with pytest.raises(SchemaError, match="no array 'flag'"):
        p.check_schema(renamed, SCHEMA)


def test_bytes_of_another_length_and_odd_booleans_are_refused():
    with pytest.raises(SchemaError, match="26 bytes, the schema has 27"):
        p.from_bytes(bytes(26), SCHEMA)
    with pytest.raises(SchemaError, match="neither 0 nor 1"):
        p.from_bytes(b"\x02" + bytes(26), SCHEMA)


def test_a_dtype_that_cannot_travel_is_refused():
    with pytest.raises(SchemaError, match="complex128"):
        p.schema_of({"w": np.zeros(2, np.complex128)})


def test_the_vectors_are_the_floats_in_schema_order_and_no_counters():
    model = {"b": np.array([3.0], np.float16), "a": np.array([[1.0], [2.0]]), "n": np.array(9, np.int64)}

    vectors = p.vectors(model)

    assert [vector.tolist() for vector in vectors] == [[1.0, 2.0], [3.0]]
    assert {vector.dtype.name for vector in vectors} == {"float32"}


def test_a_blank_model_holds_what_is_written_to_its_arrays():
    data, arrays = p.blank(SCHEMA)
    for name, array in MODEL.items():
        arrays[name][...] = array

    assert data.tobytes() == p.to_bytes(MODEL, SCHEMA)
    assert data.readonly


def test_safetensors_files_hold_the_same_arrays():
    back = p.from_safetensors(p.to_safetensors(MODEL, {"round": "3"}))

    assert sorted(back) == ["flag", "steps", "weight"]
    for name, array in MODEL.items():
        np.testing.assert_array_equal(back[name], array)


def test_a_damaged_safetensors_file_is_refused():
    with pytest.raises(SchemaError, match="not a safetensors file"):
        p.from_safetensors(p.to_safetensors(MODEL)[:-3])
