"""How long a peer collects digests on one base before it freezes the set.

It waits for the digests of its electorate, but for nobody who counts as gone (`suspicion`), and then a
while for others in sight that stand on the same base. While founding it waits for the founders. Everything
here counts connected time. Whoever comes late is still listed if the proposer holds its digest.
"""

from swarmdem.identifiers import Micros, PeerId
from swarmdem.protocol.situation import Situation


class Collecting:
    """Whom one peer waits for on one base."""

    def __init__(self, situation: Situation, allowance: Micros, hopeless: frozenset[PeerId]) -> None:
        """Begin with nothing.

        Args:
            situation: The base and what is known about it.
            allowance: How long a training may take (`pace`).
            hopeless: Peers that it is of no use to wait for, as long as they are not half of the electors.
        """
        self.s = situation
        self._began: Micros | None = None
        self._allowance = allowance
        few = 2 * len(hopeless & situation.electors) < len(situation.electors)
        self._hopeless = hopeless if few else frozenset()
        self._others_since: dict[PeerId, Micros] = {}
        self._complete_at: Micros | None = None
        self.missing = set(situation.electors)
        """The electors whose digest is not here."""
        self._awaited = sorted(situation.electors, reverse=True)
        """The missing, and some that came since; the first is the last."""

    def begin(self, now: Micros) -> None:
        """Start the patience of COLLECT: the last update is over and training begins, or one founds anew."""
        self._began = now

    def is_over(self, now: Micros) -> bool:
        """Return whether the set is to be frozen as far as time and digests decide."""
        if self.s.base.founding:
            return self._founding_due(now)
        if self._began is None:
            return False
        if now >= self._began + self._collect_limit():
            return True
        if self.waits(now):
            return False
        if self.s.me in self.s.electors and self.s.me not in self.s.digests.current:
            return False
        if self._complete_at is None:
            self._complete_at = now
        others = self._others(now) - self._hopeless
        for peer in others:
            self._others_since.setdefault(peer, now)
        return now >= (self._newcomers_until() if others else self._alone_until())

    def waits(self, now: Micros, spared: PeerId | None = None) -> bool:
        """Return whether a digest is waited for, that of *spared* aside."""
        return any(
            peer != spared and peer not in self._hopeless and not self._gone(peer, now)
            for peer in self.missing
        )

    def is_one_of_many(self, peer: PeerId, now: Micros) -> bool:
        """Return whether the digest of *peer* is waited for, and further ones after it.

        Not so of the one that is waited for first: when it comes, `deadlines` changes.
        """
        return peer in self.missing and peer != self._first_waited(now) and self.waits(now, peer)

    def _alone_until(self) -> Micros:
        """Return until when to listen for others first: a peer cut off alone must not race through rounds."""
        cut_off = bool(self.s.base.lineage) and self.s.electors == {self.s.me}
        return (self._began or 0) + self.s.patience // 2 if cut_off else 0

    def _gone(self, peer: PeerId, now: Micros) -> bool:
        s = self.s
        return s.membership.away(peer) or s.suspicion.gone(peer, self._waited_since(now), now)

    def _waited_since(self, now: Micros) -> Micros:
        return now if self._began is None else self._began

    def _first_waited(self, now: Micros) -> PeerId | None:
        """Return the first of the missing that is not gone: until every one is, nothing is due."""
        while self._awaited and self._awaited[-1] not in self.missing:
            self._awaited.pop()
        waited = (p for p in reversed(self._awaited) if p in self.missing and p not in self._hopeless)
        return next((peer for peer in waited if not self._gone(peer, now)), None)

    def _others(self, now: Micros) -> set[PeerId]:
        """Return the peers in sight on this base that have no digest here.

        Who counts as gone from this very moment is still in sight for as long.
        """
        others = self.s.membership.naming(self.s.base.id, now) - self.s.digests.current.keys()
        return {peer for peer in others if not self._gone(peer, now)}

    def in_vain(self, now: Micros) -> set[PeerId]:
        """Return the peers in sight without a digest that most of the wait for others was spent on.

        Who came into sight only towards its end had no fair chance and is not among them.
        """
        span = self._newcomers_until() - (self._complete_at or 0)
        return {
            peer
            for peer in self._others(now)
            if peer in self._hopeless or now - self._others_since.get(peer, now) >= span // 2
        }

    def _founding_due(self, now: Micros) -> bool:
        """Wait for a welcome (patience / 8 when all expected are there), then for founders."""
        s = self.s
        if s.me not in s.digests.current or not s.clock.connected:
            return False
        if self._began is not None:  # who found anew give up their founding within a patience of each other
            return now >= self._began + s.patience
        founders = s.charter.founders
        # The first conditions cost nothing: a thousand founders ask this after every word of each other.
        if now < s.patience // 8:
            return False
        if len(s.digests.current) >= founders and len(s.present(now)) >= founders:
            return True
        return now >= self._gather_limit() and s.charter.agreement != "bft"

    def _gather_limit(self) -> Micros:
        return max(self.s.patience // 2, self.s.charter.gather_us)

    def _collect_limit(self) -> Micros:
        return self.s.patience + self._allowance

    def _newcomers_until(self) -> Micros:
        return (self._complete_at or 0) + self.s.patience // 2 + self._allowance

    def deadlines(self, now: Micros) -> list[Micros]:
        """Return when `is_over` may become true, past times among them."""
        s = self.s
        if s.base.founding:
            return [s.patience // 8, self._gather_limit(), (self._began or 0) + s.patience]
        due: list[Micros] = []
        if self._began is not None:
            due += [self._began + self._collect_limit(), self._alone_until()]
            if (peer := self._first_waited(now)) is not None:
                due.append(s.suspicion.gone_at(peer, self._waited_since(now)))
        if self._complete_at is not None:
            due.append(self._newcomers_until())
        return due
