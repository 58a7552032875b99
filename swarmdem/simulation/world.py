"""One world: virtual time, peers, the network between them, and the faults that strike.

Events are played in the order of (time, order of scheduling); one `random.Random(seed)` owns all
chance. Two worlds of equal arguments therefore have equal traces, in any process. Time is in
microseconds; every peer has a clock of its own that starts anywhere, so a core that took another's
time for its own would be found out.

Unlike `node`, a world with one broker hands every copy of a frame to the core, duplicates too: the
protocol must be idempotent by itself. With several brokers the first copy counts, as in `transport`.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from typing import Any

from swarmdem.errors import WireError
from swarmdem.identifiers import SECOND, Micros, ModelHash, PeerId
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Effect, Enter, Leave, LinkChanged, Received, Reject
from swarmdem.protocol.situation import CROWD
from swarmdem.simulation import models
from swarmdem.simulation.channels import Channels
from swarmdem.simulation.checkers import Checkers
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.faults import Fault, Kind, liars
from swarmdem.simulation.models import ModelBook
from swarmdem.simulation.peer import AnyCore, CoreFactory, SimulatedPeer
from swarmdem.simulation.signatures import VERIFIER
from swarmdem.simulation.striking import strike
from swarmdem.simulation.trace import Trace, label, record
from swarmdem.simulation.traffic import size_to_all, size_to_one
from swarmdem.simulation.weather import Network, Weather
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.codec import FrameReader
from swarmdem.wire.frame import Frame, Sealer

RESTART_MAX: Micros = 2 * SECOND
"""Longest time a supervisor takes to restart a process that stumbled."""


class Parcel:
    """A frame on its way: decoded once, handed to all receivers."""

    __slots__ = ("_arrived_at", "frame", "key", "kind", "label", "received", "size")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.kind = type(frame.message).__name__.lower()
        self.size = size_to_all(frame.raw, self.kind)
        """Bytes, topic included, that its receivers count."""
        self.received = Received(frame)
        self.label = f"< {label(frame)}"
        self.key = (type(frame.message).__name__, frame.sender)
        self._arrived_at: set[int] = set()

    def __len__(self) -> int:
        """Return the bytes it has on a line."""
        return len(self.frame.raw)

    def first_at(self, peer: int) -> bool:
        """Return whether no copy has arrived at *peer* before, and note that one has."""
        fresh = peer not in self._arrived_at
        self._arrived_at.add(peer)
        return fresh


class World:
    """A swarm in one thread.

    Args:
        seed: Decides all chance.
        peers: Number of peers; all start at time 0 but those with a `Kind.LATE` fault.
        charter: What they agree on.
        faults: What goes wrong.
        weather: How the network behaves in between.
        core_factory: Makes a peer's core; tests pass sabotaged ones.
        whole_trace: Keep every line of the trace.
        channels: Who hears what is said to everybody; None: all hear all.
        judges: Makes the checkers.
        crowds: Above how many electors peers see a crowd: peer i as entry i says, modulo their number.

    Attributes:
        observe: Called with every effect of every peer, after the checkers; counts, decides nothing.
    """

    training: tuple[Micros, Micros] = (2 * SECOND, 6 * SECOND)
    """Shortest and longest training."""

    def __init__(
        self,
        *,
        seed: int,
        peers: int,
        charter: Charter,
        faults: Sequence[Fault] = (),
        weather: Weather | None = None,
        core_factory: CoreFactory = Core,
        whole_trace: bool = False,
        channels: Channels | None = None,
        judges: type[Checkers] = Checkers,
        crowds: Sequence[int] = (CROWD,),
    ) -> None:
        self.now: Micros = 0
        self.seed = seed
        self.rng = random.Random(seed)
        self.charter = charter
        self.crowds = tuple(crowds)
        self._core_factory = core_factory
        self.trace = Trace(whole=whole_trace)
        self.book = ModelBook()
        self.checkers = judges(charter, self.book, peers=peers)
        self.reader = FrameReader(VERIFIER, capacity=max(4096, 2 * peers))
        self.scopes = {charter_hash(charter), swarm_hash(charter.swarm)}
        self.network = Network(self.rng, self.after, self._deliver, peers, weather or Weather(), channels)
        self.peers = [SimulatedPeer(self, index) for index in range(peers)]
        self.by_id: dict[PeerId, SimulatedPeer] = {peer.id: peer for peer in self.peers}
        self.liars = liars(faults)
        self.checkers.liars |= {self.peers[index].id for index in self.liars}
        self.observe: Callable[[SimulatedPeer, Effect], None] = lambda _peer, _effect: None
        self.deliveries = 0
        self.rejects = 0
        self._queue: list[tuple[Micros, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._several = self.network.weather.brokers > 1
        self._told: list[bool] = [False] * peers
        late = {index for fault in faults if fault.kind is Kind.LATE for index in fault.peers}
        for peer in self.peers:
            if peer.index not in late:
                self.after(self.rng.randrange(SECOND), self.start, peer)
        for fault in faults:
            self.after(fault.at, strike, self, fault)

    # Time

    def after(self, delay: Micros, action: Callable[..., None], /, *arguments: Any) -> None:
        """Call *action* *delay* microseconds from now."""
        self._scheduled += 1
        heapq.heappush(self._queue, (self.now + delay, self._scheduled, action, arguments))

    def step(self) -> bool:
        """Play the next event; return False when there is none.

        Raises:
            Broken: An invariant does not hold.
        """
        if not self._queue:
            return False
        self.now, _, action, arguments = heapq.heappop(self._queue)
        action(*arguments)
        return True

    def run(self, until: Callable[[], bool], deadline: Micros) -> bool:
        """Play until *until* says so (asked every virtual tenth of a second) or *deadline* has passed.

        Returns:
            Whether *until* came true.
        """
        ask_at = self.now
        while self._queue and self._queue[0][0] <= deadline:
            self.step()
            if self.now >= ask_at:
                if until():
                    return True
                ask_at = self.now + SECOND // 10
        return until()

    # What peers ask of the world

    def parcel(self, frame: Frame) -> Parcel:
        """Return *frame* as its receivers will see it: checked and decoded from its bytes."""
        return Parcel(self.reader.read(frame.raw, scopes=self.scopes))

    def publish(self, peer: SimulatedPeer, frame: Frame, *, retain: bool) -> None:
        """Carry a peer's frame to everybody."""
        parcel = self.parcel(frame)
        self.trace.line(self.now, peer.index, f"> {parcel.label[2:]}")
        peer.traffic.sent(parcel.kind, parcel.size)
        self.network.publish(peer.index, parcel, parcel.key if retain else None)

    def send(self, peer: SimulatedPeer, receiver: PeerId, frame: Frame) -> None:
        """Carry a peer's frame to one other."""
        other = self.by_id.get(receiver)
        parcel = self.parcel(frame)
        parcel.size = size_to_one(frame.raw)
        peer.traffic.sent(parcel.kind, parcel.size)
        self.trace.line(self.now, peer.index, f"> {parcel.label[2:]} to {other.index if other else '?'}")
        if other is not None:
            self.network.send(peer.index, other.index, parcel)

    def connect(self, peer: SimulatedPeer) -> None:
        """Begin a peer's session with its broker, a moment from now."""
        self.after(self.network.delay(), self._connected, peer, peer.life)

    def disconnect(self, peer: SimulatedPeer) -> None:
        """End a peer's session because its process ended; its broker may publish its last will."""
        self.network.disconnect(peer.index)
        self._told[peer.index] = False
        self.checkers.on_gone(peer.id)
        if self.rng.random() < 0.5:
            self.last_will(peer)

    def last_will(self, peer: SimulatedPeer) -> None:
        """Let the brokers of *peer* say that they have lost sight of it."""
        if peer.goodbye is not None:
            island = self.network.links[peer.index].island
            self.after(self.rng.randrange(2 * SECOND), self.network.broadcast, island, peer.goodbye)

    def inject(self, peer: SimulatedPeer, raw: bytes) -> None:
        """Carry any bytes to everybody, as far as the readers of frames let them pass.

        Raises:
            Broken: Reading them raised anything but a refusal.
        """
        try:
            parcel = Parcel(self.reader.read(raw, scopes=self.scopes))
        except WireError as error:
            self.rejects += 1
            self.trace.line(self.now, peer.index, f"! refused: {error}")
            return
        except Exception as error:
            raise Broken("bytes of another never raise", f"{raw.hex()}: {error!r}") from error
        self.checkers.evidence.believe(parcel.frame.sender, parcel.frame)
        self.trace.line(self.now, peer.index, f"! forges {parcel.label[2:]}")
        self.network.publish(peer.index, parcel)

    def first_model(self) -> ModelHash:
        """Return the model that a new peer brings along."""
        return self.book.enter(models.initial(self.rng))

    def enter(self, peer: SimulatedPeer, order: Enter) -> None:
        """Let a peer listen under another charter; a flat swarm has none."""

    def leave(self, peer: SimulatedPeer, order: Leave) -> None:
        """Let a peer listen under a charter no more."""

    def on_reject(self, peer: int, effect: Reject) -> None:
        """Count a refused frame."""
        self.rejects += 1
        self.trace.line(self.now, peer, record(effect))

    def _connected(self, peer: SimulatedPeer, life: int) -> None:
        if peer.life == life:
            self.network.connect(peer.index)
            self.tell_link(peer)

    def _deliver(self, index: int, parcel: Parcel) -> None:
        peer = self.peers[index]
        if peer.core is None or (self._several and not parcel.first_at(index)):
            return
        self.deliveries += 1
        peer.traffic.received(parcel.kind, parcel.size)
        peer.receive(parcel)

    def tell_link(self, peer: SimulatedPeer) -> None:
        """Tell a peer's core whether it is connected, if that has changed."""
        up = self.network.links[peer.index].up
        if peer.alive and up != self._told[peer.index]:
            self._told[peer.index] = up
            peer.feed(LinkChanged(up))

    # Lives

    def start(self, peer: SimulatedPeer) -> None:
        """Start a peer's process unless it runs."""
        if not peer.alive:
            self.trace.line(self.now, peer.index, "! starts")
            peer.start()

    def core_of(self, peer: SimulatedPeer, sealer: Sealer) -> AnyCore:
        """Return a core for a life of *peer*, with what its disk holds."""
        crowd = self.crowds[peer.index % len(self.crowds)]
        differing: dict[str, Any] = {} if crowd == CROWD else {"crowd": crowd}  # cells have their own cores
        return self._core_factory(self.charter, sealer, stored=dict(peer.disk.records), **differing)

    def replace(self, peer: SimulatedPeer) -> None:
        """Let another key own the device of *peer*, whose process has ended."""
        peer.replace()
        self.by_id[peer.id] = peer
        if peer.index in self.liars:
            self.checkers.liars.add(peer.id)

    def fail(self, peer: SimulatedPeer, life: int) -> None:
        """Let a peer's process fail, unless this life of it is over, and be started again."""
        if peer.life == life:
            self.trace.line(self.now, peer.index, "! fails")
            peer.crash()
            self.restart_soon(peer)

    def restart_soon(self, peer: SimulatedPeer) -> None:
        """Start a peer again that has just died, sooner than anybody misses it."""
        self.after(self.rng.randrange(RESTART_MAX), self.start, peer)
