"""What all peers of a swarm must agree on, and its hash.

A charter is frozen: one different setting is another swarm. `Hello` carries it in full on a topic
named by the swarm alone, so that a peer with another charter can be told which settings differ;
everything else lives under the charter's hash. Tables are integers where they decide a tree.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from swarmdem.errors import ConfigError, MalformedFrameError
from swarmdem.identifiers import SECOND, CharterHash, Micros
from swarmdem.wire import cells, encodings
from swarmdem.wire.encodings import ITEM_BYTES, Encoding
from swarmdem.wire.frame import WIRE_VERSION
from swarmdem.wire.messages import CHARTER_BYTES_MAX, LISTED_MAX

TABLE_MAX = 1024
"""Entries of a schedule."""

COSINE_DIGEST_MAX = 2046
"""Buckets of a sketch that one entry of a plan's `ext` takes: 4 bytes of scale and 2 a bucket."""

SCHEDULES: Mapping[str, tuple[float, float]] = {
    "own": (0.0, 100.0),
    "pull": (0.0, 1e6),
    "mixing": (0.0, 1.0),
    "gamma": (0.0, 1.0),
    "gain": (0.1, 10.0),
    "tau": (1.0, 255.0),
}
"""Schedules and their least and largest value: weight of the own loss (alpha_t, Dem-AI eq. 2), factor on
`pull` (beta_t), `mixing` itself, share of the new mean in a group's model (gamma_t, Dem-AI eq. 3), factor on
every mean (warm-up amplification of the authors' code), rounds a tree is kept for."""


class TensorSpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One named array of a model."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=2**40)], ...], msgspec.Meta(max_length=8)]
    dtype: Literal["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]

    def __post_init__(self) -> None:
        """Bring every value to its type.

        Raises:
            ConfigError: A value has the wrong type or is out of range.
        """
        for name, kind in _field_types(TensorSpec):
            msgspec.structs.force_setattr(
                self, name, typed(f"charter.schema.{self.name}.{name}", getattr(self, name), kind)
            )


class Charter(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """The agreement of one swarm; every field is part of its hash.

    Durations are in seconds, sizes in bytes, rates in bytes per second.
    """

    swarm: str
    """Name of the swarm; names the topic on which peers find each other."""
    schema: tuple[TensorSpec, ...] = ()
    """Names, shapes and dtypes of the model, sorted by name; `Peer` fills it from its learner."""
    strategy: str = "demlearn"
    weights: Literal["agents", "samples"] = "agents"
    """What a peer counts for in eq. 9: 1, or its training samples."""
    levels: int = 3
    """Levels of groups below the root (the paper's K counts the root: K = levels + 1)."""
    cut: Literal["binary", "threshold", "maxclust"] = "binary"
    """How the dendrogram becomes levels; `binary`: K splits from the root (the authors' code)."""
    metric: Literal["euclidean", "cosine", "cosine_delta"] = "euclidean"
    """Distance of digests; `cosine_delta`: of w - reference; `cosine`: of w (paper, Fig. 8)."""
    linkage: Literal["average", "ward"] = "average"
    mixing: float = 0.6
    """alpha of eq. 10: share of the parent group's model."""
    pull: float = 0.002
    """mu of eq. 8: weight of the proximal term towards the parent group's model."""
    start: Literal["own", "group"] = "own"
    """Training starts from the peer's own mixed model, or from its parent's (Algorithm 1, line 4)."""
    hysteresis: tuple[int, ...] = ()
    """Co-member bonus by the schedules' clock in 1/256 (0 to 77); the last value stays; empty: none."""
    schedules: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Tables by name (`SCHEDULES`), an entry per tick of the schedules' clock; the last value stays."""
    tau: int = 1
    """Rounds a tree is kept for."""
    digest: int = 1024
    """Buckets of the digest's sketch."""
    patience: float = 8.0
    """The one knob of time: how long silence is borne before others act."""
    min_rate: int = 250_000
    """Slowest transfer that deadlines allow for, bytes per second."""
    codec: str = "raw"
    """Encoding of model blobs (`encodings.py`): a word, or a budget of bytes per model in digits."""
    chunk: int = 65_536
    """Largest chunk message of a blob in bytes; a whole number of 64 KiB leaves."""
    blob_max: int = 2**31
    """Largest model blob accepted."""
    peers_max: int = LISTED_MAX
    """Most peers of the swarm."""
    inputs: tuple[tuple[str, bytes], ...] = ()
    """Input constants by name, little-endian float32 (`standardize`, `mean`, `deviation`)."""
    founders: int = 2
    """Peers whose presence starts the founding at once."""
    gather: float = 30.0
    """How long founders are waited for before whoever is there begins."""
    agreement: Literal["available", "bft"] = "available"
    """`available`: without a majority the swarm still goes on, uncertified. `bft`: more than two thirds
    decide in two phases, so that less than a third who lie never split it; without them it waits."""
    admission: Literal["open"] = "open"
    genesis: bytes = b""
    """Hash of the first model; empty: the founding proposer's."""
    version: int = WIRE_VERSION
    features: int = 0
    cuts: tuple[float, ...] = ()
    """By level from 1: groups (`maxclust`), or heights as shares of the highest merge (`threshold`)."""
    min_size: int = 1
    """Groups of fewer peers are absorbed by the nearest (not under `binary`)."""
    grouping: Literal["similar", "complementary"] = "similar"
    """Who belongs together: peers with similar models, or peers whose models make up the whole."""
    basis: Literal["parameters", "updates"] = "parameters"
    """What digests sketch: the trained model less the reference, or less the model training began with."""
    newcomers: Literal["direct", "top"] = "direct"
    """`top`: a new peer hangs under the root first and descends one level a certificate."""
    outliers: int = 0
    """Certificates in a row after which a peer far from all groups is set apart; 0: never."""
    drift: int = 0
    """Rounds in a row of a risen loss after which the schedules' clock is set back to half; 0: never."""
    pull_to: Literal["parent", "all"] = "parent"
    """`all`: towards the models of all groups above, weighted by 1/N (Dem-AI eq. 2)."""
    update: Literal["tree", "gossip"] = "tree"
    """`gossip`: no aggregator, each peer averages with `neighbours` others."""
    neighbours: int = 2
    """Degree of the gossip graph; even; 0: nobody, each peer learns alone."""
    private: tuple[str, ...] = ()
    """Patterns (`head.*`) of arrays that stay with each peer, beside those the strategy keeps."""
    options: tuple[tuple[str, float], ...] = ()
    """Settings of the strategy by name."""
    ext: tuple[tuple[int, bytes], ...] = ()

    def __post_init__(self) -> None:
        """Bring every value to its type and refuse what cannot work, each setting by its name.

        Raises:
            ConfigError: A value has the wrong type or is out of range.
        """
        for name, kind in _field_types(Charter):
            given = getattr(self, name)
            if name in _TABLES and isinstance(given, Mapping):
                given = tuple(given.items())
            value = typed(f"charter.{name}", given, kind)
            if name in _TABLES:
                value = tuple(sorted(value))  # a table has no order; the hash must not depend on one
            msgspec.structs.force_setattr(self, name, value)
        try:
            rules = _rules(self)
        except UnicodeEncodeError as error:
            raise ConfigError(f"charter: not valid text: {error.object!r:.80}") from error
        for setting, good, wanted in rules:
            if not good:
                raise ConfigError(
                    f"charter.{setting}: {getattr(self, setting)!r:.80} is not possible: {wanted}"
                )
        if (size := len(encode(self))) > CHARTER_BYTES_MAX:
            raise ConfigError(f"charter: {size} bytes with schema and inputs, at most {CHARTER_BYTES_MAX}")

    @cached_property
    def patience_us(self) -> Micros:
        """`patience` on the core's clock."""
        return round(self.patience * SECOND)

    def scheduled(self, name: str, time: int) -> float:
        """Return the value of a schedule at tick *time* of the schedules' clock (from 0).

        Where the charter has no such table: `mixing` and `tau` are the settings of that name, all
        others 1.
        """
        table = dict(self.schedules).get(name)
        if table is None:
            return float(getattr(self, name)) if name in {"mixing", "tau"} else 1.0
        return table[min(time, len(table) - 1)]

    def hysteresis_at(self, time: int) -> int:
        """Return the co-member bonus in 1/256 at tick *time* of the schedules' clock."""
        return self.hysteresis[min(time, len(self.hysteresis) - 1)] if self.hysteresis else 0

    @cached_property
    def model_bytes(self) -> int:
        """Length of a model of `schema` as a blob, every tensor in its own dtype."""
        return sum(math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype] for tensor in self.schema)

    @property
    def encoding(self) -> Encoding:
        """What `codec` means for models of `schema`."""
        return encodings.encoding(self.codec, encodings.sizes(self.schema))

    def fits(self, blob_bytes: int) -> bool:
        """Return whether a blob of that length can be a model: an encoded one is shorter than a raw one."""
        most = self.model_bytes
        return blob_bytes == most or (self.codec != "raw" and 0 < blob_bytes < most)

    @cached_property
    def transfer_us(self) -> Micros:
        """How long one model takes to cross at `min_rate`, with what is summed up beside it.

        An encoded one is taken to be whole: who lacks its base fetches that as well.
        """
        return self.model_bytes * (2 if self.pull_to == "all" else 1) * SECOND // self.min_rate

    @cached_property
    def gather_us(self) -> Micros:
        """`gather` on the core's clock."""
        return round(self.gather * SECOND)


def _rules(c: Charter) -> tuple[tuple[str, bool, str], ...]:
    most = cells.founders_max(c.ext, LISTED_MAX)
    return (
        (
            "swarm",
            re.fullmatch(r"\w[\w .-]*", c.swarm) is not None and len(c.swarm.encode()) <= 64,
            "1 to 64 bytes of letters, digits, spaces and . _ -, a letter or digit first",
        ),
        ("schema", list(c.schema) == sorted(c.schema, key=lambda s: s.name.encode()), "sorted by name"),
        ("schema", len({s.name for s in c.schema}) == len(c.schema), "names must differ"),
        ("schema", len(c.schema) <= 4096, "at most 4096 arrays"),
        (
            "strategy",
            c.strategy.isprintable() and 0 < len(c.strategy.encode()) <= 64,
            "1 to 64 bytes of printable text",
        ),
        ("levels", 0 <= c.levels <= 16, "0 to 16"),
        ("mixing", 0.0 <= c.mixing <= 1.0, "a share between 0 and 1"),
        ("pull", math.isfinite(c.pull) and c.pull >= 0.0, "finite and not negative"),
        ("hysteresis", all(0 <= h <= 77 for h in c.hysteresis), "0 to 77: at most .3 of a distance"),
        ("hysteresis", len(c.hysteresis) <= TABLE_MAX, f"at most {TABLE_MAX} values"),
        ("tau", 1 <= c.tau <= 255, "1 to 255"),
        ("tau", c.tau == 1 or "tau" not in dict(c.schedules), "1 where the schedules have a table of it"),
        ("digest", 16 <= c.digest <= 8192, "16 to 8192"),
        ("patience", math.isfinite(c.patience) and 0.01 <= c.patience <= 86_400, "0.01 to 86400 seconds"),
        ("min_rate", 1 <= c.min_rate <= 2**40, "at least 1 byte per second"),
        (
            "chunk",
            65_536 <= c.chunk <= 2**24 and c.chunk % 65_536 == 0,
            "a multiple of 65536, at most 16 MiB",
        ),
        ("blob_max", 1 <= c.blob_max <= 2**36, "1 to 2^36: what one offer can list"),
        ("peers_max", 1 <= c.peers_max <= LISTED_MAX, f"1 to {LISTED_MAX}"),
        ("founders", 1 <= c.founders <= most, f"1 to {most}"),
        ("gather", math.isfinite(c.gather) and 0 <= c.gather <= 86_400, "0 to 86400 seconds"),
        ("genesis", len(c.genesis) in {0, 32}, "empty or 32 bytes"),
        ("version", c.version == WIRE_VERSION, f"this program speaks version {WIRE_VERSION}"),
        ("inputs", len({name for name, _ in c.inputs}) == len(c.inputs), "names must differ"),
        *_schedule_rules(c),
        *_tree_rules(c),
        *_codec_rules(c),
        (
            "private",
            len(c.private) <= 64 and all(p.isprintable() and 0 < len(p.encode()) <= 256 for p in c.private),
            "at most 64 patterns of 1 to 256 bytes of printable text",
        ),
        ("options", len({name for name, _ in c.options}) == len(c.options), "names must differ"),
        ("options", len(c.options) <= 64 and all(0 < len(name) <= 64 for name, _ in c.options), "at most 64"),
        ("options", all(math.isfinite(value) for _, value in c.options), "finite numbers"),
        ("features", c.features == 0, "unknown feature bits"),
        ("ext", not cells.flaw(c.ext), cells.flaw(c.ext)),
    )


def _codec_rules(c: Charter) -> Iterator[tuple[str, bool, str]]:
    wrong = encodings.flaw(c.codec)
    yield "codec", not wrong, wrong
    if not wrong and c.schema:
        least = encodings.sizes(c.schema).budget_least()
        yield "codec", not c.codec.isdigit() or int(c.codec) >= least, f"at least {least} bytes"
    sparse = not wrong and c.encoding.codec == "topk"
    plain = c.update == "tree" and c.pull_to == "parent"
    yield (
        "codec",
        plain or not sparse,
        "topk needs a tree whose peers are pulled to their parent's model alone",
    )


def _tree_rules(c: Charter) -> tuple[tuple[str, bool, str], ...]:
    return (
        ("cuts", c.cut == "binary" or len(c.cuts) == c.levels, f"the cut {c.cut} takes one for each level"),
        ("cuts", c.cut != "binary" or not c.cuts, "none under the binary cut"),
        ("cuts", c.cut != "maxclust" or _falling(c.cuts, 1, LISTED_MAX), "falling numbers of groups, from 1"),
        ("cuts", c.cut != "maxclust" or all(n.is_integer() for n in c.cuts), "whole numbers of groups"),
        ("cuts", c.cut != "threshold" or _falling(c.cuts[::-1], 0, 1), "rising shares from 0 to 1"),
        ("grouping", c.grouping == "similar" or c.cut == "maxclust", "complementary needs the cut maxclust"),
        ("min_size", 1 <= c.min_size <= LISTED_MAX, f"1 to {LISTED_MAX}"),
        ("min_size", c.cut != "binary" or c.min_size == 1, "1 under the binary cut, which absorbs no groups"),
        ("metric", c.metric != "cosine" or c.basis == "parameters", "cosine needs the basis parameters"),
        (
            "digest",
            c.metric != "cosine" or c.digest <= COSINE_DIGEST_MAX,
            f"at most {COSINE_DIGEST_MAX} with the metric cosine, whose plans carry a sketch",
        ),
        ("outliers", 0 <= c.outliers <= 3, "0 to 3"),
        ("drift", 0 <= c.drift <= 15, "0 to 15"),
        ("neighbours", 0 <= c.neighbours <= 64 and c.neighbours % 2 == 0, "an even number, 0 to 64"),
        ("update", c.update == "tree" or c.levels == 0, "gossip needs levels = 0"),
    )


def _schedule_rules(c: Charter) -> Iterator[tuple[str, bool, str]]:
    yield "schedules", len(dict(c.schedules)) == len(c.schedules), "names must differ"
    for name, table in c.schedules:
        known = SCHEDULES.get(name)
        yield "schedules", known is not None, f"{name!r} is not one of {', '.join(SCHEDULES)}"
        low, high = known or (0.0, 0.0)
        yield "schedules", 0 < len(table) <= TABLE_MAX, f"{name}: 1 to {TABLE_MAX} values"
        yield "schedules", all(low <= value <= high for value in table), f"{name}: from {low} to {high}"
        yield "schedules", name != "tau" or all(v.is_integer() for v in table), "tau: whole numbers"


def _falling(values: Sequence[float], low: float, high: float) -> bool:
    return all(low <= v <= high for v in values) and all(a > b for a, b in pairwise(values))


_TABLES = frozenset({"inputs", "schedules", "options"})
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Charter)


@lru_cache
def _field_types(struct: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in msgspec.structs.fields(struct))


def typed(path: str, value: Any, kind: Any) -> Any:
    """Return *value* as *kind*.

    Raises:
        ConfigError: It is of another type or out of range; the message shows *path*.
    """
    if get_origin(kind) is Literal and isinstance(value, str) and value not in get_args(kind):
        raise ConfigError(f"{path}: {value!r:.80} is not one of {', '.join(get_args(kind))}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise ConfigError(f"{path}{where.rstrip('`')}: {what}") from error


def encode(charter: Charter) -> bytes:
    """Return the body that `charter_hash` names and `Hello` carries."""
    return _encoder.encode(charter)


def decode(body: bytes) -> Charter:
    """Return the charter of *body*.

    Raises:
        MalformedFrameError: It is not a charter of this version, or not in its shortest encoding.
    """
    if len(body) > CHARTER_BYTES_MAX:
        raise MalformedFrameError(f"charter of {len(body)} bytes")
    try:
        charter = _decoder.decode(body)
    except (msgspec.MsgspecError, ConfigError, ValueError) as error:
        raise MalformedFrameError(f"charter: {error}") from error
    if encode(charter) != body:
        raise MalformedFrameError("charter: not in its shortest encoding")
    return charter


def charter_hash(charter: Charter) -> CharterHash:
    """Return BLAKE2b-256 of the charter's body: the name all other frames are signed under."""
    return CharterHash(blake2b(encode(charter), digest_size=32, person=b"sd/charter").digest())


def swarm_hash(swarm: str) -> bytes:
    """Return the 32-byte hash of a swarm's name: the scope of `Hello` and `Refusal`."""
    return blake2b(swarm.encode(), digest_size=32, person=b"sd/swarm").digest()


def differences(ours: Charter, theirs: Charter) -> tuple[str, ...]:
    """Return the names of the settings in which two charters differ, in field order."""
    return tuple(name for name in Charter.__struct_fields__ if getattr(ours, name) != getattr(theirs, name))
