"""How long training takes, and whom it is worth waiting for: what a peer learns from round to round.

Nothing here needs agreement: when a set of digests is frozen is every peer's own business, and what
counts is what the proposer holds by then. So deadlines may follow what was seen:

    allowance = max(median + 4 x spread, 1.5 x median)

over the training times that the digests of the last round report (`typical`); where half of the peers are
slow the median is one of theirs, and they are waited for. A peer that trains longer than all this is not
waited for: by its own word, or because waiting was in vain the last time. It is not lost either: its
training goes on over the certificates it misses, and counts once it is done.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from swarmdem.identifiers import MILLISECOND, Micros, PeerId
from swarmdem.protocol.conduct import ORDINARY
from swarmdem.protocol.events import Train
from swarmdem.protocol.plans import Base
from swarmdem.protocol.typical import median_and_limit
from swarmdem.wire.messages import Digest

LONGEST = 20
"""Longest training time that others are waited for, in units of patience."""


@dataclass(slots=True)
class Pace:
    """What this peer knows of training times: the running one, its last one, and who was late."""

    capability: int = ORDINARY
    """What this peer claims to be able to do (`conduct`)."""
    running: Train | None = None
    """The order that has no answer yet."""
    began: Micros = 0
    """When it was given."""
    own: Micros = 0
    """How long the last training took here; 0 when not known."""
    in_vain: set[PeerId] = field(default_factory=set)
    """Peers that were waited for on the last base and did not come."""

    def serves(self, base: Base) -> bool:
        """Return whether the outcome of the running training can be compared on *base* too."""
        order = self.running
        return order is not None and (order.seed, order.reference) == (base.seed, base.reference)

    def allowance(self, digests: Collection[Digest], patience: Micros) -> Micros:
        """Return how long a training may take; 3 x patience when nothing is known.

        Args:
            digests: Of the last round, as far as held.
            patience: The charter's.
        """
        times = [digest.training_ms * MILLISECOND for digest in digests]
        times = [min(t, LONGEST * patience) for t in times if t > 0]
        if not times and self.own:
            times = [self.own]
        if not times:
            return 3 * patience
        median, limit = median_and_limit(times, upper=True)
        return min(max(limit, median + median // 2), LONGEST * patience)

    def hopeless(self, digests: Mapping[PeerId, Digest], limit: Micros) -> frozenset[PeerId]:
        """Return the peers that cannot be there within *limit*, by their own word or the last wait."""
        slow = {peer for peer, digest in digests.items() if digest.training_ms * MILLISECOND > limit}
        return frozenset(slow | self.in_vain)
