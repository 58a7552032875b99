"""Who may answer for a group, and what takes the office from the first leader.

A group's first leader answers for term 0. Its electors are its direct leaves and one seat per child
group, held by either of that group's leaders; the accused itself has no say. When more than half of
the seats have skipped term 0, the second leader answers for term 1 and attaches those skips, so that
everybody can check its right. There is no third term.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from swarmdem.errors import WireError
from swarmdem.identifiers import GroupId, PeerId
from swarmdem.protocol.hierarchy import Group
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import GroupSkip


class Office:
    """The leaders and electors of one group and the skips seen so far (one per elector)."""

    def __init__(self, group: Group, leaders: Mapping[GroupId, tuple[PeerId, ...]]) -> None:
        self.ranks = leaders[group.id]
        seats: dict[PeerId, set[bytes]] = {leaf: {leaf} for leaf in group.leaves}
        for child in group.children:
            for peer in leaders[child]:
                seats.setdefault(peer, set()).add(child)
        seats.pop(self.ranks[0], None)
        self._seats = seats
        self._total = len(set().union(*seats.values()))
        self._skips: dict[PeerId, bytes] = {}

    def elects(self, peer: PeerId) -> bool:
        """Return whether *peer* may skip the first leader."""
        return peer in self._seats

    def record(self, skip: Frame) -> None:
        """Remember an elector's skip; a peer without a seat is not remembered."""
        if skip.sender in self._seats:
            self._skips.setdefault(skip.sender, skip.raw)

    @property
    def accused(self) -> bool:
        """Some elector has skipped the first leader."""
        return bool(self._skips)

    def deposed(self) -> bool:
        """Return whether more than half of the seats are known to have skipped the first leader."""
        return self.convicts(self._skips)

    def deposable(self, lives: Callable[[PeerId], bool]) -> bool:
        """Return whether those who skipped the first leader and those who live have more than half."""
        return self.convicts([peer for peer in self._seats if peer in self._skips or lives(peer)])

    def proof(self) -> tuple[bytes, ...]:
        """Return the frames of just enough skips, by elector; `deposed` must hold."""
        chosen: dict[PeerId, bytes] = {}
        for elector, raw in sorted(self._skips.items()):
            chosen[elector] = raw
            if self.convicts(chosen):
                break
        return tuple(chosen.values())

    def verify(self, skips: Sequence[bytes], expected: GroupSkip, read: Callable[[bytes], Frame]) -> bool:
        """Remember the good ones among attached *skips* and return whether the first leader is deposed.

        Args:
            skips: Frames as a result of term 1 carries them; bad ones are passed over.
            expected: What each of them must say.
            read: Verifies and decodes a frame, raising `WireError`.
        """
        known = set(self._skips.values())
        # No honest proof is longer than the number of electors; the rest is not worth a signature check.
        for raw in islice((raw for raw in skips if raw not in known), len(self._seats)):
            if self.deposed():
                break
            try:
                frame = read(raw)
            except WireError:
                continue
            if frame.message == expected:
                self.record(frame)
        return self.deposed()

    def convicts(self, accusers: Iterable[PeerId]) -> bool:
        """Return whether *accusers* fill more than half of the seats; those without a seat do not count."""
        filled: set[bytes] = set().union(*(self._seats.get(peer, set()) for peer in accusers))
        return 2 * len(filled) > self._total
