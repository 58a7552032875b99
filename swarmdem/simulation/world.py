"""One world: virtual time, peers, the network between them, and the faults that strike.

Events are played in the order of (time, order of scheduling); one `random.Random(seed)` owns all
chance. Two worlds of equal arguments therefore have equal traces, in any process. Time is in
microseconds; every peer has a clock of its own that starts anywhere, so a core that took another's
time for its own would be found out.

Unlike `node`, the world hands every copy of a frame to the core, duplicates too: the protocol must
be idempotent by itself.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from typing import Any

from swarmdem.identifiers import MILLISECOND, SECOND, Micros, PeerId
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Effect, LeaveRequested, LinkChanged, Received, Reject
from swarmdem.simulation.checkers import Checkers
from swarmdem.simulation.faults import CONGESTION_UNIT, Fault, Kind
from swarmdem.simulation.models import ModelBook
from swarmdem.simulation.peer import CoreFactory, SimulatedPeer
from swarmdem.simulation.signatures import VERIFIER
from swarmdem.simulation.trace import Trace, label, record
from swarmdem.simulation.weather import Network, Weather
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.codec import FrameReader
from swarmdem.wire.frame import Frame

NOTICE_MAX: Micros = 3 * SECOND
"""Longest time a client takes to notice that its link is down; every third never does."""
RESTART_MAX: Micros = 2 * SECOND
"""Longest time a supervisor takes to restart a process that stumbled."""
GOODBYE: Micros = 50 * MILLISECOND
"""Time a leaving process gives its last frames before it ends."""


class Parcel:
    """A frame on its way: decoded once, handed to all receivers."""

    __slots__ = ("frame", "key", "label", "received")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.received = Received(frame)
        self.label = f"< {label(frame)}"
        self.key = (type(frame.message).__name__, frame.sender)


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
    ) -> None:
        self.now: Micros = 0
        self.rng = random.Random(seed)
        self.charter = charter
        self.core_factory = core_factory
        self.trace = Trace(whole=whole_trace)
        self.book = ModelBook()
        self.checkers = Checkers(charter, self.book)
        self.reader = FrameReader(VERIFIER)
        self.network = Network(self.rng, self.after, self._deliver, peers, weather or Weather())
        self.peers = [SimulatedPeer(self, index) for index in range(peers)]
        self.by_id: dict[PeerId, SimulatedPeer] = {peer.id: peer for peer in self.peers}
        self.observe: Callable[[SimulatedPeer, Effect], None] = lambda _peer, _effect: None
        self.deliveries = 0
        self.rejects = 0
        self._scopes = (charter_hash(charter), swarm_hash(charter.swarm))
        self._queue: list[tuple[Micros, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._told: list[bool] = [False] * peers
        late = {index for fault in faults if fault.kind is Kind.LATE for index in fault.peers}
        for peer in self.peers:
            if peer.index not in late:
                self.after(self.rng.randrange(SECOND), self._start, peer)
        for fault in faults:
            self.after(fault.at, self._strike, fault)

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
        return Parcel(self.reader.read(frame.raw, scopes=self._scopes))

    def publish(self, peer: SimulatedPeer, frame: Frame, *, retain: bool) -> None:
        """Carry a peer's frame to everybody."""
        parcel = self.parcel(frame)
        self.trace.line(self.now, peer.index, f"> {parcel.label[2:]}")
        self.network.publish(peer.index, parcel, parcel.key if retain else None)

    def send(self, peer: SimulatedPeer, receiver: PeerId, frame: Frame) -> None:
        """Carry a peer's frame to one other."""
        other = self.by_id.get(receiver)
        parcel = self.parcel(frame)
        self.trace.line(self.now, peer.index, f"> {parcel.label[2:]} to {other.index if other else '?'}")
        if other is not None:
            self.network.send(peer.index, other.index, parcel)

    def connect(self, peer: SimulatedPeer) -> None:
        """Begin a peer's session with its broker, a moment from now."""
        self.after(self.network.delay(), self._connected, peer, peer.life)

    def disconnect(self, peer: SimulatedPeer) -> None:
        """End a peer's session because its process ended; its broker may publish its last will."""
        link = self.network.links[peer.index]
        self.network.disconnect(peer.index)
        self._told[peer.index] = False
        self.checkers.on_gone(peer.id)
        if peer.goodbye is not None and self.rng.random() < 0.5:
            self.after(self.rng.randrange(2 * SECOND), self.network.broadcast, link.island, peer.goodbye)

    def restart_soon(self, peer: SimulatedPeer) -> None:
        """Start a peer again that has just died, sooner than anybody misses it."""
        self.after(self.rng.randrange(RESTART_MAX), self._start, peer)

    def on_reject(self, peer: int, effect: Reject) -> None:
        """Count a refused frame."""
        self.rejects += 1
        self.trace.line(self.now, peer, record(effect))

    def _connected(self, peer: SimulatedPeer, life: int) -> None:
        if peer.life == life:
            self.network.connect(peer.index)
            self._tell_link(peer)

    def _deliver(self, index: int, parcel: Parcel) -> None:
        self.deliveries += 1
        peer = self.peers[index]
        if peer.core is not None:
            peer.receive(parcel)

    def _tell_link(self, peer: SimulatedPeer) -> None:
        up = self.network.links[peer.index].up
        if peer.alive and up != self._told[peer.index]:
            self._told[peer.index] = up
            peer.feed(LinkChanged(up))

    # Faults

    def _start(self, peer: SimulatedPeer) -> None:
        if not peer.alive:
            self.trace.line(self.now, peer.index, "! starts")
            peer.start()

    def _strike(self, fault: Fault) -> None:
        self.trace.line(self.now, None, f"! {fault}")
        self.after(max(0, fault.until - self.now), self._relent, fault)
        for index in fault.peers:
            self._strike_peer(fault, self.peers[index])
        match fault.kind:
            case Kind.OUTAGE:
                self.network.forget_retained()
                for peer in self.peers:
                    self._cut(peer, kept=False)
            case Kind.LOSS:
                self.network.lose(fault.amount, self.now)
            case Kind.DUPLICATION:
                self.network.duplication = fault.amount
            case _:
                pass

    def _strike_peer(self, fault: Fault, peer: SimulatedPeer) -> None:
        match fault.kind:
            case Kind.CRASH:
                peer.dies_in = int(fault.amount) if peer.alive else None
            case Kind.STUMBLE:
                peer.stumbles_in = int(fault.amount)
            case Kind.LEAVE if peer.alive:
                peer.feed(LeaveRequested())
                self.after(GOODBYE, self._left, peer, peer.life)
            case Kind.SLOW:
                peer.slowness = fault.amount
            case Kind.FAIL:
                peer.failing = True
            case Kind.CUT:
                self._cut(peer, kept=bool(fault.amount))
            case Kind.SPLIT:
                self.network.move(peer.index, 1, self.now)
            case Kind.CONGESTION:
                self.network.congest(peer.index, int(fault.amount) * CONGESTION_UNIT, self.now)
            case _:
                pass

    def _relent(self, fault: Fault) -> None:
        self.trace.line(self.now, None, f"! over: {fault.kind}")
        for index in fault.peers:
            self._relent_peer(fault, self.peers[index])
        match fault.kind:
            case Kind.OUTAGE:
                for peer in self.peers:
                    self._mend(peer)
            case Kind.LOSS:
                self.network.lose(self.network.weather.loss, self.now)
            case Kind.DUPLICATION:
                self.network.duplication = self.network.weather.duplication
            case _:
                pass

    def _relent_peer(self, fault: Fault, peer: SimulatedPeer) -> None:
        match fault.kind:
            case Kind.CRASH | Kind.LEAVE | Kind.LATE:
                peer.dies_in = None
                self._start(peer)
            case Kind.STUMBLE:
                peer.stumbles_in = peer.dies_in = None
                self._start(peer)
            case Kind.SLOW:
                peer.slowness = 1.0
            case Kind.FAIL:
                peer.failing = False
            case Kind.CUT:
                self._mend(peer)
            case Kind.SPLIT:
                self.network.move(peer.index, 0, self.now)
            case Kind.CONGESTION:
                self.network.congest(peer.index, 0, self.now)
            case _:
                pass

    def _left(self, peer: SimulatedPeer, life: int) -> None:
        if peer.life == life:
            peer.goodbye = None
            peer.crash()

    def _cut(self, peer: SimulatedPeer, *, kept: bool) -> None:
        self.network.cut(peer.index, kept=kept)
        if self.rng.random() < 2 / 3:
            self.after(self.rng.randrange(NOTICE_MAX), self._tell_link, peer)

    def _mend(self, peer: SimulatedPeer) -> None:
        self.network.mend(peer.index, self.now)
        self.after(self.network.delay(), self._tell_link, peer)
