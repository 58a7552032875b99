"""What a swarm's data is: samples, the device that holds each, and which ones are for training.

Inputs are (n, d) features, (n, h, w) grey images, (n, h, w, 3) colour images with the channels last,
or anything else a model of the user's takes. Targets are classes from 0, or floats to be predicted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning.learner import Kind

KEYS = ("x", "y", "device", "train")
DEVICES_MAX = 65_536
CLASSES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Samples:
    """What a data source holds, checked."""

    x: NDArray[Any]
    """Inputs as stored, (n, ...): integers or floats."""
    y: NDArray[Any]
    """Targets, (n,): int64 classes, or float32 values to be predicted (regression)."""
    device: NDArray[np.int64]
    """Number of the device that holds the sample, (n,)."""
    train: NDArray[np.bool_]
    """True for training, False for the device's own test, (n,)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input as stored."""
        return self.x.shape[1:]

    @property
    def task(self) -> Kind:
        """What is predicted: classes, or values when the targets are floats."""
        return "regression" if self.y.dtype.kind == "f" else "classification"

    @property
    def classes(self) -> int:
        """1 + the highest class; 0 for a regression."""
        return 0 if self.task == "regression" else int(self.y.max()) + 1

    @property
    def outputs(self) -> int:
        """Scores a model gives for one input: one per class, 1 for a regression."""
        return self.classes or 1

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return int(self.device.max()) + 1


def checked(arrays: Mapping[str, NDArray[Any]], where: str) -> Samples:
    """Return arrays named as `KEYS` as samples.

    Raises:
        DataError: They are not the data of a swarm; the message names *where* and the array.
    """
    _check(arrays, where)
    y = arrays["y"]
    return Samples(
        x=arrays["x"],
        y=y.astype(np.float32 if y.dtype.kind == "f" else np.int64),
        device=arrays["device"].astype(np.int64),
        train=arrays["train"],
    )


def hold_out(samples: Samples, share: float, seed: int) -> Samples:
    """Return the training part alone, a share of each device's turned into its test part: for tuning.

    The real test part is dropped, so nothing chosen on what remains can have seen it. Device by
    device, the first max(1, round(share n)) of a permutation of its n training samples are held out.

    Args:
        samples: With at least two training samples on each device.
        share: Above 0, below 1.
        seed: Of numpy's default generator, one for all devices in order.

    Raises:
        ConfigError: *share* is out of range or *seed* negative.
        DataError: A device would be left without training samples.
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"holdout = {share}: a share above 0 and below 1")
    if seed < 0:
        raise ConfigError(f"holdout_seed = {seed}: not negative")
    train = samples.train.copy()
    chance = np.random.default_rng(seed)
    for number in range(samples.devices):
        own = chance.permutation(np.flatnonzero(samples.train & (samples.device == number)))
        held = max(1, round(share * len(own)))
        if held >= len(own):
            raise DataError(
                f"holdout = {share}: device {number} has {len(own)} training samples, none would be left"
            )
        train[own[:held]] = False
    kept = samples.train
    return replace(
        samples, x=samples.x[kept], y=samples.y[kept], device=samples.device[kept], train=train[kept]
    )


def _finite(array: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())


def _check(arrays: Mapping[str, NDArray[Any]], where: str) -> None:
    """Refuse what breaks a rule; the first one is named."""
    x, y, device, train = (arrays[key] for key in KEYS)
    regression = y.dtype.kind == "f"
    rules: tuple[tuple[str, Callable[[], bool], str], ...] = (
        ("x", lambda: x.dtype.kind in "uif" and x.ndim >= 2, "numbers of shape (n, ...)"),
        ("x", lambda: x.size > 0, "not empty"),
        ("x", lambda: x.dtype.kind != "f" or _finite(x), "free of NaN and infinities (as 32-bit floats)"),
        (
            "y",
            lambda: y.dtype.kind in "uif" and y.shape == (len(x),),
            f"{len(x)} integers (classes) or floats (values to be predicted)",
        ),
        ("y", lambda: not regression or _finite(y), "free of NaN and infinities (as 32-bit floats)"),
        (
            "y",
            lambda: regression or bool(y.min() >= 0 and y.max() < CLASSES_MAX),
            f"from 0 to {CLASSES_MAX - 1}",
        ),
        ("device", lambda: device.dtype.kind in "ui" and device.shape == (len(x),), f"{len(x)} integers"),
        ("device", lambda: device.min() >= 0 and device.max() < DEVICES_MAX, f"from 0 to {DEVICES_MAX - 1}"),
        ("train", lambda: train.dtype.kind == "b" and train.shape == (len(x),), f"{len(x)} booleans"),
    )
    for key, holds, wanted in rules:
        if not holds():
            found = f"{arrays[key].dtype}{list(arrays[key].shape)}"
            raise DataError(f"{where}: array {key!r} ({found}) must be {wanted}")
    trained = np.zeros(int(device.max()) + 1, np.bool_)
    trained[device[train]] = True
    if not trained.all():
        raise DataError(f"{where}: device {int(np.argmin(trained))} has no training samples (array 'train')")
