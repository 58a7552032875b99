import numpy as np
import pytest

from benchmarks import hierarchical_data as h
from swarmdem.learning.data_files import read_npz
from swarmdem.learning.samples import Samples


def fifty_writers():
    """Each writes every character twice, once to train and once to test; the first two no capitals."""
    y = np.tile(np.repeat(np.arange(62), 2), 50)
    device = np.repeat(np.arange(50), 124)
    train = np.arange(len(y)) % 2 == 0
    kept = ~((device < 2) & np.isin(y, h.CAPITALS))
    x = device.reshape(-1, 1, 1).astype(np.uint8)
    return Samples(x[kept], y[kept], device[kept], train[kept])


def characters(samples, number):
    return set(samples.y[samples.device == number].tolist())


def test_a_third_each_writes_digits_capitals_and_both():
    samples, groups = h.writers(fifty_writers(), halves=False, seed=3)

    assert samples.devices == 48
    assert groups.tolist() == [[0, 0]] * 16 + [[1, 1]] * 16 + [[2, 2]] * 16
    assert characters(samples, 0) == set(range(10))
    assert characters(samples, 16) == set(range(10, 36))
    assert characters(samples, 47) == set(range(36))
    writers = [np.unique(samples.x[samples.device == number]).tolist() for number in range(48)]
    assert sorted(writers) == [[writer] for writer in range(2, 50)], "one writer a device, each once"
    assert writers[:3] == [[24], [41], [26]]
    assert samples.train[samples.device == 5].mean() == 0.5


def test_halves_of_a_kind_write_halves_of_its_characters():
    samples, groups = h.writers(fifty_writers(), halves=True, seed=3)

    assert [len(set(groups[:, level].tolist())) for level in (0, 1)] == [3, 6]
    assert characters(samples, 0) == set(range(5))
    assert characters(samples, 1) == set(range(5, 10))
    assert characters(samples, 33) == set(range(5, 10)) | set(range(23, 36))
    assert groups[[0, 1, 33]].tolist() == [[0, 0], [0, 1], [2, 5]]


def corners():
    """Images of label 0 and 1, bright in the upper left corner; the lower right one numbers them."""
    labels = np.arange(96) % 2
    images = np.zeros((96, 9, 9), np.uint8)
    images[:, :3, :3] = 255
    images[:, 4, 4] = np.arange(96)  # the middle stays in its place
    return images, labels


def test_images_of_a_group_are_turned_alike():
    samples, groups = h.rotations(*corners(), seed=1, devices=8, per_label=5)

    assert groups.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3], [2, 4], [2, 5], [3, 6], [3, 7]]
    untilted = [samples.x[samples.device == number][0] for number in (0, 2, 4, 6)]
    bright = [tuple(np.argwhere(x == 255).mean(0).tolist()) for x in untilted]
    assert bright == [(1.0, 1.0), (7.0, 1.0), (7.0, 7.0), (1.0, 7.0)]
    tilted = samples.x[samples.device == 1][0].astype(float)
    row, column = (tilted * np.indices((9, 9))).sum((1, 2)) / tilted.sum()
    assert row > column + 1, "tilted the same way round, from the upper left down the left side"


def test_each_device_has_all_labels_alike_and_images_of_its_own():
    samples, _ = h.rotations(*corners(), seed=1, devices=8, per_label=5)

    for number in range(8):
        own = samples.device == number
        assert np.bincount(samples.y[own]).tolist() == [5, 5]
        assert np.bincount(samples.y[own & ~samples.train]).tolist() == [1, 1]
    assert len(set(samples.x[:, 4, 4].tolist())) == 80


def test_a_file_is_written_with_the_truth_beside_it(tmp_path, capsys):
    source = fifty_writers()
    path, out = tmp_path / "femnist.npz", tmp_path / "kinds.npz"
    np.savez(path, x=source.x, y=source.y, device=source.device, train=source.train)

    h.main(["writers", str(path), str(out), "--seed", "3"])

    assert "48 devices of 20 to 72 samples" in capsys.readouterr().out
    assert read_npz(out).devices == 48
    assert np.load(out)["groups"].shape == (48, 2)


def test_a_missing_source_ends_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        h.main(["rotations", str(tmp_path), str(tmp_path / "out.npz")])

    assert stopped.value.code == 2
    assert "neither train-images-idx3-ubyte nor" in capsys.readouterr().err
