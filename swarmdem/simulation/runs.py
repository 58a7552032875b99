"""One seed from beginning to end: draw charter, weather and faults, run, judge, count.

A run has three parts: faults strike while the swarm learns; after the last one, all live peers must
share a certified base within three rounds and the time these may last (six where a training may outlast
patience); then the swarm goes on until every live peer has reached the wanted round.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from swarmdem.identifiers import SECOND, Micros, Round, brief
from swarmdem.protocol.core import Core
from swarmdem.protocol.packing import COLLECTORS
from swarmdem.protocol.situation import CROWD
from swarmdem.simulation import charters, drawing, faults as faulty
from swarmdem.simulation.cells.figures import CellFigures
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.models import MODEL_BYTES
from swarmdem.simulation.peer import CoreFactory, SimulatedPeer
from swarmdem.simulation.tally import Tally
from swarmdem.simulation.weather import Overflow, Weather
from swarmdem.simulation.world import World
from swarmdem.wire.charter import Charter, TensorSpec
from swarmdem.wire.ledger import Account
from swarmdem.wire.messages import NORMAL, PROVISIONAL

ROUND_TIME: Micros = 8 * SECOND
"""About what a calm round takes: the slowest training, agreement, the update."""
SETTLED: Micros = 10 * SECOND
"""Faults begin after the founding had this long."""
STALLED_AFTER = 25
"""Patiences without any new certificate after which a swarm without faults counts as stalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One seed's run."""

    seed: int
    peers: int = 5
    rounds: int = 5
    faults: bool = True
    forks: bool = True
    """Also draw splits long enough to fork the swarm."""
    vary: bool = False
    """Draw the charter's settings from the seed."""
    levels: int = 3
    patience: float = 8.0
    loss: float | None = None
    """Share of frames lost throughout; None: drawn with the weather."""
    brokers: int | None = None
    """None: drawn from the seed, 1 to 3; 1 without faults."""
    liars: bool = False
    """Also draw peers that lie, fewer than a third."""
    agreement: str = "available"
    """The charter's: `available` or `bft`."""
    cells: int = 0
    """Most peers of a cell; 0: a flat swarm (`cells`)."""
    crowd: int = 0
    """Electors above which peers take each other for a crowd; 0: drawn from the seed if `vary`, else 64."""


@dataclass(slots=True)
class Outcome:
    """What became of a run."""

    settings: Settings
    faults: tuple[Fault, ...]
    broken: str = ""
    """The first invariant that did not hold, and where; empty when all held."""
    invariant: str = ""
    """The invariant alone."""
    rounds: Round = 0
    """Highest round that all live peers reached."""
    certified: int = 0
    provisional: int = 0
    applied: int = 0
    missed: int = 0
    """Updates that ended at a peer without a result."""
    agreement: list[Micros] = field(default_factory=list)
    """Freeze to last adopter, one per normal certificate."""
    frames: int = 0
    """Published or sent by all peers."""
    accounts: list[Account] = field(default_factory=list)
    """Every device's traffic by kind."""
    peer_rounds: int = 0
    """Updates finished by all peers, applied or not."""
    healed: Micros = 0
    """From the end of the last fault until all live peers shared a certified base."""
    rejects: int = 0
    deliveries: int = 0
    virtual: Micros = 0
    trace: str = ""
    """Hash of the trace."""
    cells: CellFigures | None = None
    """Of a swarm in cells."""
    last_lines: list[str] = field(default_factory=list)
    """End of the trace, when something broke."""


def charter_of(
    settings: Settings, founders: int, chosen: Mapping[str, Any] = MappingProxyType({})
) -> Charter:
    """Return the charter of a simulated swarm; the *chosen* settings go before what is drawn."""
    values: dict[str, Any] = {
        "swarm": "simulation", "schema": (TensorSpec("w", (MODEL_BYTES // 4,), "float32"),),
        "levels": settings.levels, "digest": 64, "patience": settings.patience, "founders": founders,
        "agreement": settings.agreement,
    }  # fmt: skip
    return Charter(**{**values, **drawn_settings(settings), **chosen})


def drawn_settings(settings: Settings) -> dict[str, Any]:
    """Return what a seed draws of the charter."""
    if not settings.vary:
        return {}
    return charters.draw(settings.seed, settings.levels, keeps=min(crowds_of(settings)) < CROWD)


def weather_of(settings: Settings) -> Weather:
    """Draw the weather of a seed; calm when the settings ask for no faults."""
    rng = random.Random(f"weather {settings.seed}")
    if not settings.faults:
        return Weather(loss=settings.loss or 0.0, brokers=settings.brokers or 1)
    loss, duplication = rng.choice((0.0, 0.0, 0.01, 0.05)), rng.choice((0.0, 0.01, 0.1))
    return Weather(
        loss=loss if settings.loss is None else settings.loss, duplication=duplication,
        queue_frames=rng.choice((50, 200, 1000)), overflow=rng.choice((Overflow.NEWEST, Overflow.OLDEST)),
        brokers=settings.brokers or rng.choice((1, 1, 1, 2, 3)),
    )  # fmt: skip


def faults_of(settings: Settings) -> tuple[Fault, ...]:
    """Draw the faults of a seed: all over after three fifths of a calm run."""
    if not settings.faults:
        return ()
    end = max(SETTLED, settings.rounds * ROUND_TIME * 3 // 5)
    stage = drawing.Stage(
        peers=settings.peers,
        brokers=weather_of(settings).brokers,
        start=SETTLED,
        end=end,
        patience=round(settings.patience * SECOND),
        forks=settings.forks,
        lies=settings.liars,
        strict=settings.agreement == "bft",
    )
    return drawing.draw(settings.seed, stage)


def crowds_of(settings: Settings) -> tuple[int, ...]:
    """Return above how many electors the peers see a crowd, in turn; half of the seeds draw small crowds.

    Peers that differ in it must agree all the same, so a few seeds draw it for every second peer only.
    """
    if settings.crowd or settings.cells or not settings.vary:
        return (settings.crowd or CROWD,)
    rng = random.Random(f"crowd {settings.seed}")
    if rng.random() < 0.5:
        return (CROWD,)
    few = rng.randrange(COLLECTORS, max(COLLECTORS, settings.peers // 2) + 1)
    return (few, CROWD) if rng.random() < 0.2 else (few,)


class Run:
    """One world under one seed, judged.

    Args:
        settings: Which run.
        faults: What goes wrong; None: drawn from the seed.
        weather: How the network behaves in between; None: drawn from the seed.
        charter: Settings in place of the charter's own.
        crowds: Above how many electors peers see a crowd, in turn; None: drawn from the seed.
        core_factory: Makes the peers' cores.
        whole_trace: Keep every line of the trace.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        faults: Sequence[Fault] | None = None,
        weather: Weather | None = None,
        charter: Mapping[str, Any] = MappingProxyType({}),
        crowds: Sequence[int] | None = None,
        core_factory: CoreFactory = Core,
        whole_trace: bool = False,
    ) -> None:
        self.faults = faults_of(settings) if faults is None else tuple(faults)
        late = sum(fault.kind is Kind.LATE for fault in self.faults)
        self.world = self._open(
            seed=settings.seed, peers=settings.peers,
            charter=charter_of(settings, settings.peers - late, charter),
            faults=self.faults, weather=weather or weather_of(settings), core_factory=core_factory,
            whole_trace=whole_trace, crowds=crowds_of(settings) if crowds is None else tuple(crowds),
        )  # fmt: skip
        self.tally = Tally(self.world)
        self.world.observe = self.tally
        self.settings = settings
        self.patience = self.world.charter.patience_us
        self._healed: Micros = 0

    def _open(self, **arguments: Any) -> World:
        """Return the world to play in."""
        return World(**arguments)

    def play(self) -> Outcome:
        """Run to the end and return what became of it; never raises for a broken invariant."""
        outcome = Outcome(self.settings, self.faults)
        try:
            self._play()
        except Broken as broken:
            outcome.broken, outcome.invariant = str(broken), broken.invariant
            outcome.last_lines = self.world.trace.last()
        self._count(outcome)
        return outcome

    @property
    def live(self) -> list[SimulatedPeer]:
        """The peers whose processes run."""
        return [peer for peer in self.world.peers if peer.alive]

    @property
    def honest(self) -> list[SimulatedPeer]:
        """Those of them that never lied: what is promised is promised to them."""
        return [peer for peer in self.live if peer.index not in self.world.liars]

    def _play(self) -> None:
        self.world.run(self._on_time, deadline=max(SETTLED, faulty.last_end(self.faults)))
        self._settle()
        self._finish()

    def _settle(self) -> None:
        """Play until all live peers agree, for three rounds and no longer than three rounds may last."""
        slow = any(fault.kind is Kind.SLOW for fault in self.faults)
        rounds = 6 if slow else 3
        last, begun = self.tally.deepest(self.honest) + rounds, self.world.now

        def over() -> bool:
            self._on_time()
            return self.tally.agreed(self.honest) or self.tally.deepest(self.honest) > last

        self.world.run(over, deadline=begun + rounds * self._longest_round())
        self._healed = self.world.now - begun
        if not self.tally.agreed(self.honest):
            raise Broken("after faults end, all live peers share a certified base", self._standing())

    def _longest_round(self) -> Micros:
        """Return what a round may last: training, two patiences to agree, and the nested deadlines."""
        levels = self.world.charter.levels + 1
        return 3 * self.world.training[1] // 2 + (3 + levels) * self.patience

    def _finish(self) -> None:
        """Play until every live peer has reached the wanted round."""

        def over() -> bool:
            self._on_time()
            stalled = self.world.now - self.tally.adopted_at > STALLED_AFTER * self.patience
            return stalled or self.tally.lowest(self.honest) >= self.settings.rounds

        most = self.settings.rounds * STALLED_AFTER * self.patience
        self.world.run(over, deadline=self.world.now + most)
        if self.tally.lowest(self.honest) < self.settings.rounds:
            raise Broken("a swarm without faults makes rounds", self._standing())

    def _on_time(self) -> bool:
        for peer in self.live:
            self.world.checkers.on_time(peer.id, self.world.network.calm_since(peer.index), self.world.now)
        return False

    def _standing(self) -> str:
        parts = []
        for peer in self.live:
            base = self.tally.base.get(peer.id)
            where = "nothing" if base is None else f"{brief(base.plan)} round {base.round} mode {base.mode}"
            parts.append(f"peer {peer.index} on {where}")
        return f"at {self.world.now / SECOND:.1f} s " + ", ".join(parts)

    def _count(self, outcome: Outcome) -> None:
        world, tally = self.world, self.tally
        outcome.rounds = tally.lowest(self.honest)
        modes = list(tally.modes.values())
        outcome.certified, outcome.provisional = modes.count(NORMAL), modes.count(PROVISIONAL)
        outcome.applied, outcome.missed = tally.applied, tally.missed
        outcome.peer_rounds = tally.applied + tally.missed
        outcome.agreement = tally.agreement()
        outcome.healed = self._healed
        outcome.frames = sum(peer.said for peer in world.peers)
        outcome.accounts = [peer.traffic.account() for peer in world.peers]
        outcome.rejects, outcome.deliveries = world.rejects, world.deliveries
        outcome.virtual = world.now
        outcome.trace = world.trace.digest()


def run(settings: Settings) -> Outcome:
    """Play one seed."""
    return Run(settings).play()
