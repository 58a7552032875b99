"""One MQTT 3.1.1 connection, renewed for as long as somebody wants it; one of three that know aiomqtt.

Each connection begins with a clean session: what was in flight is lost and the protocol asks
again. All subscriptions are in force before a connection counts as up, but for those that the broker
refused: it is asked for them again for as long as the connection lasts, ever more seldom, and so it is for
what it refuses or does not answer later. A cluster that is choosing a leader refuses as one does that denies
the right, and MQTT 3.1.1 has one code for both.

A publish returns when the message is handed to the connection (`client.py`); what is not acknowledged is
bounded by a window (`window_messages`, `window_bytes`), beyond which publishers wait.
"""

import asyncio
import contextlib
import logging
import math
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Protocol, cast

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.reasoncodes import ReasonCode

from swarmdem.errors import TransportError
from swarmdem.transport.base import NOT_YET, Arrival, InParts
from swarmdem.transport.client import Client
from swarmdem.transport.routing import Routes
from swarmdem.transport.settings import BrokerAddress, MqttSettings
from swarmdem.transport.window import SendWindow

log = logging.getLogger(__name__)
library_log = logging.getLogger(f"{__name__}.library")
library_log.setLevel(logging.ERROR)
_UNSAID = (" on socket: ", "Unexpected message ID")
"""Of the client library: a loss we report in our own words; an answer to what was given up harms nobody."""
library_log.addFilter(lambda record: not any(words in str(record.msg) for words in _UNSAID))

FILTERS_PER_SUBSCRIBE = 8
"""Patterns in one SUBSCRIBE packet: what AWS IoT takes."""
SOCKET_BUFFER_BYTES = 1 << 20
"""The client library copies what is left of a packet at every partial write: let a chunk fit."""
GOODBYE_S = 0.05
"""Time to close the socket of an attempt that failed."""
UNAVAILABLE = 136
"""Reason code of a broker that is about to be there, or was until now."""
REFUSED = 0x80
"""The code that means failure in SUBACK (MQTT 3.1.1, 3.9.3)."""
REFUSES, SILENT = "refuses the subscription", "does not answer the subscription"
"""What a broker says of a pattern that it does not grant."""


class Receiver(Protocol):
    """Somebody who subscribes."""

    def accept(self, arrival: Arrival, *, retained: bool, bulk: bool) -> None:
        """Take *arrival*; must not raise and must not block."""


class Connection:
    """One MQTT connection, renewed when lost, and who wants what from it."""

    def __init__(
        self,
        letter: str,
        address: BrokerAddress,
        settings: MqttSettings,
        *,
        bulk: bool,
        will: Callable[[], tuple[str, bytes] | None],
        changed: Callable[[], None],
        after: asyncio.Event | None = None,
    ) -> None:
        self.routes: Routes[Receiver] = Routes()
        self.up = False
        self.reason = NOT_YET
        self.hopeless = False
        """The last attempt failed for a reason that waiting does not cure."""
        self.bytes_sent = 0
        self.bytes_received = 0
        self._address = address
        self._settings = settings
        self._bulk = bulk
        self._will = will
        self._changed = changed
        self._after = after
        self._identifier = f"{settings.client_id}-{secrets.token_hex(4)}{letter}"
        self._tls = (address.files or settings.tls).context() if address.tls else None
        self._door = 0
        self._client: Client | None = None
        self._wanted: dict[str, None] = {}
        self._denied: dict[str, str] = {}
        """What is wanted and was refused, or not answered, and which of the two."""
        self._denial = asyncio.Event()
        self._subscribing = asyncio.Lock()

    async def run(self) -> None:
        """Connect, stay connected, connect again, until cancelled."""
        backoff_s = self._settings.backoff_min_s
        while True:
            connected_at = math.inf
            if self._after is not None:
                await self._after.wait()
            try:
                async with _opened(self._new_client()) as client:
                    await self._begin(client)
                    connected_at = asyncio.get_running_loop().time()
                    async with _beside(self._ask_again(client)):
                        async for _ in client.messages:  # none come this way; it ends with the connection
                            pass
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                self._end(error)
                self._door += 1
            except asyncio.CancelledError:
                self._end(None)
                raise
            if asyncio.get_running_loop().time() - connected_at > self._settings.backoff_max_s:
                backoff_s = self._settings.backoff_min_s
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, self._settings.backoff_max_s)

    async def publish(self, topic: str, payload: bytes | InParts, *, retain: bool) -> None:
        """Hand a message to the broker as soon as the window has room for it."""
        if self._client is None or not self.up:
            raise TransportError(f"{self._address}: {self.reason}")
        client = self._client
        await client.window.take(len(topic) + len(payload))
        if not self._handed_over(client, topic, payload, retain=retain):
            raise TransportError(f"{self._address}: connection lost")

    def try_publish(self, topic: str, payload: bytes | InParts, *, retain: bool) -> bool:
        """Hand a message to the broker if the window has room for it now; False: nothing was done."""
        client = self._client
        if client is None or not self.up or not client.window.try_take(len(topic) + len(payload)):
            return False
        return self._handed_over(client, topic, payload, retain=retain)

    def _handed_over(self, client: Client, topic: str, payload: bytes | InParts, *, retain: bool) -> bool:
        """Send what the window has given room for; False: the connection was lost just now."""
        size_bytes = len(topic) + len(payload)
        if not client.hand_over(topic, payload, size_bytes, retain=retain):
            client.window.give(size_bytes)
            return False
        self.bytes_sent += size_bytes
        return True

    async def subscribe(self, pattern: str, port: "Receiver") -> None:
        """Add *port* to the receivers of *pattern*; while down this waits for the next connection.

        Raises:
            TransportError: The broker refuses it, or did not answer. It will be asked again, unless *port*
                unsubscribes.
        """
        self.routes.add(pattern, port)
        if (client := self._client) is None:
            return
        self._wanted[pattern] = None
        with contextlib.suppress(aiomqtt.MqttError):  # no answer is noted as a refusal is
            await self._subscribe(client, pattern)
        if client is self._client and pattern in self._denied:  # else the next connection asks for it
            raise TransportError(f"{self._address} {self._denied[pattern]} to {pattern}")

    async def unsubscribe(self, pattern: str, port: "Receiver") -> None:
        """Take *port* off the receivers of *pattern*."""
        if self.routes.remove(pattern, port) and self._client is not None:
            self._wanted.pop(pattern, None)
            if self._denied.pop(pattern, None) == REFUSES:
                return
            with contextlib.suppress(aiomqtt.MqttError):  # a lost connection forgets its patterns anyway
                await self._client.unsubscribe(pattern, timeout=self._settings.attempt_s)

    async def _subscribe(self, client: Client, pattern: str) -> None:
        """Send SUBSCRIBE for *pattern* and whatever else gathered while others were being sent.

        Raises:
            MqttError: The broker did not answer.
        """
        async with self._subscribing:
            while pattern in self._wanted and client is self._client:
                others = [other for other in self._wanted if other != pattern]
                batch = [pattern, *others][:FILTERS_PER_SUBSCRIBE]
                for each in batch:
                    del self._wanted[each]
                try:
                    answers = await client.subscribe(
                        [(each, 1) for each in batch], timeout=self._settings.attempt_s
                    )
                except aiomqtt.MqttError:
                    if client is self._client:
                        self._answered(dict.fromkeys(batch, SILENT))
                    raise
                codes = [each.value if isinstance(each, ReasonCode) else each for each in answers]
                told = [REFUSES if code >= REFUSED else "" for code in codes]
                self._answered(dict(zip(batch, told, strict=False)))

    def _answered(self, answers: dict[str, str]) -> None:
        """Note what the broker says of patterns; nothing: it grants them."""
        for pattern, denied in answers.items():
            was = self._denied.pop(pattern, "")
            if denied and pattern in self.routes.patterns:
                self._denied[pattern] = denied
                self._denial.set()
                if not was:
                    log.warning("subscription_refused: %s %s to %s", self._address, denied, pattern)
            elif was:
                log.info("subscription_granted: %s: %s", self._address, pattern)

    async def _ask_again(self, client: Client) -> None:
        """Ask for what was denied on this connection, ever more seldom, for as long as it lasts."""
        pause_s = self._settings.backoff_min_s
        while True:
            if not self._denied:
                self._denial.clear()
                await self._denial.wait()
                pause_s = self._settings.backoff_min_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.backoff_max_s)
            denied = tuple(self._denied)
            self._wanted |= dict.fromkeys(denied)
            with contextlib.suppress(aiomqtt.MqttError):  # no answer: it will be asked once more
                for pattern in denied:
                    await self._subscribe(client, pattern)

    def _new_client(self) -> Client:
        settings, will = self._settings, self._will()
        host, port = self._address.door(self._door)
        client = Client(
            host,
            port,
            deliver=self._receive,
            window=self._new_window(),
            username=self._address.username,
            password=self._address.password,
            logger=library_log,
            identifier=self._identifier,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            keepalive=settings.keepalive_s,
            timeout=settings.attempt_s,
            will=aiomqtt.Will(will[0], will[1], qos=1) if will is not None else None,
            max_inflight_messages=settings.window_messages,
            tls_context=self._tls,
            socket_options=(
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES),
                (socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES),
            ),
        )
        client.pending_calls_threshold = 2 * settings.window_messages
        return client

    def _new_window(self) -> SendWindow:
        return SendWindow(messages_max=self._settings.window_messages, bytes_max=self._settings.window_bytes)

    async def _begin(self, client: Client) -> None:
        """Put all subscriptions in force on a fresh connection, then report it."""
        self._client = client
        self._subscribing = asyncio.Lock()  # on the last connection somebody may still wait for an answer
        self._denied.clear()
        self._wanted = dict.fromkeys(self.routes.patterns)
        while self._wanted:
            await self._subscribe(client, next(iter(self._wanted)))
        self.up, self.reason, self.hopeless = True, "", False
        self._changed()

    def _end(self, error: Exception | None) -> None:
        """Forget the connection and whatever was in flight on it."""
        client, self._client = self._client, None
        self._wanted.clear()
        self.up = False
        self.reason, self.hopeless = _explain(error, *self._address.door(self._door))
        if client is not None:
            client.window.close(f"{self._address}: {self.reason}")
        self._changed()

    def _receive(self, arrival: Arrival, retained: bool) -> None:
        self.bytes_received += len(arrival.topic) + len(arrival.payload)
        for port in self.routes.match(arrival.topic):
            port.accept(arrival, retained=retained, bulk=self._bulk)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do *work* for as long as the block lasts."""
    task = asyncio.create_task(work, name="swarmdem.mqtt.beside")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _opened(client: Client) -> AsyncIterator[Client]:
    """Connect *client*, and disconnect it in the end, without ever leaking its socket.

    An attempt under way cannot be cancelled cleanly (it blocks in a thread): a cancellation waits
    for its end.
    """
    opening = asyncio.ensure_future(cast(Awaitable[Client], client.__aenter__()))
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        await _disconnect(client, failed=opening.exception() is not None)
        raise
    except aiomqtt.MqttError:
        await _disconnect(client, failed=True)
        raise
    try:
        yield client
    finally:
        await _disconnect(client)


async def _disconnect(client: Client, *, failed: bool = False) -> None:
    """Close the socket; after a *failed* attempt the library would leave it open, and no answer will come."""
    if failed:
        client.timeout = GOODBYE_S
    with contextlib.suppress(aiomqtt.MqttError):  # lost before it could say goodbye
        await client.__aexit__(None, None, None)


def _explain(error: Exception | None, host: str, port: int) -> tuple[str, bool]:
    """Return why a connection ended in words for people, and whether trying again is hopeless.

    Args:
        error: What ended it; None: we did.
        host: Where it went, or should have gone.
        port: There.
    """
    if error is None:
        return "closed", False
    if isinstance(error, MqttConnectError):
        return f"the broker refuses us: {error.rc}", error.rc != UNAVAILABLE
    hidden = error.__context__  # aiomqtt keeps the words of a failed connect and hides what it was
    numbered = hidden if isinstance(hidden, OSError) and hidden.errno else None
    cause = error.__cause__ or numbered or error
    if isinstance(
        cause, aiomqtt.MqttCodeError
    ):  # its numbers say less: a closed socket is "unspecified error"
        return "connection lost", False
    if isinstance(cause, ConnectionRefusedError):
        return f"nobody listens at {host}:{port}", False
    if isinstance(cause, socket.gaierror):
        return f"the name {host} is not known here", False
    words = str(cause) or type(cause).__name__
    if isinstance(cause, ssl.SSLError):
        return words, not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    plain = cause.strerror if isinstance(cause, OSError) else None
    return (f"{host}:{port}: {plain}" if plain else words), False
