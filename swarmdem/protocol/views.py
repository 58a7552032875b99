"""What one peer knows about one group of the plan while the update runs.

A view holds the results announced for the group (at most one per kind and term), who may announce
them, and this peer's own part: its rank as aggregator, its vote against the first leader. It answers
questions and decides nothing; `update.py` does.
"""

from collections.abc import Container
from dataclasses import dataclass, field

from swarmdem.identifiers import FrameId, Micros, ModelHash, Term
from swarmdem.protocol.deadlines import Deadlines
from swarmdem.protocol.gathering import Gathering
from swarmdem.protocol.hierarchy import Group
from swarmdem.protocol.offices import Office
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Final, Mean


@dataclass(slots=True, eq=False)
class Announced:
    """A result this peer accepted, or announced itself."""

    frame: Frame
    message: Mean | Final
    at: Micros
    owed: bool
    """The sender still waits for this peer's acknowledgement."""

    @property
    def model(self) -> ModelHash | None:
        """The model it names; None when there is none (nothing came in)."""
        return ModelHash(self.message.model) if self.message.model else None


@dataclass(slots=True, eq=False)
class View:
    """One group as this peer sees it."""

    group: Group
    times: Deadlines
    office: Office
    rank: Term | None
    """This peer's rank among the group's leaders."""
    elector: bool
    """This peer may skip the first leader."""
    means: dict[Term, Announced] = field(default_factory=dict)
    finals: dict[Term, Announced] = field(default_factory=dict)
    skip: FrameId | None = None
    """With this frame the peer skipped the first leader; it refuses what that one says from then on."""
    deposed: bool = False
    """The first leader is known to have lost its office."""
    in_office: Micros | None = None
    """When this peer, as second leader, took office."""
    gathering: Gathering | None = None
    previous: ModelHash | None = None
    """The group's mean of the round before, as far as it goes into the one being computed."""
    mixing: bool = False
    """Eq. 10 is being computed."""
    summed: tuple[int, ...] = ()
    """N of the groups that the result being computed sums up, this one first (`pull_to = all`)."""

    @property
    def acting(self) -> bool:
        """This peer answers for the group now."""
        return self.in_office is not None if self.rank == 1 else self.rank == 0 and not self.deposed

    @property
    def announced(self) -> tuple[Announced, ...]:
        """Every result that was accepted."""
        return (*self.means.values(), *self.finals.values())

    def results(self, kind: type[Mean | Final]) -> dict[Term, Announced]:
        """Return the results of one kind by term."""
        return self.means if kind is Mean else self.finals

    def mean(self, bad: Container[ModelHash] = ()) -> Announced | None:
        """Return MEAN of the highest term, passing over models that must not be used."""
        return _highest(self.means, bad)

    def final(self, bad: Container[ModelHash] = ()) -> Announced | None:
        """Return FINAL of the highest term (the root's is its mean), none of a term this peer skipped.

        A result announced before the skip may arrive after it: refused all the same.
        """
        finals = self.means if self.group.parent is None else self.finals
        return _highest({term: finals[term] for term in finals if term or self.skip is None}, bad)


def _highest(results: dict[Term, Announced], bad: Container[ModelHash]) -> Announced | None:
    for term in sorted(results, reverse=True):
        if results[term].message.model not in bad:
            return results[term]
    return None
