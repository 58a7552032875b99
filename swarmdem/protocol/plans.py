"""Plans: how one is made (`certificates`: what makes one valid).

A plan is a pure function of (base, mode, the digests listed): the proposer computes it, every voter
computes it again and votes only for an equal one. That equality is what makes the tree the same at
every holder of the certificate. Only while founding is something left to the proposer: the genesis
model and its sketch.

There is a plan every round. By the table `tau` a tree may be kept for longer: the plan that makes it
says for how many plans (`tau`), each that keeps it says one less, and the plan after the one that
says 1 makes a new one. Digests for a plan that surely keeps its tree need no sketch (`sketched`). A plan
that keeps a tree repeats the `hysteresis` it was made with; joins, deaths
and catch-up remain matters of one round. When drift sets the clock of the schedules back (`state`), the
tree is made anew at once. All tables are read at the plan's own tick (`plan_time`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from swarmdem.identifiers import PeerId, Round
from swarmdem.protocol.absence import still_absent
from swarmdem.protocol.cells.entries import entry_refusal
from swarmdem.protocol.forming import Previous, Shape, form
from swarmdem.protocol.hierarchy import Hierarchy, hierarchy_of, plan_groups
from swarmdem.protocol.placement import Standing
from swarmdem.protocol.recent import Recent
from swarmdem.protocol.sketches import Sketch
from swarmdem.protocol.state import (
    ScheduleClock,
    State,
    loss_of,
    read_state,
    state_ext,
    wants_clock,
)
from swarmdem.wire import codec
from swarmdem.wire.cells import cell_settings
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import (
    FOUNDING,
    PARAMETERS,
    PROVISIONAL,
    UPDATES,
    Certificate,
    Digest,
    Entry,
    Fork,
    Plan,
)

ROUND_LEAP_MAX = 2**24
"""Rounds that a digest may be ahead of its base: one liar must not use up the numbers of rounds."""
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
    state: State = field(default_factory=State)
    """What its plan hands on beside the tree."""

    @property
    def founding(self) -> bool:
        """True while there is no certificate yet."""
        return self.plan is None


def founding_base(charter: Charter) -> Base:
    """Return the base of a swarm's first plan: the charter itself, E = {}."""
    name = charter_hash(charter)
    part = cell_settings(charter.ext)
    family = part.swarm if part is not None and part.swarm else name  # sketches of all cells are comparable
    seed = int.from_bytes(blake2b(family, digest_size=8, person=b"sd/sketch").digest(), "big")
    return Base(name, None, None, (), 0, (), 0, seed, charter.genesis, None)


def base_of(certificate: Certificate, plan: Plan) -> Base:
    """Return what a peer stands on after adopting *certificate*, whose body is *plan*.

    Raises:
        MalformedFrameError: The plan's state cannot be read; never after `state.state_refusal` found nothing.
    """
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
        read_state(plan),
    )


def plan_time(charter: Charter, base: Base) -> int:
    """Return the tick of the schedules' clock at which the plan of *base* stands: that of its update."""
    if not wants_clock(charter):
        return max(0, base.round - 1)
    return base.state.clock.tick if base.state.clock is not None else 0


def time_of(charter: Charter, base: Base) -> int:
    """Return the tick for the round that follows *base*: that of its training.

    The plan of that round has this tick too, unless its digests show drift.
    """
    if not wants_clock(charter):
        return base.round
    return base.state.clock.tick + 1 if base.state.clock is not None else 0


def set_back(before: Base, after: Base) -> bool:
    """Return whether the plan of *after*, a child of *before*, has set the schedules' clock back."""
    child = after.plan is not None and after.plan.base == before.id
    return child and _falls(before.state.clock, after.state.clock)


def _falls(earlier: ScheduleClock | None, later: ScheduleClock | None) -> bool:
    return earlier is not None and later is not None and later.tick <= earlier.tick


def digest_of(frame: Frame) -> Digest:
    """Return the digest in *frame*."""
    assert isinstance(frame.message, Digest)
    return frame.message


@dataclass(frozen=True, slots=True)
class Decision:
    """What of a plan its base and its digests decide."""

    round: Round
    hysteresis: int
    tau: int
    tree: Hierarchy | None
    """None while founding."""
    state: State


def sketched(charter: Charter, base: Base) -> bool:
    """Return whether the tree of the plan that follows *base* is made from its digests' sketches.

    Where the tree is kept, whatever the digests say, they only name what was trained.
    """
    return base.hierarchy is None or base.plan is None or base.plan.tau <= 1 or charter.drift > 0


def decide(charter: Charter, base: Base, digests: Mapping[PeerId, Digest]) -> Decision:
    """Return round, tree and state of the plan that follows from *base* (not the founding one)."""
    before = base.plan
    assert before is not None, "a founding plan decides nothing"
    number = max(1 + base.round, *(digest.round for digest in digests.values()))
    clock = _next_clock(charter, base, number, digests.values())
    tick = number - 1 if clock is None else clock.tick
    carry = base.hierarchy is not None and before.tau > 1 and not _falls(base.state.clock, clock)
    hysteresis = before.hysteresis if carry else charter.hysteresis_at(tick)
    tree, standing = _tree(charter, base, digests, hysteresis, carry=carry)
    tau = before.tau - 1 if carry else int(charter.scheduled("tau", tick))
    absent = still_absent(base.state.absent, base.state.standing, digests) if charter.outliers else {}
    conduct = base.state.conduct.after(charter, base.hierarchy, before.base, digests)
    return Decision(number, hysteresis, tau, tree, State(clock, standing, base.state.sketch, absent, conduct))


def _next_clock(
    charter: Charter, base: Base, number: Round, digests: Collection[Digest]
) -> ScheduleClock | None:
    if not wants_clock(charter):
        return None
    heeded = digests if charter.drift else ()
    losses = [loss for digest in heeded if (loss := loss_of(digest)) is not None]
    if base.state.clock is None:
        return ScheduleClock.first(losses)
    return base.state.clock.after(losses, number=number, drift=charter.drift)


def _tree(
    charter: Charter, base: Base, digests: Mapping[PeerId, Digest], hysteresis: int, *, carry: bool
) -> tuple[Hierarchy, Mapping[PeerId, Standing]]:
    sketches, unplaced = [], []
    for peer, digest in sorted(digests.items()):
        if digest.seed == base.seed and digest.reference == base.reference:
            sketches.append(Sketch(peer, digest.scale, digest.sketch))
        else:
            unplaced.append(peer)
    return form(
        sketches,
        unplaced,
        base=base.id,
        shape=Shape.of(charter, base.state.sketch or None),
        hysteresis=hysteresis,
        previous=Previous(
            base.hierarchy,
            {peer: known.standing for peer, known in base.state.absent.items()} | dict(base.state.standing),
        ),
        carry=carry,
    )


def make_plan(
    charter: Charter,
    base: Base,
    mode: int,
    listed: Mapping[PeerId, Frame],
    *,
    reference: bytes,
    sketch: bytes = b"",
) -> Plan:
    """Return the one plan that follows from *base* and the digests *listed*.

    Args:
        charter: The swarm's settings.
        base: What the plan's proposer and voters stand on.
        mode: `NORMAL`, `PROVISIONAL` or `FOUNDING`.
        listed: The digest frame of every peer the plan is about.
        reference: The model digests are taken against; the proposer's choice while founding.
        sketch: Of the reference, while founding under the metric `cosine`; later the base's counts.
    """
    asked = (
        (mode, reference, sketch, base.id, base.round, base.epoch, base.seed, base.electorate, base.lineage),
        (charter, base.plan, base.hierarchy, base.state),
        dict(listed),
    )

    def make() -> Plan:
        return _make(charter, base, mode, listed, reference=reference, sketch=sketch)

    return _made.get(asked, make, about=base.id)


_made: Recent[tuple[object, ...], Plan] = Recent()


def _make(
    charter: Charter,
    base: Base,
    mode: int,
    listed: Mapping[PeerId, Frame],
    *,
    reference: bytes,
    sketch: bytes,
) -> Plan:
    electors = frozenset(base.electorate)
    if mode == FOUNDING:
        made = Decision(0, 0, 1, None, State(sketch=sketch))
    else:
        made = decide(charter, base, {peer: digest_of(frame) for peer, frame in listed.items()})
    entries = tuple(
        Entry(
            peer=peer,
            digest=listed[peer].id if peer in listed else b"",
            parent=(made.tree.parent_of(peer) or b"") if made.tree is not None and peer in listed else b"",
            elector=peer in electors,
            listed=peer in listed,
        )
        for peer in sorted(electors | set(listed))
    )
    return Plan(
        base=base.id,
        round=made.round,
        mode=mode,
        lineage=(*base.lineage, _fork(base, listed))[-FORKS_MAX:] if mode == PROVISIONAL else base.lineage,
        epoch=base.epoch,
        seed=base.seed,
        reference=reference,
        hysteresis=made.hysteresis,
        tau=made.tau,
        entries=entries,
        groups=plan_groups(made.tree),
        ext=state_ext(charter, made.state, sorted(listed), mode),
    )


def _fork(base: Base, listed: Mapping[PeerId, Frame]) -> Fork:
    content = base.id + b"".join(sorted(listed))
    return Fork(blake2b(content, digest_size=16, person=b"sd/fork").digest(), base.id, base.round)


def digest_kind(charter: Charter) -> int:
    """Return the kind of the digests that trees of this swarm are made from."""
    return UPDATES if charter.basis == "updates" else PARAMETERS


def digest_refusal(charter: Charter, base: Base, digest: Digest) -> str:
    """Return why *digest* cannot be listed on *base*; empty when it can."""
    if base.founding:
        return "" if digest.model == b"" else "a founder's digest names a model"
    if digest.round > base.round + ROUND_LEAP_MAX:
        return "a round out of reach"
    if digest.kind != digest_kind(charter):
        return "digest kind not spoken here"
    if charter.weights == "agents" and digest.weight > 1:
        return f"a weight of {digest.weight} where every agent counts once"
    if len(digest.model) != 32 or not 0 < digest.model_bytes <= charter.blob_max:
        return "digest names no model, or one too large"
    if charter.schema and not charter.fits(digest.model_bytes):
        return f"model of {digest.model_bytes} bytes instead of {charter.model_bytes}"
    if len(digest.sketch) != charter.digest and (digest.sketch or sketched(charter, base)):
        return f"sketch of {len(digest.sketch)} buckets instead of {charter.digest}"
    return entry_refusal(charter, digest)
