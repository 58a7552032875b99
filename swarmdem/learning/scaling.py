"""How data is brought to a model: standardised by constants that all peers share, channels first.

The constants are in the charter (`inputs`), so that a peer scales its data as the others do without
having seen theirs. They apply to inputs as files store them; `channels_first` comes after them. The
values of a regression have a mean and a deviation too: learners train towards scaled targets (one rate
then suits degrees and prices alike) and answer in the targets' own unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning.samples import Samples

STANDARDIZATIONS = ("pixel", "global", "none")
SPREAD_MIN = 0.001
"""Added to a pixel's deviation (the authors' code)."""
CHANNELS = (1, 3)
"""Lengths of a last axis that mean grey and colour."""


@dataclass(frozen=True, slots=True)
class Standardization:
    """Constants, the same at every peer; of inputs: (x - mean) / deviation, 0 where deviation is 0."""

    kind: str
    """One of `STANDARDIZATIONS`; the constants say what to do, this says where they come from."""
    mean: NDArray[np.float32]
    """One value, or one per element of an input; in the units of the stored inputs."""
    deviation: NDArray[np.float32]
    """As *mean*; 0 or above."""
    target: tuple[float, float] | None = None
    """Mean and deviation (above 0) of a regression's targets, in their unit; None: classes, or values
    that a model is to predict as they are. Both are exact as 32-bit floats."""

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
        """Return the constants as the charter's `inputs`; `target` is mean, then deviation."""
        shape = np.array(self.mean.shape, "<u4")
        inputs = (
            ("standardize", self.kind.encode()),
            ("shape", shape.tobytes()),
            ("mean", self.mean.astype("<f4").tobytes()),
            ("deviation", self.deviation.astype("<f4").tobytes()),
        )
        if self.target is None:
            return inputs
        return (*inputs, ("target", np.array(self.target, "<f4").tobytes()))


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
    return Standardization(kind, mean, deviation, _target_of(given.get("target")))


def _target_of(given: bytes | None) -> tuple[float, float] | None:
    if given is None:
        return None
    if len(given) != 8:
        raise ConfigError(f"charter.inputs: target has {len(given)} bytes, not two 32-bit floats")
    mean, deviation = np.frombuffer(given, "<f4").tolist()
    if not (np.isfinite(mean) and np.isfinite(deviation) and deviation > 0):
        raise ConfigError("charter.inputs: target must be a finite mean and a finite deviation above 0")
    return mean, deviation


def standardization(samples: Samples, kind: str) -> Standardization:
    """Compute the constants of inputs, and of a regression's targets, over all training samples of a file.

    `pixel`: per pixel, or per feature of (n, d) inputs, (x - mean) / (deviation + .001), 0 where the
    deviation is 0 (the authors' way). `global`: one mean and deviation. `none`: integers / 255, floats
    as they are. Values to be predicted have one mean and deviation under `pixel` and `global` (deviation 1
    where all are equal) and stay as they are under `none`: for models that know the unit themselves, say
    by ending in a ReLU.

    Args:
        samples: Of all devices; test samples have no say.
        kind: One of `STANDARDIZATIONS`.

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
    target = _spread(samples) if samples.task == "regression" and kind != "none" else None
    return Standardization(kind, np.asarray(mean, np.float32), np.asarray(deviation, np.float32), target)


def _spread(samples: Samples) -> tuple[float, float]:
    """Return mean and deviation of the training targets, as 32-bit floats can hold them."""
    y = samples.y[samples.train].astype(np.float64)
    mean, deviation = np.float32(y.mean()), np.float32(y.std())
    return float(mean), float(deviation) or 1.0


def channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """Return images (n, h, w, 1 or 3) as (n, 1 or 3, h, w), which torch's layers take; others as they are."""
    if x.ndim != 4 or x.shape[-1] not in CHANNELS:
        return x
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))
