"""How peers have conducted themselves: who may lead before others, and how long models take to cross.

Digests report what their senders saw in the update of their base (in `ext`, left out where all was
well); from the digests it lists a plan follows the record that it hands on, in integers, so voters compute
it again. Nothing here can be had by claiming it:

- *Capability*, 0 to 3, is a peer's own claim: 0 asks to be spared (a battery), 1 is ordinary.
- *Trust*, 0 to 3, is what certified rounds have shown: 1 to begin with, 1 more for every update in which
  the peer was a first aggregator and kept its offices, 2 less when more than half of the electors of one
  of its groups report that they had to skip it. It never exceeds the claim, nor 1 for lesser claims.
  Trust that is gone altogether comes back after `PROBATION` certificates.
- In elections (`election.py`) a peer counts 2^(trust - 1) times, 1 to 4; without trust, or with the
  claim 0, it comes after all others.
- *Pace* is how long one model takes to cross, where that is longer than the charter's `min_rate` says:
  median + 4 x spread of what the digests report, who reports nothing having seen nothing unusual. It
  rises at once and falls by a quarter of the difference. Whoever was left waiting for a model that was
  on its way reports twice the pace that held: so a slow link is found out in a few rounds, and
  deadlines follow it (`deadlines.py`). Less than half of the peers cannot move it.
"""

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import MILLISECOND, GroupId, Micros, PeerId
from swarmdem.protocol.election import leaders
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.offices import Office
from swarmdem.protocol.typical import median_and_limit
from swarmdem.wire.charter import Charter
from swarmdem.wire.extensions import CONDUCT_REPORT, entry
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import Digest

ORDINARY = 1
"""Capability of a peer that claims nothing."""
HIGHEST = 3
"""Highest capability, and most trust."""
PROBATION = 7
"""Certificates after which a peer without trust is trusted like a newcomer again."""
COMPLAINTS_MAX = 16
"""Groups that one digest may complain of: a peer has a seat in few."""
LONGEST = 20
"""Longest time that one model is given, in units of patience."""

_REPORT = struct.Struct(">BI")
_PACE = struct.Struct(">I")
_GROUP_BYTES = 16


@dataclass(frozen=True, slots=True)
class Report:
    """What one digest says beside its model."""

    capability: int = ORDINARY
    slow_ms: int = 0
    """Milliseconds that one model took, where that was longer than expected; else 0."""
    complaints: tuple[GroupId, ...] = ()
    """Groups of the base's tree whose first aggregators the sender skipped; sorted."""

    def ext(self) -> Extensions:
        """Return the `ext` of a digest that says so; empty when there is nothing to say."""
        if self == Report():
            return ()
        head = _REPORT.pack(self.capability, min(self.slow_ms, 2**32 - 1))
        return ((CONDUCT_REPORT, head + b"".join(self.complaints[:COMPLAINTS_MAX])),)

    @classmethod
    def of(cls, digest: Digest) -> Self:
        """Return what *digest* says; what cannot be read counts as nothing said."""
        content = entry(digest.ext, CONDUCT_REPORT)
        if content is None or len(content) < _REPORT.size:
            return cls()
        groups = content[_REPORT.size :]
        if len(groups) % _GROUP_BYTES or len(groups) > COMPLAINTS_MAX * _GROUP_BYTES:
            return cls()
        capability, slow_ms = _REPORT.unpack_from(content)
        each = (groups[at : at + _GROUP_BYTES] for at in range(0, len(groups), _GROUP_BYTES))
        return cls(min(capability, HIGHEST), slow_ms, tuple(GroupId(group) for group in each))


@dataclass(frozen=True, slots=True)
class Record:
    """What a plan hands on about one peer."""

    capability: int = ORDINARY
    trust: int = 1
    probation: int = 0
    """Certificates until trust that is gone comes back."""

    @property
    def weight(self) -> int:
        """How often the peer counts in an election; 0: after all others."""
        return 2 ** (self.trust - 1) if self.trust and self.capability else 0

    def after(self, capability: int, *, kept: bool, lost: bool) -> "Record":
        """Return the record after one more certificate.

        Args:
            capability: What the peer claims now.
            kept: It was a first aggregator.
            lost: It was one, and its electors had to skip it.
        """
        trust, probation = self.trust, max(0, self.probation - 1)
        if lost:
            trust = max(0, trust - 2)
            probation = 0 if trust else PROBATION
        elif trust == 0:
            trust = 0 if probation else 1
        elif kept:
            trust += 1
        return Record(capability, min(trust, max(1, capability)), probation)

    def pack(self) -> int:
        """Return one byte: 2 bits capability, 2 bits trust, 3 bits probation."""
        return self.capability << 5 | self.trust << 3 | self.probation

    @classmethod
    def unpack(cls, byte: int) -> Self:
        """Return the record that `pack` made *byte* of.

        Raises:
            MalformedFrameError: The highest bit is set.
        """
        if byte >> 7:
            raise MalformedFrameError("Plan.ext: not a record of a peer's conduct")
        return cls(byte >> 5, byte >> 3 & 3, byte & 7)


@dataclass(frozen=True)
class Conduct:
    """What one plan hands on."""

    pace_ms: int = 0
    """Milliseconds for one model to cross; 0: as the charter says."""
    records: Mapping[PeerId, Record] = field(default_factory=dict)
    """Only of peers whose record is not the ordinary one."""

    @cached_property
    def weights(self) -> Mapping[PeerId, int]:
        """How often peers count in elections, where not once."""
        return {peer: record.weight for peer, record in self.records.items() if record.weight != 1}

    def pack(self, listed: Sequence[PeerId]) -> bytes:
        """Return what a plan over the *listed* (sorted) carries; empty when all is ordinary."""
        if not self.pace_ms and not self.records:
            return b""
        ordinary = Record()
        return _PACE.pack(self.pace_ms) + bytes(self.records.get(p, ordinary).pack() for p in listed)

    @classmethod
    def unpack(cls, content: bytes, listed: Sequence[PeerId]) -> Self:
        """Return what *content* says of the *listed* (sorted).

        Raises:
            MalformedFrameError: It is about more or fewer peers, or no such record.
        """
        if len(content) != _PACE.size + len(listed):
            raise MalformedFrameError(f"Plan.ext: conduct in {len(content)} bytes of {len(listed)} peers")
        records = map(Record.unpack, content[_PACE.size :])
        named = {peer: each for peer, each in zip(listed, records, strict=True) if each != Record()}
        return cls(_PACE.unpack_from(content)[0], named)

    def after(
        self, charter: Charter, tree: Hierarchy | None, base: bytes, digests: Mapping[PeerId, Digest]
    ) -> "Conduct":
        """Return what the plan that lists *digests* hands on.

        Args:
            charter: The swarm's settings.
            tree: Of the plan that handed on this; None after the founding.
            base: What that plan followed: seeded its elections.
            digests: By peer.
        """
        reports = {peer: Report.of(digest) for peer, digest in digests.items()}
        kept, lost = _offices(tree, base, self.weights, reports) if tree is not None else (set(), set())
        records = {
            peer: self.records.get(peer, Record()).after(
                report.capability, kept=peer in kept and peer not in lost, lost=peer in lost
            )
            for peer, report in sorted(reports.items())
        }
        return Conduct(
            self._pace(charter, [report.slow_ms for report in reports.values()]),
            {peer: record for peer, record in records.items() if record != Record()},
        )

    def _pace(self, charter: Charter, seen: Collection[int]) -> int:
        _, now = median_and_limit(seen)
        now = min(now, LONGEST * charter.patience_us // MILLISECOND)
        if now < self.pace_ms:
            now = (3 * self.pace_ms + now) // 4
        return now if now * MILLISECOND > charter.transfer_us else 0

    def model_us(self, charter: Charter) -> Micros:
        """Return how long one model may take to cross."""
        return max(self.pace_ms * MILLISECOND, charter.transfer_us)


def _offices(
    tree: Hierarchy, base: bytes, weights: Mapping[PeerId, int], reports: Mapping[PeerId, Report]
) -> tuple[set[PeerId], set[PeerId]]:
    """Return the first aggregators of *tree*, and those of them that lost an office."""
    ranks = leaders(tree, base, weights)
    complaining: dict[GroupId, set[PeerId]] = {}
    for peer, report in reports.items():
        for group in report.complaints:
            complaining.setdefault(group, set()).add(peer)
    lost = {
        ranks[group.id][0]
        for group in tree.groups
        if group.id in complaining and Office(group, ranks).convicts(complaining[group.id])
    }
    return {order[0] for order in ranks.values()}, lost
