"""What one peer does to the models it sends, and to those it receives, under the charter's codec.

    what                        fp16   int8                        topk
    the genesis                 raw    raw                         raw
    an upload                   fp16   difference to the reference sparse difference to the last result
    a group's mean and result   fp16   difference to the reference sparse difference to what its inputs were

Under `topk` an upload is a difference to the result the peer applied last, or to the reference where it has
none. That pays only where whoever averages holds the same result: a result says whether many
receive it (`Head.common`), and a peer whose result was not one of those sends int8. A leader likewise takes
the base that most inputs had, and int8 where fetching it would cost the others more than it saves.
A result with sums (`pull_to = all`) and whatever would not be shorter travels raw.

A peer that sends a sparse upload goes on with its exact model, and keeps what it left out for the next
upload (the residual) as long as the result it stands on is of the same group. One thread at a time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from swarmdem.errors import SchemaError
from swarmdem.identifiers import GroupId, ModelHash
from swarmdem.learning.compression import encode, encode_sparse
from swarmdem.learning.encoded import FP16, INT8, KINDS, SPARSE, Base, read_head
from swarmdem.learning.expansion import decode
from swarmdem.learning.learner import Parameters
from swarmdem.learning.parameters import model_bytes
from swarmdem.node.models import Model, Schema, encoded_model, model_of, model_of_bytes
from swarmdem.wire.blobs import BlobInfo
from swarmdem.wire.charter import Charter
from swarmdem.wire.encodings import sizes

EXACT, RESIDUAL, GROUP = "exact/", "residual/", "group"
"""Names in what training leaves with the peer: its exact model, the residual, whose result it stood on."""

Bases = Mapping[ModelHash, Model]
"""Raw models by name."""


@dataclass(slots=True)
class Inputs:
    """What went into one mean: how many models, and what the sparse ones were differences to."""

    count: int = 0
    bases: Counter[ModelHash] = field(default_factory=Counter)

    def add(self, model: Model) -> None:
        """Note an input."""
        self.count += 1
        if model.head is not None and model.head.kind == SPARSE and model.head.base is not None:
            self.bases[model.head.base] += 1

    def most(self) -> tuple[ModelHash, int] | None:
        """Return the base that most inputs had, and how many."""
        return min(self.bases.items(), key=lambda item: (-item[1], item[0])) if self.bases else None


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
        self._entries: dict[
            str, int
        ] = {}  # of the last sparse blob of each kind: where the next search begins

    @property
    def active(self) -> bool:
        """Whether models travel in any other form than raw."""
        return self._encoding.codec != "raw"

    @property
    def sparse(self) -> bool:
        """Whether results are bases."""
        return self._encoding.codec == "topk"

    def upload(self, model: Model, *, reference: Model, anchor: Model | None, kept: Model | None) -> Packed:
        """Return what is sent of a trained model.

        Args:
            model: Raw.
            reference: Of the plan; everybody has it.
            anchor: The result applied last.
            kept: What the training before left here.

        Raises:
            LearningError: It cannot be encoded.
        """
        if not self.sparse:
            return Packed(self._dense(model, reference), {})
        if anchor is not None and not (anchor.head is not None and anchor.head.common):
            return Packed(self._dense(model, reference), {})
        residual = _under(RESIDUAL, kept) if anchor is not None else {}
        base = (anchor or reference).content()
        packed, left = self._sparse("upload", model, base, residual=residual, common=False)
        beside = {EXACT + name: array for name, array in model.parameters.items()}
        beside |= {RESIDUAL + name: array for name, array in left.items()}
        return Packed(packed, beside if packed is not model else {})

    def result(self, model: Model, *, reference: Model, inputs: Inputs, bases: Bases) -> Model:
        """Return what is sent of a group's mean or result.

        Args:
            model: Raw.
            reference: Of the plan.
            inputs: Of the group's mean: whoever sent them receives the result.
            bases: What this peer holds.

        Raises:
            LearningError: It cannot be encoded.
        """
        if not self.active or model.schema != self._schema:
            return model
        saved = self._size.int8() - self._encoding.budget
        common = self.sparse and inputs.count * saved >= self._size.raw
        most = inputs.most() if self.sparse else None
        base = bases.get(most[0]) if most is not None else None
        if most is None or base is None or base.name == reference.content().name:
            return self._dense(model, reference, common=common)
        if (inputs.count - most[1]) * self._size.raw >= inputs.count * saved:
            return self._dense(model, reference, common=common)
        return self._sparse("result", model, base, residual={}, common=common)[0]

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
        if head.base is None:
            return encoded_model(data, self._schema, decode(data, head, self._schema, None), info)
        base = bases.get(head.base)
        if base is None:
            return encoded_model(data, self._schema, None, info)
        if base.schema != self._schema:
            raise SchemaError("a model's base is not of the schema")
        return encoded_model(data, self._schema, decode(data, head, self._schema, base.parameters), info)

    def _dense(self, model: Model, reference: Model, *, common: bool = False) -> Model:
        """Return *model* as fp16 or int8, or itself where that is not shorter."""
        if not self.active:
            return model
        if self._encoding.codec == "fp16":
            blob = encode(model.parameters, self._schema, FP16, common=common)
        else:
            base = reference.content()
            known = Base(base.name, base.parameters)
            blob = encode(model.parameters, self._schema, INT8, base=known, common=common)
        return self._shorter(blob, model, reference.content())

    def _sparse(
        self, kind: str, model: Model, base: Model, *, residual: Parameters, common: bool
    ) -> tuple[Model, Parameters]:
        made = encode_sparse(
            model.parameters,
            self._schema,
            base=Base(base.name, base.parameters),
            budget=self._encoding.budget,
            residual=residual or None,
            guess=self._entries.get(kind),
            common=common,
        )
        self._entries[kind] = made.entries
        return self._shorter(made.blob, model, base), made.left

    def _shorter(self, blob: bytes, model: Model, base: Model) -> Model:
        """Return what a receiver makes of *blob*, so that all stand on the same numbers."""
        if len(blob) >= self._size.raw:
            return model
        head = read_head(blob)
        raw = decode(blob, head, self._schema, None if head.base is None else base.parameters)
        return encoded_model(blob, self._schema, raw)


def _under(prefix: str, aside: Model | None) -> dict[str, np.ndarray]:
    if aside is None:
        return {}
    found = aside.parameters.items()
    return {name.removeprefix(prefix): array for name, array in found if name.startswith(prefix)}
