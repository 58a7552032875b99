import numpy as np
import pytest

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning import scaling
from swarmdem.learning.datasets import digits
from swarmdem.learning.samples import Samples


def test_pixel_constants_are_the_authors_over_the_training_samples():
    samples = Samples(
        x=np.array([[0, 7], [10, 7], [200, 90]], np.uint8),
        y=np.array([0, 1, 1]),
        device=np.zeros(3, np.int64),
        train=np.array([True, True, False]),
    )

    got = scaling.standardization(samples, "pixel").apply(samples.x)

    np.testing.assert_allclose(got, [[-5 / 5.001, 0], [5 / 5.001, 0], [195 / 5.001, 0]], rtol=1e-6)
    assert got.dtype == np.float32


def test_global_constants_bring_training_inputs_to_mean_0_and_deviation_1():
    samples = digits(5)

    x = scaling.standardization(samples, "global").apply(samples.x[samples.train])

    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-4)


def test_none_divides_image_values_by_255_and_leaves_floats():
    image = Samples(np.array([[51]], np.uint8), *[np.zeros(1, np.int64)] * 2, np.ones(1, bool))
    floats = Samples(np.array([[51.0]]), *[np.zeros(1, np.int64)] * 2, np.ones(1, bool))

    assert scaling.standardization(image, "none").apply(image.x).tolist() == [[pytest.approx(0.2)]]
    assert scaling.standardization(floats, "none").apply(floats.x).tolist() == [[51.0]]


@pytest.mark.parametrize("kind", scaling.STANDARDIZATIONS)
def test_constants_survive_the_charter(kind):
    samples = digits(5)
    constants = scaling.standardization(samples, kind)

    back = scaling.standardization_of(constants.to_inputs())

    assert back.kind == kind
    np.testing.assert_array_equal(back.apply(samples.x), constants.apply(samples.x))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mean": None}, "'mean' is missing"),
        ({"mean": bytes(4)}, "reshape"),
        ({"deviation": b"\x01"}, "buffer size"),
        ({"deviation": np.full((8, 8), np.nan, "<f4").tobytes()}, "finite"),
        ({"deviation": np.full((8, 8), -1, "<f4").tobytes()}, "not negative"),
    ],
)
def test_constants_that_do_not_fit_are_refused(change, named):
    given = {**dict(scaling.standardization(digits(5), "pixel").to_inputs()), **change}

    with pytest.raises(ConfigError, match=named):
        scaling.standardization_of([(key, value) for key, value in given.items() if value is not None])


def test_an_unknown_standardization_is_refused():
    with pytest.raises(ConfigError, match="standardize = 'batch'"):
        scaling.standardization(digits(2), "batch")


def test_inputs_of_another_shape_than_the_constants_are_refused():
    with pytest.raises(DataError, match=r"\[2, 2\], constants for \[8, 8\]"):
        scaling.standardization(digits(2), "pixel").apply(np.zeros((6, 2, 2), np.uint8))


def test_pixel_constants_are_per_feature_for_vectors():
    samples = Samples(
        np.array([[1.0, 10.0], [3.0, 30.0]], np.float32), np.zeros(2), np.zeros(2, int), np.ones(2, bool)
    )

    got = scaling.standardization(samples, "pixel").apply(samples.x)

    np.testing.assert_allclose(got, [[-1 / 1.001, -10 / 10.001], [1 / 1.001, 10 / 10.001]], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_end_with_their_channels_get_them_first(channels):
    x = np.arange(2 * 4 * 5 * channels).reshape(2, 4, 5, channels)

    got = scaling.channels_first(x)

    assert got.shape == (2, channels, 4, 5)
    assert got[1, channels - 1, 2, 3] == x[1, 2, 3, channels - 1]
    assert got.flags.c_contiguous


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 3, 4, 5), (2, 4, 4, 4, 3)])
def test_other_inputs_stay_as_they_are(shape):
    x = np.zeros(shape)

    assert scaling.channels_first(x) is x


def prices(y=(100_000.0, 300_000.0, 900_000.0)):
    return Samples(
        x=np.array([[1.0], [3.0], [9.0]], np.float32),
        y=np.array(y, np.float32),
        device=np.zeros(3, np.int64),
        train=np.array([True, True, False]),
    )


@pytest.mark.parametrize("kind", ["pixel", "global"])
def test_values_to_be_predicted_have_mean_and_deviation_of_the_training_samples(kind):
    assert scaling.standardization(prices(), kind).target == (200_000.0, 100_000.0)


def test_equal_values_have_a_deviation_of_1():
    assert scaling.standardization(prices((7.0, 7.0, 8.0)), "global").target == (7.0, 1.0)


def test_neither_classes_nor_values_under_none_have_target_constants():
    assert scaling.standardization(digits(5), "global").target is None
    assert scaling.standardization(prices(), "none").target is None
    assert "target" not in dict(scaling.standardization(digits(5), "global").to_inputs())


def test_target_constants_survive_the_charter():
    inputs = scaling.standardization(prices(), "global").to_inputs()

    assert dict(inputs)["target"] == np.array([200_000, 100_000], "<f4").tobytes()
    assert scaling.standardization_of(inputs).target == (200_000.0, 100_000.0)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (bytes(4), "target has 4 bytes"),
        (np.array([0, 0], "<f4").tobytes(), "a finite deviation above 0"),
        (np.array([0, -1], "<f4").tobytes(), "a finite deviation above 0"),
        (np.array([np.inf, 1], "<f4").tobytes(), "a finite mean"),
        (np.array([0, np.nan], "<f4").tobytes(), "a finite deviation"),
    ],
)
def test_target_constants_that_cannot_scale_are_refused(target, named):
    given = {**dict(scaling.standardization(prices(), "global").to_inputs()), "target": target}

    with pytest.raises(ConfigError, match=named):
        scaling.standardization_of(tuple(given.items()))
