"""One of the cores of a peer in cells, as the others need to see it."""

from swarmdem.identifiers import GroupId, ModelHash, PeerId
from swarmdem.protocol.core import Core
from swarmdem.protocol.election import RANKS, rank
from swarmdem.protocol.plans import Base
from swarmdem.protocol.recent import keep_for
from swarmdem.protocol.restart import Records
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Digest, Mean


class Part(Core):
    """The protocol of one peer in its cell, or in the region; arguments as of `core.Core`."""

    def __init__(
        self, charter: Charter, sealer: Sealer, *, stored: Records | None = None, capability: int = 1
    ) -> None:
        super().__init__(charter, sealer, stored=stored, capability=capability)
        keep_for(charter_hash(charter), self)

    @property
    def base(self) -> Base:
        """What this peer stands on."""
        return self._base

    @property
    def models(self) -> tuple[ModelHash, ...]:
        """The models this peer holds and may still need or serve, beside those in slots."""
        return self._round.update.models if self._round.update is not None else ()

    @property
    def idle(self) -> bool:
        """Whether nothing of the last update is left to do here."""
        return self._round.update is None or self._round.update.idle

    @property
    def root(self) -> GroupId | None:
        """The root of the certified tree; None before the first round's."""
        return self._base.hierarchy.root.id if self._base.hierarchy is not None else None

    def root_leaders(self) -> tuple[PeerId, ...]:
        """Return who aggregates the root of the certified tree; nobody before the first round's."""
        base = self._base
        if base.hierarchy is None or base.plan is None:
            return ()
        root = base.hierarchy.root
        return rank(root.members, base.plan.base + root.id, base.state.conduct.weights)[:RANKS]

    def is_root_mean(self, mean: Mean, leader: PeerId) -> bool:
        """Return whether *mean*, announced by *leader*, is the root's in the update of the certificate."""
        root = self._base.hierarchy.root.id if self._base.hierarchy is not None else None
        return (mean.plan, mean.group) == (self._base.id, root) and leader in self.root_leaders()

    def listed(self) -> dict[PeerId, Digest]:
        """Return the digests that the certificate lists, as far as held."""
        return self._round.listed_digests() if self._base.plan is not None else {}

    def listed_frames(self) -> list[Frame]:
        """Return them as they were signed."""
        entries = self._base.plan.entries if self._base.plan is not None else ()
        found = (self._round.certified.find(e.digest) for e in entries if e.listed)
        return [frame for frame in found if frame is not None]
