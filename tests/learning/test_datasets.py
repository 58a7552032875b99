import numpy as np
import pytest

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning import datasets as d

GOOD = {
    "x": np.arange(24, dtype=np.uint8).reshape(6, 2, 2),
    "y": np.array([0, 1, 2, 0, 1, 2], np.uint8),
    "device": np.array([0, 0, 0, 1, 1, 1], np.uint8),
    "train": np.array([1, 1, 0, 1, 1, 0], bool),
}


def write(path, **changes):
    arrays = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("devices", [1, 2, 5, 12, 50, 100])
def test_digits_are_dealt_with_two_labels_a_device_and_a_fifth_held_out(devices):
    samples = d.load("digits", devices=devices)

    assert samples.devices == devices
    assert samples.shape == (8, 8)
    assert (samples.x.dtype, samples.x.max()) == (np.uint8, 255)
    for number in range(devices):
        own = samples.device == number
        assert len(np.unique(samples.y[own])) == 2
        assert 0.15 < 1 - samples.train[own].mean() <= 0.2


def test_five_devices_or_more_hold_all_1797_digits():
    for devices in (5, 12, 50):
        assert len(d.load("digits", devices=devices).x) == 1797
    sizes = np.bincount(d.load("digits", devices=50).device)
    assert sizes.min() >= 30
    assert sizes.max() <= 40


def test_the_split_of_digits_never_changes():
    samples = d.digits(12)

    assert np.unique(samples.y[samples.device == 6]).tolist() == [2, 5]
    assert np.flatnonzero(samples.device == 6)[:5].tolist() == [12, 15, 33, 51, 71]


@pytest.mark.parametrize("devices", [0, 101])
def test_too_many_devices_for_the_digits_are_refused(devices):
    with pytest.raises(DataError, match="1 to 100"):
        d.digits(devices)


def test_pixel_constants_are_the_authors_over_the_training_samples():
    samples = d.Samples(
        x=np.array([[0, 7], [10, 7], [200, 90]], np.uint8),
        y=np.array([0, 1, 1]),
        device=np.zeros(3, np.int64),
        train=np.array([True, True, False]),
    )

    got = d.standardization(samples, "pixel").apply(samples.x)

    np.testing.assert_allclose(got, [[-5 / 5.001, 0], [5 / 5.001, 0], [195 / 5.001, 0]], rtol=1e-6)
    assert got.dtype == np.float32


def test_global_constants_bring_training_inputs_to_mean_0_and_deviation_1():
    samples = d.digits(5)

    x = d.standardization(samples, "global").apply(samples.x[samples.train])

    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-4)


def test_none_divides_image_values_by_255_and_leaves_floats():
    image = d.Samples(np.array([[51]], np.uint8), *[np.zeros(1, np.int64)] * 2, np.ones(1, bool))
    floats = d.Samples(np.array([[51.0]]), *[np.zeros(1, np.int64)] * 2, np.ones(1, bool))

    assert d.standardization(image, "none").apply(image.x).tolist() == [[pytest.approx(0.2)]]
    assert d.standardization(floats, "none").apply(floats.x).tolist() == [[51.0]]


@pytest.mark.parametrize("kind", d.STANDARDIZATIONS)
def test_constants_survive_the_charter(kind):
    samples = d.digits(5)
    constants = d.standardization(samples, kind)

    back = d.standardization_of(constants.to_inputs())

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
    given = {**dict(d.standardization(d.digits(5), "pixel").to_inputs()), **change}

    with pytest.raises(ConfigError, match=named):
        d.standardization_of([(key, value) for key, value in given.items() if value is not None])


def test_an_unknown_standardization_is_refused():
    with pytest.raises(ConfigError, match="standardize = 'batch'"):
        d.standardization(d.digits(2), "batch")


def test_inputs_of_another_shape_than_the_constants_are_refused():
    with pytest.raises(DataError, match=r"\[2, 2\], constants for \[8, 8\]"):
        d.standardization(d.digits(2), "pixel").apply(GOOD["x"])


def test_a_file_is_read_by_device_and_numbers_wrap_around(tmp_path):
    samples = d.load(write(tmp_path / "a.npz"), devices=5)
    data = d.DeviceData(samples, d.standardization(samples, "none"))

    train, test = data.device(1)
    again, _ = data.device(3)

    assert (train.y.tolist(), test.y.tolist(), len(train)) == ([0, 1], [2], 2)
    assert train.x[0].tolist() == pytest.approx(np.array([[12, 13], [14, 15]]) / 255)
    np.testing.assert_array_equal(train.x, again.x)
    assert (data.devices, data.classes, data.shape) == (2, 3, (2, 2))
    assert [len(data.pooled_test(peers)) for peers in (1, 2, 9)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train": None}, "array 'train' is missing"),
        ({"x": np.array(["a"] * 6)}, r"'x' \(<U1\[6\]\) must be numbers"),
        ({"x": np.zeros((6, 0))}, "'x' .* must be not empty"),
        ({"x": np.full((6, 2), np.nan)}, "'x' .* must be free of NaN"),
        ({"x": np.full((6, 2), 1e300)}, "'x' .* must be free of NaN"),
        ({"y": np.zeros(5, int)}, r"'y' \(int64\[5\]\) must be 6 integers"),
        ({"y": np.zeros(6)}, "'y' .* must be 6 integers"),
        ({"y": np.array([0, 0, 0, 0, 0, -1])}, "'y' .* must be from 0 to 65535"),
        ({"device": np.array([0, 0, 0, 1, 1, 10**12])}, "'device' .* must be from 0 to 65535"),
        ({"device": np.zeros((6, 1), int)}, "'device' .* must be 6 integers"),
        ({"train": np.ones(6, int)}, "'train' .* must be 6 booleans"),
        ({"train": np.array([1, 1, 0, 0, 0, 0], bool)}, "device 1 has no training samples"),
        ({"device": np.array([0, 0, 0, 2, 2, 2])}, "device 1 has no training samples"),
    ],
)
def test_a_malformed_file_is_refused_naming_file_and_array(tmp_path, changes, named):
    path = write(tmp_path / "bad.npz", **changes)

    with pytest.raises(DataError, match=f"bad.npz: .*{named}"):
        d.load(path, devices=2)


def test_files_that_are_no_data_at_all_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "short.npz").write_bytes(write(tmp_path / "a.npz").read_bytes()[:-40])
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "pickle.npz", **{**GOOD, "x": np.array([object()] * 6)})

    for name in ("text.npz", "short.npz", "pickle.npz"):
        with pytest.raises(DataError, match=f"{name}: not a readable .npz file"):
            d.load(tmp_path / name, devices=2)
    with pytest.raises(DataError, match=r"one\.npy: one array, not an \.npz"):
        d.load(tmp_path / "one.npy", devices=2)
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        d.load(tmp_path / "none.npz", devices=2)
