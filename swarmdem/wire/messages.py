"""Every sentence peers say, one struct each.

A body is a MessagePack array with fixed positions, the last one `ext`: a list of [id, bytes] in
which an unknown even id is ignored and an unknown odd id refuses the frame. `TYPE` is the number
in the header, `LIMIT` the most bytes a frame of this kind may have. Sizes, order and ranges are
checked whenever a body is decoded or sealed (`codec.decode_body`, `checks.py`).

To say something new: add a struct with the next free type number and list it in `Message`, route it
in `protocol/core.py`, add a golden frame (`tests/wire/samples.py`) and a row in `docs/wire.md`.
Types 24-63 are reserved for security, scale and relay extensions.

Field order is the wire format: never reorder, never remove, only append before `ext` with a new
wire version.
"""

from typing import Annotated, ClassVar, get_args

import msgspec

from swarmdem.wire import body, fields as f
from swarmdem.wire.body import KIB, Body
from swarmdem.wire.shortened import Short

LISTED_MAX = body.LISTED_MAX
CHARTER_BYTES_MAX = 128 * KIB

NORMAL = 0
"""Mode of a plan certified by more than half of the base's electors."""
PROVISIONAL = 1
"""Mode of a plan certified by more than half of the listed: the swarm goes on without a majority."""
FOUNDING = 2
"""Mode of a swarm's first plan: its base is the charter, nobody is an elector yet."""
PREPARE = 3
"""Mode of a vote of the first of two phases; those of the second are `NORMAL` (`agreement = "bft"`)."""

PRESENCE, PARAMETERS, UPDATES = range(3)
"""Kind of a digest: it says only that its sender is there (founding: no sketch, no model), or its sketch
is of the trained parameters minus the reference, or minus the parameters that training began with."""


class Hello(Body, frozen=True):
    """I want to take part; this is the charter I hold. Topic and signature scope: the swarm's name."""

    TYPE: ClassVar[int] = 1
    LIMIT: ClassVar[int] = 144 * KIB
    charter: Annotated[bytes, msgspec.Meta(max_length=CHARTER_BYTES_MAX)]
    """The charter's body in full (`charter.encode`)."""
    nonce: f.Bytes16
    """Chosen anew at every start; a `Welcome` or `Refusal` echoes it."""
    version_min: f.U8
    version_max: f.U8
    features: f.U64
    """Feature bits this peer understands; none are defined in version 1."""
    base: f.HashOrNone
    """The certificate (plan id) the sender stands on; empty before the first."""
    ext: f.Extensions = ()


class Welcome(Body, frozen=True):
    """Answer to a `Hello` of the same charter: the newest certificate the sender holds."""

    TYPE: ClassVar[int] = 2
    LIMIT: ClassVar[int] = 320 * KIB
    nonce: f.Bytes16
    certificate: Annotated[bytes, msgspec.Meta(max_length=262144)]
    """Body of a `Certificate`."""
    ext: f.Extensions = ()


class Refusal(Body, frozen=True):
    """Answer to a `Hello` of another charter. Topic and signature scope: the swarm's name."""

    TYPE: ClassVar[int] = 3
    LIMIT: ClassVar[int] = 16 * KIB
    nonce: f.Bytes16
    settings: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=64)]
    """Names of the settings that differ."""
    ext: f.Extensions = ()


class Offline(Body, frozen=True):
    """The sender leaves, or its broker lost sight of it (last will). A hint, never proof."""

    TYPE: ClassVar[int] = 4
    LIMIT: ClassVar[int] = 1 * KIB
    leaving: bool
    """True when said by the peer itself on the way out, False in a last will."""
    ext: f.Extensions = ()


class Ping(Body, frozen=True):
    """I am here and stand on this certificate."""

    TYPE: ClassVar[int] = 5
    LIMIT: ClassVar[int] = 1 * KIB
    base: f.Bytes32
    ext: f.Extensions = ()


class Digest(Body, frozen=True):
    """My trained model for the round that follows `base`, as others may compare it."""

    TYPE: ClassVar[int] = 6
    LIMIT: ClassVar[int] = 16 * KIB
    base: f.Bytes32
    round: f.RoundNumber
    """1 + the highest round the sender ever adopted."""
    kind: f.U8
    """`PRESENCE`, `PARAMETERS` or `UPDATES`; the last two as the charter's `basis` says."""
    seed: f.U64
    reference: f.HashOrNone
    """Model whose parameters were subtracted before sketching (`PARAMETERS`); the base's in both kinds; empty
    without a sketch."""
    weight: f.U32
    """What the sender counts for in eq. 9: 1, or its training samples; 0 takes no part."""
    model: f.HashOrNone
    """Name of the trained model's blob."""
    model_bytes: f.U64
    age: f.U32
    """Rounds since the sender last applied a result."""
    training_ms: f.U32
    """How long the sender's training took, so that others can size their patience."""
    scale: float
    """Step of the sketch; finite, not negative, not subnormal (a float32 value)."""
    sketch: Annotated[bytes, msgspec.Meta(max_length=8192)]
    """int8 buckets; -128 is refused. Empty where the plan to come keeps its tree whatever digests say."""
    ext: f.Extensions = ()


class Summary(Body, frozen=True):
    """The digests I hold for `base`, so that a receiver can tell what either of us misses."""

    TYPE: ClassVar[int] = 7
    LIMIT: ClassVar[int] = 32 * KIB
    base: f.Bytes32
    digests: Annotated[tuple[f.Bytes16, ...], msgspec.Meta(max_length=LISTED_MAX)]
    """First half of each frame id, sorted."""
    reply: bool
    """True asks the receiver for its own summary's difference in turn."""
    ext: f.Extensions = ()


DIGESTS, PLANS, CERTIFICATES, NEWEST = range(4)
"""What to send: digests by frame id (32 bytes, or its first 16), proposals by plan id, certificates by
plan id, or the certificate the receiver stands on (`ids` is empty)."""


class Want(Body, frozen=True):
    """Send me these frames; a `Bundle` answers."""

    TYPE: ClassVar[int] = 8
    LIMIT: ClassVar[int] = 48 * KIB
    what: f.U8
    ids: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(min_length=16, max_length=32)], ...],
        msgspec.Meta(max_length=LISTED_MAX),
    ]
    ext: f.Extensions = ()


class Bundle(Body, frozen=True):
    """Frames of others, byte for byte as they were signed."""

    TYPE: ClassVar[int] = 9
    LIMIT: ClassVar[int] = 512 * KIB
    frames: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=262144)], ...], msgspec.Meta(max_length=LISTED_MAX)
    ]
    ext: f.Extensions = ()


class Entry(Body, frozen=True):
    """One peer in a plan."""

    peer: f.Peer16
    digest: f.HashOrNone
    """Frame id of the digest that counts; empty when not listed."""
    parent: f.GroupOrNone
    """Group the peer is attached to, at any level; empty when not listed or while founding."""
    elector: bool
    """In the electorate E of the base."""
    listed: bool
    """In the set of peers this plan is about: the electorate of the next round."""


class GroupEntry(Body, frozen=True):
    """One group of a plan's tree."""

    group: f.Group16
    level: f.U8
    parent: f.GroupOrNone
    """Empty for the root."""


class Fork(Body, frozen=True):
    """One step of a lineage: a provisional plan and where it left the common path."""

    id: f.Bytes16
    base: f.Bytes32
    round: f.RoundNumber


class Plan(Body, frozen=True):
    """What a round's certificate certifies: the whole state a peer needs in order to take part.

    Its id is the hash of its body (`codec.plan_id`): no votes and no term inside, so every holder
    names it alike.
    """

    base: f.Bytes32
    round: f.RoundNumber
    mode: f.Mode
    lineage: Annotated[tuple[Fork, ...], msgspec.Meta(max_length=64)]
    epoch: f.U32
    """Counts changes of (seed, reference)."""
    seed: f.U64
    reference: f.HashOrNone
    """Model that digests are taken against; the founding plan's is the genesis model."""
    hysteresis: f.U16
    """Co-member bonus in 1/256 with which this tree was made."""
    tau: f.U8
    """Plans that keep this tree, this one included; 1: the next plan makes a new one."""
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=2 * LISTED_MAX)]
    """Sorted by peer."""
    groups: Annotated[tuple[GroupEntry, ...], msgspec.Meta(max_length=LISTED_MAX)]
    """Highest level first, then by id; the root is the first. Empty while founding."""
    ext: f.Extensions = ()


class Proposal(Body, frozen=True):
    """The leader of a term puts a plan to the vote."""

    TYPE: ClassVar[int] = 10
    LIMIT: ClassVar[int] = 256 * KIB
    mode: f.Mode
    term: f.TermNumber
    plan: Annotated[bytes, msgspec.Meta(max_length=196608)]
    """Body of a `Plan`."""
    skips: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=1024)], ...], msgspec.Meta(max_length=LISTED_MAX)
    ]
    """Frames of the `Skip`s that opened this term; empty in term 0."""
    ext: f.Extensions = ()


class Vote(Body, frozen=True):
    """I hold all that this plan lists and compute the same tree. Sent with session = sequence = 0."""

    TYPE: ClassVar[int] = 11
    LIMIT: ClassVar[int] = 1 * KIB
    base: f.Bytes32
    mode: f.VoteMode
    term: f.TermNumber
    plan: f.Plan32
    ext: f.Extensions = ()


class Skip(Body, frozen=True):
    """I give up on this term and all below. Sent with session = sequence = 0."""

    TYPE: ClassVar[int] = 12
    LIMIT: ClassVar[int] = 1 * KIB
    base: f.Bytes32
    mode: f.Mode
    term: f.TermNumber
    voted_term: Annotated[int, msgspec.Meta(ge=-1, le=0xFFFF)]
    """Highest term I voted in on this base and mode; -1 when in none."""
    voted_plan: f.HashOrNone
    """The plan of that vote."""
    ext: f.Extensions = ()


class SignedVote(Body, frozen=True):
    """A vote as a certificate carries it: enough to rebuild the signed bytes."""

    public_key: f.Bytes32
    signature: f.Bytes64


class Certificate(Body, frozen=True):
    """A plan with the votes that make it valid, all of one term."""

    TYPE: ClassVar[int] = 13
    LIMIT: ClassVar[int] = 256 * KIB
    plan: Annotated[bytes, msgspec.Meta(max_length=196608)]
    """Body of a `Plan`."""
    term: f.TermNumber
    votes: Annotated[tuple[SignedVote, ...], msgspec.Meta(max_length=LISTED_MAX)]
    """Sorted by voter (peer id)."""
    ext: f.Extensions = ()


class Mean(Body, frozen=True):
    """MEAN(g): eq. 9 over the inputs of one group, made by the leader of `term`."""

    TYPE: ClassVar[int] = 14
    LIMIT: ClassVar[int] = 256 * KIB
    plan: f.Plan32
    step: f.U8
    group: f.Group16
    term: Annotated[int, msgspec.Meta(ge=0, le=1)]
    weight: f.U64
    """Sum of the weights included; 0 when nothing came in (then `model` is empty)."""
    included: Annotated[tuple[f.Peer16, ...], msgspec.Meta(max_length=LISTED_MAX)]
    """Every peer, at any depth, whose model is in the mean; sorted."""
    model: f.HashOrNone
    model_bytes: f.U64
    skips: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=512)], ...], msgspec.Meta(max_length=LISTED_MAX)
    ]
    """Frames of the `GroupSkip`s that gave term 1 its office."""
    ext: f.Extensions = ()


class Final(Body, frozen=True):
    """FINAL(g): eq. 10 for one group (the root's is its mean)."""

    TYPE: ClassVar[int] = 15
    LIMIT: ClassVar[int] = 256 * KIB
    plan: f.Plan32
    step: f.U8
    group: f.Group16
    term: Annotated[int, msgspec.Meta(ge=0, le=1)]
    cut: bool
    """True when the parent's result did not come in time: the group's own mean stands alone."""
    model: f.HashOrNone
    model_bytes: f.U64
    skips: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=512)], ...], msgspec.Meta(max_length=LISTED_MAX)
    ]
    ext: f.Extensions = ()


class GroupSkip(Body, frozen=True):
    """The first leader of this group is late. Sent with session = sequence = 0."""

    TYPE: ClassVar[int] = 16
    LIMIT: ClassVar[int] = 512
    plan: f.Plan32
    step: f.U8
    group: f.Group16
    term: Annotated[int, msgspec.Meta(ge=0, le=0)]
    ext: f.Extensions = ()


class Ack(Body, frozen=True):
    """I have what you announced (a `Mean`, `Final` or `GroupSkip`): stop repeating it to me."""

    TYPE: ClassVar[int] = 17
    LIMIT: ClassVar[int] = 1 * KIB
    frame: f.Frame32
    ext: f.Extensions = ()


class BlobWant(Body, frozen=True):
    """Send me these leaves of a blob; the offer first when asked for."""

    TYPE: ClassVar[int] = 18
    LIMIT: ClassVar[int] = 8 * KIB
    blob: f.Hash32
    offer: bool
    """True when the receiver does not hold the blob's leaf list yet."""
    ranges: Annotated[tuple[tuple[f.U32, f.U32], ...], msgspec.Meta(max_length=256)]
    """Half-open ranges of leaf indices [start, stop); the sum of their lengths is the credit."""
    chunk_leaves: Annotated[int, msgspec.Meta(ge=1, le=256)]
    """Leaves per chunk message that the asker's link takes."""
    ext: f.Extensions = ()


class BlobOffer(Body, frozen=True):
    """The leaf hashes of a blob; their hash is its name. With no leaves: I do not hold it."""

    TYPE: ClassVar[int] = 19
    LIMIT: ClassVar[int] = 33792 * KIB
    blob: f.Hash32
    total_bytes: f.U64
    leaves: Annotated[bytes, msgspec.Meta(max_length=33554432)]
    """SHA-256 of each 64 KiB leaf, joined."""
    ext: f.Extensions = ()


Message = (
    Hello | Welcome | Refusal | Offline | Ping | Digest | Summary | Want | Bundle | Proposal | Vote | Skip
    | Certificate | Mean | Final | GroupSkip | Ack | BlobWant | BlobOffer | Short
)  # fmt: skip

KINDS: dict[int, type[Message]] = {kind.TYPE: kind for kind in get_args(Message)}
"""Every kind by the type number in the header."""

STANDING: tuple[type[Message], ...] = (Vote, Skip, GroupSkip)
"""Kinds sent with session = sequence = 0, so that one content has one frame for ever."""

NAMED: tuple[type[Message], ...] = (Hello, Refusal)
"""Kinds whose scope is the hash of the swarm's name; all others have the charter's hash."""

_LONG = (Hello, Offline, Digest, Proposal, Vote, Skip, Certificate, Mean, Final, GroupSkip)
REPEATED: tuple[type[Message], ...] = (*_LONG, *get_args(Short))
"""Kinds that are sent again byte for byte, or left with the broker: a second arrival is no replay."""
