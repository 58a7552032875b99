"""How faults strike a world and how they end: one entry in each table per kind.

The tables are all that has to grow with a new kind, beside `faults` (what it is) and `drawing` (how often).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from swarmdem.identifiers import MILLISECOND, SECOND, Micros
from swarmdem.protocol.events import LeaveRequested
from swarmdem.simulation.faults import ENDED_BY_START, LIES, UNIT, Fault, Kind
from swarmdem.simulation.liars import Liar
from swarmdem.simulation.weather import HEARD, HEARING

if TYPE_CHECKING:
    from swarmdem.simulation.peer import SimulatedPeer
    from swarmdem.simulation.world import World

GOODBYE: Micros = 50 * MILLISECOND
"""Time a leaving process gives its last frames before it ends."""
NOTICE_MAX: Micros = 3 * SECOND
"""Longest time a client takes to notice that its link is down; every third never does."""


def strike(world: "World", fault: Fault) -> None:
    """Begin a fault now, and see to its end."""
    world.trace.line(world.now, None, f"! {fault}")
    world.after(max(0, fault.until - world.now), _relent, world, fault)
    for index in fault.peers:
        if fault.kind in _STRIKE_PEER:
            _STRIKE_PEER[fault.kind](world, fault, world.peers[index])
    if fault.kind in _STRIKE:
        _STRIKE[fault.kind](world, fault)


def _relent(world: "World", fault: Fault) -> None:
    world.trace.line(world.now, None, f"! over: {fault.kind}")
    for index in fault.peers:
        peer = world.peers[index]
        if fault.kind in _RELENT_PEER:
            _RELENT_PEER[fault.kind](world, fault, peer)
        if fault.kind in ENDED_BY_START:
            peer.dies_in = peer.dies_writing = None
            world.start(peer)
    if fault.kind in _RELENT:
        _RELENT[fault.kind](world, fault)


# Peers


def _kill(_: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    peer.dies_in = int(fault.amount) if peer.alive else None


def _stumble(_: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    peer.stumbles_in = int(fault.amount)


def _lose_write(_: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    peer.dies_writing = int(fault.amount) if peer.alive else None


def _stop(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    peer.stop()
    if fault.amount and peer.stopped and not peer.disowned:
        peer.disowned = True
        world.network.cut(peer.index, kept=False)
        world.last_will(peer)


def _go_on(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    if fault.amount and peer.disowned:
        peer.disowned = False
        mend(world, fault, peer)
    peer.resume()


def _replace(_: "World", __: Fault, peer: "SimulatedPeer") -> None:
    if peer.alive:
        peer.crash()


def _succeed(world: "World", _: Fault, peer: "SimulatedPeer") -> None:
    if not peer.alive:
        world.replace(peer)


def _leave(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    if peer.alive:
        peer.feed(LeaveRequested())
        world.after(min(GOODBYE, max(0, fault.until - world.now - 1)), _left, peer, peer.life)


def _left(peer: "SimulatedPeer", life: int) -> None:
    if peer.life == life:
        peer.goodbye = None
        peer.crash()


def _slow(_: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    peer.slowness = fault.amount


def _fail(_: "World", __: Fault, peer: "SimulatedPeer") -> None:
    peer.failing = True


def _cut(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    cut(world, peer, kept=bool(fault.amount), brokers=fault.brokers)


def cut(world: "World", peer: "SimulatedPeer", *, kept: bool, brokers: tuple[int, ...] = ()) -> None:
    """Cut a peer's lines; its client may notice after a while."""
    world.network.cut(peer.index, kept=kept, brokers=brokers)
    if world.rng.random() < 2 / 3:
        world.after(world.rng.randrange(NOTICE_MAX), world.tell_link, peer)


def mend(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    """Undo one `cut`."""
    world.network.mend(peer.index, world.now, brokers=fault.brokers)
    world.after(world.network.delay(), world.tell_link, peer)


def _split(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    world.network.move(peer.index, int(fault.amount) or 1, world.now)


def _split_one_way(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    world.network.move(peer.index, HEARING if fault.amount else HEARD, world.now)


def _delay(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    world.network.hinder(peer.index, world.now, extra=int(fault.amount) * UNIT)


def _throttle(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    world.network.hinder(peer.index, world.now, rate=int(fault.amount) * 1000)


def _congest(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    world.network.hinder(peer.index, world.now, service=int(fault.amount) * UNIT)


def _lie(world: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    if fault.kind is Kind.FORGET:
        peer.forgets = int(fault.amount)
        return
    if peer.liar is None:
        peer.liar = Liar(world, peer)
    peer.liar.begin(fault)


def _tell_truth(_: "World", fault: Fault, peer: "SimulatedPeer") -> None:
    if fault.kind is Kind.FORGET:
        peer.forgets = 0
    elif peer.liar is not None:
        peer.liar.end(fault)


_STRIKE_PEER: dict[Kind, Callable[["World", Fault, "SimulatedPeer"], None]] = {
    Kind.KILL: _kill,
    Kind.STUMBLE: _stumble,
    Kind.LOST_WRITE: _lose_write,
    Kind.STOP: _stop,
    Kind.REPLACE: _replace,
    Kind.LEAVE: _leave,
    Kind.SLOW: _slow,
    Kind.FAIL: _fail,
    Kind.CUT: _cut,
    Kind.SPLIT: _split,
    Kind.ONE_WAY: _split_one_way,
    Kind.DELAY: _delay,
    Kind.BANDWIDTH: _throttle,
    Kind.CONGESTION: _congest,
    **dict.fromkeys(LIES, _lie),
}


def _train_quickly(_: "World", __: Fault, peer: "SimulatedPeer") -> None:
    peer.slowness = 1.0


def _train_well(_: "World", __: Fault, peer: "SimulatedPeer") -> None:
    peer.failing = False


def _stand_firm(_: "World", __: Fault, peer: "SimulatedPeer") -> None:
    peer.stumbles_in = None


def _rejoin(world: "World", _: Fault, peer: "SimulatedPeer") -> None:
    world.network.move(peer.index, 0, world.now)


def _unhinder(world: "World", _: Fault, peer: "SimulatedPeer") -> None:
    world.network.hinder(peer.index, world.now)


_RELENT_PEER: dict[Kind, Callable[["World", Fault, "SimulatedPeer"], None]] = {
    Kind.STUMBLE: _stand_firm,
    Kind.STOP: _go_on,
    Kind.REPLACE: _succeed,
    Kind.SLOW: _train_quickly,
    Kind.FAIL: _train_well,
    Kind.CUT: mend,
    Kind.SPLIT: _rejoin,
    Kind.ONE_WAY: _rejoin,
    Kind.DELAY: _unhinder,
    Kind.BANDWIDTH: _unhinder,
    Kind.CONGESTION: _unhinder,
    **dict.fromkeys(LIES, _tell_truth),
}


# Brokers and the network


def _take_away(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.waiting.clear()
        if not fault.amount:
            broker.retained.clear()
    for peer in world.peers:
        cut(world, peer, kept=bool(fault.amount), brokers=fault.brokers)


def _bring_back(world: "World", fault: Fault) -> None:
    for peer in world.peers:
        mend(world, fault, peer)


def _stop_brokers(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.stopped = True


def _slow_brokers(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.service = int(fault.amount) * UNIT


def _resume_brokers(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        world.network.resume(broker, world.now)


def _shorten_queues(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.queue_frames = int(fault.amount)


def _lengthen_queues(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.queue_frames = world.network.weather.queue_frames


def _duplicate(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.duplication = fault.amount


def _hand_on_once(world: "World", fault: Fault) -> None:
    for broker in world.network.named(fault.brokers):
        broker.duplication = world.network.weather.duplication


def _lose(world: "World", fault: Fault) -> None:
    world.network.lose(fault.amount, world.now)


def _lose_less(world: "World", _: Fault) -> None:
    world.network.lose(world.network.weather.loss, world.now)


_STRIKE: dict[Kind, Callable[["World", Fault], None]] = {
    Kind.OUTAGE: _take_away,
    Kind.BROKER_STOP: _stop_brokers,
    Kind.BROKER_SLOW: _slow_brokers,
    Kind.QUEUES: _shorten_queues,
    Kind.DUPLICATION: _duplicate,
    Kind.LOSS: _lose,
}
_RELENT: dict[Kind, Callable[["World", Fault], None]] = {
    Kind.OUTAGE: _bring_back,
    Kind.BROKER_STOP: _resume_brokers,
    Kind.BROKER_SLOW: _resume_brokers,
    Kind.QUEUES: _lengthen_queues,
    Kind.DUPLICATION: _hand_on_once,
    Kind.LOSS: _lose_less,
}
