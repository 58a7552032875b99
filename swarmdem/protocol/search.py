"""The search for the reference model, and when a founding is given up because nobody has its genesis.

The founding plan names its proposer's model; when that peer dies before anybody has fetched it, the others
would look for it for ever. Every listed peer is asked in turn, so whoever holds it has passed it on after
the time of as many transfers as there are peers, or has trained with it and published a digest. If
neither happened, or the model cannot be used, the peers found the swarm anew (`core`): a certificate they
all stood on says nothing that anybody could have acted on.
"""

from swarmdem.identifiers import SECOND, Micros
from swarmdem.protocol.situation import Situation
from swarmdem.wire.messages import FOUNDING

GENESIS_WAIT = 4
"""Patiences, beside the transfers, for which a genesis model is looked for."""


class Search:
    """The search on one base."""

    def __init__(self, situation: Situation) -> None:
        self.s = situation
        self.since: Micros = 0
        """Connected time at which it began."""
        self.unusable = False
        """What was fetched under the reference's name is no model of this charter."""

    def in_vain(self, now: Micros) -> bool:
        """Return whether the founding must be given up."""
        s = self.s
        if s.base.plan is None or s.base.plan.mode != FOUNDING or not s.clock.connected:
            return False
        if s.charter.agreement == "bft":  # what more than two thirds have certified is not taken back
            return False
        digests = len(s.digests.current)
        if self.unusable:
            return 2 * digests <= len(s.base.electorate)  # else most find it usable: the fault is here
        return not digests and now >= self.given_up_at()

    def given_up_at(self) -> Micros:
        """Return when the search ends, unless somebody shows that it has the model."""
        charter = self.s.charter
        transfers: Micros = len(self.s.base.electorate) * charter.model_bytes * SECOND // charter.min_rate
        return self.since + GENESIS_WAIT * charter.patience_us + transfers
