"""Which certificate to stand on: behind, forked, or somebody's invention (docs/agreement.md).

A certificate that *follows* from ours (`certificates`) is simply newer. Everything else is settled by
counting the senders heard within the last `patience`: how many stand on the other side, how many on ours.
A sender counts when a certificate this peer stood on names it, or, as a stranger, when it has been in
sight for `STRANGERS_WAIT` x `patience`; votes are no sign of life and do not count. So

- who lags behind follows at once, as long as the peers it knows vote;
- two sides of a partition meet within the repeats of one patience, the smaller one moves;
- an electorate invented by strangers needs more keys in sight for longer than the swarm has peers, with
  which they could as well join and outvote it: only admission would keep them out, and version 1 admits
  everybody. Where no more than half of our electorate is in sight, as many as are here suffice, and to
  a peer that is all alone everybody counts: it has nobody to be carried away from;
- a peer that its own certificate does not list (a newcomer) took it on trust and may change its mind.

In the mode `bft` nothing is counted: a peer moves to what follows from its certificate, and nowhere else.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from swarmdem.identifiers import Micros, PeerId, Round
from swarmdem.protocol.certificates import Proven, follows
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import FOUNDING, NORMAL, PROVISIONAL
from swarmdem.wire.signing import peer_id

REMEMBERED_MAX = 256
"""Certificates whose place in the lineages is remembered."""
ABANDONED_MAX = 8
"""Foundings given up that are remembered over a restart."""
STRANGERS_WAIT = 4
"""Patiences for which a peer that no certificate of ours names must be in sight before it counts."""

_ID_BYTES = 32

Path = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Standpoint:
    """What this peer's own situation says about moving on."""

    ours: Base
    majority_lost: bool
    """For a whole patience no more than half of E was heard naming our base (provisional condition)."""
    applied: bool
    """A result of our plan has been applied here."""
    listening_since: Micros
    """Connected time since which this peer hears others."""


@dataclass(slots=True)
class Lineages:
    """Where the certificates seen stand, and who stands on them."""

    me: PeerId
    charter: Charter
    membership: Membership
    older: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """Certificates this peer stood on before."""
    _abandoned: bytes = b""
    _places: OrderedDict[bytes, tuple[Path, Round]] = field(default_factory=OrderedDict)
    _known: OrderedDict[PeerId, None] = field(default_factory=OrderedDict)

    def stand_on(self, base: Base, left: Base) -> bool:
        """Note that *base* replaced *left*; return whether `record` has changed by it."""
        self.older[left.id] = None
        self.older.pop(base.id, None)
        _bounded(self.older, REMEMBERED_MAX)
        return self.meet(base)

    def meet(self, base: Base) -> bool:
        """Note who *base*, on which this peer stands, names: they are no strangers from now on.

        Returns:
            Whether `record` has changed by it.
        """
        self._remember(base)
        named = [entry.peer for entry in base.plan.entries] if base.plan is not None else []
        fresh = any(peer not in self._known for peer in named)
        for peer in named:
            self._known[peer] = None
            self._known.move_to_end(peer)
        _bounded(self._known, 2 * self.charter.peers_max)
        return fresh

    def record(self) -> bytes:
        """Return what must outlive a restart: who is no stranger, or halves that all restart stay apart."""
        return b"".join(self._known)

    def abandon(self, founding: Base) -> bytes:
        """Note that *founding* is given up for good; return the record of all that were."""
        self._abandoned = (self._abandoned + founding.id)[-ABANDONED_MAX * _ID_BYTES :]
        return self._abandoned

    def recall(self, record: bytes, abandoned: bytes) -> None:
        """Take back what `record` and `abandon` gave."""
        whole = len(abandoned) // _ID_BYTES * _ID_BYTES
        self._abandoned = abandoned[:whole]
        for start in range(0, whole, _ID_BYTES):
            self.older[abandoned[start : start + _ID_BYTES]] = None
        for start in range(0, len(record) - 15, 16):
            self._known[PeerId(record[start : start + 16])] = None

    def prefers(self, theirs: Proven, at: Standpoint, now: Micros) -> bool:
        """Return whether the valid certificate *theirs* replaces what we stand on.

        Of a child or a sibling of our base its electors were checked already.
        """
        ours, plan = at.ours, theirs.plan
        self._remember(theirs.base)
        if theirs.base.id == ours.id or theirs.base.id in self.older:
            return False
        if ours.plan is None:
            return True
        if plan.base == ours.id and plan.mode == NORMAL:
            return True
        if plan.base == ours.plan.base and plan.mode == ours.plan.mode == FOUNDING:
            return beats_founding(theirs.base, ours)
        if plan.base == ours.plan.base and (plan.mode, ours.plan.mode) == (NORMAL, PROVISIONAL):
            if not at.applied:
                return True
        elif follows(theirs, ours) and theirs.base.round > ours.round:
            return True
        return self.charter.agreement != "bft" and self._outnumbered(theirs, at, now)

    def _outnumbered(self, theirs: Proven, at: Standpoint, now: Micros) -> bool:
        """Settle by counting: more than we are; as many, where most of our electorate is gone."""
        ours = at.ours
        if theirs.plan.base == ours.id:
            listed = self.me in theirs.base.electorate
            return at.majority_lost or (listed and self.outvoted(theirs.voters, ours, now))
        if now - at.listening_since < self.membership.patience // 2:
            return False
        here, there = self._stand(theirs, ours, now)
        if behind(ours, theirs.base):
            gone = 2 * len(here.intersection(ours.electorate)) <= len(ours.electorate)
            return len(there) > len(here) or (len(there) == len(here) and (gone or len(here) == 1))
        if self.me not in ours.electorate and not _precedes(theirs.base, ours):
            return len(there) > len(here)
        mine, other = _path(ours), _path(theirs.base)
        if mine == other or behind(theirs.base, ours):
            return False
        return len(there) > len(here) or (len(there) == len(here) and other < mine)

    def _stand(self, theirs: Proven, ours: Base, now: Micros) -> tuple[set[PeerId], set[PeerId]]:
        """Return who counts on our side, this peer included, and who counts on theirs.

        To a peer that is alone everybody counts: it has nobody to be carried away from.
        """
        here: set[PeerId] = {self.me}
        there: set[PeerId] = set()
        strangers: set[PeerId] = set()
        one_path = _path(ours) == _path(theirs.base)
        for peer, base in self.membership.bases(now).items():
            place = self._places.get(base)
            if place is None:
                continue
            path, number = place
            theirs_side = there if self._counts(peer, now) else strangers
            if base == ours.id or base in self.older:
                here.add(peer)
            elif one_path and path == _path(ours):
                (theirs_side if base == theirs.base.id or number > ours.round else here).add(peer)
            elif path == _path(theirs.base):
                theirs_side.add(peer)
            elif path == _path(ours):
                here.add(peer)
        return here, there | strangers if here == {self.me} else there

    def outvoted(self, voters: Collection[PeerId], ours: Base, now: Micros) -> bool:
        """Return whether the *voters* for leaving *ours* are at least as many as all others heard naming it.

        Their votes are fresh: only who stands on our base votes for what follows it.
        """
        leaving = {peer for peer in voters if peer != self.me and self._counts(peer, now)}
        naming = {peer for peer in self.membership.naming(ours.id, now) if self._counts(peer, now)}
        return len(leaving) >= len((naming | {self.me}) - leaving)

    def _counts(self, peer: PeerId, now: Micros) -> bool:
        since = self.membership.in_sight_since(peer, now)
        return peer in self._known or now - since >= STRANGERS_WAIT * self.membership.patience

    def _remember(self, base: Base) -> None:
        self._places[base.id] = (_path(base), base.round)
        self._places.move_to_end(base.id)
        _bounded(self._places, REMEMBERED_MAX)


def _bounded(memory: OrderedDict[Any, Any], most: int) -> None:
    while len(memory) > most:
        memory.popitem(last=False)


def _precedes(earlier: Base, later: Base) -> bool:
    """Return whether *later* follows from *earlier*: a newcomer must not go back from it."""
    if later.plan is None or later.certificate is None:
        return False
    voters = {peer_id(vote.public_key) for vote in later.certificate.votes}
    return later.plan.base == earlier.id or 2 * len(voters.intersection(earlier.electorate)) > len(
        earlier.electorate
    )


def _path(base: Base) -> Path:
    return tuple(fork.id for fork in base.lineage)


def beats_founding(challenger: Base, holder: Base) -> bool:
    """Return whether of two founding certificates the first wins: more peers, then the lower id."""
    return (-len(challenger.electorate), challenger.id) < (-len(holder.electorate), holder.id)


def behind(ours: Base, theirs: Base) -> bool:
    """Return whether *theirs* lies ahead of *ours* on its path.

    On one path the higher round is ahead. If our path is a prefix of theirs and their next fork left
    it at our round or later, theirs is. A path is known by its last fork, whose id seals all
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
