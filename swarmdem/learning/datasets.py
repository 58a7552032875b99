"""The data of the examples and experiments: from a name to what each device trains and tests on.

A source is `digits`, packaged: the UCI optical digits (1,797 images of 8x8, values brought to 0-255;
E. Alpaydin and C. Kaynak, CC BY 4.0), split at load over any number of devices with two labels each;
or an `.npz` with `x` (n, ...), `y` (n,) classes from 0 or floats, `device` (n,) numbers from 0 and
`train` (n,) bool, every device with training samples; or a folder of MNIST-style IDX files, split at
load by label skew (`splits.label_skew`).
"""

import math
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning import splits
from swarmdem.learning.data_files import read_idx_folder, read_npz
from swarmdem.learning.defaults import HOLDOUT_SEED
from swarmdem.learning.learner import Dataset
from swarmdem.learning.samples import Samples, hold_out
from swarmdem.learning.scaling import Standardization, channels_first

Examples = Dataset | tuple[Any, Any]
"""A `Dataset`, or inputs and targets as anything numpy can read (torch tensors too)."""

DIGITS = "digits"
DIGITS_DEVICES_MAX = 100
"""Beyond it a device would hold fewer than 17 of the 1,797 digits."""


class DataSettings(Protocol):
    """The settings of a run, or of one peer, that say what data there is."""

    @property
    def data(self) -> str:
        """A source."""

    @property
    def devices(self) -> int | None:
        """Over how many devices a source is split that does not say so itself."""

    @property
    def labels_per_device(self) -> int | None:
        """Labels a device holds of IDX files; None: 2."""

    @property
    def split_seed(self) -> int | None:
        """Seed of the split of IDX files; None: 0."""

    @property
    def holdout(self) -> float | None:
        """Share of each device's training part to test on, the real test part unread; None: none."""

    @property
    def holdout_seed(self) -> int | None:
        """Seed of `hold_out`; None: 7."""


def load_for(settings: DataSettings, *, devices: int) -> Samples:
    """Return the samples that *settings* ask for.

    Args:
        settings: Of a run or a peer.
        devices: Over how many to split when neither the settings nor the source say so; digits over
            `DIGITS_DEVICES_MAX` at most: further peers share their data.

    Raises:
        ConfigError: A setting is out of range or means nothing to this source.
        DataError: The source is missing or malformed, or does not suffice.
    """
    if settings.data == DIGITS:
        devices = min(devices, DIGITS_DEVICES_MAX)
    samples = load(
        settings.data,
        devices=devices if settings.devices is None else settings.devices,
        labels_per_device=settings.labels_per_device,
        split_seed=settings.split_seed,
    )
    if settings.devices is not None and samples.devices != settings.devices:
        raise ConfigError(f"devices = {settings.devices}: {settings.data} is of {samples.devices} devices")
    if settings.holdout is None:
        return samples
    seed = HOLDOUT_SEED if settings.holdout_seed is None else settings.holdout_seed
    return hold_out(samples, settings.holdout, seed)


def load(
    source: str | Path,
    *,
    devices: int,
    labels_per_device: int | None = None,
    split_seed: int | None = None,
) -> Samples:
    """Return the samples of a source.

    Args:
        source: `digits`, an `.npz` or a folder of IDX files.
        devices: Over how many devices digits and IDX files are split; an `.npz` says so itself.
        labels_per_device: Labels a device holds of IDX files (default: 2).
        split_seed: Of the split of IDX files (default: 0).

    Raises:
        ConfigError: A setting of the split is out of range, or the source is split already.
        DataError: The source is missing or malformed, or does not suffice; the message names it.
    """
    if Path(source).is_dir() and str(source) != DIGITS:
        images, labels = read_idx_folder(Path(source))
        return splits.label_skew(
            images,
            labels,
            devices=devices,
            labels_per_device=splits.LABELS_PER_DEVICE if labels_per_device is None else labels_per_device,
            seed=split_seed or 0,
            where=str(source),
        )
    for name, value in (("labels_per_device", labels_per_device), ("split_seed", split_seed)):
        if value is not None:
            raise ConfigError(
                f"{name} = {value}: is for folders of IDX files; {source} has a split of its own"
            )
    return digits(devices) if str(source) == DIGITS else read_npz(Path(source))


def digits(devices: int) -> Samples:
    """Return the packaged digits over *devices* devices, two labels each, 20 % held out.

    Raises:
        DataError: There are not enough digits for so many devices.
    """
    if not 1 <= devices <= DIGITS_DEVICES_MAX:
        raise DataError(f"digits: {devices} devices; 1 to {DIGITS_DEVICES_MAX} are possible")
    with resources.files("swarmdem.learning").joinpath("data/digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        return splits.pairs_of_ten(archive["x"], archive["y"].astype(np.int64), devices=devices)


class DeviceData:
    """Standardised data by device, images with their channels first; each is cut out when asked for.

    Args:
        samples: Of all devices.
        constants: The swarm's; of them the targets take mean and deviation along, unscaled.

    Raises:
        DataError: The constants are for the values of a regression, the targets are classes.
    """

    def __init__(self, samples: Samples, constants: Standardization) -> None:
        if constants.target is not None and samples.task != "regression":
            raise DataError("array 'y' holds classes (integers), the charter's constants are for floats")
        self._target_mean, self._target_deviation = constants.target or (0.0, 1.0)
        self._samples = samples
        self._constants = constants
        self.shape = channels_first(samples.x[:1]).shape[1:]
        """Of one input, as a model gets it."""
        self.classes = samples.classes
        self.outputs = samples.outputs
        self.task = samples.task
        self.devices = samples.devices

    def device(self, number: int) -> tuple[Dataset, Dataset]:
        """Return training and test data of device *number* modulo the number of devices."""
        own = self._samples.device == number % self.devices
        return self._cut(own & self._samples.train), self._cut(own & ~self._samples.train)

    def _cut(self, chosen: NDArray[np.bool_]) -> Dataset:
        inputs = channels_first(self._constants.apply(self._samples.x[chosen]))
        return Dataset(
            inputs,
            self._samples.y[chosen],
            target_mean=self._target_mean,
            target_deviation=self._target_deviation,
        )


def as_dataset(examples: Examples, what: str, *, may_be_empty: bool = False) -> Dataset:
    """Return *examples* with floats as float32 and classes as int64; shares memory if it can.

    Float targets are values to be predicted; a pair brings no constants to scale them by.

    Args:
        examples: Inputs (n, ...), targets (n,).
        what: What they are for; begins every message.
        may_be_empty: Whether n may be 0.

    Raises:
        DataError: They do not fit together, hold NaN, or their constants cannot scale.
    """
    x, y = _arrays(examples, what)
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "iuf":
        raise DataError(
            f"{what}: inputs of {x.dtype}, targets of {y.dtype}; numbers are needed, classes as integers"
        )
    if x.ndim < 1 or y.shape != x.shape[:1]:
        raise DataError(f"{what}: inputs of shape {list(x.shape)}, targets of shape {list(y.shape)}")
    if not len(x) and not may_be_empty:
        raise DataError(f"{what}: no samples")
    if x.dtype.kind == "f":
        x = _finite(x, f"{what}: inputs")
    if y.dtype.kind == "f":
        mean, deviation = (
            (examples.target_mean, examples.target_deviation) if isinstance(examples, Dataset) else (0.0, 1.0)
        )
        if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
            raise DataError(f"{what}: target_mean = {mean}, target_deviation = {deviation} scale nothing")
        return Dataset(x, _finite(y, f"{what}: targets"), mean, deviation)
    if len(y) and y.min() < 0:
        raise DataError(f"{what}: negative class {y.min()}")
    return Dataset(x, y.astype(np.int64, copy=False))


def _arrays(examples: Examples, what: str) -> tuple[NDArray[Any], NDArray[Any]]:
    given = (examples.x, examples.y) if isinstance(examples, Dataset) else examples
    try:
        x, y = (np.asarray(array) for array in given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: not a pair of arrays ({error})") from error
    return x, y


def _finite(array: NDArray[Any], what: str) -> NDArray[np.float32]:
    """Return floats as float32, in the same memory if they are."""
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32, copy=False)
    if not np.isfinite(narrow).all():
        raise DataError(f"{what} hold NaN or infinite values (as 32-bit floats)")
    return narrow
