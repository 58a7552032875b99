"""What fuzzing begins with: small files in the repository, made again by `python -m tests.fuzz --rebuild`.

Bodies, frames and the core's inputs are what simulated peers said in a few rounds with faults; the rest are
the files a peer writes. One file per target: a MessagePack list of inputs.
"""

import random
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import numpy as np

from swarmdem.identifiers import SECOND
from swarmdem.learning.parameters import to_bytes, to_safetensors
from swarmdem.node.models import Model, model_of, to_checkpoint
from swarmdem.node.records import RecordLog
from swarmdem.node.store import DirectoryStore
from swarmdem.protocol.ballots import BallotRecord
from swarmdem.protocol.catchup import named_base
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.world import World
from swarmdem.wire import charter as charters, codec
from swarmdem.wire.blobs import encode_chunk
from swarmdem.wire.charter import Charter
from swarmdem.wire.encodings import CODECS
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Certificate, Proposal
from tests.fuzz.core import BASE, GROUP
from tests.fuzz.targets import CODED, CODED_BASE, PACKINGS, SCHEMA
from tests.wire import samples

FOLDER = Path(__file__).parent / "corpus"
PER_TARGET = 12
"""Inputs of one target, the core apart."""
PER_KIND = 6
"""Of the core: inputs of one kind of message."""
INPUT_MAX = 3_000
SEED = 11
_PLAIN_CHARTER = b"""swarm = "plant-7"
levels = 3
mixing = 0.6
hysteresis = [0, 16]
[schedules]
gamma = [1.0, 0.5]
[inputs]
standardize = "bm9uZQ=="
[[schema]]
name = "w"
shape = [2, 5]
dtype = "float32"
"""
_CUT_CHARTER = b"""swarm = "s"
cut = "maxclust"
cuts = [4, 2, 1]
levels = 3
genesis = ""
ext = []
[options]
moment = 0.9
"""
_SETTINGS = b"""[peer]
brokers = ["mqtts://gateway.local"]
state = "state"
rounds = 3
durable = true
[learner]
data = "digits"
part = 3
lr = 0.05
model = "softmax"
[tls]
cafile = "ca.pem"
[charter]
swarm = "s"
"""


def load(target: str) -> list[bytes]:
    """Return the corpus of a target."""
    return msgspec.msgpack.decode((FOLDER / f"{target}.bin").read_bytes(), type=list[bytes])


def rebuild() -> int:
    """Write the corpus anew and return its size in bytes."""
    FOLDER.mkdir(exist_ok=True)
    inputs = {**_said(), **_files()}
    for target, items in inputs.items():
        chosen = _spread(sorted(set(items)), PER_TARGET if target != "core" else len(items))
        (FOLDER / f"{target}.bin").write_bytes(msgspec.msgpack.encode(chosen))
    return sum(path.stat().st_size for path in FOLDER.glob("*.bin"))


def _spread(items: list[bytes], most: int) -> list[bytes]:
    """Return inputs of all lengths, at most so many."""
    small = sorted((item for item in items if len(item) <= INPUT_MAX), key=len) or items[:1]
    step = max(1, len(small) // most)
    return small[::step][:most]


def _said() -> dict[str, list[bytes]]:
    """Return what simulated peers said, by target."""
    frames = _frames()
    inputs: dict[str, list[bytes]] = defaultdict(list)
    for message in samples.MESSAGES:
        inputs[f"body-{samples.name_of(message)}"].append(codec.encode_body(message))
        inputs["envelope"].append(samples.frame_of(message).raw)
    core: dict[int, list[bytes]] = defaultdict(list)
    for frame, group in frames:
        message = frame.message
        body = codec.encode_body(message)
        inputs[f"body-{samples.name_of(message)}"].append(body)
        if isinstance(message, Proposal | Certificate):
            inputs["plan"].append(message.plan)
        named = named_base(message)
        if named:
            body = body.replace(named, BASE)
        if group:
            body = body.replace(group, GROUP)
        if len(body) <= INPUT_MAX:
            core[message.TYPE].append(bytes([len(body) % 4, message.TYPE, len(core) % 256]) + body)
    inputs["plan"].append(samples.PLAN_BODY)
    chosen = random.Random(SEED)
    inputs["core"] = [
        item
        for kind in sorted(core)
        for item in chosen.sample(sorted(set(core[kind])), min(PER_KIND, len(set(core[kind]))))
    ]
    inputs["offer"] = [codec.encode_body(samples.MESSAGES[-1])]
    return dict(inputs)


def _frames() -> list[tuple[Frame, bytes]]:
    """Return frames of a simulated swarm with faults, each with the group its sender hangs under."""
    faults = (
        Fault(Kind.KILL, 30 * SECOND, 50 * SECOND, peers=(2,), amount=3),
        Fault(Kind.FORGE, 40 * SECOND, 90 * SECOND, peers=(5,), amount=1),
        Fault(Kind.CUT, 60 * SECOND, 75 * SECOND, peers=(1, 3)),
        Fault(Kind.LOSS, 80 * SECOND, 110 * SECOND, amount=0.25),
        Fault(Kind.KILL, 115 * SECOND, 160 * SECOND, peers=(0, 1, 3), amount=2),
    )
    world = World(
        seed=SEED, peers=6, charter=Charter(swarm="fuzz", founders=6, digest=16, patience=4.0), faults=faults
    )
    frames: list[tuple[Frame, bytes]] = []

    def observe(peer, effect):
        frame = getattr(effect, "frame", None)
        if frame is not None and peer.core is not None:
            frames.append((frame, peer.core.status().group or b""))

    world.observe = observe
    world.run(lambda: False, 220 * SECOND)
    return frames


def _files() -> dict[str, list[bytes]]:
    """Return the files a peer reads, by target."""
    arrays = {
        "b": np.arange(3, dtype=np.float32),
        "m": np.array([True, False]),
        "w": np.ones((2, 5), np.float16),
    }
    charter = charters.encode(samples.CHARTER)
    ballots = msgspec.msgpack.encode(BallotRecord(b"b" * 32, ((0, 0, b"p" * 32),), ((0, 1),), (b"frame",)))
    certificate = codec.encode_body(next(m for m in samples.MESSAGES if isinstance(m, Certificate)))
    digest = samples.frame_of(samples.MESSAGES[5]).raw
    session, records, key = _state()
    return {
        "charter": [charter, charters.encode(Charter(swarm="s"))],
        "chunk": [encode_chunk(samples.BLOB.name, samples.DATA, 2, 1)],
        "blob": [to_bytes(arrays, SCHEMA)],
        "encoded": _encoded(),
        "checkpoint": [
            b"".join(to_checkpoint(_sent("int8"))),
            to_safetensors(arrays),
            to_safetensors({"w": arrays["b"]}, {"model": "00"}),
        ],
        "charter-file": [_PLAIN_CHARTER, _CUT_CHARTER],
        "settings-file": [_SETTINGS],
        "records": records,
        "state": [b"\0" + session, b"\1" + records[-1], b"\2" + key, b"\3" + key],
        "recall": [b"\0" + certificate, b"\1" + digest, b"\2" + ballots, b"\5" + bytes(40), b"\4" + bytes(8)],
        "address": [
            b"mqtt://user:pass%20word@gateway.local:1883",
            b"mqtts://[::1]:8883?cafile=ca.pem&insecure=1",
        ],
        "idx": [b"\0\0\x08\1\0\0\0\3abc", b"\0\0\x08\3\0\0\0\1\0\0\0\2\0\0\0\1ab"],
    }


def _sent(codec: str) -> Model:
    """Return what a peer sends of a model that is not its base."""
    arrays = {"b": np.ones(3, np.float32), "w": np.sin(np.arange(400, dtype=np.float32)).reshape(8, 50)}
    packing = PACKINGS[CODECS.index(codec)]
    return packing.upload(model_of(arrays, CODED), reference=CODED_BASE, base=CODED_BASE, kept=None).model


def _encoded() -> list[bytes]:
    """Return encoded blobs of every kind, each behind the number of its codec."""
    sparse = CODECS.index("topk")
    root = PACKINGS[sparse].mean(_sent("fp16").content(), Counter(), reference=CODED_BASE, bases={})
    nested = PACKINGS[sparse].result(_sent("int8").content(), root, reference=CODED_BASE)
    sent = [(number, _sent(codec)) for number, codec in enumerate(CODECS) if codec != "raw"]
    return [bytes([number]) + bytes(model.data) for number, model in (*sent, (sparse, nested))]


def _state() -> tuple[bytes, list[bytes], bytes]:
    """Return the start counter, record logs and the beginning of the key of a state folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.log"
        log = RecordLog(path, durable=False)
        logs = [b""]
        for records in ({"vote": b"1"}, {"certificate": bytes(50), "vote": b"2"}, {"certificate": b""}):
            log.write(records)
            logs.append(path.read_bytes())
        log.close()
        store = DirectoryStore(Path(folder) / "state", durable=False)
        store.write({"round": bytes(8)})
        store.close()
        state = Path(folder) / "state"
        logs.append((state / "records.log").read_bytes())
        return (state / "session").read_bytes(), logs, (state / "key.pem").read_bytes()[:60]
