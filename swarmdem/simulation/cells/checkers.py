"""The invariants of a swarm in cells: those of a flat one in every cell and in the region, and three more.

Nobody counts twice: the root models that one plan of the region lists have no peer in common, weights add up,
and each is the mean of what it includes. What goes into a cell's root model from above is what the region
handed down to this cell. A peer's frames are of the cell it is in, or of the region.
"""

from typing import Any

from swarmdem.identifiers import Micros, PeerId, PlanId, brief
from swarmdem.protocol.cells.entries import cell_entry, handed_down
from swarmdem.protocol.events import (
    Apply,
    Certified,
    Effect,
    Enter,
    HandedDown,
    Leave,
    Persist,
    Publish,
    Report,
    Send,
)
from swarmdem.protocol.remarks import above_of
from swarmdem.simulation import models
from swarmdem.simulation.checkers import Broken, Checkers
from swarmdem.simulation.evidence import KnownPlan
from swarmdem.simulation.models import ModelBook
from swarmdem.wire.cells import CELL, REGION, cell_settings
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.messages import FOUNDING, Digest, Final, Mean


class CellCheckers(Checkers):
    """All checks of one world in cells; arguments as of `Checkers`."""

    def __init__(self, charter: Charter, book: ModelBook, peers: int) -> None:
        super().__init__(charter, book, peers)
        self.cells: dict[bytes, Checkers] = {}
        """By the hash of a cell's charter."""
        self.region: Checkers | None = None
        self.at: dict[PeerId, bytes] = {}
        """The cell that each running peer is in, by its charter's hash."""
        self._region_scope = b""
        self._book = book
        self._peers = peers
        self._names: dict[bytes, bytes] = {}
        self._handed: dict[bytes, set[bytes]] = {}
        self._checked: set[PlanId] = set()

    def on_effect(self, peer: PeerId, effect: Effect, now: Micros) -> None:
        """Check what *peer* is about to do, in its cell or in the region."""
        if isinstance(effect, Enter | Leave):
            self._listens(peer, effect)
        elif isinstance(effect, Publish | Send):
            self._said(peer, effect, now)
        elif isinstance(effect, Persist):
            self._written(peer, effect, now)
        elif isinstance(effect, Report) and effect.region:
            self._in_region(peer, effect, now)
        elif (cell := self.cell_of(peer)) is not None:
            cell.on_effect(peer, effect, now)

    def on_applied(self, peer: PeerId, order: Apply) -> None:
        """Note that a result is installed at *peer*."""
        cell = self.cell_of(peer)
        assert cell is not None
        cell.on_applied(peer, order)

    def on_gone(self, peer: PeerId) -> None:
        """Note that the process of *peer* ended."""
        for part in self._parts(peer):
            part.on_gone(peer)
        self.at.pop(peer, None)

    def on_time(self, peer: PeerId, calm_since: Micros | None, now: Micros) -> None:
        """Check that *peer* is not past a deadline, in its cell or in the region."""
        for part in self._parts(peer):
            part.on_time(peer, calm_since, now)

    def cell_of(self, peer: PeerId) -> Checkers | None:
        """Return the checkers of the cell that *peer* is in; None while it is in none."""
        return self.cells.get(self.at.get(peer, b""))

    def _parts(self, peer: PeerId) -> list[Checkers]:
        return [part for part in (self.cell_of(peer), self.region) if part is not None]

    def _listens(self, peer: PeerId, order: Enter | Leave) -> None:
        settings, scope = cell_settings(order.charter.ext), charter_hash(order.charter)
        if settings is None:
            return
        if settings.kind == CELL and isinstance(order, Enter):
            if scope not in self.cells:
                self.cells[scope] = Checkers(order.charter, self._book, self._peers)
                self._names[settings.cell] = scope
            self.at[peer] = scope
        elif settings.kind == REGION and self.region is None:
            self._region_scope = scope
            self.region = Checkers(order.charter, self._book, self._peers)
        elif isinstance(order, Leave):
            part = self.region if settings.kind == REGION else self.cells.get(scope)
            if part is not None:
                part.on_gone(peer)

    def _said(self, peer: PeerId, effect: Publish | Send, now: Micros) -> None:
        frame = effect.frame
        if frame.scope == self._region_scope and self.region is not None:
            self.region.on_effect(peer, effect, now)
        elif frame.scope in self.cells:
            if frame.scope != self.at.get(peer):
                raise Broken("a peer speaks in the cell it is in", f"peer {brief(peer)}")
            if isinstance(frame.message, Final) and handed_down(frame.message) is not None:
                return
            if isinstance(frame.message, Mean):
                self._must_be_handed(peer, frame.message)
            self.cells[frame.scope].on_effect(peer, effect, now)

    def _must_be_handed(self, peer: PeerId, mean: Mean) -> None:
        above = above_of(mean)
        if above is not None and above not in self._handed.get(self.at[peer], ()):
            raise Broken("what comes from above was handed down", f"peer {brief(peer)}, {brief(above)}")

    def _written(self, peer: PeerId, record: Persist, now: Micros) -> None:
        """Hand a record to the checkers of the core that wrote it: its key begins with that one's name."""
        where, _, rest = record.key.partition("-")
        if where == "region" and self.region is not None:
            self.region.on_effect(peer, Persist(rest, record.value), now)
        elif where == "cell" and rest and (cell := self.cell_of(peer)) is not None:
            cell.on_effect(peer, Persist(rest.partition("-")[2], record.value), now)

    def _in_region(self, peer: PeerId, report: Report, now: Micros) -> None:
        region = self.region
        assert region is not None
        event: Any = report.event
        if isinstance(event, HandedDown):
            order = Apply(event.plan, event.round, event.group, event.model, event.upload)
            region.accounting.on_apply(peer, order)
            region.on_applied(peer, order)
            self._handed.setdefault(self.at[peer], set()).add(event.model)
            return
        region.on_effect(peer, Report(event), now)
        if isinstance(event, Certified) and event.mode != FOUNDING and event.plan not in self._checked:
            self._checked.add(event.plan)
            self._must_count_once(region.evidence.plans[event.plan], region)

    def _must_count_once(self, known: KnownPlan, region: Checkers) -> None:
        """Check that the root models that a plan of the region lists have no peer in common."""
        counted: set[PeerId] = set()
        for speaker in sorted(known.digests):
            digest = region.evidence.upload(known, speaker)
            assert digest is not None
            included = self._included(digest)
            if counted & included:
                twice = ", ".join(brief(peer) for peer in sorted(counted & included))
                raise Broken("nobody counts twice at the top", f"plan {brief(known.id)}: {twice}")
            counted |= included

    def _included(self, digest: Digest) -> set[PeerId]:
        """Return the peers in the root model that a region's *digest* offers, as its cell announced it."""
        entry = cell_entry(digest)
        cell = self.cells.get(self._names.get(entry.cell, b"")) if entry is not None else None
        if entry is None or cell is None:
            raise Broken("who speaks for a cell says which", f"model {brief(digest.model)}")
        known = cell.evidence.plans[entry.certificate]
        assert known.tree is not None
        if (entry.round, entry.peers) != (known.plan.round, len(known.digests)):
            raise Broken("a cell is told as its certificate has it", f"cell {brief(entry.cell)}")
        for term in (0, 1):
            mean = cell.evidence.means.get((entry.certificate, known.tree.root.id, term))
            if mean is not None and mean.weight == digest.weight and self._is_mean(cell, known, mean, digest):
                return set(mean.included)
        raise Broken("weights at the top add up to the peers included", f"cell {brief(entry.cell)}")

    def _is_mean(self, cell: Checkers, known: KnownPlan, mean: Mean, digest: Digest) -> bool:
        uploads = [cell.evidence.upload(known, peer) for peer in mean.included]
        inputs = [(self._book[u.model], u.weight) for u in uploads if u is not None]  # type: ignore[index]
        tables = dict(cell.evidence.charter.schedules)
        return bool(tables.keys() & {"gamma", "gain"}) or self._book[digest.model] == models.mean(inputs)  # type: ignore[index]
