"""What a charter's codec means: the same for every peer, from the schema alone."""

import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import ConfigError
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.encodings import Encoding, is_kept, sizes

SCHEMA = (
    TensorSpec("bias", (63,), "float32"),
    TensorSpec("norm.num_batches_tracked", (), "int64"),
    TensorSpec("norm.running_var", (100,), "float32"),
    TensorSpec("weight", (100, 100), "float32"),
)


def encoding(codec, **settings):
    return Charter(swarm="s", schema=SCHEMA, codec=codec, **settings).encoding


def test_small_arrays_integers_and_running_statistics_are_kept():
    assert [is_kept(spec) for spec in SCHEMA] == [True, True, True, False]
    assert sizes(SCHEMA).kept == 63 * 4 + 8 + 100 * 4
    assert sizes(SCHEMA).raw == 40_660
    assert sizes(SCHEMA).numbers == 10_000


@pytest.mark.parametrize(
    ("codec", "meant"),
    [
        ("raw", Encoding("raw")),
        ("fp16", Encoding("fp16")),
        ("int8", Encoding("int8")),
        ("topk", Encoding("topk", 40_660 // 16)),
        ("40660", Encoding("raw")),
        ("40659", Encoding("fp16")),
        ("20700", Encoding("fp16")),
        ("20699", Encoding("int8")),
        ("10856", Encoding("int8")),
        ("10855", Encoding("topk", 10_855)),
        ("1508", Encoding("topk", 1508)),
    ],
)
def test_a_budget_takes_the_most_exact_codec_that_keeps_it(codec, meant):
    assert encoding(codec) == meant


@pytest.mark.parametrize("codec", ["", "zip", "RAW", "0", "-1", "1e5", "010", "٣٣٣٣", "9" * 13])
def test_what_names_no_codec_is_refused_by_name(codec):
    with pytest.raises(ConfigError, match=r"charter\.codec: .* raw, fp16, int8, topk or bytes per model"):
        Charter(swarm="s", codec=codec)


def test_a_budget_too_small_for_the_schema_is_refused_with_the_least():
    with pytest.raises(ConfigError, match=r"charter\.codec: '1507' is not possible: at least 1508 bytes"):
        encoding("1507")


@pytest.mark.parametrize("settings", [{"pull_to": "all"}, {"update": "gossip", "levels": 0}])
@pytest.mark.parametrize("codec", ["topk", "2000"])
def test_sparse_models_need_a_tree_with_plain_results(codec, settings):
    with pytest.raises(ConfigError, match="topk needs a tree"):
        encoding(codec, **settings)


def test_only_an_encoded_blob_may_be_shorter_than_a_model():
    raw, int8 = (Charter(swarm="s", schema=SCHEMA, codec=codec) for codec in ("raw", "int8"))

    assert [raw.fits(size) for size in (0, 1, 40_659, 40_660, 40_661)] == [False, False, False, True, False]
    assert [int8.fits(size) for size in (0, 1, 40_659, 40_660, 40_661)] == [False, True, True, True, False]


@given(st.integers(1508, 50_000))
def test_no_budget_is_ever_exceeded(budget):
    meant, size = encoding(str(budget)), sizes(SCHEMA)

    most = {"raw": size.raw, "fp16": size.fp16(), "int8": size.int8(), "topk": meant.budget}
    assert most[meant.codec] <= budget
