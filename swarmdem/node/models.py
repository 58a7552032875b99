"""The models one peer holds in memory, by hash: what it trains from, averages, mixes and serves.

A model is its blob; the named arrays are read-only views on the blob's bytes, so that holding a
model costs its bytes once. An encoded blob (`packing.py`) is short and has its raw bytes beside it: it is
named by what travels, and as a base for other models by its raw bytes. Peers of one process that hold
the same model share one object.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from swarmdem.errors import SchemaError
from swarmdem.identifiers import ModelHash
from swarmdem.learning import parameters as arrays
from swarmdem.learning.encoded import Head, read_head
from swarmdem.learning.learner import Parameters
from swarmdem.protocol.events import Slot
from swarmdem.wire.blobs import HASH_BYTES, BlobInfo, describe
from swarmdem.wire.charter import TensorSpec

Schema = tuple[TensorSpec, ...]

_FILE_DTYPES = {
    "float64": "F64", "int64": "I64", "float32": "F32", "int32": "I32", "float16": "F16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip

_BLOB, _CONTENT = "/blob", "/content"  # in checkpoints; no array of torch has a slash in front
BASES_MAX = 4
"""Bases that a peer holds beside the models in its slots."""

OWN_AFFAIRS = frozenset({Slot.TRAINED, Slot.KEPT, Slot.ABOVE})
"""Slots that are never served."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Model:
    """A whole blob of the swarm's schema whose values are all finite."""

    info: BlobInfo
    data: bytes | memoryview
    parameters: Parameters
    """Read-only views on `data`."""
    schema: Schema
    files: list[Path] = field(default_factory=list, repr=False)
    """Checkpoints of this process that hold it: the next one is a link to the last of them."""
    head: Head | None = None
    """Of an encoded blob."""
    raw: bytes | bytearray | None = field(default=None, repr=False)
    """Of an encoded blob: the same model raw."""
    root: "Model | None" = field(default=None, repr=False)
    """Of a nested blob: the root's model, raw."""
    twin: "list[Model]" = field(default_factory=list, repr=False)
    """What `content` made."""

    @property
    def name(self) -> ModelHash:
        """The blob's hash."""
        return self.info.name

    @property
    def sealed(self) -> bool:
        """Whether this is an encoded blob whose base is not here: it has no arrays."""
        return self.head is not None and self.raw is None

    def content(self) -> "Model":
        """Return the same model as a raw blob: itself, or one that is made at the first call.

        Its name is what the model is called as a base.
        """
        if self.head is None:
            return self
        if not self.twin:
            assert self.raw is not None, "sealed"
            self.twin.append(model_of_bytes(memoryview(self.raw).toreadonly(), self.schema))
        return self.twin[0]


def model_of_bytes(data: bytes | memoryview, schema: Schema, info: BlobInfo | None = None) -> Model:
    """Return the model whose blob is *data*.

    Args:
        data: The blob.
        schema: Names, shapes and dtypes it must have.
        info: Its leaf hashes, when the caller has checked them already.

    Raises:
        SchemaError: The length does not fit the schema.
        NotFiniteError: A value is NaN or infinite.
    """
    return Model(info or describe(data), data, arrays.from_bytes(data, schema), schema)


def model_of(parameters: Parameters, schema: Schema) -> Model:
    """Return the model of named arrays, copying them.

    Raises:
        SchemaError: Names, shapes or dtypes are not the schema's.
        NotFiniteError: A value is NaN or infinite.
    """
    data = arrays.to_bytes(parameters, schema)
    return Model(describe(data), data, arrays.views(data, schema), schema)


def model_written(write: Callable[[Parameters], object], schema: Schema) -> Model:
    """Return the model whose values *write* puts into the arrays it is given, all of them.

    They are not looked at: *write* must make finite values, as a mean of models that were looked at is.
    """
    data, blank = arrays.blank(schema)
    write(blank)
    return Model(describe(data), data, arrays.views(data, schema), schema)


def to_file(model: Model, metadata: Mapping[str, str] | None = None) -> tuple[bytes, bytes | memoryview]:
    """Return the content of *model* as a `.safetensors` file: its head, and the blob as it is.

    A blob is laid out as the format wants it: arrays one after the other, little-endian, no gaps. The
    head names the model, beside *metadata*. Of an encoded model the raw bytes are written.
    """
    content = model.data if model.raw is None else memoryview(model.raw)
    return _file_head(model.schema, {**(metadata or {}), "model": model.name.hex()}), content


def to_checkpoint(model: Model) -> tuple[bytes | memoryview, ...]:
    """Return the content of *model* as a file from which `from_checkpoint` gives the same model.

    An encoded blob stands in it as two more arrays: its bytes, and the name of its raw bytes.
    """
    if model.head is None:
        return to_file(model)
    more = (
        TensorSpec(_CONTENT, (HASH_BYTES,), "uint8"),
        TensorSpec(_BLOB, (model.info.total_bytes,), "uint8"),
    )
    head = _file_head((*model.schema, *more), {"model": model.name.hex()})
    assert model.raw is not None
    return head, memoryview(model.raw), model.content().name, model.data


def from_checkpoint(data: bytes) -> Model:
    """Return the model of a checkpoint's content.

    Raises:
        LearningError: *data* is none, or damaged.
    """
    parameters = arrays.from_safetensors(data)
    blob, content = parameters.pop(_BLOB, None), parameters.pop(_CONTENT, None)
    raw = model_of(parameters, arrays.schema_of(parameters))
    if blob is None or content is None:
        return raw
    if raw.name != content.tobytes():
        raise SchemaError("the arrays are not those of the encoded model beside them")
    model = encoded_model(blob.tobytes(), raw.schema, bytes(raw.data))
    model.twin.append(raw)
    return model


def encoded_model(
    data: bytes | memoryview,
    schema: Schema,
    raw: bytes | bytearray | None,
    info: BlobInfo | None = None,
    *,
    root: Model | None = None,
) -> Model:
    """Return the model of an encoded blob.

    Args:
        data: The blob.
        schema: Of its model.
        raw: Its model as a raw blob, checked; None: sealed.
        info: Its leaf hashes, when the caller has checked them already.
        root: Of a nested blob: the root's model, raw.

    Raises:
        SchemaError: The blob has no head.
    """
    head = read_head(data)
    parameters = {} if raw is None else arrays.from_bytes(memoryview(raw).toreadonly(), schema)
    return Model(info or describe(data), data, parameters, schema, head=head, raw=raw, root=root)


def _file_head(schema: Schema, metadata: Mapping[str, str]) -> bytes:
    text = b'{"__metadata__":' + msgspec.json.encode(metadata)
    text += _array_heads(schema)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


@lru_cache(maxsize=64)
def _array_heads(schema: Schema) -> bytes:
    """Return what a head says of the arrays of *schema*, and the end of the head."""
    head: dict[str, object] = {}
    offset = 0
    for spec in schema:
        end = offset + arrays.model_bytes((spec,))
        head[spec.name] = {
            "dtype": _FILE_DTYPES[spec.dtype],
            "shape": spec.shape,
            "data_offsets": (offset, end),
        }
        offset = end
    return (b"," if head else b"") + msgspec.json.encode(head)[1:]


class ModelPool:
    """One object per model for all peers of a process; used from one event loop."""

    def __init__(self) -> None:
        self._models: WeakValueDictionary[ModelHash, Model] = WeakValueDictionary()

    def get(self, name: ModelHash) -> Model | None:
        """Return a model that a peer of this process holds, or None."""
        return self._models.get(name)

    def shared(self, model: Model) -> Model:
        """Return the first object made of this model that is still in use."""
        known = self._models.setdefault(model.name, model)
        return known if known.schema == model.schema else model


class ModelShelf:
    """What one peer holds: the models the core asked to keep, those in its saved slots, and bases."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool
        self._models: dict[ModelHash, Model] = {}
        self._slots: dict[Slot, Model] = {}
        self._bases: dict[ModelHash, Model] = {}

    @property
    def bases(self) -> dict[ModelHash, Model]:
        """The raw models that others' models may be differences to, by name."""
        reference = self._slots.get(Slot.REFERENCE)
        named = () if reference is None else (reference.content(),)
        return self._bases | {model.name: model for model in named}

    def keep_base(self, model: Model) -> None:
        """Hold a raw model as a base until `BASES_MAX` newer ones are here."""
        assert model.head is None
        self._bases.pop(model.name, None)
        self._bases[model.name] = self._pool.shared(model)
        for oldest in tuple(self._bases)[:-BASES_MAX]:
            del self._bases[oldest]

    def pooled_model(self, name: ModelHash) -> Model | None:
        """Return a model that any peer of this process holds, or None."""
        return self._pool.get(name)

    @property
    def slots(self) -> dict[Slot, Model]:
        """The models in saved slots, as they are now."""
        return dict(self._slots)

    def put(self, model: Model) -> Model:
        """Hold *model* until a `keep` leaves it out; return the object to go on with."""
        model = self._pool.shared(model)
        self._models[model.name] = model
        return model

    def get(self, name: ModelHash) -> Model | None:
        """Return a model held, or None."""
        return self._models.get(name) or self._bases.get(name)

    def slot(self, slot: Slot) -> Model | None:
        """Return the model saved in *slot*, or None."""
        return self._slots.get(slot)

    def fill(self, slots: Mapping[Slot, Model]) -> None:
        """Put models into saved slots; what was there is held until the next `keep`.

        What never leaves the peer is in its slot only: nobody can fetch it by name.
        """
        for slot, model in slots.items():
            if slot is Slot.BASE:
                self.keep_base(model)
            self._slots[slot] = model if slot in OWN_AFFAIRS else self.put(model)

    def pooled(self, slots: Mapping[Slot, Model]) -> dict[Slot, Model]:
        """Return the same models as the objects that peers of this process share."""
        return {slot: self._pool.shared(model) for slot, model in slots.items()}

    def keep(self, names: Iterable[ModelHash]) -> None:
        """Forget all models but *names* and those in saved slots."""
        public = (model.name for slot, model in self._slots.items() if slot not in OWN_AFFAIRS)
        needed = {*names, *public}
        self._models = {name: model for name, model in self._models.items() if name in needed}
