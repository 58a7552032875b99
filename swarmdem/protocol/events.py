"""Inputs and effects: the only doors of the protocol core.

Inputs are past tense, effects are orders. The core names models by hash and never sees weights.
Effects are performed in order; a `Persist` or `SaveModel` is durable before a later effect leaves.
"""

from dataclasses import dataclass
from enum import StrEnum

from swarmdem.identifiers import GroupId, Micros, ModelHash, PeerId, PlanId, Round
from swarmdem.protocol.reports import (
    Certified as Certified,
    CharterRefused as CharterRefused,
    Degraded as Degraded,
    Elected as Elected,
    Equivocated as Equivocated,
    Event as Event,
    GroupAveraged as GroupAveraged,
    GroupChanged as GroupChanged,
    GroupFinished as GroupFinished,
    HandedDown as HandedDown,
    KeyRefused as KeyRefused,
    NeighboursAveraged as NeighboursAveraged,
    PeerSeen as PeerSeen,
    PlasticityRaised as PlasticityRaised,
    Recovered as Recovered,
    RoundFinished as RoundFinished,
)
from swarmdem.wire.charter import Charter
from swarmdem.wire.fields import Extensions
from swarmdem.wire.frame import Frame

# Inputs


@dataclass(frozen=True, slots=True)
class Started:
    """The peer runs; always the first input."""

    nonce: bytes
    """16 bytes of chance, drawn by the shell; `Hello` carries them."""
    brokers: bytes = b""
    """What `Hello` tells of brokers that this peer hosts; empty when it hosts none."""


@dataclass(frozen=True, slots=True)
class ModelOffered:
    """The learner's initial model, given once after `Started`: it is the genesis if we propose it."""

    model: ModelHash
    model_bytes: int
    sketch: bytes = b""
    """The model's own sketch under the founding seed, one little-endian int16 a bucket (metric `cosine`)."""
    scale: float = 0.0
    """Step of that sketch, a float32 value."""


@dataclass(frozen=True, slots=True)
class Woke:
    """The moment of `next_wakeup()` has come."""


@dataclass(frozen=True, slots=True)
class Received:
    """A verified frame arrived (our own echoes included)."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The connection to the broker came up or went down, as far as the shell can tell."""

    up: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """The answer to `Train`."""

    base: bytes
    """Copied from the order: tells a late answer from the one waited for."""
    model: ModelHash
    model_bytes: int
    weight: int
    scale: float
    sketch: bytes
    duration_us: Micros
    loss_milli: int = 0
    """Mean training loss in thousandths, at most 2^32 - 1; 0 when not known."""
    ext: Extensions = ()
    """What the digest says beside it (`cells`); nothing that the shell knows of."""


@dataclass(frozen=True, slots=True)
class TrainingFailed:
    """Training raised, or gave parameters that must not be published."""

    base: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model ordered with `Fetch` is here, whole, hashed, of the right schema and finite."""

    model: ModelHash


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A fetched blob must not be used (wrong schema, NaN, too large); silence is not a failure."""

    model: ModelHash
    reason: str


@dataclass(frozen=True, slots=True)
class Averaged:
    """The answer to `FinishMean`."""

    plan: PlanId
    group: GroupId
    model: ModelHash
    model_bytes: int
    below: ModelHash | None = None
    """The mean before what is above was mixed in, at hand too; None where nothing was."""
    ext: Extensions = ()
    """What the announcement says beside it (`cells`); nothing that the shell knows of."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """The answer to `Mix`."""

    plan: PlanId
    group: GroupId
    model: ModelHash
    model_bytes: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer to `Apply`: the peer's own model after eq. 10 is in place and on disk."""

    plan: PlanId
    model: ModelHash


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """The application wants to stop: say goodbye."""


Input = (
    Started | ModelOffered | Woke | Received | LinkChanged | Trained | TrainingFailed | Fetched | FetchFailed
    | Averaged | Mixed | Applied | LeaveRequested
)  # fmt: skip

# Effects


@dataclass(frozen=True, slots=True)
class Publish:
    """Send to every peer of the swarm; the topic follows from the kind of message."""

    frame: Frame
    retain: bool = False
    """Leave it with the broker as a hint for newcomers."""
    short: Frame | None = None
    """What crosses in place of *frame*: receivers make the same of it."""

    @property
    def crossing(self) -> Frame:
        """What is handed to the transport."""
        return self.frame if self.short is None else self.short


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one peer's inbox."""

    receiver: PeerId
    frame: Frame


@dataclass(frozen=True, slots=True)
class Persist:
    """Write this record so that it survives a crash; an empty value deletes it.

    After a restart the shell hands all records back to `Core(stored=...)`.
    """

    key: str
    value: bytes


class Slot(StrEnum):
    """The models of one peer that survive a restart; the core orders and knows the first four only."""

    UPLOAD = "upload"
    """What the standing digest names."""
    OWN = "own"
    """The peer's model after the last update: what it serves and starts from."""
    ANCHOR = "anchor"
    """The parent group's model of the last update: what eq. 8 pulls towards."""
    REFERENCE = "reference"
    """What digests are taken against (the genesis model)."""
    SHARE = "share"
    """The trained model that went into `OWN`, for strategies that deploy it; otherwise empty."""
    TRAINED = "trained"
    """What never leaves the peer of the training behind `UPLOAD`: private arrays, the strategy's memory."""
    KEPT = "kept"
    """The same of the training that went into `OWN`: in force."""
    BASE = "base"
    """The root's model of the last update: what models are differences to (charter `codec = topk`)."""
    ABOVE = "above"
    """N of the groups whose models are summed up in `ANCHOR` (`pull_to = all`); never leaves the peer."""
    CELL = "cell"
    """The root model of its cell that this peer's standing digest in the region names."""


@dataclass(frozen=True, slots=True)
class SaveModel:
    """Keep this model in a slot, replacing what was there, so that it survives a crash."""

    slot: Slot
    model: ModelHash


@dataclass(frozen=True, slots=True)
class Keep:
    """Only these models and the saved slots are still needed; forget all others."""

    models: tuple[ModelHash, ...]


@dataclass(frozen=True, slots=True)
class Train:
    """Train for one round, sketch the result, answer with `Trained` or `TrainingFailed`.

    Training starts from the slot `OWN` (charter `start = own`) or `ANCHOR` (`group`), and is pulled
    towards `ANCHOR` when `pull` is true. Before the first update both are the genesis model, which
    is in `REFERENCE`.
    """

    base: bytes
    round: Round
    seed: int
    reference: ModelHash
    pull: bool
    time: int = 0
    """Tick of the schedules' clock."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a model from any of these holders; keep trying until `Fetched` or `StopFetching`."""

    model: ModelHash
    model_bytes: int
    """Size to expect; 0 when not known."""
    sources: tuple[PeerId, ...]
    """In order of preference; may be asked in turn."""
    sketch: bytes = b""
    """What the plan calls the model's own sketch (`state.pack_sketch`; metric `cosine`); a model of another
    one must not be used. Empty: nothing is said of it."""
    scope: bytes = b""
    """Hash of the charter under which the holders are asked; empty: this peer has but one."""


@dataclass(frozen=True, slots=True)
class StopFetching:
    """The model is not needed any more."""

    model: ModelHash


@dataclass(frozen=True, slots=True)
class Accumulate:
    """Add weight x model to the running sum of (plan, group)."""

    plan: PlanId
    group: GroupId
    model: ModelHash
    weight: int


@dataclass(frozen=True, slots=True)
class FinishMean:
    """Divide the running sum of (plan, group) by its weight (eq. 9); answer with `Averaged`.

    With `previous` the outcome is (1 - gamma) previous + gamma mean (Dem-AI eq. 3), gamma by the
    schedule; without it the mean itself. The schedule `gain` multiplies the mean first.
    With `above` the result of the level above the root is mixed in last (eq. 10).
    """

    plan: PlanId
    group: GroupId
    time: int = 0
    previous: ModelHash | None = None
    """The group's mean of the round before, held by this peer; only where gamma is below 1."""
    above: ModelHash | None = None
    """The region's result for this cell, held by this peer; only at the root of a cell's tree."""
    amplified: bool = True
    """Whether the schedule `gain` counts: not in the region, whose inputs have it from their cells."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Compute alpha x parent + (1 - alpha) x mean (eq. 10); answer with `Mixed`.

    Under `pull_to = all` the parent's result may carry the sum of w^(k) / N_k over the groups above
    it (a model of twice the length); the outcome carries it with this group's own share added.
    """

    plan: PlanId
    group: GroupId
    mean: ModelHash
    parent: ModelHash
    time: int = 0
    agents: int = 0
    """N of this group: peers below it in the plan."""
    above: int = 0
    """N of the group whose model the parent's result is: of the parent, or of one above that averaged."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Mix the parent group's result into the own upload (eq. 10 at the peer) and install it.

    The shell saves the outcome in slot `OWN` and the parent's result in `ANCHOR`, both or neither,
    and answers with `Applied`.
    """

    plan: PlanId
    round: Round
    group: GroupId
    parent: ModelHash
    upload: ModelHash | None
    """The peer's trained model of this round; None when it takes the parent's result as it is."""
    time: int = 0
    agents: tuple[int, ...] = ()
    """N of the groups whose models are in `parent`, the parent group's first: under `pull_to = all` those it
    sums up, on the way to the root; else the parent group's alone."""
    alone: bool = False
    """Nobody was averaged with: the upload, which `parent` names too, becomes the own model (`local`)."""


@dataclass(frozen=True, slots=True)
class Enter:
    """Listen under this charter from now on; frames and effects of it may follow."""

    charter: Charter
    to_all: bool = True
    """Also to what is said to everybody; otherwise only to what is said to this peer."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Listen under this charter no more."""

    charter: Charter


@dataclass(frozen=True, slots=True)
class EndUpdate:
    """Drop the running sums of this plan."""

    plan: PlanId


@dataclass(frozen=True, slots=True)
class Reject:
    """A frame was refused; counted, never fatal."""

    sender: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the journal and the application."""

    event: Event
    region: bool = False
    """It happened in the region, where this peer speaks for its cell; not in the cell."""


Effect = (
    Publish | Send | Persist | SaveModel | Keep | Train | Fetch | StopFetching | Accumulate | FinishMean
    | Mix | Apply | EndUpdate | Reject | Report | Enter | Leave
)  # fmt: skip
