"""What is fuzzed: every place where a peer reads bytes that it did not write itself, and the core behind it.

A target takes bytes and returns whether they got through. It may raise what its decoder is documented to
raise; anything else is a finding, and so is an answer that is not the only spelling of what was read.
"""

import os
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swarmdem.config import load_settings
from swarmdem.errors import ConfigError, DataError, LearningError, StoreError, WireError
from swarmdem.learning.data_files import parse_idx
from swarmdem.learning.parameters import from_bytes
from swarmdem.node.files import sweep
from swarmdem.node.models import from_checkpoint, model_of
from swarmdem.node.packing import Packing
from swarmdem.node.records import RecordLog
from swarmdem.node.store import DirectoryStore
from swarmdem.protocol.ballots import read_record
from swarmdem.protocol.plans import base_of
from swarmdem.protocol.restart import recall
from swarmdem.transport.settings import BrokerAddress
from swarmdem.wire import charter as charters, charter_toml, codec
from swarmdem.wire.blobs import Assembly, BlobInfo, decode_chunk, describe
from swarmdem.wire.charter import Charter, TensorSpec, charter_hash, swarm_hash
from swarmdem.wire.codec import FrameReader, FrameSealer
from swarmdem.wire.encodings import CODECS
from swarmdem.wire.messages import KINDS, BlobOffer, Certificate
from tests.wire import samples

Decode = Callable[[bytes], bool]
SCHEMA = (TensorSpec("b", (3,), "float32"), TensorSpec("m", (2,), "bool"), TensorSpec("w", (2, 5), "float16"))
"""A model of 34 bytes."""
CODED = (TensorSpec("b", (3,), "float32"), TensorSpec("w", (8, 50), "float32"))
"""A model of which most is encoded."""
CODED_BASE = model_of(
    {"b": np.zeros(3, np.float32), "w": np.linspace(-1, 1, 400, dtype=np.float32).reshape(8, 50)}, CODED
)
PACKINGS = tuple(Packing(Charter(swarm="s", schema=CODED, codec=codec), (CODED,)) for codec in CODECS)
BLOB_MAX = 2**20
_SCOPES = (charter_hash(samples.CHARTER), swarm_hash(samples.CHARTER.swarm))


@dataclass(frozen=True)
class Target:
    """One decoder."""

    decode: Decode
    """Takes an input, returns whether it was accepted."""
    refuses: tuple[type[Exception], ...]
    """What it may raise."""
    tree: int | None = None
    """Its inputs are MessagePack behind so many bytes; None: plain bytes."""
    below: bool = False
    """What only a correctly signed frame can bring here."""
    limit: int = 4096
    """Longest input."""
    share: float = field(default=1.0)
    """How many executions it gets of those that all targets get, in relation to the others."""


class UnequalError(AssertionError):
    """A decoder took two spellings of one thing."""


class _Anybody:
    """A verifier that believes every signature: what lies below it is fuzzed."""

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        """Believe."""
        return True


def _envelope(data: bytes) -> bool:
    frame = FrameReader(_Anybody(), capacity=1).read(data, scopes=_SCOPES)
    if frame.raw != data:
        raise UnequalError("a frame is not its bytes")
    return True


def _body(kind: type) -> Decode:
    def decode(data: bytes) -> bool:
        if codec.encode_body(codec.decode_body(kind, data)) != data:
            raise UnequalError(kind.__name__)
        return True

    return decode


def _plan(data: bytes) -> bool:
    plan = codec.decode_plan.__wrapped__(data)
    base_of(Certificate(data, 0, ()), plan)
    return True


def _charter(data: bytes) -> bool:
    charter = charters.decode(data)
    if charter_toml.from_mapping(charter_toml.to_mapping(charter)) != charter:
        raise UnequalError("a charter written down is another")
    return True


def _chunk(data: bytes) -> bool:
    chunk = decode_chunk(data)
    assembly = Assembly(samples.BLOB, limit_bytes=BLOB_MAX)
    return assembly.add(chunk) > 0


def _offer(data: bytes) -> bool:
    offer = codec.decode_body(BlobOffer, data)
    Assembly(BlobInfo(offer.blob, offer.total_bytes, offer.leaves), limit_bytes=BLOB_MAX)
    return True


def _blob(data: bytes) -> bool:
    return set(from_bytes(data, SCHEMA)) == {"b", "m", "w"}


def _encoded(data: bytes) -> bool:
    """Take a blob that is shorter than the raw model: the first byte says under which codec."""
    if len(data) < 2:
        return False
    packing, blob = PACKINGS[data[0] % len(PACKINGS)], data[1:]
    return not packing.opened(blob, describe(blob), {CODED_BASE.name: CODED_BASE}).sealed


def _checkpoint(data: bytes) -> bool:
    from_checkpoint(data)
    return True


def _charter_toml(data: bytes) -> bool:
    try:
        table = tomllib.loads(data.decode())
    except ValueError:
        return False
    charter_toml.from_mapping(table)
    return True


def _settings(data: bytes) -> bool:
    path = _folder() / "peer.toml"
    path.write_bytes(data)
    load_settings(path)
    return True


def _records(data: bytes) -> bool:
    path = _folder() / "records.log"
    path.write_bytes(data)
    log = RecordLog(path, durable=False)
    alive = log.alive
    log.write({"after": b"1"})
    log.close()
    again = RecordLog(path, durable=False)
    again.close()
    if again.damage or again.alive != {**alive, "after": b"1"}:
        raise UnequalError("what was read, repaired and written is not what is read again")
    return not log.damage


def _state(data: bytes) -> bool:
    """Take the content of one file of a state folder: the first byte says which."""
    folder = _folder() / "state"
    names = ("session", "records.log", "key.pem", "key.copy.pem")
    if not data:
        return False
    for name in names:
        (folder / name).unlink(missing_ok=True)
    DirectoryStore(folder, durable=False).close()
    path = folder / names[data[0] % len(names)]
    path.write_bytes(data[1:])
    path.chmod(0o600)
    store = DirectoryStore(folder, durable=False)
    store.load(lambda slot, schema: True)
    store.close()
    sweep(folder)
    return not store.damage


def _recall(data: bytes) -> bool:
    """Take a record that the core finds again: the first byte says which."""
    names = ("certificate", "digest", "ballots", "reference", "round", "applied")
    if not data:
        return False
    sealer = FrameSealer(samples.IDENTITY, samples.CHARTER, 1, _Anybody())
    recall({names[data[0] % len(names)]: data[1:]}, sealer)
    return read_record(data[1:]) is not None


def _address(data: bytes) -> bool:
    BrokerAddress.parse(data.decode("latin-1"))
    return True


def _idx(data: bytes) -> bool:
    return parse_idx(data, "a file", dimensions=1 + data[:1].count(b"\1")).size >= 0


_held: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> Path:
    """Return a folder of this process, in memory where that is possible."""
    if not _held or not Path(_held[0].name).exists():
        shared = Path("/dev/shm")
        _held[:] = [tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None)]
        (Path(_held[0].name) / "state").mkdir()
    return Path(_held[0].name)


_WIRE = (WireError,)
TARGETS: dict[str, Target] = {
    "envelope": Target(_envelope, _WIRE, tree=92),
    **{
        f"body-{kind.__name__.lower()}": Target(_body(kind), _WIRE, tree=0, below=True)
        for kind in KINDS.values()
    },
    "plan": Target(_plan, _WIRE, tree=0, below=True, share=3.0),
    "charter": Target(_charter, (WireError, ConfigError), tree=0, below=True, share=0.5),
    "chunk": Target(_chunk, _WIRE, limit=140_000, share=0.1),
    "offer": Target(_offer, _WIRE, tree=0, below=True),
    "blob": Target(_blob, (LearningError,), below=True),
    "encoded": Target(_encoded, (LearningError,), below=True),
    "checkpoint": Target(_checkpoint, (LearningError,), share=0.3),
    "charter-file": Target(_charter_toml, (ConfigError,), share=0.3),
    "settings-file": Target(_settings, (ConfigError,), share=0.1),
    "records": Target(_records, (StoreError,), share=0.05),
    "state": Target(_state, (StoreError,), share=0.01),
    "recall": Target(_recall, (), tree=1, share=0.5),
    "address": Target(_address, (ConfigError,), share=0.5),
    "idx": Target(_idx, (DataError,), share=0.5),
}
