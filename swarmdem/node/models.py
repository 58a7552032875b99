"""The models one peer holds in memory, by hash: what it trains from, averages, mixes and serves.

A model is its blob; the named arrays are read-only views on the blob's bytes, so that holding a
model costs its bytes once. Peers of one process that hold the same model share one object.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from swarmdem.identifiers import ModelHash
from swarmdem.learning import parameters as arrays
from swarmdem.learning.learner import Parameters
from swarmdem.protocol.events import Slot
from swarmdem.wire.blobs import BlobInfo, describe
from swarmdem.wire.charter import TensorSpec

Schema = tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Model:
    """A whole blob of the swarm's schema whose values are all finite."""

    info: BlobInfo
    data: bytes | memoryview
    parameters: Parameters
    """Read-only views on `data`."""
    schema: Schema

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
        """Put models into saved slots; what was there is held until the next `keep`."""
        for slot, model in slots.items():
            self._slots[slot] = self.put(model)

    def keep(self, names: Iterable[ModelHash]) -> None:
        """Forget all models but *names* and those in saved slots."""
        needed = set(names) | {model.name for model in self._slots.values()}
        self._models = {name: model for name, model in self._models.items() if name in needed}
