from dataclasses import dataclass

import numpy as np
import pytest

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning import datasets as d
from swarmdem.learning.learner import Dataset
from swarmdem.learning.scaling import standardization

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


def test_a_file_is_read_by_device_and_numbers_wrap_around(tmp_path):
    samples = d.load(write(tmp_path / "a.npz"), devices=5)
    data = d.DeviceData(samples, standardization(samples, "none"))

    train, test = data.device(1)
    again, _ = data.device(3)

    assert (train.y.tolist(), test.y.tolist(), len(train)) == ([0, 1], [2], 2)
    assert train.x[0].tolist() == pytest.approx(np.array([[12, 13], [14, 15]]) / 255)
    np.testing.assert_array_equal(train.x, again.x)
    assert (data.devices, data.classes, data.shape) == (2, 3, (2, 2))


def test_colour_images_reach_the_model_with_their_channels_first(tmp_path):
    x = np.arange(6 * 2 * 4 * 3, dtype=np.uint8).reshape(6, 2, 4, 3)
    samples = d.load(write(tmp_path / "colour.npz", x=x), devices=2)

    data = d.DeviceData(samples, standardization(samples, "pixel"))
    train, _ = data.device(1)

    assert samples.shape == (2, 4, 3)
    assert data.shape == (3, 2, 4)
    assert train.x.shape == (2, 3, 2, 4)
    none = d.DeviceData(samples, standardization(samples, "none")).device(1)[0]
    assert none.x[0, 2, 1, 3] * 255 == pytest.approx(x[3, 1, 3, 2])


def test_float_targets_are_values_to_be_predicted(tmp_path):
    samples = d.load(write(tmp_path / "values.npz", y=np.arange(6) / 4), devices=2)
    data = d.DeviceData(samples, standardization(samples, "global"))

    assert (samples.task, samples.classes, samples.outputs) == ("regression", 0, 1)
    assert (data.task, data.classes, data.outputs) == ("regression", 0, 1)
    assert data.device(1)[0].y.dtype == np.float32
    assert data.device(1)[0].y.tolist() == [0.75, 1.0]
    classes = d.digits(5)
    assert (classes.task, classes.classes, classes.outputs) == ("classification", 10, 10)


@dataclass
class Chosen:
    data: str = "digits"
    devices: int | None = None
    labels_per_device: int | None = None
    split_seed: int | None = None
    holdout: float | None = None
    holdout_seed: int = 7


def test_settings_say_what_is_loaded(tmp_path):
    path = str(write(tmp_path / "a.npz"))

    assert d.load_for(Chosen(), devices=12).devices == 12
    assert d.load_for(Chosen(), devices=1000).devices == 100, "further peers share their data"
    assert d.load_for(Chosen(devices=6), devices=12).devices == 6
    assert d.load_for(Chosen(path), devices=12).devices == 2
    assert d.load_for(Chosen(path, devices=2), devices=12).devices == 2


def test_held_out_training_samples_are_all_that_is_left_to_test_on(tmp_path):
    path = str(write(tmp_path / "a.npz"))

    samples = d.load_for(Chosen(path, holdout=0.2), devices=12)

    assert (samples.x.shape, samples.y.tolist()) == ((4, 2, 2), [0, 1, 0, 1])
    assert [int(samples.train[samples.device == number].sum()) for number in (0, 1)] == [1, 1]


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"devices": 3}, "devices = 3: .*a.npz is of 2 devices"),
        ({"labels_per_device": 2}, "labels_per_device = 2: is for folders of IDX files; .*a.npz has a split"),
        ({"split_seed": 0}, "split_seed = 0: is for folders of IDX files"),
    ],
)
def test_a_split_that_the_file_has_already_is_not_chosen_again(tmp_path, chosen, named):
    path = str(write(tmp_path / "a.npz"))

    with pytest.raises(ConfigError, match=named):
        d.load_for(Chosen(path, **chosen), devices=2)


def test_examples_are_brought_to_32_bit_floats_and_64_bit_classes():
    classes = d.as_dataset((np.zeros((2, 3)), np.array([1, 0], np.uint8)), "training data")
    values = d.as_dataset(Dataset(np.zeros((2, 3)), np.array([0.5, -1.0])), "training data")

    assert (classes.x.dtype, classes.y.dtype) == (np.float32, np.int64)
    assert (values.y.dtype, values.y.tolist()) == (np.float32, [0.5, -1.0])


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        (np.zeros((2, 3)), np.array(["a", "b"]), "targets of <U1; numbers are needed"),
        (np.zeros((2, 3)), np.zeros(3), r"targets of shape \[3\]"),
        (np.zeros((2, 3)), np.array([0.0, np.inf]), "targets hold NaN or infinite values"),
        (np.zeros((2, 3)), np.array([0.0, 1e300]), "targets hold NaN or infinite values"),
        (np.full((2, 3), np.nan), np.zeros(2), "inputs hold NaN"),
        (np.zeros((2, 3)), np.array([0, -1]), "negative class -1"),
        (np.zeros((0, 3)), np.zeros(0), "no samples"),
    ],
)
def test_examples_that_cannot_be_learned_from_are_refused(x, y, named):
    with pytest.raises(DataError, match=f"training data: .*{named}"):
        d.as_dataset((x, y), "training data")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train": None}, "array 'train' is missing"),
        ({"x": np.array(["a"] * 6)}, r"'x' \(<U1\[6\]\) must be numbers"),
        ({"x": np.zeros((6, 0))}, "'x' .* must be not empty"),
        ({"x": np.full((6, 2), np.nan)}, "'x' .* must be free of NaN"),
        ({"x": np.full((6, 2), 1e300)}, "'x' .* must be free of NaN"),
        ({"y": np.zeros(5, int)}, r"'y' \(int64\[5\]\) must be 6 integers"),
        ({"y": np.array(["a"] * 6)}, "'y' .* must be 6 integers"),
        ({"y": np.array([0.0, 1, 2, 3, 4, np.nan])}, "'y' .* must be free of NaN"),
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
