"""Data files as they lie on disk: `.npz` with device numbers, and folders of MNIST-style IDX files.

Strict: a file that is cut short, too long or of another kind is refused in one line that names it.
Nothing is ever unpickled. IDX (Y. LeCun): two zero bytes, the type (8: unsigned bytes, the only one
read here), the number of dimensions, their sizes as big-endian 32-bit integers, then the values.
"""

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import DataError
from swarmdem.learning.samples import KEYS, Samples, checked

IDX_BYTES_MAX = 2**31
"""Values of one IDX file; MNIST has 47 million."""
IDX_PARTS = ("train", "t10k")
"""Beginnings of the file names, in the order in which their samples follow each other."""
_UNSIGNED_BYTES = 8
_GZIP = b"\x1f\x8b"


def read_npz(path: Path) -> Samples:
    """Return the samples of an `.npz` file with the arrays `x`, `y`, `device` and `train`.

    Raises:
        DataError: The file is missing or malformed; the message names it and the array.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: one array, not an .npz with {', '.join(KEYS)}")
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                raise DataError(f"{path}: array {missing[0]!r} is missing")
            arrays = {key: archive[key] for key in KEYS}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error) if isinstance(error, OSError) else "its content is something else"
        raise DataError(f"{path}: not a readable .npz file ({reason})") from error
    return checked(arrays, str(path))


def read_idx_folder(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (n, h, w) and labels (n,) of a folder like MNIST's, both parts pooled.

    Read are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`, each as it
    is or with `.gz`. The parts follow each other as in the authors' code: devices hold out test
    samples of their own, so the published division has no say.

    Raises:
        DataError: A file is missing or malformed, or images and labels do not fit together.
    """
    parts = [_read_part(folder, part) for part in IDX_PARTS]
    shapes = [images.shape[1:] for images, _ in parts]
    if shapes[0] != shapes[1]:
        raise DataError(f"{folder}: train has images of {list(shapes[0])}, t10k of {list(shapes[1])}")
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]).astype(np.int64)


def parse_idx(content: bytes, where: str, *, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in the content of an IDX file of unsigned bytes.

    Raises:
        DataError: It is something else or does not have the length its header says; the message
            begins with *where*.
    """
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, _UNSIGNED_BYTES, dimensions))
    if content[:4] != magic:
        raise DataError(
            f"{where}: begins with {content[:4].hex() or 'nothing'}, an IDX file with {magic.hex()}"
        )
    if len(content) < header:
        raise DataError(f"{where}: ends within its header of {header} bytes")
    shape = tuple(int(side) for side in np.frombuffer(content, ">u4", dimensions, 4))
    if math.prod(shape) > IDX_BYTES_MAX:
        raise DataError(f"{where}: its header says {list(shape)}, more than {IDX_BYTES_MAX} values")
    whole = header + math.prod(shape)
    if len(content) != whole:
        raise DataError(f"{where}: its header says {list(shape)}, {whole} bytes; it has {len(content)}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_part(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte", dimensions=1)
    if not images.size:
        raise DataError(f"{folder}: {part} has no images")
    if len(images) != len(labels):
        raise DataError(f"{folder}: {part} has {len(images)} images, {len(labels)} labels")
    return images, labels


def _read_idx(folder: Path, name: str, *, dimensions: int) -> NDArray[np.uint8]:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise DataError(f"{folder}: neither {name} nor {name}.gz is there")
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = _unzipped(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable ({error})") from error
    return parse_idx(content, str(path), dimensions=dimensions)


def _unzipped(path: Path) -> bytes:
    """Return what is packed, and no more than an IDX file may hold."""
    with gzip.open(path) as file:
        content: Any = file.read(IDX_BYTES_MAX + 1)
    return bytes(content)
