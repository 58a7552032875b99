"""What happened at one peer: told to journals, applications and the simulator's checkers.

The core puts these into `events.Report` effects; nothing in the protocol depends on them.
"""

from dataclasses import dataclass, fields
from typing import Any

from swarmdem.identifiers import FrameId, GroupId, Level, ModelHash, PeerId, PlanId, Round, Term, brief

SHOWN_MAX = 4
"""Entries of a list that `str` shows."""


class Readable:
    """A dataclass whose `str` is for people: ids are short, long lists are cut; `repr` shows all."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the name and the fields."""
        told = (f"{field.name}={_told(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(told)})"


@dataclass(frozen=True, slots=True)
class Certified(Readable):
    """A certificate became this peer's base."""

    plan: PlanId
    base: bytes
    round: Round
    mode: int
    term: Term
    peers: tuple[PeerId, ...]
    """The listed."""
    tree: bytes
    """Hash of the plan's tree."""


@dataclass(frozen=True, slots=True)
class Elected(Readable):
    """This peer aggregates a group; rank 0 leads term 0, rank 1 stands by for term 1."""

    plan: PlanId
    round: Round
    group: GroupId
    level: Level
    rank: int


@dataclass(frozen=True, slots=True)
class GroupChanged(Readable):
    """This peer hangs under another group than before."""

    round: Round
    group: GroupId
    level: Level
    members: int


@dataclass(frozen=True, slots=True)
class GroupAveraged(Readable):
    """This peer, as aggregator, announced the mean of a group (eq. 9)."""

    plan: PlanId
    round: Round
    group: GroupId
    level: Level
    term: Term
    model: ModelHash | None
    weight: int
    included: tuple[PeerId, ...]
    inputs: tuple[tuple[ModelHash, int], ...]
    """Every model that went in with its weight, in the order of arrival."""
    previous: ModelHash | None = None
    """The group's mean of the round before, if it went in (Dem-AI eq. 3)."""
    time: int = 0
    """Tick of the schedules' clock."""
    above: ModelHash | None = None
    """The region's result that was mixed into the mean last, if one was (root of a cell)."""


@dataclass(frozen=True, slots=True)
class GroupFinished(Readable):
    """This peer, as aggregator, announced the result of a group (eq. 10)."""

    plan: PlanId
    round: Round
    group: GroupId
    level: Level
    term: Term
    cut: bool
    model: ModelHash
    summed: tuple[int, ...] = ()
    """N of the groups whose models are summed up in it, this one first (`pull_to = all`)."""


@dataclass(frozen=True, slots=True)
class HandedDown(Readable):
    """The region's result is in force for the cell that this peer speaks for."""

    plan: PlanId
    """The region's."""
    round: Round
    group: GroupId
    """The region's group that the cell is attached to."""
    model: ModelHash
    """That group's result."""
    upload: ModelHash | None
    """The cell's root model in this round of the region."""


@dataclass(frozen=True, slots=True)
class NeighboursAveraged(Readable):
    """This peer averaged its model with those of its neighbours (`update = gossip`)."""

    plan: PlanId
    round: Round
    model: ModelHash
    included: tuple[PeerId, ...]
    """Whose models went in, this peer's own among them if it had one; sorted."""
    inputs: tuple[tuple[ModelHash, int], ...]
    """Every model that went in with its weight, 1, in the order of arrival."""
    silent: tuple[PeerId, ...]
    """Neighbours whose models did not come in time, or must not be used; sorted."""
    time: int
    """Tick of the schedules' clock."""


@dataclass(frozen=True, slots=True)
class PlasticityRaised(Readable):
    """The swarm's loss has risen for long enough: the schedules' clock was set back (drift)."""

    round: Round
    tick: int
    """Where the clock stands now."""


@dataclass(frozen=True, slots=True)
class RoundFinished(Readable):
    """The update of a round is over at this peer."""

    plan: PlanId
    round: Round
    certified: bool
    applied: bool
    """False: no result came in time; the peer keeps its model and takes part in the next round."""
    model: ModelHash | None
    """The peer's model after the update, when applied."""
    group: GroupId | None
    reason: str
    """Why nothing was applied; empty when it was."""


@dataclass(frozen=True, slots=True)
class Degraded(Readable):
    """Something is not as it should be, in plain words."""

    what: str
    passing: bool = False
    """A single mishap: no `Recovered` will follow."""
    lasted_s: float = 0.0
    """For how long it had been so when it was told."""


@dataclass(frozen=True, slots=True)
class Recovered(Readable):
    """What a `Degraded` said no longer holds."""

    what: str


@dataclass(frozen=True, slots=True)
class PeerSeen(Readable):
    """A peer came into sight, or went out of it."""

    peer: PeerId
    present: bool


@dataclass(frozen=True, slots=True)
class CharterRefused(Readable):
    """The swarm of this name runs under another charter; taking part is impossible."""

    by: PeerId
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyRefused(Readable):
    """A peer with this key was started later, on another machine perhaps; this one has fallen silent."""


@dataclass(frozen=True, slots=True)
class Equivocated(Readable):
    """A peer said two things where only one can be true; both frames prove it."""

    peer: PeerId
    first: FrameId
    second: FrameId


Event = (
    Certified | Elected | GroupChanged | GroupAveraged | GroupFinished | HandedDown | NeighboursAveraged
    | RoundFinished | PlasticityRaised | Degraded | Recovered | PeerSeen | CharterRefused | KeyRefused
    | Equivocated
)  # fmt: skip


def _told(value: Any) -> str:
    if isinstance(value, bytes):
        return brief(value)
    if isinstance(value, tuple):
        more = [f"{len(value) - SHOWN_MAX} more"] if len(value) > SHOWN_MAX else []
        return f"({', '.join([*map(_told, value[:SHOWN_MAX]), *more])})"
    return repr(value) if type(value) is str else str(value)
