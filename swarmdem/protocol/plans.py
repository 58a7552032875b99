"""Plans and certificates: how one is made, and what makes one valid.

A plan is a pure function of (base, mode, the digests listed): the proposer computes it, every voter
computes it again and votes only for an equal one. That equality is what makes the tree the same at
every holder of the certificate.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile

from swarmdem.errors import WireError
from swarmdem.identifiers import PeerId, Round
from swarmdem.protocol.hierarchy import Hierarchy, Sketch, build_hierarchy, hierarchy_of, plan_groups
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import (
    FOUNDING,
    NORMAL,
    PARAMETERS,
    PROVISIONAL,
    Certificate,
    Digest,
    Entry,
    Fork,
    Plan,
    Vote,
)

ROUND_LEAP_MAX = 2**24
"""Rounds that a digest may be ahead of its base: one liar must not use up the numbers of rounds."""
ROUND_MAX = 2**31
"""Highest round that is believed: the numbers after it still fit a frame."""
FORKS_MAX = 64
"""Forks that a plan's lineage carries, the latest (`messages.Plan`)."""


@dataclass(frozen=True, slots=True)
class Base:
    """What a peer stands on: an adopted certificate, or the charter before the first."""

    id: bytes
    plan: Plan | None
    certificate: Certificate | None
    electorate: tuple[PeerId, ...]
    """E: the peers listed in it, sorted; empty while founding."""
    round: Round
    lineage: tuple[Fork, ...]
    epoch: int
    seed: int
    reference: bytes
    hierarchy: Hierarchy | None
    """The tree of its plan; None before the first round's."""

    @property
    def founding(self) -> bool:
        """True while there is no certificate yet."""
        return self.plan is None


def founding_base(charter: Charter) -> Base:
    """Return the base of a swarm's first plan: the charter itself, E = {}."""
    name = charter_hash(charter)
    seed = int.from_bytes(blake2b(name, digest_size=8, person=b"sd/sketch").digest(), "big")
    return Base(name, None, None, (), 0, (), 0, seed, charter.genesis, None)


def base_of(certificate: Certificate, plan: Plan) -> Base:
    """Return what a peer stands on after adopting *certificate*, whose body is *plan*."""
    listed = tuple(entry.peer for entry in plan.entries if entry.listed)
    hierarchy = None if plan.mode == FOUNDING else hierarchy_of(plan)
    return Base(
        codec.plan_id(certificate.plan),
        plan,
        certificate,
        listed,
        plan.round,
        plan.lineage,
        plan.epoch,
        plan.seed,
        plan.reference,
        hierarchy,
    )


def digest_of(frame: Frame) -> Digest:
    """Return the digest in *frame*."""
    assert isinstance(frame.message, Digest)
    return frame.message


def make_plan(
    charter: Charter, base: Base, mode: int, listed: Mapping[PeerId, Frame], reference: bytes
) -> Plan:
    """Return the one plan that follows from *base* and the digests *listed*.

    Args:
        charter: The swarm's settings.
        base: What the plan's proposer and voters stand on.
        mode: `NORMAL`, `PROVISIONAL` or `FOUNDING`.
        listed: The digest frame of every peer the plan is about.
        reference: The model digests are taken against; the proposer's choice while founding.
    """
    tree = None if mode == FOUNDING else _tree(charter, base, listed)
    electors = frozenset(base.electorate)
    entries = tuple(
        Entry(
            peer=peer,
            digest=listed[peer].id if peer in listed else b"",
            parent=(tree.parent_of(peer) or b"") if tree is not None and peer in listed else b"",
            elector=peer in electors,
            listed=peer in listed,
        )
        for peer in sorted(electors | set(listed))
    )
    rounds = [digest_of(frame).round for frame in listed.values()]
    return Plan(
        base=base.id,
        round=0 if mode == FOUNDING else max(1 + base.round, *rounds),
        mode=mode,
        lineage=(*base.lineage, _fork(base, listed))[-FORKS_MAX:] if mode == PROVISIONAL else base.lineage,
        epoch=base.epoch,
        seed=base.seed,
        reference=reference,
        hysteresis=0,
        tau=1,
        entries=entries,
        groups=() if tree is None else plan_groups(tree),
    )


def _tree(charter: Charter, base: Base, listed: Mapping[PeerId, Frame]) -> Hierarchy:
    sketches, unplaced = [], []
    for peer in sorted(listed):
        digest = digest_of(listed[peer])
        if digest.seed == base.seed and digest.reference == base.reference:
            sketches.append(Sketch(peer, digest.scale, digest.sketch))
        else:
            unplaced.append(peer)
    return build_hierarchy(
        sketches, unplaced, base=base.id, levels=charter.levels, cut=charter.cut, metric=charter.metric
    )


def _fork(base: Base, listed: Mapping[PeerId, Frame]) -> Fork:
    content = base.id + b"".join(sorted(listed))
    return Fork(blake2b(content, digest_size=16, person=b"sd/fork").digest(), base.id, base.round)


def digest_refusal(charter: Charter, base: Base, digest: Digest) -> str:
    """Return why *digest* cannot be listed on *base*; empty when it can."""
    if base.founding:
        return "" if digest.model == b"" else "a founder's digest names a model"
    if digest.round > base.round + ROUND_LEAP_MAX:
        return "a round out of reach"
    if digest.kind != PARAMETERS:
        return "digest kind not spoken here"
    if len(digest.model) != 32 or not 0 < digest.model_bytes <= charter.blob_max:
        return "digest names no model, or one too large"
    if charter.schema and digest.model_bytes != charter.model_bytes:
        return f"model of {digest.model_bytes} bytes instead of {charter.model_bytes}"
    if len(digest.sketch) != charter.digest:
        return f"sketch of {len(digest.sketch)} buckets instead of {charter.digest}"
    return ""


def electors_needed(electors: int) -> int:
    """Return the smallest count that is more than half of *electors*."""
    return electors // 2 + 1


def open_certificate(certificate: Certificate, sealer: Sealer) -> Plan | None:
    """Return the plan of *certificate*, or None when it is malformed or its votes do not suffice.

    Checked against the plan's own flags: more than half of the electors (normal), or of the listed
    (provisional, founding), all for one term.
    """
    try:
        plan = codec.decode_plan(certificate.plan)
    except WireError:
        return None
    normal = plan.mode == NORMAL
    voters = {e.peer for e in plan.entries if (e.elector if normal else e.listed)}
    listed = sum(e.listed for e in plan.entries)
    if not voters or not listed or len(plan.reference) != 32 or plan.round > ROUND_MAX:
        return None
    if plan.mode != FOUNDING and hierarchy_of(plan) is None:
        return None
    content = Vote(plan.base, plan.mode, certificate.term, codec.plan_id(certificate.plan))
    proven = {sealer.proves(vote, content) for vote in certificate.votes}
    return plan if len(proven & voters) >= electors_needed(len(voters)) else None


def names_electors(plan: Plan, electors: Collection[PeerId]) -> bool:
    """Return whether *plan* calls exactly *electors* electors: whose votes count is not its to choose."""
    return {entry.peer for entry in plan.entries if entry.elector} == set(electors)


def beats_founding(challenger: Base, holder: Base) -> bool:
    """Return whether of two founding certificates the first wins: more peers, then the lower id."""
    return (-len(challenger.electorate), challenger.id) < (-len(holder.electorate), holder.id)


def behind(ours: Base, theirs: Base) -> bool:
    """Return whether the holder of *ours* must simply adopt *theirs* (no counting).

    On one path the higher round wins. If our path is a prefix of theirs and their next fork left
    it at our round or later, we are behind. A path is known by its last fork, whose id seals all
    before it: of more than `FORKS_MAX` forks the oldest are no longer carried.
    """
    mine, other = ours.lineage, theirs.lineage
    if mine == other:
        return theirs.round > ours.round
    later = other
    if mine:
        last = mine[-1]
        shared = len(list(takewhile(lambda fork: fork != last, other))) + 1
        later = other[shared:]
    return bool(later) and later[0].round >= ours.round
