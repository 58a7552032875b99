"""The data of the examples and experiments: which device holds what, and how inputs are scaled.

A data file is an `.npz` with `x` (n, ...), `y` (n,) classes from 0, `device` (n,) numbers from 0
and `train` (n,) bool; every device has training samples. `digits` is packaged: the UCI optical
digits (1,797 images of 8x8, values brought to 0-255; E. Alpaydin and C. Kaynak, CC BY 4.0), split
at load over any number of devices with two labels each. Nothing in a file is ever unpickled.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning.learner import Dataset

Examples = Dataset | tuple[Any, Any]
"""A `Dataset`, or inputs and integer classes as anything numpy can read (torch tensors too)."""

KEYS = ("x", "y", "device", "train")
DIGITS = "digits"
DIGITS_DEVICES_MAX = 100
"""Beyond it a device would hold fewer than 17 of the 1,797 digits."""
DEVICES_MAX = 65_536
CLASSES_MAX = 65_536
HELD_OUT = 5
"""Every fifth digit of a device is for testing (the paper holds out 20 %)."""

STANDARDIZATIONS = ("pixel", "global", "none")
SPREAD_MIN = 0.001
"""Added to a pixel's deviation (the authors' code)."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What a data file holds, checked."""

    x: NDArray[Any]
    """Inputs as stored, (n, ...): integers or floats."""
    y: NDArray[np.int64]
    """Classes, (n,)."""
    device: NDArray[np.int64]
    """Number of the device that holds the sample, (n,)."""
    train: NDArray[np.bool_]
    """True for training, False for the device's own test, (n,)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x.shape[1:]

    @property
    def classes(self) -> int:
        """1 + the highest class."""
        return int(self.y.max()) + 1

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return int(self.device.max()) + 1


@dataclass(frozen=True, slots=True)
class Standardization:
    """Input constants, the same at every peer: (x - mean) / deviation, 0 where deviation is 0."""

    kind: str
    """One of `STANDARDIZATIONS`; the constants say what to do, this says where they come from."""
    mean: NDArray[np.float32]
    """One value, or one per element of an input; in the units of the stored inputs."""
    deviation: NDArray[np.float32]

    def apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return inputs (n, ...) ready for a model.

        Raises:
            DataError: The inputs have another shape than these constants.
        """
        if self.mean.shape not in {(), x.shape[1:]}:
            raise DataError(f"inputs of shape {list(x.shape[1:])}, constants for {list(self.mean.shape)}")
        steady = self.deviation == 0
        scaled: NDArray[np.float32] = x.astype(np.float32)
        scaled -= self.mean
        scaled /= np.where(steady, np.float32(1), self.deviation)
        scaled *= ~steady
        return scaled

    def to_inputs(self) -> tuple[tuple[str, bytes], ...]:
        """Return the constants as the charter's `inputs`."""
        shape = np.array(self.mean.shape, "<u4")
        return (
            ("standardize", self.kind.encode()),
            ("shape", shape.tobytes()),
            ("mean", self.mean.astype("<f4").tobytes()),
            ("deviation", self.deviation.astype("<f4").tobytes()),
        )


def standardization_of(inputs: Sequence[tuple[str, bytes]]) -> Standardization:
    """Return the constants in a charter's `inputs`.

    Raises:
        ConfigError: They are incomplete, not finite or do not fit together.
    """
    given = dict(inputs)
    try:
        kind = given["standardize"].decode()
        shape = tuple(int(side) for side in np.frombuffer(given["shape"], "<u4"))
        mean = np.frombuffer(given["mean"], "<f4").reshape(shape).astype(np.float32)
        deviation = np.frombuffer(given["deviation"], "<f4").reshape(shape).astype(np.float32)
    except KeyError as error:
        raise ConfigError(f"charter.inputs: {error} is missing") from error
    except ValueError as error:
        raise ConfigError(f"charter.inputs: {error}") from error
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation >= 0).all()):
        raise ConfigError("charter.inputs: mean and deviation must be finite, deviation not negative")
    return Standardization(kind, mean, deviation)


def standardization(samples: Samples, kind: str) -> Standardization:
    """Compute input constants over all training samples of a file.

    `pixel`: per pixel (x - mean) / (deviation + .001), 0 where the deviation is 0 (the authors'
    way). `global`: one mean and deviation. `none`: integers / 255, floats as they are.

    Raises:
        ConfigError: *kind* is unknown.
    """
    if kind not in STANDARDIZATIONS:
        raise ConfigError(f"standardize = {kind!r}: known are {', '.join(STANDARDIZATIONS)}")
    x = samples.x[samples.train]
    if kind == "pixel":
        spread = x.std(0, dtype=np.float64)
        mean, deviation = x.mean(0, dtype=np.float64), np.where(spread > 0, spread + SPREAD_MIN, 0.0)
    elif kind == "global":
        mean, deviation = x.mean(dtype=np.float64), x.std(dtype=np.float64)
    else:
        mean, deviation = np.zeros(()), np.asarray(255.0 if x.dtype.kind in "ui" else 1.0)
    return Standardization(kind, np.asarray(mean, np.float32), np.asarray(deviation, np.float32))


class DeviceData:
    """Standardised data by device; each is cut out when asked for."""

    def __init__(self, samples: Samples, constants: Standardization) -> None:
        self._samples = samples
        self._constants = constants
        self.shape = samples.shape
        self.classes = samples.classes
        self.devices = samples.devices

    def device(self, number: int) -> tuple[Dataset, Dataset]:
        """Return training and test data of device *number* modulo the number of devices."""
        own = self._samples.device == number % self.devices
        return self._cut(own & self._samples.train), self._cut(own & ~self._samples.train)

    def pooled_test(self, peers: int) -> Dataset:
        """Return the test data of devices 0 to *peers* - 1, each device once: C-GEN and Global."""
        return self._cut(~self._samples.train & (self._samples.device < peers))

    def _cut(self, chosen: NDArray[np.bool_]) -> Dataset:
        return Dataset(self._constants.apply(self._samples.x[chosen]), self._samples.y[chosen])


def load(source: str | Path, *, devices: int) -> Samples:
    """Return the samples of an `.npz` file, or of `digits` over so many *devices*.

    Raises:
        DataError: The file is missing or malformed; the message names it and the array.
    """
    if str(source) == DIGITS:
        return digits(devices)
    path = Path(source)
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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error) if isinstance(error, OSError) else "its content is something else"
        raise DataError(f"{path}: not a readable .npz file ({reason})") from error
    _check(arrays, str(path))
    return Samples(
        x=arrays["x"],
        y=arrays["y"].astype(np.int64),
        device=arrays["device"].astype(np.int64),
        train=arrays["train"],
    )


def digits(devices: int) -> Samples:
    """Return the packaged digits over *devices* devices, two labels each, 20 % held out.

    Five devices hold all ten labels; the next five pair them anew, and so on. The samples of a
    label are dealt in file order to its holders, so every device of a split is about as large.

    Raises:
        DataError: There are not enough digits for so many devices.
    """
    if not 1 <= devices <= DIGITS_DEVICES_MAX:
        raise DataError(f"digits: {devices} devices; 1 to {DIGITS_DEVICES_MAX} are possible")
    with resources.files("swarmdem.learning").joinpath("data/digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        x, y = archive["x"], archive["y"].astype(np.int64)
    holders: list[list[int]] = [[] for _ in range(10)]
    for number in range(devices):
        again, turn = divmod(number, 5)
        holders[2 * turn].append(number)
        holders[(2 * turn + 2 * again + 1) % 10].append(number)
    device = np.full(len(y), -1, np.int64)
    for label, those in enumerate(holders):
        members = np.flatnonzero(y == label)
        if those:
            device[members] = np.resize(those, len(members))
    train = np.ones(len(y), np.bool_)
    for number in range(devices):
        train[np.flatnonzero(device == number)[HELD_OUT - 1 :: HELD_OUT]] = False
    held = device >= 0
    return Samples(x[held], y[held], device[held], train[held])


def as_dataset(examples: Examples, what: str, *, may_be_empty: bool = False) -> Dataset:
    """Return *examples* with float inputs as float32 and classes as int64; shares memory if it can.

    Raises:
        DataError: They do not fit together; the message begins with *what*.
    """
    given = (examples.x, examples.y) if isinstance(examples, Dataset) else examples
    try:
        x, y = (np.asarray(array) for array in given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: not a pair of arrays ({error})") from error
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "iu":
        raise DataError(f"{what}: inputs of {x.dtype}, classes of {y.dtype}; numbers and integers are needed")
    if x.ndim < 1 or y.shape != x.shape[:1]:
        raise DataError(f"{what}: inputs of shape {list(x.shape)}, classes of shape {list(y.shape)}")
    if not len(x) and not may_be_empty:
        raise DataError(f"{what}: no samples")
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            raise DataError(f"{what}: inputs hold NaN or infinite values")
        x = x.astype(np.float32, copy=False)
    if len(y) and y.min() < 0:
        raise DataError(f"{what}: negative class {y.min()}")
    return Dataset(x, y.astype(np.int64, copy=False))


def _finite(x: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(x.astype(np.float32, copy=False)).all())


def _check(arrays: Mapping[str, NDArray[Any]], path: str) -> None:
    """Refuse arrays that are not the data of a swarm; the first rule broken is named."""
    x, y, device, train = (arrays[key] for key in KEYS)
    rules: tuple[tuple[str, Callable[[], bool], str], ...] = (
        ("x", lambda: x.dtype.kind in "uif" and x.ndim >= 2, "numbers of shape (n, ...)"),
        ("x", lambda: x.size > 0, "not empty"),
        ("x", lambda: x.dtype.kind != "f" or _finite(x), "free of NaN and infinities (as 32-bit floats)"),
        ("y", lambda: y.dtype.kind in "ui" and y.shape == (len(x),), f"{len(x)} integers"),
        ("y", lambda: y.min() >= 0 and y.max() < CLASSES_MAX, f"from 0 to {CLASSES_MAX - 1}"),
        ("device", lambda: device.dtype.kind in "ui" and device.shape == (len(x),), f"{len(x)} integers"),
        ("device", lambda: device.min() >= 0 and device.max() < DEVICES_MAX, f"from 0 to {DEVICES_MAX - 1}"),
        ("train", lambda: train.dtype.kind == "b" and train.shape == (len(x),), f"{len(x)} booleans"),
    )
    for key, holds, wanted in rules:
        if not holds():
            found = f"{arrays[key].dtype}{list(arrays[key].shape)}"
            raise DataError(f"{path}: array {key!r} ({found}) must be {wanted}")
    trained = np.zeros(int(device.max()) + 1, np.bool_)
    trained[device[train]] = True
    if not trained.all():
        raise DataError(f"{path}: device {int(np.argmin(trained))} has no training samples (array 'train')")
