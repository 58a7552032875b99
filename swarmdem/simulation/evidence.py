"""What the peers of one world have said, as the checkers remember it.

Only frames that really left a peer count as said; they are recorded at their first publication.
"""

import contextlib
from dataclasses import dataclass, field

from swarmdem.errors import WireError
from swarmdem.identifiers import FrameId, GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol.election import leaders
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.plans import Base, base_of
from swarmdem.simulation.models import ModelBook
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Certificate, Digest, Final, Mean, Plan, Proposal


class Broken(Exception):  # noqa: N818 (a verdict, not an error of the program that reports it)
    """An invariant does not hold.

    Args:
        invariant: The promise (docs/simulation.md) that was broken.
        detail: By whom, and with what.
    """

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


@dataclass(slots=True)
class KnownPlan:
    """A plan that was proposed or certified, and what follows from it."""

    id: PlanId
    plan: Plan
    base: Base
    """What a peer stands on that adopts it."""
    tree: Hierarchy | None
    """None while founding, or when the plan's groups are not one tree."""
    leaders: dict[GroupId, tuple[PeerId, ...]]
    digests: dict[PeerId, FrameId]
    """The digest that counts for every listed peer."""


@dataclass(slots=True)
class Evidence:
    """Everything said so far that later claims are held against."""

    charter: Charter
    book: ModelBook
    liars: set[PeerId] = field(default_factory=set)
    """Peers of which nothing but an honest core is expected."""
    digests: dict[FrameId, tuple[PeerId, Digest]] = field(default_factory=dict)
    plans: dict[PlanId, KnownPlan] = field(default_factory=dict)
    votes: dict[tuple[PeerId, bytes, int], dict[int, PlanId]] = field(default_factory=dict)
    """(voter, base, mode) -> term -> plan."""
    means: dict[tuple[PlanId, GroupId, int], Mean] = field(default_factory=dict)
    """(plan, group, term) -> announcement."""
    finals: dict[tuple[PlanId, GroupId, int], Final] = field(default_factory=dict)
    skipped: set[tuple[PeerId, PlanId, GroupId]] = field(default_factory=set)
    """Who accused which group's first aggregator."""
    _bodies: dict[bytes, KnownPlan] = field(default_factory=dict)

    def learn_plan(self, body: bytes) -> KnownPlan:
        """Return what *body* says, decoding each plan once."""
        known = self._bodies.get(body)
        if known is None:
            plan = codec.decode_plan(body)
            name = codec.plan_id(body)
            base = base_of(Certificate(body, 0, ()), plan)
            tree = base.hierarchy
            offices = leaders(tree, plan.base, base.state.conduct.weights) if tree is not None else {}
            listed = {entry.peer: FrameId(entry.digest) for entry in plan.entries if entry.listed}
            known = KnownPlan(name, plan, base, tree, offices, listed)
            self._bodies[body] = self.plans[name] = known
        return known

    def believe(self, peer: PeerId, frame: Frame) -> None:
        """Enter what a liar says beside its core: honest peers may build on it."""
        message = frame.message
        if isinstance(message, Digest):
            self.digests[frame.id] = (peer, message)
        elif isinstance(message, Proposal | Certificate):
            with contextlib.suppress(WireError):
                self.learn_plan(message.plan)

    def upload(self, known: KnownPlan, peer: PeerId) -> Digest | None:
        """Return the certified digest of a listed *peer*, or None."""
        entry = self.digests.get(known.digests.get(peer, FrameId(b"")))
        return entry[1] if entry is not None else None

    def results(self, known: KnownPlan, group: GroupId) -> list[tuple[int, ModelHash]]:
        """Return what was announced as the result of *group*: (term, model); the root's is its MEAN."""
        said = self.means if known.tree is not None and known.tree.root.id == group else self.finals
        announced = [(term, said.get((known.id, group, term))) for term in (0, 1)]
        return [
            (term, ModelHash(frame.model)) for term, frame in announced if frame is not None and frame.model
        ]
