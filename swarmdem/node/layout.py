"""Which of a learner's arrays travel, which stay, and what travels beside them.

    the learner's arrays  =  travelling  +  private
    a model on the wire   =  travelling  +  extras            (the charter's schema)
    a result, pull_to=all =  a model, or a model + sums       (a blob of twice the length)
    an aside              =  private + memory                 (never on the wire)

The strategy and the charter's patterns decide once, at the start; everything here is pure.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from swarmdem.errors import ConfigError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.learning.parameters import check_schema, dtype_of, schema_of
from swarmdem.learning.strategy import NONE, Strategy
from swarmdem.learning.sums import joined, split, with_sums
from swarmdem.node.models import Model, Schema, model_of
from swarmdem.protocol.events import Slot
from swarmdem.wire.charter import Charter, TensorSpec

_PRIVATE, _MEMORY, _OF = "private/", "memory/", "of"


class Layout:
    """The parts of one peer's models.

    Args:
        charter: Whether results carry sums; its schema, when there is one, must be this model's.
        strategy: Says what stays and what travels beside the model.
        initial: The learner's first arrays, in its own order.

    Raises:
        ConfigError: Nothing would travel, or an extra's name is taken.
        SchemaError: An array cannot travel between peers, or the model is not of the charter's schema.
    """

    def __init__(self, charter: Charter, strategy: Strategy, initial: Parameters) -> None:
        kept = strategy.kept(initial)
        self.initial = initial
        """What the learner began with."""
        self.initial_private: Parameters = {name: initial[name] for name in initial if name in kept}
        self.travelling: Schema = schema_of({name: initial[name] for name in initial if name not in kept})
        extras = tuple(strategy.extra(self.travelling))  # noqa: S610 - not Django's
        names = [spec.name for spec in (*self.travelling, *extras)]
        if len(set(names)) != len(names):
            raise ConfigError(f"strategy {strategy.name}: the name of an extra array is taken")
        self.extras: Schema = tuple(sorted(extras, key=_by_name))
        self.wire: Schema = tuple(sorted((*self.travelling, *extras), key=_by_name))
        if charter.schema and self.wire != charter.schema:
            check_schema(_zeros(self.wire), charter.schema)  # names the first array that differs
        self.doubled: Schema | None = with_sums(self.wire) if charter.pull_to == "all" else None
        self._private = schema_of(self.initial_private)

    def begin_with(self, offered: Model) -> None:
        """Let what travels of the first arrays be those of *offered*: peers of a process share one model."""
        self.initial = self.whole(offered, None)

    @property
    def schemas(self) -> tuple[Schema, ...]:
        """What a blob of this swarm may be, the usual one first."""
        return (self.wire,) if self.doubled is None else (self.wire, self.doubled)

    def offered(self, initial: Parameters) -> Model:
        """Return the model as a founder offers it: extras begin at zero."""
        return self.uploaded(initial, _zeros(self.extras))

    def uploaded(self, whole: Parameters, extras: Parameters) -> Model:
        """Return the blob of the arrays of *whole* that travel, and of *extras*.

        Raises:
            SchemaError: They are not of the schema.
            NotFiniteError: They hold NaN, an infinity or a magnitude above 1e30.
        """
        check_schema(extras, self.extras)
        return model_of({**{spec.name: whole[spec.name] for spec in self.travelling}, **extras}, self.wire)

    def shared(self, model: Model) -> Parameters:
        """Return the model's own arrays on the wire, without extras."""
        if not self.extras:
            return self.plain(model)
        return {spec.name: model.parameters[spec.name] for spec in self.travelling}

    def extras_of(self, model: Model | None) -> Parameters:
        """Return the extras that came with *model*, zeros without one."""
        if model is None:
            return _zeros(self.extras)
        return {spec.name: model.parameters[spec.name] for spec in self.extras}

    def plain(self, model: Model) -> Parameters:
        """Return the arrays of the wire's schema, without sums."""
        return split(model.parameters)[0] if model.schema == self.doubled else model.parameters

    def sums(self, model: Model) -> Parameters | None:
        """Return the sum over the groups above that a result carries, None when it carries none."""
        return split(model.parameters)[1] if model.schema == self.doubled else None

    def with_sums(self, plain: Parameters, sums: Parameters) -> Model:
        """Return the blob of a result that carries *sums*."""
        assert self.doubled is not None
        return model_of(joined(plain, sums), self.doubled)

    def whole(self, model: Model, aside: Model | None) -> MutableParameters:
        """Return the learner's arrays: those of *model*, completed by the private ones of *aside*."""
        return {**self.shared(model), **self.private(aside)}

    def private(self, aside: Model | None) -> Parameters:
        """Return the private arrays in force: those of *aside*, before the first the learner's own."""
        return self.initial_private if aside is None else _under(_PRIVATE, aside)

    def aside(
        self,
        whole: Parameters,
        memory: Parameters,
        beside: Parameters = NONE,
        *,
        of: ModelHash,
        forgets: bool = False,
    ) -> Model | None:
        """Return what training leaves with the peer beside the model *of*; None when that is nothing.

        *beside* is what encoding the upload left (`packing.py`). With *forgets* an empty memory is something:
        it takes the place of an earlier one.

        Raises:
            SchemaError: An array of the memory is of a dtype that cannot be stored.
            NotFiniteError: A value is NaN or infinite.
        """
        if not self.initial_private and not memory and not beside and not forgets:
            return None
        arrays = {_OF: np.frombuffer(of, np.uint8)}
        arrays |= {_PRIVATE + spec.name: whole[spec.name] for spec in self._private}
        arrays |= {_MEMORY + name: array for name, array in memory.items()} | dict(beside)
        return model_of(arrays, schema_of(arrays))

    def settled(self, aside: Model | None, beside: Parameters) -> Model:
        """Return what of *aside* stays once its upload is applied, with *beside* for the encoding's part."""
        left = {} if aside is None else aside.parameters
        arrays = {name: left[name] for name in left if name.startswith((_PRIVATE, _MEMORY))} | dict(beside)
        return model_of(arrays, schema_of(arrays))

    def accepts(self, slot: Slot, schema: Schema) -> bool:
        """Say whether a checkpoint of *schema* can be this swarm's in *slot*."""
        if slot is Slot.ABOVE:
            return [spec.name for spec in schema] == ["agents"]
        if slot in {Slot.TRAINED, Slot.KEPT}:
            stays = (spec for spec in schema if spec.name.startswith(_PRIVATE))
            return [(spec.name, spec.shape, spec.dtype) for spec in stays] == [
                (_PRIVATE + spec.name, spec.shape, spec.dtype) for spec in self._private
            ]
        return schema == self.wire or (slot is Slot.ANCHOR and schema == self.doubled)


def memory_of(aside: Model | None) -> Parameters:
    """Return what the strategy remembers; nothing before its first round."""
    return NONE if aside is None else _under(_MEMORY, aside)


def belongs(aside: Model | None, model: ModelHash) -> bool:
    """Say whether *aside* is what the training of *model* left with the peer."""
    return aside is not None and aside.parameters[_OF].tobytes() == model


def agents_above(agents: Iterable[int]) -> Model:
    """Return N of the groups above as something that a slot can keep."""
    arrays = {"agents": np.array(tuple(agents), np.int64)}
    return model_of(arrays, schema_of(arrays))


def _under(prefix: str, aside: Model) -> Parameters:
    return {
        name.removeprefix(prefix): array
        for name, array in aside.parameters.items()
        if name.startswith(prefix)
    }


def _zeros(schema: Schema) -> Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]:
    return {spec.name: np.zeros(spec.shape, dtype_of(spec)) for spec in schema}


def _by_name(spec: TensorSpec) -> bytes:
    return spec.name.encode()
