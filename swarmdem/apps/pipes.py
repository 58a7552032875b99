"""What the `swarm` coordinator and its worker processes say to each other: JSON lines over pipes.

The coordinator writes a `Job`, once all workers are `Prepared` a `Go`, once all have `Opened` their peers
a `Begin`, and at the end `Stop` to a worker's standard input; the worker answers on its standard output
with the structs below. End of file on its input ends a worker at once. Both ends are ours and start
together, so there is no version in here.
"""

from typing import Any

import msgspec

from swarmdem.wire.charter import TensorSpec

LINE_MAX = 2**26
"""Longest line read, in bytes: the tree of 1,024 peers fits many times over."""


class Job(msgspec.Struct, frozen=True, tag="job"):
    """The first line to a worker: its share of the peers, to be prepared."""

    settings: dict[str, Any]
    """`SwarmSettings` as a mapping."""
    devices: tuple[int, ...]
    """Which peers of the run live here; device i of the data belongs to peer i."""
    run: str
    """The run folder."""


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Connect and take part."""

    charter: bytes
    """The charter's body (`charter.encode`)."""
    brokers: tuple[str, ...]
    """URLs, or `memory` alone."""
    peers: tuple[str, ...]
    """Ids of all peers of the run, by number."""


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Every worker's peers are subscribed: speak."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """All peers of the run are done: say goodbye, save models, exit."""


class Score(msgspec.Struct, frozen=True, array_like=True):
    """Correct answers of a number of samples; for regression the sum of absolute errors."""

    correct: float
    count: int

    def __add__(self, other: "Score") -> "Score":
        """Pool two scores."""
        return Score(self.correct + other.correct, self.count + other.count)


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """Totals since the start of one peer: frames as if it had a connection of its own."""

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    bytes_shared: int = 0
    """Of `bytes_received`: what a peer of the same worker handed over."""


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Totals since the start of one worker."""

    train_cpu_s: float = 0.0
    evaluate_cpu_s: float = 0.0
    socket_bytes_sent: int = 0
    socket_bytes_received: int = 0


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """Data and models are loaded; what the charter must say about them."""

    schema: tuple[TensorSpec, ...]
    inputs: tuple[tuple[str, bytes], ...]
    untrained: Score
    """The first model on everybody's test data."""
    metric: str
    """What scores are: `accuracy` or `mae`."""
    devices: int
    """Of the data."""
    device: str = "cpu"
    """Where models train: `cpu` or `cuda`."""
    genesis: bytes = b""
    """Name of the first model."""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The peers of this worker hear what is said (in cells: are there), and wait for `Begin`."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The peers of this worker look for the others."""


class Trained(msgspec.Struct, frozen=True, tag="trained"):
    """A peer has trained for a round and waits for the others."""

    peer: str
    round: int


class TrainingFailed(msgspec.Struct, frozen=True, tag="training_failed"):
    """A peer's training gave nothing; it will try again."""

    peer: str
    round: int
    error: str
    not_finite: bool
    """The loss or the model became NaN or infinite."""


class PeerRound(msgspec.Struct, frozen=True, tag="round", kw_only=True):
    """A round ended at one peer; when the round is evaluated, after its evaluation."""

    peer: str
    round: int
    certificate: str
    certified: bool
    applied: bool
    counts: Counts
    usage: Usage
    reason: str = ""
    loss: float | None = None
    """Mean training loss of the round."""
    scores: dict[str, Score] = {}
    """By name: `c_spe`, `c_gen`, and both with `.after_training`."""


class TreeSeen(msgspec.Struct, frozen=True, tag="tree"):
    """A peer of this worker adopted this certificate; sent once per worker."""

    round: int
    certificate: str
    certified: bool
    term: int
    groups: tuple[dict[str, Any], ...]
    """`{level, id, parent, members, leaves}`, root first."""


class GroupResult(msgspec.Struct, frozen=True, tag="group", kw_only=True):
    """An aggregator of this worker announced the mean (`final` false) or the result of a group."""

    certificate: str
    round: int
    group: str
    level: int
    aggregator: str
    term: int
    final: bool
    included: tuple[str, ...] = ()
    cut: bool = False


class GroupScored(msgspec.Struct, frozen=True, tag="group_scored", kw_only=True):
    """A group's model was evaluated after the update."""

    certificate: str
    round: int
    group: str
    level: int
    term: int
    members: Score
    """On the test data of the group's members (G-SPE)."""
    everybody: Score
    """On the test data of all peers (G-GEN; Global for the root)."""


class Passes(msgspec.Struct, frozen=True, tag="passes"):
    """Whether the peers of this worker train in one pass, found out at their first training or later."""

    together: bool
    why: str
    """One line for people."""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something a person should read."""

    text: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """All peers of this worker have finished the last round; it goes on serving until `STOP`."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker gives up; *error* is one line for the user, *expected* false for a bug of ours."""

    error: str
    expected: bool


ToWorker = Job | Go | Begin | Stop
FromWorker = (
    Prepared
    | Opened
    | Ready
    | Trained
    | TrainingFailed
    | PeerRound
    | TreeSeen
    | GroupResult
    | GroupScored
    | Passes
    | Note
    | Done
    | Failed
)

_encoder = msgspec.json.Encoder()
_reports: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)
_orders: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)


def line(message: ToWorker | FromWorker) -> bytes:
    """Return *message* as one JSON line."""
    return _encoder.encode(message) + b"\n"


def read_report(data: bytes) -> FromWorker:
    """Return what a worker said."""
    return _reports.decode(data)


def read_order(data: bytes) -> ToWorker:
    """Return what the coordinator ordered."""
    return _orders.decode(data)
