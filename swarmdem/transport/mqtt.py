"""Peers on an MQTT broker: ports on a pair of connections, so that model chunks never delay control messages.

The link is up while both connections are; the bulk connection is made once the control connection
is there, so that a broker that does not answer costs one attempt at a time. Co-hosted peers share
the link: each pattern is subscribed once, arrivals are handed to the ports that asked for them. A new
port's subscription makes the broker send that pattern's retained messages again; ports that have
them already are not bothered.

Wills: MQTT has one will for a connection. The control connection carries that of the oldest open
port, as it is known when the connection is made (open the port, then connect). A single port lost
with `abort` has its will published by the link. When a process with several peers dies, the
others learn of all but one of them from silence. One peer per process has its will always.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

from swarmdem.errors import MisuseError, TransportError
from swarmdem.transport.arrivals import ArrivalQueue, Inbox
from swarmdem.transport.base import NOT_YET, Arrival, Counters, InParts, LinkState
from swarmdem.transport.connection import Connection
from swarmdem.transport.routing import check_pattern, check_topic
from swarmdem.transport.settings import BrokerAddress, MqttSettings

log = logging.getLogger(__name__)

RETAINED_SEEN_MAX = 4096
"""Topics whose retained message a port remembers having; about one per peer of the swarm."""


class MqttPort:
    """One peer's access to an MQTT broker; implements `base.Port`."""

    def __init__(self, link: "MqttLink", will: tuple[str, bytes] | None, inbox: Inbox | None) -> None:
        self.counters = Counters()
        self.will = will
        self._queue = ArrivalQueue(self.counters, link.settings.queue, link.state)
        self.inbox: Inbox = self._queue if inbox is None else inbox
        self._link = link
        self._open = True
        self._retained_seen: dict[str, int] = {}

    async def publish(
        self, topic: str, payload: bytes | InParts, *, retain: bool = False, bulk: bool = False
    ) -> None:
        """See `base.Port.publish`. Waits while too much is on its way to the broker."""
        self._check_open()
        check_topic(topic)
        await self._link.connection(bulk=bulk).publish(topic, payload, retain=retain)
        self.counters.messages_sent += 1
        self.counters.bytes_sent += len(topic) + len(payload)

    async def subscribe(self, pattern: str, *, bulk: bool = False, insist: bool = False) -> None:
        """See `base.Port.subscribe`. While the link is down it takes effect with the next connection.

        Args:
            pattern: What to receive.
            bulk: Over the bulk connection.
            insist: After an error the broker is asked again, until it grants the pattern or the port
                unsubscribes.

        Raises:
            TransportError: The broker refuses it, or did not answer.
        """
        self._check_open()
        check_pattern(pattern)
        self._retained_seen.clear()
        connection = self._link.connection(bulk=bulk)
        try:
            await connection.subscribe(pattern, self)
        except TransportError:
            if not insist:
                await connection.unsubscribe(pattern, self)
            raise

    async def unsubscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """See `base.Port.unsubscribe`."""
        await self._link.connection(bulk=bulk).unsubscribe(pattern, self)

    def arrivals(self) -> AsyncIterator[Arrival | LinkState]:
        """See `base.Port.arrivals`; for one reader at a time."""
        return self._queue.items()

    async def close(self) -> None:
        """See `base.Port.close`."""
        if self._open:
            self._open = False
            self.inbox.close()
            await self._link.forget(self)

    async def abort(self) -> None:
        """See `base.Port.abort`."""
        if self._open and self.will is not None:
            with contextlib.suppress(TransportError):  # then nobody can be told
                await self._link.connection(bulk=False).publish(*self.will, retain=False)
        await self.close()

    def accept(self, arrival: Arrival, *, retained: bool, bulk: bool) -> None:
        """Queue *arrival*, unless it is a retained message that came for another port's sake."""
        if retained:
            fingerprint = hash(arrival.payload)
            if self._retained_seen.get(arrival.topic) == fingerprint:
                return
            if len(self._retained_seen) >= RETAINED_SEEN_MAX:
                self._retained_seen.clear()
            self._retained_seen[arrival.topic] = fingerprint
        self.inbox.put(arrival, bulk=bulk)

    def tell(self, state: LinkState) -> None:
        """Report a change of the link; after a reconnect retained messages count as new."""
        self._retained_seen.clear()
        self.inbox.put_state(state)

    def _check_open(self) -> None:
        if not self._open:
            raise MisuseError("the port is closed")


class MqttLink:
    """A process's two connections to a broker; implements `base.Link`."""

    def __init__(
        self,
        url: str,
        settings: MqttSettings | None = None,
        *,
        on_change: Callable[[LinkState], None] | None = None,
    ) -> None:
        """Prepare a link; nothing is sent yet.

        Args:
            url: `mqtt://[user:password@]host[:port]`, `mqtts://` for TLS; see `settings`.
            settings: Everything that is not in the URL.
            on_change: Called with every new state, before the ports hear of it.

        Raises:
            ConfigError: The URL or a TLS file cannot be used.
        """
        self.address = BrokerAddress.parse(url)
        self.settings = settings if settings is not None else MqttSettings()
        self._on_change = on_change
        self._ports: dict[MqttPort, None] = {}
        self._control_up = asyncio.Event()
        self._control = self._connection("c", bulk=False)
        self._bulk = self._connection("b", bulk=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._closed = False
        self.state = LinkState(up=False, reason=NOT_YET)

    @property
    def socket_bytes_sent(self) -> int:
        """Topic and payload bytes handed to the broker; headers, TLS and TCP come on top."""
        return self._control.bytes_sent + self._bulk.bytes_sent

    @property
    def socket_bytes_received(self) -> int:
        """Topic and payload bytes that came from the broker; headers, TLS and TCP come on top."""
        return self._control.bytes_received + self._bulk.bytes_received

    @property
    def hopeless(self) -> bool:
        """Whether the last attempt failed for a reason that waiting does not cure."""
        return self._control.hopeless or self._bulk.hopeless

    def connection(self, *, bulk: bool) -> Connection:
        """Return the connection for control or for *bulk* messages; for ports."""
        return self._bulk if bulk else self._control

    async def connect(self, timeout_s: float | None = None) -> None:
        """See `base.Link.connect`."""
        if self._closed:
            raise MisuseError("the link is closed")
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._control.run(), name="swarmdem.mqtt.control"),
                asyncio.create_task(self._bulk.run(), name="swarmdem.mqtt.bulk"),
            ]
        if timeout_s is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while not self.state.up:
                    self._news.clear()
                    await self._news.wait()
                    if self.hopeless:
                        raise TransportError(f"broker {self.address}: {self.state.reason}")
        except TimeoutError:
            raise TransportError(
                f"broker {self.address} not reached in {timeout_s:g} s: {self.state.reason}"
            ) from None

    async def open_port(
        self, *, will: tuple[str, bytes] | None = None, inbox: Inbox | None = None
    ) -> MqttPort:
        """See `base.Link.open_port`; with an *inbox*, arrivals and states go there."""
        port = MqttPort(self, will, inbox)
        self._ports[port] = None
        await self.connect()
        return port

    async def forget(self, port: MqttPort) -> None:
        """Drop a closed *port* and its subscriptions; for ports."""
        self._ports.pop(port, None)
        for connection in (self._control, self._bulk):
            for pattern in connection.routes.patterns_of(port):
                await connection.unsubscribe(pattern, port)

    async def close(self) -> None:
        """See `base.Link.close`. Takes up to `attempt_s` when an attempt to connect is under way."""
        self._closed = True
        for port in self._ports:
            port.inbox.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connection(self, letter: str, *, bulk: bool) -> Connection:
        def will() -> tuple[str, bytes] | None:
            return None if bulk else next((port.will for port in self._ports if port.will is not None), None)

        return Connection(
            letter, self.address, self.settings, bulk=bulk, will=will,
            changed=partial(self._changed, bulk=bulk), after=self._control_up if bulk else None,
        )  # fmt: skip

    def _changed(self, *, bulk: bool) -> None:
        if not bulk:
            (self._control_up.set if self._control.up else self._control_up.clear)()
            if self._control.up and not self._bulk.up:
                return  # which tries now
        down = [each for each in (self._control, self._bulk) if not each.up]
        down.sort(
            key=lambda each: (not each.hopeless, each.reason == NOT_YET)
        )  # the most telling reason first
        state = LinkState(up=not down, reason=down[0].reason if down else "")
        was, self.state = self.state, state
        self._news.set()
        if state != was and not self._closed:
            log.log(logging.INFO if state.up else logging.WARNING, "link_changed: %s %s", self.address, state)
            if self._on_change is not None:
                self._on_change(state)
            for port in self._ports:
                port.tell(state)
