"""Models in fewer bytes: as halves, as int8 differences to a base, or as its largest differences alone.

What a sparse blob leaves out and what is rounded off is the residual, which the sender adds to its next
difference (error feedback: Seide et al. 2014; Stich et al. 2018, arXiv 1809.07599). The bytes are
described in `encoded.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import frexp
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from swarmdem.errors import MisuseError
from swarmdem.learning.encoded import (
    ENTRIES_SHARE,
    FP16,
    GAP_MAX,
    LENGTH,
    SCALE,
    SPARSE,
    TINY,
    Base,
    Form,
    Head,
    form_of,
    work_dtype,
)
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.learning.parameters import check_schema, dtype_of
from swarmdem.wire.charter import TensorSpec
from swarmdem.wire.encodings import BLOCK, HEADER_BYTES, blocks

_HALF_MAX = 32_768.0
_TRIES = 8
"""Numbers of entries that are tried to fill a budget."""
_FILLED, _AIM = 0.85, 0.95
"""Share of a budget that will do, and that is aimed at."""
_LEAST_ENTRY = 0.7
"""Smallest entry of a sparse blob in steps: most lie between it and 1.5 steps, around one step."""
_LEVEL = 1
"""Of zstd: quantised numbers hardly repeat, so higher levels cost time and give nothing."""

Flat = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse blob."""

    blob: bytes
    left: MutableParameters
    """The residual for the next: float32, of the names and shapes of the coded arrays."""
    least: float
    """The smallest difference that was sent; infinite where none was."""


def encode(
    parameters: Parameters,
    schema: tuple[TensorSpec, ...],
    kind: int,
    *,
    base: Base | None = None,
) -> bytes:
    """Return a model as an fp16 or int8 blob.

    Args:
        parameters: The model, finite.
        schema: Its schema, in the order of a raw blob.
        kind: `FP16` or `INT8`.
        base: What the difference is taken to; None with `FP16`.

    Raises:
        SchemaError: Model or base are not of the schema.
    """
    assert (base is None) == (kind == FP16)
    check_schema(parameters, schema)
    if base is not None:
        check_schema(base.parameters, schema)
    form = form_of(schema)
    scales: list[float] = []
    numbers: list[bytes] = []
    for spec in form.coded:
        difference = _difference(parameters, spec, base)
        if kind == FP16:
            scale, halves = _halves(difference)
            scales.append(scale)
            numbers.append(halves.tobytes())
        else:
            steps, counts = _block_counts(difference)
            scales += steps
            numbers.append(counts.tobytes())
    return _blob(kind, base, [*_kept(parameters, form), _scales(scales), *numbers])


def encode_sparse(
    parameters: Parameters,
    schema: tuple[TensorSpec, ...],
    *,
    base: Base,
    budget: int,
    residual: Parameters | None = None,
    guess: float | None = None,
) -> Sparse:
    """Return a model as a sparse blob of at most *budget* bytes, and what it leaves out.

    Args:
        parameters: The model, finite.
        schema: Its schema, in the order of a raw blob.
        base: What the difference is taken to.
        budget: From `Sizes.sparse_least()`.
        residual: What the last blob left out, by the names of coded arrays; None: nothing.
        guess: Smallest difference to begin the search with: that of a model like this one.

    Raises:
        SchemaError: Model or base are not of the schema.
        MisuseError: The budget is too small.
    """
    check_schema(parameters, schema)
    check_schema(base.parameters, schema)
    form = form_of(schema)
    wanted = np.empty(form.numbers, np.float32)
    for spec, start, stop in form.parts():
        wanted[start:stop] = _difference(parameters, spec, base)
        if residual is not None:
            wanted[start:stop] += residual[spec.name].reshape(-1)
    head = HEADER_BYTES + form.fixed_bytes(SPARSE) + LENGTH.size
    most, kept = form.numbers // ENTRIES_SHARE, _kept(parameters, form)
    magnitude, entries = np.abs(wanted), max(0, min(most, budget - head))
    chosen = np.flatnonzero(magnitude >= guess) if guess else _largest(magnitude, entries)
    found: tuple[bytes, NDArray[np.int64], Flat] | None = None
    for _ in range(_TRIES):
        if len(chosen) > most:
            chosen = _largest(magnitude, most)
        parts, sent = _sparse_parts(wanted, chosen, form)
        blob = _blob(SPARSE, base, [*kept, *parts])
        if len(blob) <= budget:
            found = blob, chosen, sent
            if len(blob) >= _FILLED * budget or len(chosen) == most:
                break
        entries = min(most, int(max(1, len(chosen)) * _AIM * (budget - head) / max(1, len(blob) - head)))
        before, chosen = len(chosen), _largest(magnitude, entries)
        if found and len(chosen) <= before:
            break
    if found is None:
        raise MisuseError(f"a sparse model in {budget} bytes")
    blob, chosen, sent = found
    wanted[chosen] -= sent
    left: MutableParameters = {
        spec.name: wanted[start:stop].reshape(spec.shape) for spec, start, stop in form.parts()
    }
    return Sparse(blob, left, float(magnitude[chosen].min(initial=np.inf)))


def _difference(parameters: Parameters, spec: TensorSpec, base: Base | None) -> Flat:
    """Return a coded array less its base, flat, in float32 (float64 arrays: in float64)."""
    work = work_dtype(spec)
    flat = parameters[spec.name].reshape(-1)
    if base is None:
        return flat.astype(work)
    return np.subtract(flat, base.parameters[spec.name].reshape(-1), dtype=work)


def _halves(values: Flat) -> tuple[float, Flat]:
    """Return a power of two and the values divided by it: the largest lies between 16384 and 32768."""
    largest = float(np.abs(values).max())
    scale = 2.0 ** max(frexp(largest)[1] - frexp(_HALF_MAX)[1] + 1, -126) if largest else 0.0
    return scale, (values / scale if scale else values).astype("<f2")


def _counts(values: Flat, *, least: float = 0.0) -> tuple[float, Flat]:
    """Return a scale, not below *least*, and the values as counts of it, from -127 to 127."""
    largest = float(np.abs(values).max()) if values.size else 0.0
    scale = float(np.float32(max(largest / 127, least if largest else 0.0)))
    if scale < TINY:
        return 0.0, np.zeros(values.shape, np.int8)
    counts = np.rint(values / scale)
    return scale, np.clip(counts, -127, 127, out=counts).astype(np.int8)


def _block_counts(values: Flat) -> tuple[list[float], Flat]:
    """Return a scale for each block of the values, and them as counts of it, from -127 to 127."""
    padded = np.zeros(blocks(values.size) * BLOCK, values.dtype)
    padded[: values.size] = values
    rows = padded.reshape(-1, BLOCK)
    scales = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    scales[scales < TINY] = 0.0
    steps = scales.astype(values.dtype)[:, np.newaxis]
    counts = np.rint(np.divide(rows, steps, out=np.zeros_like(rows), where=steps > 0))
    np.clip(counts, -127, 127, out=counts)
    return scales.tolist(), counts.astype(np.int8).reshape(-1)[: values.size]


def _largest(magnitude: Flat, count: int) -> NDArray[np.int64]:
    """Return the places of the *count* largest magnitudes; zeros are never among them."""
    if count <= 0:
        return np.empty(0, np.int64)
    threshold = np.partition(magnitude, magnitude.size - count)[magnitude.size - count]
    places = np.flatnonzero(magnitude >= max(float(threshold), TINY))
    return places if len(places) <= count else places[np.argsort(-magnitude[places], kind="stable")[:count]]


def _sparse_parts(wanted: Flat, chosen: NDArray[np.int64], form: Form) -> tuple[list[bytes], Flat]:
    """Return scales, gaps and values of the entries, and what a reader makes of each of *chosen*."""
    chosen.sort()
    # Coarse steps, larger than the smallest entry: small counts pack well, and more entries fit instead.
    least = float(np.abs(wanted[chosen]).min()) / _LEAST_ENTRY if len(chosen) else 0.0
    counts = np.zeros(len(chosen), np.int8)
    sent = np.zeros(len(chosen), np.float32)
    scales = []
    bounds = np.searchsorted(chosen, form.starts)
    for start, stop in pairwise(bounds):
        scale, counts[start:stop] = _counts(wanted[chosen[start:stop]], least=least)
        np.multiply(counts[start:stop], np.float32(scale), out=sent[start:stop], dtype=np.float32)
        scales.append(scale)
    heard = counts != 0
    gaps = _gaps(chosen[heard])
    return [_scales(scales), LENGTH.pack(len(gaps)), gaps, counts[heard].tobytes()], sent


def _gaps(places: NDArray[np.int64]) -> bytes:
    zeros = np.diff(places, prepend=-1) - 1
    whole, rest = zeros // GAP_MAX, zeros % GAP_MAX
    out = np.full(int(whole.sum()) + len(zeros), GAP_MAX, np.uint8)
    out[np.cumsum(whole + 1) - 1] = rest
    return out.tobytes()


def _kept(parameters: Parameters, form: Form) -> list[bytes]:
    return [parameters[spec.name].astype(dtype_of(spec), order="C").tobytes() for spec in form.kept]


def _scales(scales: Sequence[float]) -> bytes:
    return np.array(scales, SCALE).tobytes()


def _blob(kind: int, base: Base | None, parts: Sequence[bytes]) -> bytes:
    payload = b"".join(parts)
    squeezed = zstandard.ZstdCompressor(level=_LEVEL).compress(payload)
    packed = len(squeezed) < len(payload)
    head = Head(kind, base.name if base is not None else None, packed)
    return head.write() + (squeezed if packed else payload)
