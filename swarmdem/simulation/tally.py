"""Who stands on what in a simulated world, and how it went, counted from the effects of all peers."""

from collections.abc import Sequence

from swarmdem.identifiers import Micros, PeerId, PlanId, Round
from swarmdem.protocol.events import Certified, Effect, Publish, Report, RoundFinished, Send
from swarmdem.simulation.peer import SimulatedPeer
from swarmdem.simulation.world import World
from swarmdem.wire import codec
from swarmdem.wire.messages import NORMAL, PROVISIONAL, Proposal, Skip, Summary


class Tally:
    """Follows who stands on what, and counts."""

    def __init__(self, world: World) -> None:
        self.base: dict[PeerId, Certified] = {}
        self.adopted_at: Micros = 0
        """When a peer last moved to a new base."""
        self.modes: dict[PlanId, int] = {}
        self.depth: dict[PlanId, int] = {}
        """Certificates up to each one: what a round counts that a digest cannot make leap."""
        self.applied = 0
        self.missed = 0
        self._world = world
        self._frozen_at: dict[bytes, Micros] = {}
        self._last_adopter: dict[PlanId, tuple[bytes, Micros]] = {}

    def __call__(self, peer: SimulatedPeer, effect: Effect) -> None:
        """Take note of one effect."""
        if isinstance(effect, Report):
            if isinstance(effect.event, Certified):
                self._certified(peer.id, effect.event)
                peer.traffic.certified(effect.event.mode)
            elif isinstance(effect.event, RoundFinished):
                self.applied += effect.event.applied
                self.missed += not effect.event.applied
        elif isinstance(effect, Publish | Send):
            message = effect.frame.message
            if isinstance(message, Summary | Skip):
                self._frozen_at.setdefault(message.base, self._world.now)
            elif isinstance(message, Proposal):
                self._frozen_at.setdefault(codec.decode_plan(message.plan).base, self._world.now)

    def _certified(self, peer: PeerId, event: Certified) -> None:
        before = self.base.get(peer)
        self.base[peer] = event
        self.adopted_at = self._world.now
        self.modes[event.plan] = event.mode
        self.depth.setdefault(event.plan, 1 + self.depth.get(PlanId(event.base), 0))
        if event.mode == NORMAL and before is not None and before.plan == event.base:
            self._last_adopter[event.plan] = (event.base, self._world.now)

    def agreement(self) -> list[Micros]:
        """Return freeze to last adopter of every normal certificate, in order of adoption."""
        return [at - self._frozen_at.get(base, at) for base, at in self._last_adopter.values()]

    def highest(self, peers: Sequence[SimulatedPeer]) -> Round:
        """Return the highest round any of *peers* stands on."""
        return max((self.base[p.id].round for p in peers if p.id in self.base), default=0)

    def deepest(self, peers: Sequence[SimulatedPeer]) -> int:
        """Return the most certificates that any of *peers* has behind it."""
        return max((self.depth[self.base[p.id].plan] for p in peers if p.id in self.base), default=0)

    def lowest(self, peers: Sequence[SimulatedPeer]) -> Round:
        """Return the round all of *peers* have reached."""
        return min((self.base[p.id].round if p.id in self.base else 0 for p in peers), default=0)

    def agreed(self, peers: Sequence[SimulatedPeer]) -> bool:
        """Say whether all of *peers* stand on one certified base; nobody disagrees when there are none."""
        bases = [self.base.get(p.id) for p in peers]
        if not bases:
            return True
        first = bases[0]
        return (
            first is not None
            and first.mode != PROVISIONAL
            and all(base is not None and base.plan == first.plan for base in bases)
        )
