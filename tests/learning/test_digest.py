import math

import numpy as np
import pytest

from swarmdem.errors import MisuseError, NotFiniteError, SchemaError
from swarmdem.learning import digest

MASK = 2**64 - 1


def splitmix64(i: int, seed: int) -> int:
    x = ((i + 1) * 0x9E3779B97F4A7C15 + seed) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def model(values):
    return {"w": np.asarray(values, np.float32)}


def zeros(count):
    return model(np.zeros(count))


def distance(a, b):
    (scale_a, bytes_a), (scale_b, bytes_b) = a, b
    return float(
        np.linalg.norm(scale_a * np.frombuffer(bytes_a, np.int8) - scale_b * np.frombuffer(bytes_b, np.int8))
    )


def test_splitmix64_is_the_published_generator():
    """The first outputs for seed 1234567, as printed with the reference implementation."""
    assert splitmix64(0, 1234567) == 6457827717110365317
    assert splitmix64(1, 1234567) == 3203168211198807973


def test_the_sketch_is_the_formula_in_plain_integers():
    """Bucket (hash >> 32) x m >> 32, sign from the lowest bit, half-even steps of max / 127."""
    values = np.random.default_rng(5).normal(size=70_000).astype(np.float32)
    sums = [0.0] * 64
    for i, value in enumerate(values.tolist()):
        hashed = splitmix64(i, 42)
        sums[((hashed >> 32) * 64) >> 32] += -value if hashed & 1 else value
    scale = float(np.float32(max(map(abs, sums)) / 127))

    got = digest.sketch(model(values), zeros(70_000), seed=42, size=64)

    assert got[0] == pytest.approx(scale, rel=1e-7)
    assert np.frombuffer(got[1], np.int8).tolist() == [round(s / scale) for s in sums]


def test_a_golden_sketch():
    got = digest.sketch(model(np.arange(40) / 8), zeros(40), seed=7, size=16)

    assert got == (0.05511811003088951, bytes.fromhex("4946959e4bb78117d581d3002b3d9e24"))


def test_the_cache_of_hashes_does_not_change_the_sketch(monkeypatch):
    values = np.random.default_rng(1).normal(size=1000)
    cached = digest.sketch(model(values), zeros(1000), seed=3, size=32)

    monkeypatch.setattr(digest, "CACHED_MAX", 10)

    assert digest.sketch(model(values), zeros(1000), seed=3, size=32) == cached


def test_equal_models_have_the_zero_sketch():
    same = model(np.arange(100))

    assert digest.sketch(same, same, seed=1, size=16) == (0.0, bytes(16))


def test_the_models_themselves_stay_as_they_are():
    trained, reference = model([1, 2, 3]), model([1, 1, 1])
    digest.sketch(trained, reference, seed=1, size=16)

    assert (trained["w"].tolist(), reference["w"].tolist()) == ([1, 2, 3], [1, 1, 1])


def test_a_subnormal_scale_becomes_zero():
    assert digest.sketch(model([1e-40]), zeros(1), seed=1, size=16) == (0.0, bytes(16))


def test_the_largest_bucket_is_127_and_minus_128_never_occurs():
    values = np.random.default_rng(2).normal(size=5000)

    scale, buckets = digest.sketch(model(-values), zeros(5000), seed=9, size=1024)

    assert np.abs(np.frombuffer(buckets, np.int8).astype(int)).max() == 127
    assert scale == float(np.float32(scale)) > 0


def test_distances_of_sketches_estimate_distances_of_models():
    """At 1024 buckets the relative deviation of a distance is 1 / sqrt(2 x 1024) = 2.2 %."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=200_000)
    models = [model(base + rng.normal(size=200_000) * 0.05) for _ in range(8)]
    sketches = [digest.sketch(m, model(base), seed=11, size=1024) for m in models]

    errors = [
        distance(sketches[i], sketches[j]) / float(np.linalg.norm(models[i]["w"] - models[j]["w"])) - 1
        for i in range(8)
        for j in range(i)
    ]

    assert math.sqrt(sum(e * e for e in errors) / len(errors)) < 0.04
    assert max(map(abs, errors)) < 0.1


def test_counters_do_not_enter_the_sketch():
    one = {"n": np.array(1, np.int64), **model([1, 2, 3])}
    two = {"n": np.array(9, np.int64), **model([1, 2, 3])}

    assert digest.sketch(one, two, seed=0, size=16) == (0.0, bytes(16))


def test_models_without_floats_have_the_zero_sketch():
    counters = {"n": np.array(1, np.int64)}

    assert digest.sketch(counters, counters, seed=0, size=16) == (0.0, bytes(16))


def test_unequal_models_infinite_differences_and_absurd_sizes_are_refused():
    with pytest.raises(SchemaError, match="2 parameters, reference of 3"):
        digest.sketch(zeros(2), zeros(3), seed=0, size=16)
    with pytest.raises(NotFiniteError):
        digest.sketch(model([np.inf]), zeros(1), seed=0, size=16)
    with pytest.raises(MisuseError, match="16 to 8192"):
        digest.sketch(zeros(2), zeros(2), seed=0, size=15)


def test_the_sketch_of_a_model_is_the_formula_in_int16():
    values = np.random.default_rng(6).normal(size=500).astype(np.float32)
    sums = [0.0] * 16
    for i, value in enumerate(values.tolist()):
        hashed = splitmix64(i, 7)
        sums[((hashed >> 32) * 16) >> 32] += -value if hashed & 1 else value
    scale = float(np.float32(max(map(abs, sums)) / 32767))

    got = digest.sketch16(model(values), seed=7, size=16)

    assert got[0] == scale
    assert np.frombuffer(got[1], "<i2").tolist() == [round(total / scale) for total in sums]


def test_the_sketch_of_a_model_and_that_of_a_difference_add_up():
    rng = np.random.default_rng(8)
    reference, trained = rng.normal(size=2000), rng.normal(size=2000)
    step, counts = digest.sketch16(model(reference), seed=3, size=32)
    fine, difference = digest.sketch(model(trained), model(reference), seed=3, size=32)
    whole, expected = digest.sketch16(model(trained), seed=3, size=32)

    total = step * np.frombuffer(counts, "<i2") + fine * np.frombuffer(difference, np.int8)

    np.testing.assert_allclose(total, whole * np.frombuffer(expected, "<i2"), atol=fine)


def test_a_model_of_zeros_has_an_empty_sketch_of_int16():
    assert digest.sketch16(zeros(40), seed=0, size=16) == (0.0, bytes(32))


def test_a_sketch_of_a_model_is_refused_like_that_of_a_difference():
    with pytest.raises(MisuseError, match="15 buckets"):
        digest.sketch16(zeros(4), seed=0, size=15)
    with pytest.raises(NotFiniteError):
        digest.sketch16(model([np.inf]), seed=0, size=16)


@pytest.mark.parametrize(
    ("factor", "off", "same"),
    [
        (1, 0, True),
        (1, 1, True),
        (1, -1, True),
        (1, 2, False),
        (1 + 1e-6, 0, True),
        (1.001, 0, False),
        (1e9, 0, False),
    ],
)
def test_a_sketch_of_a_model_itself_is_known_up_to_one_step_a_bucket(factor, off, same):
    values = model(np.random.default_rng(3).normal(size=400))
    step, counts = digest.sketch16(values, seed=7, size=16)
    moved = np.frombuffer(counts, "<i2").copy()
    moved[5] += off

    assert digest.is_sketch16((step * factor, moved.tobytes()), values, seed=7) is same


def test_a_model_of_zeros_has_no_sketch_but_zeros():
    assert digest.is_sketch16((0.0, bytes(32)), zeros(40), seed=0)
    assert not digest.is_sketch16((1e-30, b"\1" + bytes(31)), zeros(40), seed=0)
