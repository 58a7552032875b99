"""The models one peer holds in memory, by hash: what it trains from, averages, mixes and serves.

A model is its blob; the named arrays are read-only views on the blob's bytes, so that holding a
model costs its bytes once. Peers of one process that hold the same model share one object.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from swarmdem.identifiers import ModelHash
from swarmdem.learning import parameters as arrays
from swarmdem.learning.learner import Parameters
from swarmdem.protocol.events import Slot
from swarmdem.wire.blobs import BlobInfo, describe
from swarmdem.wire.charter import TensorSpec

Schema = tuple[TensorSpec, ...]

_FILE_DTYPES = {
    "float64": "F64", "int64": "I64", "float32": "F32", "int32": "I32", "float16": "F16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip

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

    @property
    def name(self) -> ModelHash:
        """The blob's hash."""
        return self.info.name


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
    return model_of_bytes(arrays.to_bytes(parameters, schema), schema)


def to_file(model: Model, metadata: Mapping[str, str] | None = None) -> tuple[bytes, bytes | memoryview]:
    """Return the content of *model* as a `.safetensors` file: its head, and the blob as it is.

    A blob is laid out as the format wants it: arrays one after the other, little-endian, no gaps. The
    head names the model, beside *metadata*.
    """
    head: dict[str, object] = {"__metadata__": {**(metadata or {}), "model": model.name.hex()}}
    offset = 0
    for spec in model.schema:
        end = offset + arrays.model_bytes((spec,))
        head[spec.name] = {
            "dtype": _FILE_DTYPES[spec.dtype],
            "shape": spec.shape,
            "data_offsets": (offset, end),
        }
        offset = end
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, model.data


class ModelPool:
    """One object per model for all peers of a process; used from one event loop."""

    def __init__(self) -> None:
        self._models: WeakValueDictionary[ModelHash, Model] = WeakValueDictionary()

    def shared(self, model: Model) -> Model:
        """Return the first object made of this model that is still in use."""
        known = self._models.setdefault(model.name, model)
        return known if known.schema == model.schema else model


class ModelShelf:
    """What one peer holds: the models the core asked to keep and those in its saved slots."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool
        self._models: dict[ModelHash, Model] = {}
        self._slots: dict[Slot, Model] = {}

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
        return self._models.get(name)

    def slot(self, slot: Slot) -> Model | None:
        """Return the model saved in *slot*, or None."""
        return self._slots.get(slot)

    def fill(self, slots: Mapping[Slot, Model]) -> None:
        """Put models into saved slots; what was there is held until the next `keep`.

        What never leaves the peer is in its slot only: nobody can fetch it by name.
        """
        for slot, model in slots.items():
            self._slots[slot] = model if slot in OWN_AFFAIRS else self.put(model)

    def pooled(self, slots: Mapping[Slot, Model]) -> dict[Slot, Model]:
        """Return the same models as the objects that peers of this process share."""
        return {slot: self._pool.shared(model) for slot, model in slots.items()}

    def keep(self, names: Iterable[ModelHash]) -> None:
        """Forget all models but *names* and those in saved slots."""
        public = (model.name for slot, model in self._slots.items() if slot not in OWN_AFFAIRS)
        needed = {*names, *public}
        self._models = {name: model for name, model in self._models.items() if name in needed}
