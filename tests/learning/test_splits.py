import numpy as np
import pytest

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning.samples import Samples, hold_out
from swarmdem.learning.splits import label_skew

Y = np.tile(np.arange(10), 700)
X = np.arange(len(Y), dtype=np.uint32).reshape(-1, 1)


def split(**chosen):
    return label_skew(X, Y, **{"devices": 50, **chosen})


def test_fifty_devices_are_as_large_as_those_of_the_paper():
    """The paper: median 64; `mnist-50`, a tenth of whose samples are here, holds 7,000 of each label."""
    y = np.tile(np.arange(10), 7000)
    sizes = [
        np.bincount(label_skew(np.zeros((len(y), 1)), y, devices=50, seed=seed).device) for seed in range(20)
    ]

    assert 60 <= np.median(sizes) <= 68
    assert min(size.min() for size in sizes) >= 20


def test_device_d_holds_the_labels_from_d_on_in_a_ring():
    samples = split(labels_per_device=3)

    held = [np.unique(samples.y[samples.device == number]).tolist() for number in (0, 7, 8, 9, 17, 49)]

    assert held == [[0, 1, 2], [7, 8, 9], [0, 8, 9], [0, 1, 9], [7, 8, 9], [0, 1, 9]]


def test_a_fifth_of_each_label_of_a_device_is_for_testing():
    samples = split()

    for number in range(50):
        for label in np.unique(samples.y[samples.device == number]):
            train = samples.train[(samples.device == number) & (samples.y == label)]
            assert (~train).sum() == round(len(train) / 5)
            assert len(train) >= 10


def test_no_sample_is_dealt_twice_and_each_keeps_its_class():
    samples = split(devices=300)

    assert len(np.unique(samples.x)) == len(samples.x)
    np.testing.assert_array_equal(Y[samples.x[:, 0]], samples.y)


def test_a_split_follows_from_its_seed():
    one, again, other = split(seed=3), split(seed=3), split(seed=4)

    np.testing.assert_array_equal(one.x, again.x)
    np.testing.assert_array_equal(one.train, again.train)
    assert np.bincount(one.device).tolist() != np.bincount(other.device).tolist()
    assert split(devices=3).x[:3, 0].tolist() == [260, 5430, 3040]
    assert np.bincount(split(devices=3).device).tolist() == [26, 21, 23]


def test_sizes_do_not_depend_on_how_many_devices_there_are():
    medians = [np.median(np.bincount(split(devices=devices).device)) for devices in (20, 300)]

    assert abs(medians[0] - medians[1]) <= 2


def test_a_label_that_runs_out_still_gives_each_device_its_ten():
    samples = label_skew(np.zeros((4000, 1)), np.arange(4000) % 2, devices=190, seed=1)

    counts = [np.bincount(samples.y[samples.device == number], minlength=2).min() for number in range(190)]
    assert min(counts) == 10
    assert len(samples.x) == 4000


def test_a_label_too_rare_for_its_devices_is_refused():
    with pytest.raises(DataError, match="mnist: 700 samples of label 1, 72 devices want 10 each"):
        label_skew(X, Y, devices=355, where="mnist")


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"devices": 0}, "devices = 0: 1 to 65536"),
        ({"labels_per_device": 0}, "labels_per_device = 0: 1 to 10, the labels of data"),
        ({"labels_per_device": 11}, "labels_per_device = 11: 1 to 10"),
        ({"seed": -1}, "split_seed = -1: not negative"),
    ],
)
def test_splits_that_cannot_be_are_refused(chosen, named):
    with pytest.raises(ConfigError, match=named):
        split(**chosen)


def held(n=(5, 10, 2)):
    device = np.repeat(np.arange(len(n)), n)
    train = np.ones(len(device), bool)
    train[::5] = False  # the real test part
    x = np.arange(len(device)).reshape(-1, 1)
    return Samples(x, np.arange(len(device)), device, train)


def test_a_share_of_each_devices_training_part_becomes_its_test_part():
    given = held((5, 10, 3))

    got = hold_out(given, 0.25, 7)

    np.testing.assert_array_equal(got.x, given.x[given.train])
    np.testing.assert_array_equal(got.y, given.y[given.train])
    tested = [(~got.train[got.device == number]).sum() for number in range(3)]
    assert tested == [1, 2, 1]  # of 4, 8 and 2


def test_what_is_held_out_is_numpys_permutation_device_by_device():
    given = held((5, 10, 3))
    chance = np.random.default_rng(7)
    first = chance.permutation(np.flatnonzero(given.train & (given.device == 0)))[:1]
    second = chance.permutation(np.flatnonzero(given.train & (given.device == 1)))[:2]

    got = hold_out(given, 0.25, 7)

    assert sorted(got.x[~got.train & (got.device < 2), 0]) == sorted([*first, *second])


def test_a_device_with_one_training_sample_cannot_hold_out():
    with pytest.raises(DataError, match="device 2 has 1 training samples, none would be left"):
        hold_out(held((5, 10, 2, 5)), 0.2, 7)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_to_hold_out_is_between_0_and_1(share):
    with pytest.raises(ConfigError, match="holdout = "):
        hold_out(held(), share, 7)
