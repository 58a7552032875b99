"""The charter: one hash for one agreement, TOML in and out, and errors that name the setting."""

import tomllib

import msgpack
import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import ConfigError, MalformedFrameError
from swarmdem.wire import charter as charters, charter_toml
from swarmdem.wire.cells import SWARM, CellSettings
from swarmdem.wire.charter import Charter, TensorSpec

FULL = Charter(
    swarm="plant-7",
    schema=(TensorSpec("b", (), "int64"), TensorSpec("w", (3, 2), "float32")),
    strategy="fedavg",
    levels=0,
    mixing=1.0,
    inputs=(("deviation", b"\0\0\x80?"), ("mean", b"\0\0\0?")),
    genesis=bytes(range(32)),
    hysteresis=(0, 51),
    schedules=(("gamma", (1.0, 0.25)), ("pull", (0.0, 1.0))),
    private=("head.*",),
    options=(("eta", 0.5),),
)

TOML = """
swarm = "plant-7"
strategy = "fedavg"
levels = 0
mixing = 1
genesis = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
hysteresis = [0, 51]
private = ["head.*"]

[schedules]
pull = [0, 1]
gamma = [1, 0.25]

[options]
eta = 0.5

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
    assert charter_toml.from_mapping(tomllib.loads(TOML)) == FULL


@pytest.mark.parametrize("charter", [Charter(swarm="x"), FULL], ids=["defaults", "full"])
def test_mapping_and_body_give_the_charter_back(charter):
    assert charter_toml.from_mapping(charter_toml.to_mapping(charter)) == charter
    assert charters.decode(charters.encode(charter)) == charter


def test_cells_are_a_key_of_their_own():
    charter = Charter(swarm="s", ext=CellSettings(SWARM, 64).ext())
    mapping = charter_toml.to_mapping(charter)

    assert (mapping["cells"], mapping["ext"]) == (64, [])
    assert charter_toml.from_mapping(mapping) == charter
    assert charter_toml.from_mapping({"swarm": "s", "cells": 0}) == Charter(swarm="s")
    assert "cells" not in charter_toml.to_mapping(Charter(swarm="s"))


@pytest.mark.parametrize("limit", [3, 257, -1, "64"])
def test_a_limit_of_cells_that_is_not_possible_is_named(limit):
    with pytest.raises(ConfigError, match=r"charter\.cells"):
        charter_toml.from_mapping({"swarm": "s", "cells": limit})


def test_a_swarm_in_cells_may_have_as_many_founders_as_cells_hold():
    ext = CellSettings(SWARM, 64).ext()

    assert Charter(swarm="s", founders=1024 * 64, ext=ext).founders == 65536
    with pytest.raises(ConfigError, match=r"charter\.founders"):
        Charter(swarm="s", founders=1024 * 64 + 1, ext=ext)
    with pytest.raises(ConfigError, match=r"charter\.founders"):
        Charter(swarm="s", founders=1025)


def test_mapping_holds_only_what_toml_can_say():
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, str | int | float)

    assert plain(charter_toml.to_mapping(FULL))


def test_how_values_are_written_does_not_change_the_hash():
    written = Charter(
        swarm="plant-7",
        schema=[TensorSpec("b", [], "int64"), TensorSpec("w", [3, 2], "float32")],
        strategy="fedavg",
        levels=0,
        mixing=1,
        inputs=[("mean", b"\0\0\0?"), ("deviation", b"\0\0\x80?")],
        genesis=bytes(range(32)),
        hysteresis=[0, 51],
        schedules=[("pull", [0, 1]), ("gamma", [1, 0.25])],
        private=["head.*"],
        options=[("eta", 0.5)],
    )

    assert written == FULL
    assert charters.charter_hash(written) == charters.charter_hash(FULL)


OTHER_VALUES = {
    "swarm": "plant-8", "schema": [], "strategy": "demlearn", "weights": "samples", "levels": 3,
    "cut": "maxclust", "metric": "cosine_delta", "linkage": "ward", "mixing": 0.5,
    "pull": 0.01, "start": "group", "hysteresis": [0, 77], "schedules": {"own": [2.0]}, "tau": 2,
    "digest": 512, "patience": 9.0, "min_rate": 1, "chunk": 131_072, "blob_max": 2**20, "peers_max": 5,
    "inputs": {}, "founders": 3, "gather": 1.0, "genesis": "", "basis": "updates", "newcomers": "top",
    "outliers": 3, "drift": 3, "pull_to": "all", "update": "gossip", "neighbours": 4, "private": ["norm.*"],
    "options": {"eta": 0.1},
}  # fmt: skip
NOT_ALONE = {"cuts": [0.5], "min_size": 2, "grouping": "complementary"}
"""Settings that need another cut than the default."""
ONE_VALUE = {"codec", "agreement", "admission", "version", "features", "ext"}


@pytest.mark.parametrize(("name", "value"), OTHER_VALUES.items())
def test_every_setting_is_part_of_the_hash(name, value):
    changed = charter_toml.from_mapping({**charter_toml.to_mapping(FULL), name: value})

    assert charters.charter_hash(changed) != charters.charter_hash(FULL)
    assert charters.differences(FULL, changed) == (name,)


@pytest.mark.parametrize(("name", "value"), NOT_ALONE.items())
def test_settings_of_flat_cuts_are_part_of_the_hash(name, value):
    flat = {"swarm": "x", "levels": 1, "cut": "threshold" if name == "cuts" else "maxclust"}
    one = charter_toml.from_mapping({**flat, "cuts": [0.25 if name == "cuts" else 4]})

    other = charter_toml.from_mapping({**charter_toml.to_mapping(one), name: value})

    assert charters.charter_hash(one) != charters.charter_hash(other)
    assert charters.differences(one, other) == (name,)


def test_no_setting_is_forgotten_above():
    assert set(OTHER_VALUES) | set(NOT_ALONE) | ONE_VALUE == set(Charter.__struct_fields__)


MISTAKES = {
    "charter.levls: unknown setting": {"levls": 3},
    "charter.levels: Expected `int`, got `str`": {"levels": "3"},
    "charter.levels: 17 is not possible: 0 to 16": {"levels": 17},
    "charter.metric: 'l1' is not one of euclidean, cosine, cosine_delta": {"metric": "l1"},
    "charter.metric: 'cosine' is not possible: cosine needs the basis parameters": {
        "metric": "cosine",
        "basis": "updates",
    },
    "charter.digest: 2047 is not possible: at most 2046 with the metric cosine": {
        "metric": "cosine",
        "digest": 2047,
    },
    "charter.mixing: nan is not possible": {"mixing": float("nan")},
    "charter.pull: inf is not possible": {"pull": float("inf")},
    "charter.patience: 0.0 is not possible": {"patience": 0},
    "charter.chunk: 100000 is not possible: a multiple of 65536": {"chunk": 100_000},
    "charter.tau: 0 is not possible: 1 to 255": {"tau": 0},
    "charter.tau: 2 is not possible: 1 where the schedules": {"tau": 2, "schedules": {"tau": [1]}},
    "charter.hysteresis: (78,) is not possible: 0 to 77": {"hysteresis": [78]},
    "charter.schedules: (('alpha', (1.0,)),) is not possible: 'alpha' is not one of own": {
        "schedules": {"alpha": [1]}
    },
    "charter.schedules: (('mixing', (1.5,)),) is not possible: mixing: from 0.0 to 1.0": {
        "schedules": {"mixing": [1.5]}
    },
    "charter.schedules: (('tau', (1.5,)),) is not possible: tau: whole numbers": {
        "schedules": {"tau": [1.5]}
    },
    "charter.schedules: (('own', ()),) is not possible: own: 1 to 1024 values": {"schedules": {"own": []}},
    "charter.schedules.gamma[1]: Expected `float`, got `str`": {"schedules": {"gamma": [1, "2"]}},
    "charter.cuts: () is not possible: the cut maxclust takes one for each level": {"cut": "maxclust"},
    "charter.cuts: (0.5,) is not possible: none under the binary cut": {"cuts": [0.5]},
    "charter.cuts: (2.0, 4.0) is not possible: falling numbers of groups": {
        "cut": "maxclust",
        "levels": 2,
        "cuts": [2, 4],
    },
    "charter.cuts: (2.5,) is not possible: whole numbers": {"cut": "maxclust", "levels": 1, "cuts": [2.5]},
    "charter.cuts: (0.5, 0.2) is not possible: rising shares": {
        "cut": "threshold",
        "levels": 2,
        "cuts": [0.5, 0.2],
    },
    "charter.min_size: 2 is not possible: 1 under the binary cut": {"min_size": 2},
    "charter.grouping: 'complementary' is not possible: complementary needs": {"grouping": "complementary"},
    "charter.outliers: 4 is not possible: 0 to 3": {"outliers": 4},
    "charter.drift: 16 is not possible: 0 to 15": {"drift": 16},
    "charter.update: 'gossip' is not possible: gossip needs levels = 0": {"update": "gossip"},
    "charter.neighbours: 3 is not possible: an even number": {"neighbours": 3},
    "charter.private: ('',) is not possible: at most 64 patterns": {"private": [""]},
    "charter.options: (('eta', nan),) is not possible: finite numbers": {"options": {"eta": float("nan")}},
    "charter.options.eta: Expected `float`, got `str`": {"options": {"eta": "much"}},
    "charter.schema[0]: has nam, not name, shape, dtype": {"schema": [{"nam": "w"}]},
    "charter.schema[0]: Expected `object`": {"schema": ["w"]},
    "charter.schema.w.shape[1]: Expected `int` >= 0": {
        "schema": [{"name": "w", "shape": [1, -1], "dtype": "int64"}]
    },
    "charter.schema.w.dtype: 'f4' is not one of float32": {
        "schema": [{"name": "w", "shape": [], "dtype": "f4"}]
    },
    "sorted by name": {"schema": [{"name": name, "shape": [], "dtype": "int64"} for name in "wb"]},
    "names must differ": {"schema": [{"name": name, "shape": [], "dtype": "int64"} for name in "ww"]},
    "charter.inputs.mean: Invalid base64": {"inputs": {"mean": "?"}},
    "charter.genesis: not hex digits": {"genesis": "zz"},
    "charter.genesis: b'\\x00' is not possible: empty or 32 bytes": {"genesis": "00"},
    "charter.swarm: '' is not possible": {"swarm": ""},
    "charter.swarm: 'a\\n' is not possible": {"swarm": "a\n"},
    "charter.swarm: 'a b/#' is not possible": {"swarm": "a b/#"},
    "charter.swarm: ' a' is not possible": {"swarm": " a"},
    "charter.version: 2 is not possible": {"version": 2},
    "charter.ext: ": {"ext": [[1, "00"]]},
    "charter: 300": {"inputs": {"mean": "AAAA" * 100_000}},
}


@pytest.mark.parametrize(("message", "settings"), MISTAKES.items())
def test_a_mistake_is_named_with_its_path(message, settings):
    with pytest.raises(ConfigError) as caught:
        charter_toml.from_mapping({"swarm": "plant-7", **settings})

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("setting", ["cuts", "schedules"])
def test_no_number_of_a_strangers_charter_does_more_than_being_refused(setting, value):
    flat = Charter(swarm="x", levels=1, cut="maxclust", cuts=(2.0,))
    values = msgpack.unpackb(charters.encode(flat))
    values[Charter.__struct_fields__.index(setting)] = [value] if setting == "cuts" else [["tau", [value]]]

    with pytest.raises(MalformedFrameError, match=setting):
        charters.decode(msgpack.packb(values))


def test_a_charter_needs_a_name():
    with pytest.raises(ConfigError, match=r"charter\.swarm: missing"):
        charter_toml.from_mapping({})


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


def test_a_schedule_keeps_its_last_value_and_stands_before_the_setting():
    charter = Charter(
        swarm="x", mixing=0.5, hysteresis=(3, 7), schedules=(("mixing", (0.25, 0.75)), ("tau", (1.0, 4.0)))
    )

    assert [charter.scheduled("mixing", time) for time in (0, 1, 9)] == [0.25, 0.75, 0.75]
    assert [charter.scheduled("tau", time) for time in (0, 9)] == [1.0, 4.0]
    assert [charter.hysteresis_at(time) for time in (0, 1, 9)] == [3, 7, 7]
    assert charter.scheduled("gamma", 5) == 1.0


def test_without_tables_the_settings_themselves_hold():
    charter = Charter(swarm="x", mixing=0.5, tau=4)

    assert (charter.scheduled("mixing", 3), charter.scheduled("tau", 3)) == (0.5, 4.0)
    assert (charter.scheduled("own", 3), charter.hysteresis_at(3)) == (1.0, 0)


def test_tables_may_be_given_as_mappings():
    pairs = Charter(swarm="a", options=(("b", 1.0), ("a", 2.0)), schedules=(("own", (1.0, 0.5)),))
    assert Charter(swarm="a", options={"a": 2, "b": 1}, schedules={"own": [1, 0.5]}) == pairs
