"""One seed of a swarm in cells from beginning to end, judged.

As a flat run (`simulation.runs`), but what must hold once the faults are over is `CellTally.flaw`: every live
peer is in one cell, all of a cell share one certificate that lists them and nobody else, sizes are within
bounds, and those who speak for the cells share one certificate of the region that lists exactly them.
A cell that was cut off or has just been divided needs some rounds for that, so `SETTLED_ROUNDS` are given.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from swarmdem.errors import ConfigError
from swarmdem.identifiers import SECOND, CellId, Micros, PeerId
from swarmdem.protocol.cells.charters import in_cells
from swarmdem.protocol.cells.core import CellCore
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Leave, Publish, Report, Send
from swarmdem.simulation.cells.figures import CellFigures
from swarmdem.simulation.cells.world import GENESIS, CellWorld, cell_of
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.peer import SimulatedPeer
from swarmdem.simulation.runs import STALLED_AFTER, Outcome, Run, Settings
from swarmdem.simulation.tally import Tally
from swarmdem.simulation.world import World
from swarmdem.wire.cells import CELL, SWARM, CellSettings, cell_settings
from swarmdem.wire.messages import PROVISIONAL, Certificate

SETTLED_ROUNDS = 12
"""Rounds after the last fault in which everything must have found its place."""


class CellTally:
    """Follows who stands on what, in the cells and in the region."""

    def __init__(self, world: CellWorld, limit: int) -> None:
        self.cells = Tally(world)
        self.region = Tally(world)
        self.moves = 0
        self._world = world
        self._limit = limit

    def __call__(self, peer: SimulatedPeer, effect: Effect) -> None:
        """Take note of one effect."""
        if isinstance(effect, Report):
            (self.region if effect.region else self.cells)(peer, effect)
        elif isinstance(effect, Publish | Send):
            if not isinstance(effect.frame.message, Certificate):
                in_cell = effect.frame.scope in self._world.checkers.cells
                (self.cells if in_cell else self.region)(peer, effect)
        elif isinstance(effect, Leave):
            settings = cell_settings(effect.charter.ext)
            if settings is not None and settings.kind == CELL:
                self.moves += 1
                self.cells.base.pop(peer.id, None)

    def members(self, peers: Sequence[SimulatedPeer]) -> dict[CellId | None, list[SimulatedPeer]]:
        """Return *peers* by the cell they are in."""
        found: dict[CellId | None, list[SimulatedPeer]] = defaultdict(list)
        for peer in peers:
            found[cell_of(peer)].append(peer)
        return found

    def flaw(self, peers: Sequence[SimulatedPeer]) -> str:
        """Return why the swarm of *peers* is not whole; empty when it is."""
        cells = self.members(peers)
        if None in cells:
            return f"{len(cells[None])} peers are in no cell"
        sizes = sorted(len(members) for members in cells.values())
        speakers: list[PeerId] = []
        for cell, members in cells.items():
            assert cell is not None
            if wrong := self._cell_flaw(members, sizes):
                return f"cell {cell.hex()[:8]} of {len(members)}: {wrong}"
            speakers.append(rank((peer.id for peer in members), cell)[0])
        return self._region_flaw(speakers)

    def _cell_flaw(self, members: list[SimulatedPeer], sizes: list[int]) -> str:
        bases = [self.cells.base.get(peer.id) for peer in members]
        first = bases[0]
        if first is None or any(base is None or base.plan != first.plan for base in bases):
            return "its peers stand on different certificates"
        if first.mode == PROVISIONAL:
            return "its certificate is provisional"
        if set(first.peers) != {peer.id for peer in members}:
            return f"its certificate lists {len(first.peers)} peers"
        if len(members) > self._limit:
            return f"above the limit of {self._limit}"
        others = sizes.copy()
        others.remove(len(members))
        if 4 * len(members) < self._limit and others and others[0] + len(members) <= self._limit:
            return "below a quarter of the limit, and there is room elsewhere"
        return ""

    def _region_flaw(self, speakers: list[PeerId]) -> str:
        bases = [self.region.base.get(peer) for peer in speakers]
        first = bases[0]
        if first is None or any(base is None or base.plan != first.plan for base in bases):
            return "those who speak for the cells stand on different certificates"
        if first.mode == PROVISIONAL or set(first.peers) != set(speakers):
            return f"the region lists {len(first.peers)} of {len(speakers)} cells"
        return ""


class CellRun(Run):
    """One world in cells under one seed, judged.

    Args:
        settings: Which run; `cells` is the limit.
        arguments: As of `Run`.
    """

    world: CellWorld

    def __init__(self, settings: Settings, **arguments: Any) -> None:
        if settings.liars:
            raise ConfigError("--liars: not with --cells")
        self.limit = settings.cells
        ext = CellSettings(SWARM, settings.cells).ext()
        fixed = {"genesis": GENESIS, "update": "tree", "metric": "euclidean", "ext": ext}
        super().__init__(settings, charter={**arguments.pop("charter", {}), **fixed}, **arguments)
        self.whole = CellTally(self.world, settings.cells)
        self.tally = self.whole.cells
        self.world.observe = self.whole
        self._whole_at: Micros | None = None
        self._before: list[list[int]] = []
        """`_counts` when the swarm was whole for the first time: what founding costs is not a round's."""

    def _open(self, **arguments: Any) -> World:
        del arguments["core_factory"]
        return CellWorld(**{**arguments, "charter": in_cells(arguments["charter"], self.limit)})

    def _is_whole(self) -> bool:
        """Return whether nothing is wrong; the first time this is so is noted."""
        self._on_time()
        if self.whole.flaw(self.honest):
            return False
        if self._whole_at is None:
            self._whole_at = self.world.now
            self._before = self._counts()
        return True

    def _counts(self) -> list[list[int]]:
        """Return what each peer sent, said, received and heard so far, and the updates finished by all."""
        world, tally = self.world, self.tally
        counts = (world.sent, world.said, world.received, world.heard, [tally.applied + tally.missed])
        return [count.copy() for count in counts]

    def _settle(self) -> None:
        """Play until the swarm is whole, for no longer than its rounds may last."""
        begun = self.world.now
        self.world.run(self._is_whole, deadline=begun + SETTLED_ROUNDS * self._longest_round())
        self._healed = self.world.now - begun
        if wrong := self.whole.flaw(self.honest):
            at = f"at {self.world.now / SECOND:.1f} s"
            raise Broken("after faults end, cells and region find together", f"{at} {wrong}")

    def _finish(self) -> None:
        """Play until all cells have reached the wanted round of the region, at least one more than by now."""
        wanted = max(self.settings.rounds, self._reached() + 1)

        def over() -> bool:
            self._on_time()
            stalled = self.world.now - self.whole.region.adopted_at > STALLED_AFTER * self.patience
            return stalled or self._reached() >= wanted

        most = wanted * STALLED_AFTER * self.patience
        self.world.run(over, deadline=self.world.now + most)
        if self._reached() < wanted:
            raise Broken("a swarm without faults makes rounds", f"the region is in round {self._reached()}")

    def _reached(self) -> int:
        return self.whole.region.lowest([p for p in self.honest if speaks(p)])

    def _count(self, outcome: Outcome) -> None:
        super()._count(outcome)
        whole, now = self.whole, self._counts()
        before = self._before or [[0] * len(counts) for counts in now]
        sent, said, received, heard, (finished,) = (
            [count - earlier for count, earlier in zip(*pair, strict=True)]
            for pair in zip(now, before, strict=True)
        )
        rounds = finished / len(self.world.peers)
        outcome.rounds = self._reached()
        outcome.cells = CellFigures(
            sizes=sorted(len(members) for members in whole.members(self.live).values()),
            region_rounds=self._reached(),
            moves=whole.moves,
            first_in_common=self._whole_at or 0,
            agreement=whole.region.agreement(),
            rounds=outcome.peer_rounds / len(self.world.peers),
            sent=sorted(count / (rounds or 1) for count in sent),
            said=sorted(count / (rounds or 1) for count in said),
            received=sorted(count / (rounds or 1) for count in received),
            heard=sorted(count / (rounds or 1) for count in heard),
        )


def speaks(peer: SimulatedPeer) -> bool:
    """Return whether a simulated peer speaks for its cell."""
    return isinstance(peer.core, CellCore) and peer.core.speaks


def run(settings: Settings) -> Outcome:
    """Play one seed."""
    return CellRun(settings).play()
