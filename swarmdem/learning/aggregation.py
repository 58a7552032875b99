"""How models become one: a running weighted mean (eq. 9) and the mix with the parent (eq. 10).

`mix` is Dem-AI's moving average of a group's model too (arXiv 2003.09301, eq. 3): with gamma the share
of the new mean, `mix(mean, previous, 1 - gamma)`. What the pull to *all* groups above needs (its eq. 2)
is in `sums.py`.

DemLearn is arXiv 2007.03278. Sums and products are taken in float64 and rounded once to the
dtype of the schema, so that k identical models give that model bit by bit (in float64 arrays:
within one unit in the last place). Integer buffers are averaged like the rest and rounded; beyond
2^53 they are approximate.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import MisuseError
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.learning.parameters import check_schema, schema_of
from swarmdem.wire.charter import TensorSpec
from swarmdem.wire.encodings import is_statistic

BLOCK = 65_536
"""Elements worked on at a time: temporaries stay within the cache, whatever the model's size."""

GAIN_NORM_MAX = 4.0
"""Largest norm of an amplified model, in norms of the reference model (a guess: 1.15^5 is 2)."""


class RunningMean:
    """The weighted mean of models that arrive one at a time; holds one sum, never the models.

    DemLearn eq. 9: w_g = sum_i N_i w_i / sum_i N_i over the children i of group g. Memory: 8 bytes per
    parameter.

    Args:
        schema: Of every model that comes, and of the mean.
    """

    def __init__(self, schema: Sequence[TensorSpec]) -> None:
        self._schema = tuple(schema)
        self._sums = {spec.name: np.zeros(spec.shape) for spec in self._schema}
        self._weight = 0

    @property
    def weight(self) -> int:
        """Sum of the weights added so far."""
        return self._weight

    def add(self, parameters: Parameters, weight: int) -> None:
        """Add weight x model to the sum.

        Args:
            parameters: The model, not changed; finite values, since one NaN would stay in the sum.
            weight: N_i: agents, or samples, that the model stands for; from 1.

        Raises:
            SchemaError: The model is not of this mean's schema.
            MisuseError: The weight is not positive.
        """
        if weight <= 0:
            raise MisuseError(f"a model of weight {weight} cannot enter a mean")
        check_schema(parameters, self._schema)
        for name, total in self._sums.items():
            model = parameters[name]
            if weight == 1:
                np.add(total, model, out=total)
                continue
            for part, sums in _blocks(model, total):
                np.add(sums, np.multiply(part, float(weight), dtype=np.float64), out=sums)
        self._weight += weight

    def result(self) -> MutableParameters:
        """Return the mean in the dtypes of the schema; more models may be added afterwards.

        Raises:
            MisuseError: No model was added yet.
        """
        if self._weight == 0:
            raise MisuseError("a mean of no models")
        mean: MutableParameters = {}
        for spec in self._schema:
            out = np.empty(spec.shape, spec.dtype)
            total = self._sums[spec.name]
            if out.dtype.kind == "f":
                np.divide(total, self._weight, out=out, casting="same_kind")
            else:
                out[...] = _nearest(total / self._weight, out.dtype)
            mean[spec.name] = out
        return mean


def mix(
    mean: Parameters, parent: Parameters, alpha: float, *, out: Parameters | None = None
) -> MutableParameters:
    """Return alpha x parent + (1 - alpha) x mean in the dtypes of *mean*.

    DemLearn eq. 10: a group (or a peer) keeps 1 - alpha of its own and takes alpha of its parent's
    generalised knowledge. The inputs are not changed.

    Args:
        mean: The group's mean (eq. 9), or a peer's trained model.
        parent: The model of the group above.
        alpha: Share of *parent*, 0 to 1.
        out: Contiguous arrays to write the result to; new ones by default.

    Raises:
        SchemaError: The models differ in names, shapes or dtypes.
        MisuseError: *alpha* is no share.
    """
    if not 0.0 <= alpha <= 1.0:
        raise MisuseError(f"a mixing share of {alpha}; it lies between 0 and 1")
    for other in (parent,) if out is None else (parent, out):
        check_schema(other, schema_of(mean))
    mixed: MutableParameters = {}
    for name, own in mean.items():
        mixed[name] = target = np.empty(own.shape, own.dtype) if out is None else out[name]
        first, second = (np.empty(min(own.size, BLOCK)) for _ in range(2))
        for result, ours, theirs in _blocks(target, own, parent[name]):
            value, share = first[: result.size], second[: result.size]
            value[...], share[...] = theirs, ours  # converting by itself is faster than while multiplying
            value *= alpha
            share *= 1.0 - alpha
            value += share
            result[...] = value if target.dtype.kind == "f" else _nearest(value, target.dtype)
    return mixed


def amplified(mean: Parameters, gain: float, reference: Parameters) -> tuple[MutableParameters, float]:
    """Return gain x mean and the gain used: 1 where the amplified model would leave all proportion.

    The warm-up of the DemLearn authors' code multiplies every group's mean by 1.15 in the first five
    rounds, so that the levels compound. The guard is ours: above `GAIN_NORM_MAX` times the norm of
    *reference* the mean stays as it is. Running statistics of normalisation layers and integer arrays
    are never amplified: they measure inputs.

    Args:
        mean: A group's model.
        gain: Factor, from the charter's schedule.
        reference: The model that digests are taken against (the genesis).

    Raises:
        SchemaError: *reference* is of another model.
    """
    check_schema(reference, schema_of(mean))
    names = [name for name, array in mean.items() if array.dtype.kind == "f" and not is_statistic(name)]
    norm, most = _norm(mean, names), GAIN_NORM_MAX * _norm(reference, names)
    used = gain if gain * norm <= most else 1.0
    return {
        name: np.multiply(array, used).astype(array.dtype) if name in names and used != 1.0 else array.copy()
        for name, array in mean.items()
    }, used


def _norm(parameters: Parameters, names: Sequence[str]) -> float:
    squares = 0.0
    for name in names:
        for (part,) in _blocks(parameters[name]):
            wide = part.astype(np.float64)
            squares += float(np.dot(wide, wide))
    return math.sqrt(squares)


def _blocks(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield equal stretches of arrays of one shape; the first and any other contiguous one as views."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, BLOCK):
        yield tuple(array[start : start + BLOCK] for array in flat)


def _nearest(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the nearest integers (or booleans) of *values*, kept within the range of *dtype*."""
    nearest: NDArray[Any] = np.asarray(np.rint(values))  # a shape of () gives a scalar otherwise
    if dtype.kind != "b":
        limits = np.iinfo(dtype)
        # The largest int64 is no float64: the next below keeps the conversion inside the range.
        most = np.nextafter(float(limits.max), 0.0) if limits.bits == 64 else float(limits.max)
        np.clip(nearest, float(limits.min), most, out=nearest)
    return nearest.astype(dtype)
