"""The charter: one hash for one agreement, TOML in and out, and errors that name the setting."""

import tomllib

import msgpack
import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import ConfigError, MalformedFrameError
from swarmdem.wire import charter as charters
from swarmdem.wire.charter import Charter, TensorSpec

FULL = Charter(
    swarm="plant-7",
    schema=(TensorSpec("b", (), "int64"), TensorSpec("w", (3, 2), "float32")),
    strategy="fedavg",
    levels=0,
    mixing=1.0,
    inputs=(("deviation", b"\0\0\x80?"), ("mean", b"\0\0\0?")),
    genesis=bytes(range(32)),
)

TOML = """
swarm = "plant-7"
strategy = "fedavg"
levels = 0
mixing = 1
genesis = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

[inputs]
mean = "AAAAPw=="
deviation = "AACAPw=="

[[schema]]
name = "b"
shape = []
dtype = "int64"

[[schema]]
name = "w"
shape = [3, 2]
dtype = "float32"
"""


def test_toml_gives_the_charter():
    assert charters.from_mapping(tomllib.loads(TOML)) == FULL


@pytest.mark.parametrize("charter", [Charter(swarm="x"), FULL], ids=["defaults", "full"])
def test_mapping_and_body_give_the_charter_back(charter):
    assert charters.from_mapping(charters.to_mapping(charter)) == charter
    assert charters.decode(charters.encode(charter)) == charter


def test_mapping_holds_only_what_toml_can_say():
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, str | int | float)

    assert plain(charters.to_mapping(FULL))


def test_how_values_are_written_does_not_change_the_hash():
    written = Charter(
        swarm="plant-7",
        schema=[TensorSpec("b", [], "int64"), TensorSpec("w", [3, 2], "float32")],
        strategy="fedavg",
        levels=0,
        mixing=1,
        inputs=[("mean", b"\0\0\0?"), ("deviation", b"\0\0\x80?")],
        genesis=bytes(range(32)),
    )

    assert written == FULL
    assert charters.charter_hash(written) == charters.charter_hash(FULL)


OTHER_VALUES = {
    "swarm": "plant-8", "schema": [], "strategy": "demlearn", "weights": "samples", "levels": 3,
    "metric": "cosine_delta", "mixing": 0.5, "pull": 0.01, "start": "group",
    "digest": 512, "patience": 9.0, "min_rate": 1, "chunk": 131_072, "blob_max": 2**20, "peers_max": 5,
    "inputs": {}, "founders": 3, "gather": 1.0, "genesis": "",
}  # fmt: skip
ONE_VALUE = {
    "cut",
    "linkage",
    "hysteresis",
    "schedules",
    "tau",
    "codec",
    "agreement",
    "admission",
    "version",
    "features",
    "ext",
}


@pytest.mark.parametrize(("name", "value"), OTHER_VALUES.items())
def test_every_setting_is_part_of_the_hash(name, value):
    changed = charters.from_mapping({**charters.to_mapping(FULL), name: value})

    assert charters.charter_hash(changed) != charters.charter_hash(FULL)
    assert charters.differences(FULL, changed) == (name,)


def test_no_setting_is_forgotten_above():
    assert set(OTHER_VALUES) | ONE_VALUE == set(Charter.__struct_fields__)


MISTAKES = {
    "charter.levls: unknown setting": {"levls": 3},
    "charter.levels: Expected `int`, got `str`": {"levels": "3"},
    "charter.levels: 17 is not possible: 0 to 16": {"levels": 17},
    "charter.metric: Invalid enum value 'l1'": {"metric": "l1"},
    "charter.metric: 'cosine' is not possible: needs the reference's own sketch": {"metric": "cosine"},
    "charter.mixing: nan is not possible": {"mixing": float("nan")},
    "charter.pull: inf is not possible": {"pull": float("inf")},
    "charter.patience: 0.0 is not possible": {"patience": 0},
    "charter.chunk: 100000 is not possible: a multiple of 65536": {"chunk": 100_000},
    "charter.tau: 2 is not possible": {"tau": 2},
    "charter.hysteresis: (7,) is not possible": {"hysteresis": [7]},
    "charter.schema[0]: has nam, not name, shape, dtype": {"schema": [{"nam": "w"}]},
    "charter.schema[0]: Expected `object`": {"schema": ["w"]},
    "charter.schema.w.shape[1]: Expected `int` >= 0": {
        "schema": [{"name": "w", "shape": [1, -1], "dtype": "int64"}]
    },
    "charter.schema.w.dtype: Invalid enum value 'f4'": {
        "schema": [{"name": "w", "shape": [], "dtype": "f4"}]
    },
    "sorted by name": {"schema": [{"name": name, "shape": [], "dtype": "int64"} for name in "wb"]},
    "names must differ": {"schema": [{"name": name, "shape": [], "dtype": "int64"} for name in "ww"]},
    "charter.inputs.mean: Invalid base64": {"inputs": {"mean": "?"}},
    "charter.genesis: not hex digits": {"genesis": "zz"},
    "charter.genesis: b'\\x00' is not possible: empty or 32 bytes": {"genesis": "00"},
    "charter.swarm: '' is not possible": {"swarm": ""},
    "charter.swarm: 'a\\n' is not possible": {"swarm": "a\n"},
    "charter.version: 2 is not possible": {"version": 2},
    "charter.ext: ": {"ext": [[1, "00"]]},
    "charter: 300": {"inputs": {"mean": "AAAA" * 100_000}},
}


@pytest.mark.parametrize(("message", "settings"), MISTAKES.items())
def test_a_mistake_is_named_with_its_path(message, settings):
    with pytest.raises(ConfigError) as caught:
        charters.from_mapping({"swarm": "plant-7", **settings})

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_charter_needs_a_name():
    with pytest.raises(ConfigError, match=r"charter\.swarm: missing"):
        charters.from_mapping({})


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(body):
    with pytest.raises(MalformedFrameError):
        charters.decode(body)


def test_a_body_has_exactly_one_encoding():
    values = msgpack.unpackb(charters.encode(FULL))
    assert charters.decode(msgpack.packb(values)) == FULL

    swapped = [*values]
    position = Charter.__struct_fields__.index("inputs")
    swapped[position] = values[position][::-1]
    for bad in (swapped, values[:-1], [*values, 0]):
        with pytest.raises(MalformedFrameError):
            charters.decode(msgpack.packb(bad))


def test_scopes_of_charters_and_swarms_are_told_apart():
    assert (
        charters.swarm_hash("plant-7").hex()
        == "736ad9205bfd632735f1d4786d6c3d3fa5bcfc06b84823589989591bd026bbfa"
    )
    assert charters.swarm_hash("plant-7") != charters.swarm_hash("plant-8")
