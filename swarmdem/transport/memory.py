"""A bus in one process: every peer's broker, with no socket and no copy.

It keeps retained messages, publishes the wills of aborted ports, matches wildcards and drops when
a port's queue is full, as the real ones do. `stop` and `start` stand for a broker that goes
away and comes back: it forgets nothing that was retained, and delivers nothing in between.
"""

import asyncio
from collections.abc import AsyncIterator

from swarmdem.errors import MisuseError, TransportError
from swarmdem.transport.arrivals import ArrivalQueue, QueueLimits
from swarmdem.transport.base import Arrival, Counters, InParts, LinkState
from swarmdem.transport.routing import Routes, check_pattern, check_topic


class MemoryPort:
    """One peer's access to a `MemoryBus`; implements `base.Port`."""

    def __init__(self, link: "MemoryLink", limits: QueueLimits, will: tuple[str, bytes] | None) -> None:
        self.counters = Counters()
        self.queue = ArrivalQueue(self.counters, limits, link.bus.state)
        self._link = link
        self._will = will
        self._open = True

    async def publish(
        self, topic: str, payload: bytes | InParts, *, retain: bool = False, bulk: bool = False
    ) -> None:
        """See `base.Port.publish`. Gives the readers a turn before it returns."""
        self._check_open()
        check_topic(topic)
        size_bytes = len(topic) + len(payload)
        self._link.bus.publish(topic, bytes(payload), retain=retain)
        self._link.socket_bytes_sent += size_bytes
        self.counters.messages_sent += 1
        self.counters.bytes_sent += size_bytes
        await asyncio.sleep(0)

    async def subscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """See `base.Port.subscribe`."""
        self._check_open()
        check_pattern(pattern)
        self._link.bus.subscribe(pattern, self, bulk=bulk)

    async def unsubscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """See `base.Port.unsubscribe`."""
        self._link.bus.routes[bulk].remove(pattern, self)

    def arrivals(self) -> AsyncIterator[Arrival | LinkState]:
        """See `base.Port.arrivals`; for one reader at a time."""
        return self.queue.items()

    async def close(self) -> None:
        """See `base.Port.close`."""
        self._open = False
        self.queue.close()
        self._link.forget(self)

    async def abort(self) -> None:
        """See `base.Port.abort`."""
        if self._open and self._will is not None and self._link.bus.state.up:
            self._link.bus.publish(*self._will)
        await self.close()

    def accept(self, arrival: Arrival, *, bulk: bool) -> None:
        """Queue *arrival*; for the bus."""
        self._link.socket_bytes_received += len(arrival.topic) + len(arrival.payload)
        self.queue.put(arrival, bulk=bulk)

    def _check_open(self) -> None:
        if not self._open:
            raise MisuseError("the port is closed")


class MemoryLink:
    """One process's connection to a `MemoryBus`; implements `base.Link`."""

    def __init__(self, bus: "MemoryBus", limits: QueueLimits) -> None:
        self.bus = bus
        self.socket_bytes_sent = 0
        self.socket_bytes_received = 0
        self._limits = limits
        self._ports: dict[MemoryPort, None] = {}

    @property
    def state(self) -> LinkState:
        """See `base.Link.state`."""
        return self.bus.state

    async def connect(self, timeout_s: float | None = None) -> None:
        """See `base.Link.connect`."""
        if timeout_s is not None and not self.bus.state.up:
            raise TransportError(self.bus.state.reason)

    async def open_port(self, *, will: tuple[str, bytes] | None = None) -> MemoryPort:
        """See `base.Link.open_port`."""
        port = MemoryPort(self, self._limits, will)
        self._ports[port] = None
        self.bus.ports[port] = None
        return port

    def forget(self, port: MemoryPort) -> None:
        """Drop a closed *port* and its subscriptions; for ports."""
        self._ports.pop(port, None)
        self.bus.ports.pop(port, None)
        for routes in self.bus.routes:
            for pattern in routes.patterns_of(port):
                routes.remove(pattern, port)

    async def close(self) -> None:
        """See `base.Link.close`."""
        for port in tuple(self._ports):
            await port.close()


class MemoryBus:
    """The broker: knows all ports of all links."""

    def __init__(self) -> None:
        self.state = LinkState(up=True)
        self.routes: tuple[Routes[MemoryPort], Routes[MemoryPort]] = (Routes(), Routes())
        """Who wants what: of the control lane, of the bulk lane."""
        self.ports: dict[MemoryPort, None] = {}
        self._retained: dict[str, Arrival] = {}

    def link(self, queue: QueueLimits | None = None) -> MemoryLink:
        """Return a new link, as another process would have it; its ports hold at most *queue* unread."""
        return MemoryLink(self, queue if queue is not None else QueueLimits())

    def stop(self) -> None:
        """Go away, as a broker does: every port hears of it."""
        self._become(LinkState(up=False, reason="the bus is stopped"))

    def start(self) -> None:
        """Come back, subscriptions in force and retained messages delivered anew."""
        self._become(LinkState(up=True))
        for bulk, routes in enumerate(self.routes):
            for topic, arrival in self._retained.items():
                for port in routes.match(topic):
                    port.accept(arrival, bulk=bool(bulk))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Queue a message at every port that wants it, in either lane; for ports.

        Raises:
            TransportError: The bus is stopped.
        """
        if not self.state.up:
            raise TransportError(self.state.reason)
        arrival = Arrival(topic, payload)
        if retain and payload:
            self._retained[topic] = arrival
        elif retain:
            self._retained.pop(topic, None)
        for lane, routes in enumerate(self.routes):
            for port in routes.match(topic):
                port.accept(arrival, bulk=bool(lane))

    def subscribe(self, pattern: str, port: MemoryPort, *, bulk: bool) -> None:
        """Let *port* have *pattern*, beginning with what was retained; for ports."""
        self.routes[bulk].add(pattern, port)
        if not self.state.up:
            return
        alone: Routes[MemoryPort] = Routes()
        alone.add(pattern, port)
        for topic, arrival in self._retained.items():
            if alone.match(topic):
                port.accept(arrival, bulk=bulk)

    def _become(self, state: LinkState) -> None:
        if state.up == self.state.up:
            return
        self.state = state
        for port in self.ports:
            port.queue.put_state(state)
