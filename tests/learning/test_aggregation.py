import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from swarmdem.errors import MisuseError, SchemaError
from swarmdem.learning.aggregation import RunningMean, amplified, mix
from swarmdem.learning.parameters import schema_of

floats = st.floats(-(2.0**99), 2.0**99, width=32)
arrays = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=floats)
weights = st.integers(1, 2**32 - 1)


def mean_of(*weighted):
    running = RunningMean(schema_of(weighted[0][0]))
    for parameters, weight in weighted:
        running.add(parameters, weight)
    return running.result()


def test_eq_9_is_the_weighted_mean():
    mean = mean_of(
        ({"w": np.array([1.0, 10.0], np.float32)}, 3),
        ({"w": np.array([5.0, -10.0], np.float32)}, 1),
    )

    assert mean["w"].tolist() == [2.0, 5.0]
    assert mean["w"].dtype == np.float32


def test_eq_9_with_agents_of_weight_one():
    mean = mean_of(*(({"w": np.full((2, 2), v, np.float32)}, 1) for v in (1, 2, 6)))

    assert mean["w"].tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_eq_9_does_not_lose_small_terms_to_float32():
    """2^24 + 1 is no float32: a float32 sum of many ones would stop growing."""
    mean = mean_of(
        ({"w": np.array([2.0**24], np.float32)}, 1), *(({"w": np.ones(1, np.float32)}, 1) for _ in range(7))
    )

    assert mean["w"].tolist() == [float(np.float32((2.0**24 + 7) / 8))]


def test_eq_10_takes_alpha_of_the_parent():
    mixed = mix({"w": np.array([1.0, 4.0], np.float32)}, {"w": np.array([3.0, 0.0], np.float32)}, 0.75)

    assert mixed["w"].tolist() == [2.5, 1.0]
    assert mixed["w"].dtype == np.float32


def test_eq_10_at_its_ends_is_the_mean_or_the_parent():
    mean, parent = {"w": np.array([1e30, 1.0], np.float32)}, {"w": np.array([1.0, 3.0], np.float32)}

    np.testing.assert_array_equal(mix(mean, parent, 1.0)["w"], parent["w"])
    np.testing.assert_array_equal(mix(mean, parent, 0.0)["w"], mean["w"])


def test_eq_10_is_written_where_one_says_and_its_inputs_stay():
    mean, parent = {"w": np.array([1.0, 4.0], np.float32)}, {"w": np.array([3.0, 0.0], np.float32)}
    out = {"w": np.zeros(2, np.float32)}

    mix(mean, parent, 0.75, out=out)

    assert [array["w"].tolist() for array in (out, mean, parent)] == [[2.5, 1.0], [1.0, 4.0], [3.0, 0.0]]
    with pytest.raises(SchemaError, match="'w'"):
        mix(mean, parent, 0.75, out={"w": np.zeros(3, np.float32)})


@given(arrays, st.lists(weights, min_size=1, max_size=5))
def test_the_mean_of_identical_models_is_that_model(array, several):
    mean = mean_of(*(({"w": array}, weight) for weight in several))

    np.testing.assert_array_equal(mean["w"], array)


@given(arrays, st.floats(0, 1))
def test_mixing_identical_models_gives_that_model(array, alpha):
    np.testing.assert_array_equal(mix({"w": array}, {"w": array}, alpha)["w"], array)


@given(st.lists(weights, min_size=2, max_size=5), st.randoms())
def test_the_mean_does_not_depend_on_the_order_of_arrival(several, chance):
    weighted = [({"w": np.array([i, -i * i], np.float32)}, weight) for i, weight in enumerate(several)]
    shuffled = chance.sample(weighted, len(weighted))

    np.testing.assert_allclose(mean_of(*weighted)["w"], mean_of(*shuffled)["w"], rtol=2e-7)


def test_integers_are_averaged_and_rounded_and_booleans_vote():
    models = [
        {"n": np.array(n, np.int64), "u": np.array([u], np.uint8), "b": np.array([b])}
        for n, u, b in ((10, 255, True), (11, 255, True), (12, 255, False))
    ]

    mean = mean_of(*((model, 1) for model in models))

    assert (mean["n"].item(), mean["u"].tolist(), mean["b"].tolist()) == (11, [255], [True])
    assert [mean[name].dtype.name for name in "nub"] == ["int64", "uint8", "bool"]
    assert mean["n"].shape == ()


def test_the_largest_integers_stay_within_their_range():
    top = {"n": np.array([np.iinfo(np.int64).max], np.int64)}

    assert mean_of((top, 1))["n"].tolist() == [2**63 - 1024]


def test_arrays_longer_than_a_block_and_odd_layouts_are_averaged_whole():
    long = np.arange(150_000, dtype=np.float32).reshape(300, 500)

    mean = mean_of(({"w": long}, 2), ({"w": np.asfortranarray(long)}, 5))
    mixed = mix(mean, {"w": np.asfortranarray(long)}, 0.3)

    np.testing.assert_array_equal(mean["w"], long)
    np.testing.assert_array_equal(mixed["w"], long)


def test_adding_leaves_the_model_as_it_was_and_the_sum_open():
    model = {"w": np.array([2.0], np.float32)}
    running = RunningMean(schema_of(model))

    running.add(model, 1)
    first = running.result()
    running.add({"w": np.array([4.0], np.float32)}, 1)

    assert (first["w"].item(), running.result()["w"].item(), model["w"].item()) == (2.0, 3.0, 2.0)
    assert running.weight == 2


def test_what_cannot_be_averaged_is_refused():
    model = {"w": np.zeros(2, np.float32)}
    running = RunningMean(schema_of(model))

    with pytest.raises(MisuseError, match="no models"):
        running.result()
    with pytest.raises(MisuseError, match="weight 0"):
        running.add(model, 0)
    with pytest.raises(SchemaError, match="'w'"):
        running.add({"w": np.zeros(3, np.float32)}, 1)
    with pytest.raises(SchemaError, match="'w'"):
        mix(model, {"w": np.zeros(3, np.float32)}, 0.5)
    with pytest.raises(MisuseError, match=r"1\.5"):
        mix(model, model, 1.5)


def test_the_gain_multiplies_a_mean():
    mean, reference = {"w": np.array([3.0, -4.0], np.float32)}, {"w": np.array([0.0, 5.0], np.float32)}

    louder, used = amplified(mean, 1.5, reference)

    assert louder["w"].tolist() == [4.5, -6.0]
    assert louder["w"].dtype == np.float32
    assert used == 1.5
    assert mean["w"].tolist() == [3.0, -4.0]


def test_the_guard_stops_a_gain_beyond_four_times_the_references_norm():
    reference = {"w": np.array([3.0, 4.0], np.float32)}
    at_most, beyond = {"w": np.array([16.0, 0.0], np.float32)}, {"w": np.array([16.1, 0.0], np.float32)}

    assert amplified(at_most, 1.25, reference)[1] == 1.25
    model, used = amplified(beyond, 1.25, reference)

    assert used == 1.0
    assert model["w"].tolist() == beyond["w"].tolist()


def test_what_normalisation_layers_have_seen_is_neither_amplified_nor_counted():
    seen = {
        "n.running_mean": np.full(3, 1e3, np.float32),
        "n.num_batches_tracked": np.array(9, np.int64),
        "n.weight": np.ones(3, np.float32),
    }

    model, used = amplified(seen, 2.0, seen)

    assert used == 2.0
    assert model["n.weight"].tolist() == [2.0, 2.0, 2.0]
    assert model["n.running_mean"].tolist() == [1e3, 1e3, 1e3]
    assert model["n.num_batches_tracked"] == 9


def test_a_gain_of_one_changes_nothing():
    mean = {"w": np.array([0.1, 1e20], np.float32)}

    model, used = amplified(mean, 1.0, {"w": np.zeros(2, np.float32)})

    assert used == 1.0
    assert np.array_equal(model["w"], mean["w"])


def test_eq_3_of_dem_ai_is_the_mix_of_the_new_mean_with_the_last():
    """(1 - gamma) x previous + gamma x mean, gamma = .25."""
    mean, previous = {"w": np.array([8.0], np.float32)}, {"w": np.array([4.0], np.float32)}

    assert mix(mean, previous, 1 - 0.25)["w"].tolist() == [5.0]
