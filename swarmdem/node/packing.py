"""What one peer does to the models it sends, and to those it receives, under the charter's codec.

    what                  fp16   int8                          topk
    the genesis, a base   raw    raw                           raw
    an upload             fp16   difference to the reference   sparse difference to the root's last model
    a group's mean        fp16   difference to the reference   sparse difference to what most inputs were
    a group's result      fp16   difference to the reference   the root's new model as a sparse difference to
                                                               its last, and a sparse difference to that

Under `topk` every result brings the root's model along, so that all peers of the swarm hold the same base
for what they send next, whatever their groups are; before its first result a peer sends differences to the
reference. What a difference leaves out is part of the next one, for the base is what others made of it.
A result with sums (`pull_to = all`) and whatever would not be shorter travels raw.

A peer that sends a sparse upload goes on with its exact model, and keeps what it left out for the next
upload (the residual) as long as the result it stands on is of the same group. Threads may use it together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from swarmdem.errors import SchemaError
from swarmdem.identifiers import GroupId, ModelHash
from swarmdem.learning.compression import encode, encode_sparse
from swarmdem.learning.encoded import FP16, INT8, KINDS, NESTED, Base, nest, read_head, unnest
from swarmdem.learning.expansion import decode
from swarmdem.learning.learner import Parameters
from swarmdem.learning.parameters import model_bytes
from swarmdem.node.models import Model, Schema, encoded_model, model_of, model_of_bytes
from swarmdem.wire.blobs import BlobInfo
from swarmdem.wire.charter import Charter
from swarmdem.wire.encodings import NESTED_BYTES, sizes

EXACT, RESIDUAL, GROUP = "exact/", "residual/", "group"
"""Names in what training leaves with the peer: its exact model, the residual, whose result it stood on."""

ROOT_SHARE = (9, 10)
"""Part of a result's bytes that the root's model may take, and any mean: everything is a difference to it."""
NOTHING: Parameters = MappingProxyType({})

Bases = Mapping[ModelHash, Model]
"""Raw models by name."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An upload, and what stays here of it."""

    model: Model
    beside: Parameters
    """Exact model and residual of a sparse one; otherwise nothing."""


class Packing:
    """The codec of one peer.

    Args:
        charter: With its schema.
        schemas: What a raw blob may be, by its length; encoded ones are of the first.
    """

    def __init__(self, charter: Charter, schemas: Sequence[Schema]) -> None:
        self._encoding = charter.encoding
        self._schema = schemas[0]
        self._raw = {model_bytes(schema): schema for schema in schemas}
        self._size = sizes(self._schema)
        budget, least, (part, of) = self._encoding.budget, self._size.sparse_least(), ROOT_SHARE
        shared = max(least, min(budget * part // of, budget - NESTED_BYTES - least))
        # Without groups a result is the root's model alone.
        self._mean_budget = shared if charter.levels else budget
        self._least: dict[str, float] = {}  # of the last sparse blob by kind: where the next search begins

    @property
    def sparse(self) -> bool:
        """Whether results are bases."""
        return self._encoding.codec == "topk"

    def upload(self, model: Model, *, reference: Model, base: Model | None, kept: Model | None) -> Packed:
        """Return what is sent of a trained model.

        Args:
            model: Raw.
            reference: Of the plan; everybody has it.
            base: The root's model of the last update; None before the first.
            kept: What the training before left here.

        Raises:
            LearningError: It cannot be encoded.
        """
        if not self.sparse:
            return Packed(self._dense(model, reference), {})
        residual = _under(RESIDUAL, kept) if base is not None else {}
        against = base or reference.content()
        packed, left = self._sparse(model, against, self._encoding.budget, residual=residual, search="upload")
        beside = {EXACT + name: array for name, array in model.parameters.items()}
        beside |= {RESIDUAL + name: array for name, array in left.items()}
        return Packed(packed, beside if packed is not model else {})

    def mean(self, model: Model, inputs: Counter[ModelHash], *, reference: Model, bases: Bases) -> Model:
        """Return what is sent of a group's mean.

        Args:
            model: Raw.
            inputs: What the sparse ones among its inputs were differences to.
            reference: Of the plan.
            bases: What this peer holds.

        Raises:
            LearningError: It cannot be encoded.
        """
        if not self.sparse:
            return self._dense(model, reference)
        held = [(-count, name) for name, count in inputs.items() if name in bases]
        base = bases[min(held)[1]] if held else reference.content()
        return self._sparse(model, base, self._mean_budget, search="mean")[0]

    def result(self, model: Model, parent: Model, *, reference: Model) -> Model:
        """Return what is sent of a group's result.

        Args:
            model: Raw.
            parent: The result of the group above.
            reference: Of the plan.

        Raises:
            LearningError: It cannot be encoded.
        """
        if model.schema != self._schema:
            return model
        if not self.sparse:
            return self._dense(model, reference)
        if parent.head is None:
            return model
        blob, root = parent.data, root_of(parent)
        if parent.head.kind == NESTED:
            blob, _ = unnest(parent.data)
        rest = max(self._encoding.budget - NESTED_BYTES - len(blob), self._size.sparse_least())
        own = self._sparse(model, root, rest, search="result")[0]
        if own is model or NESTED_BYTES + len(blob) + len(own.data) >= self._size.raw:
            return model
        return encoded_model(nest(blob, bytes(own.data)), self._schema, own.raw, root=root)

    def exact(self, upload: Model, trained: Model | None) -> Model:
        """Return the trained model behind an upload.

        Args:
            upload: What was sent.
            trained: What its training left here.
        """
        arrays = _under(EXACT, trained)
        return model_of(arrays, self._schema) if arrays else upload

    def left(self, trained: Model | None, kept: Model | None, group: GroupId) -> Parameters:
        """Return what stays of the encoding under `topk`: the group, and the residual if that is the same.

        Args:
            trained: What the last training left.
            kept: What the one before had left: names the group whose result was the base.
            group: Whose result the peer stands on now.
        """
        same = kept is not None and kept.parameters[GROUP].tobytes() == group
        residual = _under(RESIDUAL, trained) if same else {}
        beside = {RESIDUAL + name: array for name, array in residual.items()}
        return beside | {GROUP: np.frombuffer(group, np.uint8)}

    def is_raw(self, total_bytes: int) -> bool:
        """Say whether a blob of this length is a model as it is."""
        return total_bytes in self._raw

    def opened(self, data: bytes | memoryview, info: BlobInfo, bases: Bases) -> Model:
        """Return the model of a blob that arrived; sealed when its base is not here.

        Raises:
            SchemaError: It is no model of this swarm.
            NotFiniteError: A value is NaN, infinite or above 1e30.
        """
        schema = self._raw.get(len(data))
        if schema is not None:
            return model_of_bytes(data, schema, info)
        head = read_head(data)
        if len(data) >= self._size.raw or head.kind not in KINDS[self._encoding.codec]:
            raise SchemaError(f"a model of kind {head.kind} under the codec {self._encoding.codec}")
        base = None if head.base is None else bases.get(head.base)
        if base is None and head.base is not None:
            return encoded_model(data, self._schema, None, info)
        if base is not None and base.schema != self._schema:
            raise SchemaError("a model's base is not of the schema")
        if head.kind != NESTED:
            return encoded_model(data, self._schema, self._decoded(data, base), info)
        first, own = unnest(data)
        root = model_of_bytes(memoryview(self._decoded(first, base)).toreadonly(), self._schema)
        if read_head(own).base != root.name:
            raise SchemaError("a nested model whose own part is a difference to something else")
        return encoded_model(data, self._schema, self._decoded(own, root), info, root=root)

    def _decoded(self, blob: bytes | memoryview, base: Model | None) -> bytearray:
        return decode(blob, read_head(blob), self._schema, None if base is None else base.parameters)

    def _dense(self, model: Model, reference: Model) -> Model:
        """Return *model* as fp16 or int8, or itself where that is not shorter."""
        if self._encoding.codec == "raw":
            return model
        base = None if self._encoding.codec == "fp16" else reference.content()
        if base is None:
            blob = encode(model.parameters, self._schema, FP16)
        else:
            known = Base(base.name, base.parameters)
            blob = encode(model.parameters, self._schema, INT8, base=known)
        return self._shorter(blob, model, base)

    def _sparse(
        self, model: Model, base: Model, budget: int, *, search: str, residual: Parameters = NOTHING
    ) -> tuple[Model, Parameters]:
        made = encode_sparse(
            model.parameters,
            self._schema,
            base=Base(base.name, base.parameters),
            budget=budget,
            residual=residual or None,
            guess=self._least.get(search),
        )
        self._least[search] = made.least
        return self._shorter(made.blob, model, base), made.left

    def _shorter(self, blob: bytes, model: Model, base: Model | None) -> Model:
        """Return what a receiver makes of *blob*, so that all stand on the same numbers."""
        if len(blob) >= self._size.raw:
            return model
        return encoded_model(blob, self._schema, self._decoded(blob, base))


def root_of(result: Model) -> Model:
    """Return the model that a result makes the base of what is sent next: the root's, raw."""
    return result.root or result.content()


def _under(prefix: str, aside: Model | None) -> dict[str, np.ndarray]:
    if aside is None:
        return {}
    found = aside.parameters.items()
    return {name.removeprefix(prefix): array for name, array in found if name.startswith(prefix)}
