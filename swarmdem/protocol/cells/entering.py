"""How a newcomer finds its cell: it asks who is there, trains once, and descends the tree of cells.

Those that speak for cells answer with the region's certificate and the digests it lists, byte for byte as
they were signed. The newcomer compares the sketch of its own first training with these (`reshaping.descend`).
Where nobody answers within half a patience there is no region yet: a lot decides (`charters.founding_cell`).
"""

from collections.abc import Sequence

from swarmdem.errors import WireError
from swarmdem.identifiers import CellId, Micros, ModelHash, PeerId
from swarmdem.protocol import events
from swarmdem.protocol.catchup import certificate_frame
from swarmdem.protocol.cells.charters import first_cell, founding_cell, limit_of, region_charter
from swarmdem.protocol.cells.entries import NO_SITE
from swarmdem.protocol.cells.part import Part
from swarmdem.protocol.cells.reshaping import KnownCell, descend, known_cells
from swarmdem.protocol.certificates import open_certificate
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Publish, Send
from swarmdem.protocol.plans import Base, digest_of
from swarmdem.protocol.sketches import Sketch
from swarmdem.wire import charter as charters
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import WIRE_VERSION, Frame, Sealer
from swarmdem.wire.messages import Bundle, Certificate, Digest, Hello

ANSWERERS = 3
"""Peers that answer a newcomer's greeting."""


def directory(newcomer: PeerId, region: Part, sealer: Sealer, region_sealer: Sealer) -> list[Effect]:
    """Return the answer to a newcomer: the certificate and digests of the region, if it is our turn.

    Args:
        newcomer: Who greets.
        region: Our core in the region.
        sealer: Signs for the whole swarm.
        region_sealer: Signs in the region.
    """
    base = region.base
    if base.hierarchy is None or sealer.peer not in rank(base.electorate, newcomer)[:ANSWERERS]:
        return []
    frames = [certificate_frame(region_sealer, base), *region.listed_frames()]
    return [Send(newcomer, sealer.seal(Bundle(tuple(frame.raw for frame in frames))))]


class Entering:
    """A peer that has no cell yet.

    Args:
        charter: The whole swarm's.
        sealer: Signs under it.
        nonce: Of this start.
        site: Where this peer is (`entries.site_of`).
    """

    def __init__(self, charter: Charter, sealer: Sealer, nonce: bytes, site: bytes = NO_SITE) -> None:
        self._charter = charter
        self._site = site
        self._sealer = sealer
        self._region_sealer = sealer.under(region_charter(charter))
        self._nonce = nonce
        self._asked_at: Micros | None = None
        self._since: Micros | None = None
        self._found: Base | None = None
        self._cells: dict[CellId, KnownCell] = {}
        self.chosen: CellId | None = None
        """The cell to enter, once it is clear."""

    def woke(self, now: Micros, *, up: bool) -> list[Effect]:
        """Ask, ask again, or let the lot decide."""
        if self.chosen is not None or self._found is not None or not up:
            return []
        self._since = now if self._since is None else self._since
        if now >= self._since + self._charter.patience_us // 2:
            self.chosen = founding_cell(self._charter, self._sealer.peer, self._site)
            return []
        if self._asked_at is not None and now < self._asked_at + self._charter.patience_us // 8:
            return []
        self._asked_at = now
        hello = Hello(charters.encode(self._charter), self._nonce, WIRE_VERSION, WIRE_VERSION, 0, b"")
        return [Publish(self._sealer.seal(hello))]

    def deadline(self) -> Micros | None:
        """Return when `woke` has something to do."""
        if self.chosen is not None or self._found is not None or self._asked_at is None:
            return None
        return self._asked_at + self._charter.patience_us // 8

    def answered(self, frames: Sequence[bytes], offered: events.ModelOffered | None) -> list[Effect]:
        """Take the region's certificate and digests; order the training that the comparison needs."""
        if self._found is not None or self.chosen is not None:
            return []
        opened: list[Frame] = []
        for raw in frames:
            try:
                opened.append(self._region_sealer.open(raw))
            except WireError:
                continue
        for frame in opened:
            if isinstance(frame.message, Certificate):
                proven = open_certificate(frame.message, self._region_sealer, region_charter(self._charter))
                self._found = proven.base if proven is not None else None
        if self._found is None:
            return []
        listed = {e.digest for e in self._found.plan.entries if e.listed} if self._found.plan else set()
        digests = {
            frame.sender: digest_of(frame)
            for frame in opened
            if isinstance(frame.message, Digest) and frame.id in listed
        }
        self._cells = known_cells(self._found, digests)
        if not self._cells:
            self._found = None
            return []
        genesis = ModelHash(self._charter.genesis)
        if offered is not None and offered.model == genesis:
            return self.fetched(genesis)
        return [events.Fetch(genesis, 0, self._found.electorate)]

    def fetched(self, model: ModelHash) -> list[Effect]:
        """Train once the first model is here."""
        found = self._found
        if found is None or self.chosen is not None or model != self._charter.genesis:
            return []
        kept = events.SaveModel(events.Slot.REFERENCE, model)
        return [kept, events.Train(found.id, 1, found.seed, model, pull=False)]

    def trained(self, event: events.Trained | events.TrainingFailed) -> None:
        """Choose the cell by the sketch of the first training; without one the lot decides."""
        if self._found is None or event.base != self._found.id:
            return
        if isinstance(event, events.TrainingFailed):
            self.chosen = founding_cell(self._charter, self._sealer.peer, self._site)
            return
        point = Sketch(self._sealer.peer, event.scale, event.sketch)
        limit = limit_of(self._charter)
        near = descend(point, self._found, self._cells, limit, self._site)
        if near is None:  # all are full: the nearest will divide
            near = descend(point, self._found, self._cells, 2 * limit, self._site)
        self.chosen = near or first_cell(self._charter, self._site)
