"""How inputs are brought to a model: standardised by constants that all peers share, channels first.

The constants are in the charter (`inputs`), so that a peer scales its data as the others do without
having seen theirs. They apply to inputs as files store them; `channels_first` comes after them.
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

    `pixel`: per pixel, or per feature of (n, d) inputs, (x - mean) / (deviation + .001), 0 where the
    deviation is 0 (the authors' way). `global`: one mean and deviation. `none`: integers / 255, floats
    as they are.

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


def channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """Return images (n, h, w, 1 or 3) as (n, 1 or 3, h, w), which torch's layers take; others as they are."""
    if x.ndim != 4 or x.shape[-1] not in CHANNELS:
        return x
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))
