"""Named arrays of one model to and from schema, bytes, vector and file.

A model on the wire is its arrays one after the other, sorted by the UTF-8 bytes of their names,
each in C order, little-endian, in its own dtype, with nothing between them: the schema is in the
charter and tells where each array starts. Bytes from outside are checked for length, for values
that are not finite and for magnitudes that no model has before anybody may use them.

Needs numpy and safetensors only.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from swarmdem.errors import NotFiniteError, SchemaError
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.wire.charter import TensorSpec

MAGNITUDE_MAX = 1e30
"""Largest absolute value of a parameter; beyond it sums of float32 values may overflow (a guess)."""

_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<") for name in get_args(get_type_hints(TensorSpec)["dtype"])
}


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """Return the little-endian numpy dtype of *spec*."""
    return _DTYPES[spec.dtype]


def schema_of(parameters: Parameters) -> tuple[TensorSpec, ...]:
    """Return names, shapes and dtypes, sorted by the UTF-8 bytes of the names.

    Raises:
        SchemaError: An array's name or dtype cannot travel between peers.
    """
    return _schema_of(tuple((name, array.shape, array.dtype) for name, array in parameters.items()))


@lru_cache(maxsize=64)
def _schema_of(arrays: tuple[tuple[str, tuple[int, ...], np.dtype[Any]], ...]) -> tuple[TensorSpec, ...]:
    """Return the schema of arrays; asked for many times a round, always for the same few."""
    specs = []
    for name, shape, dtype in sorted(arrays, key=lambda array: array[0].encode()):
        if dtype.name not in _DTYPES:
            raise SchemaError(f"{name!r} is of dtype {dtype.name}; known: {', '.join(_DTYPES)}")
        specs.append((name, shape, dtype.name))
    try:
        return msgspec.convert(tuple(specs), tuple[TensorSpec, ...])
    except msgspec.ValidationError as error:
        raise SchemaError(f"model: {error}") from error


def model_bytes(schema: Sequence[TensorSpec]) -> int:
    """Return the length of a model of *schema* as `to_bytes` writes it."""
    return sum(prod(spec.shape) * dtype_of(spec).itemsize for spec in schema)


def check_schema(parameters: Parameters, schema: Sequence[TensorSpec]) -> None:
    """Refuse *parameters* whose names, shapes or dtypes are not those of *schema*.

    Raises:
        SchemaError: Names the first array that differs.
    """
    if len(parameters) != len(schema):
        names = {spec.name for spec in schema} ^ set(parameters)
        raise SchemaError(f"model has {len(parameters)} arrays, not {len(schema)}: {sorted(names)[:3]}")
    for spec in schema:
        array = parameters.get(spec.name)
        if array is None:
            raise SchemaError(f"model has no array {spec.name!r}")
        fits = array.dtype == _DTYPES[spec.dtype] or array.dtype.name == spec.dtype  # a name costs more
        if array.shape != spec.shape or not fits:
            raise SchemaError(
                f"{spec.name!r} is {array.dtype.name}{list(array.shape)}, not {spec.dtype}{list(spec.shape)}"
            )


def check_part(parameters: Parameters, schema: Sequence[TensorSpec]) -> None:
    """Refuse *parameters* that are not some of the arrays of *schema*.

    Raises:
        SchemaError: Names the first array that differs.
    """
    if parameters:
        part = [spec for spec in schema if spec.name in parameters]
        check_schema(parameters, part)


def check_finite(parameters: Parameters) -> None:
    """Refuse values that must not enter an average.

    Raises:
        NotFiniteError: Names the first array with NaN, an infinity or a magnitude above 1e30.
    """
    for name, array in parameters.items():
        if array.dtype.kind != "f" or not array.size:
            continue
        # Minimum and maximum hand NaN on and, unlike isfinite, need no array of their own.
        least, most = float(array.min()), float(array.max())
        if not (least >= -MAGNITUDE_MAX and most <= MAGNITUDE_MAX):
            raise NotFiniteError(f"{name!r} holds values from {least:g} to {most:g}")


def to_bytes(parameters: Parameters, schema: Sequence[TensorSpec]) -> bytes:
    """Return *parameters* as they travel (see the head of this module).

    Raises:
        SchemaError: They do not fit *schema*.
        NotFiniteError: They hold NaN, an infinity or a magnitude above 1e30.
    """
    check_schema(parameters, schema)
    check_finite(parameters)
    return b"".join(
        [parameters[spec.name].astype(dtype_of(spec), order="C", copy=False).data for spec in schema]
    )


def from_bytes(data: bytes | bytearray | memoryview, schema: Sequence[TensorSpec]) -> MutableParameters:
    """Return the model in *data*; the arrays are read-only views of it wherever they are aligned.

    Raises:
        SchemaError: *data* is not a model of *schema*.
        NotFiniteError: It holds NaN, an infinity or a magnitude above 1e30.
    """
    parameters = views(data, schema)
    for spec in schema:
        flags = parameters[spec.name].view(np.uint8) if spec.dtype == "bool" else np.empty(0, np.uint8)
        if flags.size and flags.max() > 1:
            raise SchemaError(f"{spec.name!r} holds bytes that are neither 0 nor 1")
    check_finite(parameters)
    return parameters


def views(data: bytes | bytearray | memoryview, schema: Sequence[TensorSpec]) -> MutableParameters:
    """Return the arrays in *data*, which `to_bytes` wrote here: their values are not looked at.

    Raises:
        SchemaError: *data* is not as long as a model of *schema*.
    """
    expected = model_bytes(schema)
    if len(data) != expected:
        raise SchemaError(f"model of {len(data)} bytes, the schema has {expected}")
    parameters: MutableParameters = {}
    offset = 0
    for spec in schema:
        dtype, count = dtype_of(spec), prod(spec.shape)
        flat: NDArray[Any] = np.frombuffer(data, dtype=dtype, count=count, offset=offset)
        if not flat.flags.aligned:
            flat = flat.copy()
        array = flat.reshape(spec.shape)
        array.flags.writeable = False
        parameters[spec.name] = array
        offset += count * dtype.itemsize
    return parameters


def blank(schema: Sequence[TensorSpec]) -> tuple[memoryview, MutableParameters]:
    """Return the bytes of a model whose values are still to be written, and the arrays to write them to."""
    data = np.empty(model_bytes(schema), np.uint8)
    arrays: MutableParameters = {}
    offset = 0
    for spec in schema:
        stop = offset + prod(spec.shape) * dtype_of(spec).itemsize
        arrays[spec.name] = data[offset:stop].view(dtype_of(spec)).reshape(spec.shape)
        offset = stop
    return data.data.toreadonly(), arrays


def vectors(parameters: Parameters) -> list[NDArray[np.float32]]:
    """Return a float32 vector per floating-point array, in the order of the schema, uncopied where it can be.

    Integer and boolean buffers (counters) stay out: they say how long a model trained, not what it
    learned.
    """
    return [
        parameters[name].astype(np.float32, copy=False).reshape(-1)
        for name in sorted(parameters, key=str.encode)
        if parameters[name].dtype.kind == "f"
    ]


def to_safetensors(parameters: Parameters, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return *parameters* as the content of a `.safetensors` file.

    Args:
        parameters: Of any dtypes that safetensors knows.
        metadata: Words for the file's head, beside the arrays.
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in parameters.items()}
    return safetensors.numpy.save(contiguous, metadata=dict(metadata) if metadata else None)


def from_safetensors(data: bytes) -> MutableParameters:
    """Return the arrays in the content of a `.safetensors` file.

    Raises:
        SchemaError: *data* is not such a file.
    """
    try:
        return safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise SchemaError(f"not a safetensors file: {error}") from error
