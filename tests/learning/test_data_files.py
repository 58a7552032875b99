import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import DataError
from swarmdem.learning.data_files import parse_idx, read_idx_folder
from swarmdem.learning.datasets import load


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def folder(path, *, train=40, test=20, shape=(4, 3), packed=False, **changes):
    """Write an IDX folder of labels 0 and 1; the first pixel counts the samples."""
    files = {}
    begin = 0
    for part, n in (("train", train), ("t10k", test)):
        images = np.zeros((n, *shape), np.uint8)
        images[:, 0, 0] = np.arange(begin, begin + n)
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(n) % 2)
        begin += n
    path.mkdir()
    for name, content in {
        **files,
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }.items():
        if content is not None:
            (path / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(content) if packed else content
            )
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_both_parts_of_a_folder_follow_each_other(tmp_path, packed):
    images, labels = read_idx_folder(folder(tmp_path / "mnist", packed=packed))

    assert (images.shape, images.dtype, labels.dtype) == ((60, 4, 3), np.uint8, np.int64)
    assert images[:, 0, 0].tolist() == list(range(60))
    assert labels[:3].tolist() == [0, 1, 0]


def test_a_folder_is_a_source_split_by_label_skew(tmp_path):
    path = folder(tmp_path / "mnist")

    samples = load(path, devices=3)
    one_label = load(path, devices=3, labels_per_device=1, split_seed=5)

    assert np.bincount(samples.device).tolist() == [20, 20, 20]
    assert np.bincount(samples.device[~samples.train]).tolist() == [4, 4, 4]
    assert [np.unique(one_label.y[one_label.device == n]).tolist() for n in range(3)] == [[0], [1], [0]]


def test_a_file_as_it_is_goes_before_a_packed_one(tmp_path):
    path = folder(tmp_path / "mnist")
    (path / "train-labels-idx1-ubyte.gz").write_bytes(b"not read")

    assert len(read_idx_folder(path)[0]) == 60


TRAIN = "train_labels_idx1_ubyte"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({TRAIN: None}, "mnist: neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz is there"),
        ({TRAIN: b""}, "train-labels-idx1-ubyte: begins with nothing, an IDX file with 00000801"),
        ({TRAIN: idx(np.zeros((40, 1)))}, "begins with 00000802, an IDX file with 00000801"),
        ({TRAIN: b"\0\0\x0d\1" + bytes(8)}, "begins with 00000d01"),
        ({TRAIN: b"\0\0\x08\1\0"}, "train-labels-idx1-ubyte: ends within its header of 8 bytes"),
        ({TRAIN: idx(np.zeros(40))[:-1]}, r"its header says \[40\], 48 bytes; it has 47"),
        ({TRAIN: idx(np.zeros(40)) + b"!"}, r"its header says \[40\], 48 bytes; it has 49"),
        ({TRAIN: b"\0\0\x08\1\xff\xff\xff\xff"}, "more than 2147483648 values"),
        ({TRAIN: idx(np.zeros(39))}, "mnist: train has 40 images, 39 labels"),
        ({TRAIN: gzip.compress(idx(np.zeros(40)))[:-9]}, "train-labels-idx1-ubyte: not readable"),
        ({TRAIN: b"\x1f\x8b" + bytes(30)}, "train-labels-idx1-ubyte: not readable"),
        (
            {"t10k_images_idx3_ubyte": idx(np.zeros((20, 5, 3)))},
            r"train has images of \[4, 3\], t10k of \[5, 3\]",
        ),
        ({"t10k_images_idx3_ubyte": idx(np.zeros((0, 4, 3)))}, "mnist: t10k has no images"),
    ],
)
def test_a_malformed_folder_is_refused_naming_the_file(tmp_path, changes, named):
    with pytest.raises(DataError, match=named):
        read_idx_folder(folder(tmp_path / "mnist", **changes))


def test_a_folder_without_idx_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither train-images-idx3-ubyte nor"):
        load(tmp_path, devices=2)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=3), st.data())
def test_any_array_comes_back(shape, data):
    count = int(np.prod(shape))
    values = data.draw(st.binary(min_size=count, max_size=count))
    array = np.frombuffer(values, np.uint8).reshape(shape)

    np.testing.assert_array_equal(parse_idx(idx(array), "file", dimensions=3), array)


@given(
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=64).map(lambda tail: b"\0\0\x08\3" + tail),
        st.tuples(st.integers(0, 19), st.integers(0, 255)).map(
            lambda change: bytes(
                change[1] if place == change[0] else byte
                for place, byte in enumerate(idx(np.arange(4).reshape(1, 2, 2)))
            )
        ),
    )
)
def test_any_other_bytes_are_refused_in_one_line(content):
    try:
        rebuilt = idx(parse_idx(content, "file", dimensions=3))
    except DataError as error:
        said = str(error)
    else:
        said = "file: as it is" if rebuilt == content else "misread"

    assert said.startswith("file: ")
    assert "\n" not in said
