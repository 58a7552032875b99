"""One broker among several: its link, what waits to be sent to it, and how well it does.

A control message is handed to every broker that is up. One that takes nothing at the moment gets a
queue of `WAITING_MAX` messages and `WAITING_BYTES_MAX` bytes; when that is full the oldest goes, is
counted, and is not missed while another broker took it; the newest stays, however long it is. When the
connection is lost the queue is forgotten: the protocol repeats what still matters.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from swarmdem.errors import TransportError
from swarmdem.transport.base import LinkState
from swarmdem.transport.health import Health
from swarmdem.transport.mqtt import MqttLink

WAITING_MAX = 1024
WAITING_BYTES_MAX = 16 * 2**20


class Ticket:
    """One message at several brokers: done once the first has taken it, failed once none can."""

    def __init__(self) -> None:
        self._waiting = 0
        self._done = False
        self._error: TransportError | None = None
        self._settled = asyncio.Event()

    def waits(self) -> None:
        """Note that the message waits for one more broker."""
        self._waiting += 1

    def settle(self, error: TransportError | None = None) -> None:
        """Note that a broker took the message, or never will."""
        self._waiting -= 1
        self._done = self._done or error is None
        self._error = error or self._error
        if self._done or self._waiting == 0:
            self._settled.set()

    async def taken(self) -> None:
        """Wait until the first broker took the message.

        Raises:
            TransportError: None of them will.
        """
        await self._settled.wait()
        if not self._done and self._error is not None:
            raise self._error


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published."""

    topic: str
    payload: bytes
    retain: bool
    ticket: Ticket = field(compare=False)


class Member:
    """A broker of a link over several.

    Args:
        number: Its number within the link.
        link: Connects to it.
        own: The user named it; a broker that was found or announced is a help, and its absence no news.
    """

    def __init__(self, number: int, link: MqttLink, *, own: bool) -> None:
        self.number = number
        self.link = link
        self.own = own
        self.health = Health()
        self.dropped = 0
        """Messages that went because too many waited."""
        self.was_up = False
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def state(self) -> LinkState:
        """Whether its connections are up, or why not."""
        return self.link.state

    def offer(self, message: Message) -> bool:
        """Hand *message* over if the broker takes it now; otherwise it waits, and False is returned."""
        connection = self.link.connection(bulk=False)
        if not self._waiting and connection.try_publish(
            message.topic, message.payload, retain=message.retain
        ):
            return True
        message.ticket.waits()
        self._waiting.append(message)
        self._waiting_bytes += len(message.payload)
        if self._closed:
            self._give_up()
            return False
        while len(self._waiting) > 1 and self._too_much():
            self.dropped += 1
            self._next().ticket.settle(TransportError(f"{self.link.address}: too much waits for this broker"))
        if self._pump is None:
            self._pump = asyncio.create_task(self._send(), name="swarmdem.mqtt.waiting")
        return False

    async def close(self) -> None:
        """Disconnect; what waits is given up."""
        self._closed = True
        pump = self._pump
        if pump is not None:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        self._give_up()  # the pump does so too, unless it had not begun
        await self.link.close()

    def _too_much(self) -> bool:
        return len(self._waiting) > WAITING_MAX or self._waiting_bytes > WAITING_BYTES_MAX

    def _give_up(self) -> None:
        while self._waiting:
            self._next().ticket.settle(TransportError(f"{self.link.address}: closed"))

    def _next(self) -> Message:
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message.payload)
        return message

    async def _send(self) -> None:
        """Send what waits, in its order."""
        connection = self.link.connection(bulk=False)
        try:
            while self._waiting:
                message = self._next()
                try:
                    await connection.publish(message.topic, message.payload, retain=message.retain)
                except TransportError as error:
                    message.ticket.settle(error)
                except asyncio.CancelledError:
                    message.ticket.settle(TransportError(f"{self.link.address}: closed"))
                    raise
                else:
                    message.ticket.settle()
        finally:
            self._pump = None
            self._give_up()
