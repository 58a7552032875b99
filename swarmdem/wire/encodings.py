"""How a charter has models encoded, in integers: what every peer derives alike from its setting `codec`.

`raw` sends every array in its own dtype. The other codecs send fewer bytes and lose some precision:
`fp16` half of float32, `int8` a quarter, `topk` only the largest changes. A number of bytes instead
of a word is a budget for one model: the most exact codec that keeps it is taken. How the bytes are
made and read is in `learning/compression.py`; a blob of the schema's full length is always raw, an
encoded one is always shorter.

Arrays of integers, running statistics of normalisation layers and arrays of fewer than 64 numbers are
kept: they travel exactly. All others are coded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmdem.wire.charter import TensorSpec

ITEM_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "uint8": 1, "bool": 1}
"""Bytes of one number by dtype."""

CODECS = ("raw", "fp16", "int8", "topk")
STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
"""Last parts of the names under which torch keeps what a normalisation layer has seen."""

KEPT_BELOW = 64
"""Numbers below which an array is kept."""
HEADER_BYTES = 36
"""Head of an encoded blob: version, kind, flags, zero, and the hash of its base."""
SCALE_BYTES = 4
BLOCK = 256
"""Numbers of a coded array that share a scale under `int8`: a large one makes its block coarse, not all."""
NESTED_BYTES = HEADER_BYTES + 4
"""What a nested blob has beside the two in it: its head and a length."""
TOPK_SHARE = 16
"""`topk` without a number: one part in so many of the model's bytes."""
ENTRY_BYTES = 2
"""A sparse entry before compression: at least a byte of its gap and a byte of its value."""
_DIGITS_MAX = 12


@dataclass(frozen=True, slots=True)
class Encoding:
    """What a peer does to the models it sends."""

    codec: str
    """One of `CODECS`."""
    budget: int = 0
    """Most bytes of a sparse blob; 0 with other codecs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a schema's models take; all in bytes but the first three."""

    numbers: int
    """Numbers in coded arrays."""
    coded: int
    """Coded arrays."""
    blocks: int
    """Blocks of coded arrays, the last of each possibly shorter."""
    kept: int
    """Bytes of kept arrays."""
    raw: int

    def fp16(self) -> int:
        """Return the most bytes of an fp16 blob."""
        return HEADER_BYTES + self.kept + SCALE_BYTES * self.coded + 2 * self.numbers

    def int8(self) -> int:
        """Return the most bytes of an int8 blob."""
        return HEADER_BYTES + self.kept + SCALE_BYTES * self.blocks + self.numbers

    def sparse_least(self) -> int:
        """Return the bytes of a sparse blob with one entry in a thousand: less is not worth a codec."""
        entries = -(-self.numbers // 1000)
        return HEADER_BYTES + self.kept + SCALE_BYTES * (self.coded + 1) + (ENTRY_BYTES + 1) * entries

    def budget_least(self) -> int:
        """Return the least budget: a result holds two sparse blobs."""
        return NESTED_BYTES + 2 * self.sparse_least()


def is_statistic(name: str) -> bool:
    """Say whether an array counts or measures inputs (batch norm) instead of being learned."""
    return name.rpartition(".")[2] in STATISTICS


def is_kept(spec: "TensorSpec") -> bool:
    """Say whether an array travels exactly under every codec."""
    return not spec.dtype.startswith("float") or prod(spec.shape) < KEPT_BELOW or is_statistic(spec.name)


def sizes(schema: "Sequence[TensorSpec]") -> Sizes:
    """Return what models of *schema* take."""
    coded = [spec for spec in schema if not is_kept(spec)]
    raw = sum(prod(spec.shape) * ITEM_BYTES[spec.dtype] for spec in schema)
    loose = sum(prod(spec.shape) * ITEM_BYTES[spec.dtype] for spec in coded)
    numbers = [prod(spec.shape) for spec in coded]
    return Sizes(sum(numbers), len(coded), sum(blocks(count) for count in numbers), raw - loose, raw)


def blocks(numbers: int) -> int:
    """Return how many blocks an array of so many numbers has."""
    return -(-numbers // BLOCK)


def flaw(codec: str) -> str:
    """Return what is wanted instead of a setting that names no codec; empty when it names one."""
    if codec in CODECS:
        return ""
    digits = codec.isascii() and codec.isdigit() and len(codec) <= _DIGITS_MAX and codec[0] != "0"
    return "" if digits else f"{', '.join(CODECS)} or bytes per model"


def encoding(codec: str, size: Sizes) -> Encoding:
    """Return what the setting *codec* means for models of that *size*."""
    if codec not in CODECS:
        return _within(int(codec), size)
    if codec == "topk":
        return Encoding("topk", max(size.raw // TOPK_SHARE, size.budget_least()))
    return Encoding(codec)


def _within(budget: int, size: Sizes) -> Encoding:
    """Return the most exact codec whose models never take more than *budget* bytes."""
    if budget >= size.raw:
        return Encoding("raw")
    if budget >= size.fp16():
        return Encoding("fp16")
    if budget >= size.int8():
        return Encoding("int8")
    return Encoding("topk", budget)
