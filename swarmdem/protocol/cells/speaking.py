"""The peer that speaks for its cell: the cell's root model goes up to the region, the result comes down.

To the region's core a round of the cell is a training: when it orders one, the next root model of the cell
that was not used before answers it, with the centroid of the peers in it. What the region's core would
apply is told to the two leaders of the cell's root, who mix it into the next root mean (eq. 10) and say so;
until one has, each new pair of leaders is told.
"""

from collections.abc import Collection
from dataclasses import dataclass

from swarmdem.identifiers import CellId, GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.cells.centroids import centroid
from swarmdem.protocol.cells.entries import NO_SITE, CellEntry, HandedDown, fences_of
from swarmdem.protocol.cells.part import Part
from swarmdem.protocol.events import Effect, Fetch, Persist, Publish, Send
from swarmdem.protocol.plans import Base
from swarmdem.protocol.remarks import above_of, below_of
from swarmdem.protocol.sketches import Sketch
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Final, Mean

USED = "region-used"
"""Key of the record that names the cell's plan whose root model went up last."""


@dataclass(frozen=True, slots=True)
class RootModel:
    """A cell's root model, ready to go up."""

    model: ModelHash
    model_bytes: int
    weight: int
    scale: float
    sketch: bytes
    entry: CellEntry
    sources: tuple[PeerId, ...]


class Speaker:
    """What a peer that speaks for *cell* remembers.

    Args:
        cell: The cell.
        region: The peer's core in the region.
        sealer: Signs in the cell.
        used: The cell's plan whose root model went up last; empty when none did.
        site: Where the cell is (`entries.site_of`).
    """

    def __init__(
        self, cell: CellId, region: Part, sealer: Sealer, used: bytes, site: bytes = NO_SITE
    ) -> None:
        self.cell = cell
        self.region = region
        self.order: events.Train | None = None
        """The region's core waits for a root model."""
        self.root: RootModel | None = None
        self.merge: CellId = CellId(b"")
        """The cell that the region merges this one into."""
        self._sealer = sealer
        self._used = used
        self._site = site
        self._result: events.Apply | None = None
        """What the region's last round brought, until the cell has it."""
        self._model_bytes = 0
        self._merging: Frame | None = None

    @property
    def models(self) -> tuple[ModelHash, ...]:
        """The models that must be at hand for this."""
        root = (self.root.model,) if self.root is not None else ()
        return (*root, self._result.parent) if self._result is not None else root

    def root_announced(self, mean: Mean, leader: PeerId, cell: Part) -> None:
        """Take note of the root mean of the cell's current plan."""
        above = above_of(mean)
        if self._result is not None and above == self._result.parent:
            self._result = None
        if not mean.weight or mean.plan == self._used:
            return
        listed = cell.listed()
        if not listed.keys() >= set(mean.included):
            return  # where one that is in it came from cannot be told; the next root model will do
        digests = [(peer, listed[peer]) for peer in mean.included]
        if not all(digest.sketch for _, digest in digests):
            # A kept tree (`tau`) needs no sketches; only late uploads (`uploads.again`) have one then.
            return  # the cell takes part when it makes a tree
        here = (cell.base.seed, cell.base.reference)
        sketches = [
            Sketch(peer, digest.scale, digest.sketch)
            for peer, digest in digests
            if (digest.seed, digest.reference) == here
        ]
        point = centroid(sketches, {peer: digest.weight for peer, digest in digests})
        if point is None:
            return
        peers = len(cell.base.electorate)
        fences = fences_of(digest for _, digest in digests)
        number = cell.base.round
        entry = CellEntry(self.cell, mean.plan, number, peers, point.scatter, fences, self._site)
        leaders = tuple(dict.fromkeys((leader, *cell.root_leaders())))
        sources = tuple(peer for peer in leaders if peer != self._sealer.peer)
        self.root = RootModel(
            below_of(mean), mean.model_bytes, mean.weight, point.scale, point.values, entry, sources
        )

    def needed(self) -> Fetch | None:
        """Return how to get the root model that is due to go up; None while none is."""
        if self.order is None or self.root is None or self.merge:
            return None
        return Fetch(self.root.model, self.root.model_bytes, self.root.sources)

    def answer(self) -> tuple[list[Effect], events.Trained]:
        """Return the answer to the order, now that the root model is at hand, and what to write before."""
        order, root = self.order, self.root
        assert order is not None
        assert root is not None
        self.order = self.root = None
        self._used = root.entry.certificate
        trained = events.Trained(
            order.base,
            root.model,
            root.model_bytes,
            root.weight,
            root.scale,
            root.sketch,
            0,
            0,
            root.entry.ext(),
        )
        return [Persist(USED, self._used)], trained

    def finished(self, order: events.Apply, model_bytes: int) -> None:
        """Take note of the region's result."""
        self._result, self._model_bytes = order, model_bytes

    def merge_into(self, cell: CellId, region: Base) -> None:
        """Take note that the region's certificate merges this cell into another."""
        down = HandedDown(region.round, cell)
        self.merge = cell
        self._merging = self._sealer.seal(
            Final(PlanId(region.id), 0, GroupId(self.cell), 0, False, ModelHash(b""), 0, (), down.ext())
        )

    def told(self) -> Final | None:
        """Return what the leaders of the cell's root must know; None when there is nothing new."""
        result = self._result
        if result is None:
            return None
        down, group = HandedDown(result.round, CellId(b"")), GroupId(self.cell)
        return Final(result.plan, 0, group, 0, False, result.parent, self._model_bytes, (), down.ext())

    def tell(self, leaders: Collection[PeerId]) -> list[Effect]:
        """Tell the cell that it is merged, and the *leaders* of its root what came down."""
        effects: list[Effect] = [Publish(self._merging)] if self._merging is not None else []
        told = self.told()
        if told is None:
            return effects
        frame = self._sealer.seal(told)
        return [*effects, *(Send(peer, frame) for peer in leaders if peer != self._sealer.peer)]
