"""Encoded models back to raw bytes (`encoded.py` describes them): strict, and in bounded memory.

Nothing is reserved on the word of a blob: every length is compared with what the schema allows first, so
a few bytes never grow into more than a small multiple of a model. The bytes that come out are the same
on every machine: one rounded product and one rounded sum a number.
"""

from math import isfinite, prod
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from swarmdem.errors import SchemaError
from swarmdem.learning.encoded import (
    ENTRIES_SHARE,
    FP16,
    GAP_MAX,
    INT8,
    LENGTH,
    NESTED,
    SCALE,
    SPARSE,
    TINY,
    Form,
    Head,
    form_of,
    work_dtype,
)
from swarmdem.learning.learner import Parameters
from swarmdem.learning.parameters import dtype_of, from_bytes, model_bytes
from swarmdem.wire.charter import TensorSpec
from swarmdem.wire.encodings import BLOCK, HEADER_BYTES, blocks

_WINDOW_LEAST = 2**20
"""Memory that zstd may ask for whatever the model's size."""

Flat = NDArray[Any]


def decode(
    blob: bytes | memoryview, head: Head, schema: tuple[TensorSpec, ...], base: Parameters | None
) -> bytearray:
    """Return the raw bytes of the model in an encoded blob that is not nested.

    Args:
        blob: Whole.
        head: Of this blob (`read_head`).
        schema: Of the model.
        base: The model that `head.base` names, of the same schema; None without one.

    Raises:
        SchemaError: It is not a model of the schema in the only way to write it.
        NotFiniteError: A value comes out as NaN, infinite or above 1e30.
    """
    assert head.kind != NESTED
    assert (head.base is None) == (base is None)
    form = form_of(schema)
    payload = _payload(blob, head, form)
    raw = bytearray(model_bytes(schema))
    arrays = _writable(raw, schema)
    offset = 0
    for spec in form.kept:
        length = model_bytes((spec,))
        arrays[spec.name].view(np.uint8)[:] = np.frombuffer(payload, np.uint8, length, offset)
        offset += length
    scales = np.frombuffer(payload, SCALE, form.scales(head.kind), offset)
    offset += scales.nbytes
    if not all(isfinite(scale) and (scale == 0 or scale >= TINY) for scale in scales.tolist()):
        raise SchemaError("encoded model: a scale is negative, subnormal or not finite")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below, by name
        if head.kind == SPARSE:
            _add_entries(payload[offset:], scales, form, arrays, base)
        else:
            _fill(payload[offset:], scales, form, arrays, base, kind=head.kind)
    from_bytes(raw, schema)  # refuses what is not finite
    return raw


def _payload(blob: bytes | memoryview, head: Head, form: Form) -> memoryview:
    """Return the payload, unpacked: nothing is reserved before its length was found possible."""
    body = memoryview(blob)[HEADER_BYTES:]
    fixed = form.fixed_bytes(head.kind)
    if head.kind == SPARSE:
        entries = form.numbers // ENTRIES_SHARE
        least, most = fixed + LENGTH.size, fixed + LENGTH.size + 2 * entries + form.numbers // GAP_MAX
    else:
        least = most = fixed + form.numbers * (2 if head.kind == FP16 else 1)
    if not head.packed:
        length = len(body)
    else:
        try:
            length = zstandard.frame_content_size(body)
        except zstandard.ZstdError as error:
            raise SchemaError(f"encoded model: {error}") from error
    if not least <= length <= most:
        raise SchemaError(f"encoded model: a payload of {length} bytes, not {least} to {most}")
    if not head.packed:
        return body
    try:
        window = zstandard.get_frame_parameters(body).window_size
        if window > max(2 * most, _WINDOW_LEAST):
            raise SchemaError(f"encoded model: a window of {window} bytes")
        unpacked = zstandard.ZstdDecompressor().decompress(
            body, max_output_size=length, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise SchemaError(f"encoded model: {error}") from error
    if len(unpacked) != length:
        raise SchemaError(f"encoded model: a payload of {len(unpacked)} bytes, {length} announced")
    return memoryview(unpacked)


def _writable(raw: bytearray, schema: tuple[TensorSpec, ...]) -> dict[str, Flat]:
    """Return flat views on the parts of *raw*."""
    arrays: dict[str, Flat] = {}
    offset = 0
    for spec in schema:
        arrays[spec.name] = np.frombuffer(raw, dtype_of(spec), prod(spec.shape), offset)
        offset += arrays[spec.name].nbytes
    return arrays


def _fill(
    payload: memoryview,
    scales: NDArray[np.float32],
    form: Form,
    arrays: dict[str, Flat],
    base: Parameters | None,
    *,
    kind: int,
) -> None:
    """Write scale x number + base into every coded array."""
    numbers = np.frombuffer(payload, "<f2" if kind == FP16 else np.int8)
    if kind == INT8 and numbers.size and numbers.min() < -127:
        raise SchemaError("encoded model: a count of -128")
    used = 0
    for spec, start, stop in form.parts():
        part, out, work = numbers[start:stop], arrays[spec.name], work_dtype(spec)
        count = 1 if kind == FP16 else blocks(stop - start)
        scale, used = scales[used : used + count], used + count
        each = scale.astype(work) if count == 1 else np.repeat(scale, BLOCK)[: len(part)].astype(work)
        if not scale.all() and (part * (each == 0)).any():
            raise SchemaError(f"encoded model: {spec.name!r} has numbers and no scale")
        value = out if out.dtype == work else np.empty(out.shape, work)
        np.multiply(part, each, out=value, dtype=work)
        if base is not None:
            np.add(value, base[spec.name].reshape(-1), out=value, dtype=work)
        if value is not out:
            out[...] = value


def _add_entries(
    payload: memoryview,
    scales: NDArray[np.float32],
    form: Form,
    arrays: dict[str, Flat],
    base: Parameters | None,
) -> None:
    """Write the base into every coded array and add the entries."""
    if base is None:
        raise SchemaError("encoded model: sparse and without a base")
    places, counts = _entries(payload, form)
    bounds = np.searchsorted(places, form.starts)
    for index, spec in enumerate(form.coded):
        start, stop, out, work = bounds[index], bounds[index + 1], arrays[spec.name], work_dtype(spec)
        out[...] = base[spec.name].reshape(-1)
        if not scales[index] and start < stop:
            raise SchemaError(f"encoded model: {spec.name!r} has entries and no scale")
        at = places[start:stop] - form.starts[index]
        steps = np.multiply(counts[start:stop], work(scales[index]), dtype=work)
        out[at] = np.add(out[at], steps, dtype=work)


def _entries(payload: memoryview, form: Form) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return places and counts of the entries, the only way to write them."""
    (length,) = LENGTH.unpack_from(payload)
    if length > len(payload) - LENGTH.size:
        raise SchemaError("encoded model: gaps beyond its end")
    gaps = np.frombuffer(payload, np.uint8, length, LENGTH.size)
    counts = np.frombuffer(payload, np.int8, offset=LENGTH.size + length)
    ends = np.flatnonzero(gaps != GAP_MAX)
    last = int(ends[-1]) if len(ends) else -1
    if len(ends) != len(counts) or last != length - 1:
        raise SchemaError(f"encoded model: {len(ends)} places for {len(counts)} values")
    if len(counts) > form.numbers // ENTRIES_SHARE:
        raise SchemaError(f"encoded model: {len(counts)} entries for {form.numbers} numbers")
    if counts.size and (counts.min() < -127 or not counts.all()):
        raise SchemaError("encoded model: a count of 0 or -128")
    places = np.cumsum(gaps, dtype=np.int64)[ends] + np.arange(len(ends))
    if len(places) and places[-1] >= form.numbers:
        raise SchemaError("encoded model: an entry beyond the last number")
    return places, counts
