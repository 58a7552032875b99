"""A TCP proxy that misbehaves on purpose: what stands between a peer and a broker goes through it.

    async with FaultProxy("127.0.0.1", 1883, seed=7) as proxy:
        ...                                     # peers connect to proxy.url
        proxy.set(Weather(latency_s=.2, bytes_per_s=20_000))
        proxy.reset()                           # every connection breaks now

Weather can change at any moment, also for connections that are open; each direction has its own.
A partition is a proxy for each side that refuses, or lets nothing through, towards the brokers of
the other side. The dice are those of the seed, the connection's number and the direction: the same
bytes are damaged in the same places. When pieces arrive is up to the machine.

Limits: a stream is bent, not packets: nothing is lost, reordered or doubled within a connection, as TCP
would not. What waits in here is bounded (`BUFFER_BYTES` a direction); who sends more must wait, so
that latency limits throughput to `BUFFER_BYTES` per `latency_s`.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from swarmdem.errors import ConfigError

BUFFER_BYTES = 2**18
"""Taken from a sender and not yet handed on, for each direction of a connection."""
READ_BYTES = 2**14
SLICE_S = 0.02
"""With a limited rate, bytes leave in slices of this length, so that a change is felt at once."""
CONNECT_S = 5.0

Direction = Literal["up", "down"]
"""`up` is towards the broker, `down` towards the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to the bytes of one direction."""

    latency_s: float = 0.0
    """Added to every byte's way."""
    jitter_s: float = 0.0
    """At most so much more, drawn for each piece; the order of bytes stays."""
    bytes_per_s: float | None = None
    """Rate; None: as fast as it goes."""
    corrupt: float = 0.0
    """Share of bytes that arrive changed."""
    blackhole: bool = False
    """Nothing passes. What was sent before the hole closes arrives afterwards, as TCP repeats it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if min(self.latency_s, self.jitter_s) < 0 or not 0 <= self.corrupt <= 1:
            raise ConfigError(f"{self}: times are at least 0, a share of bytes is 0 to 1")
        if self.bytes_per_s is not None and self.bytes_per_s <= 0:
            raise ConfigError(
                f"bytes_per_s = {self.bytes_per_s}: must be above 0; a black hole is `blackhole`"
            )


FINE = Weather()


class _Pipe:
    """One direction of one connection: a bounded queue between a reader and a writer."""

    def __init__(self, seed: str, weather: Weather) -> None:
        self.moved = 0
        self.dead = False
        """Half-open: bytes are taken and forgotten, and nobody is told."""
        self._delays = random.Random(f"{seed}/delays")
        self._damages = random.Random(f"{seed}/damages")
        self._weather = weather
        self._changed = asyncio.Event()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._ended = False
        self._until_damage = self._gap()

    def freeze(self) -> None:
        """Forget all bytes, those to come too."""
        self.dead = True
        self._changed.set()

    def set(self, weather: Weather) -> None:
        """Change what happens to bytes from here on, and whether those in the queue may leave."""
        before, self._weather = self._weather, weather
        if weather.corrupt != before.corrupt:
            self._until_damage = self._gap()
        self._changed.set()

    async def fill(self, reader: asyncio.StreamReader) -> None:
        """Take bytes from *reader* until it ends, waiting while the queue is full."""
        loop = asyncio.get_running_loop()
        while data := await reader.read(READ_BYTES):
            weather = self._weather
            due_s = loop.time() + weather.latency_s + self._delays.random() * weather.jitter_s
            self._queue.append((due_s, self._damaged(data)))
            self._queued += len(data)
            self._changed.set()
            while self._queued > BUFFER_BYTES:
                await self._change()
        self._ended = True
        self._changed.set()

    async def empty(self, writer: asyncio.StreamWriter) -> None:
        """Hand bytes on to *writer* when they are due; return after the last."""
        while self._queue or not self._ended:
            if self.dead and self._queue:
                self._queue.clear()
                self._queued = 0
                self._changed.set()
                continue
            if not self._queue or self._weather.blackhole:
                await self._change()
                continue
            due_s, data = self._queue[0]
            if (wait_s := due_s - asyncio.get_running_loop().time()) > 0:
                await self._change(wait_s)
                continue
            rate = self._weather.bytes_per_s
            size = len(data) if rate is None else max(1, int(rate * SLICE_S))
            piece, rest = data[:size], data[size:]
            if rest:
                self._queue[0] = (due_s, rest)
            else:
                self._queue.popleft()
            self._queued -= len(piece)
            self._changed.set()
            writer.write(piece)
            await writer.drain()
            self.moved += len(piece)
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)

    async def _change(self, at_most_s: float | None = None) -> None:
        """Wait until weather or queue change."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._changed.wait()

    def _gap(self) -> int:
        """Return how many bytes stay whole before the next that is damaged."""
        share = self._weather.corrupt
        return int(self._damages.expovariate(share)) if share else 0

    def _damaged(self, data: bytes) -> bytes:
        if not self._weather.corrupt:
            return data
        changed = bytearray(data)
        while self._until_damage < len(changed):
            changed[self._until_damage] ^= self._damages.randrange(1, 256)
            self._until_damage += 1 + self._gap()
        self._until_damage -= len(changed)
        return bytes(changed)


@dataclass(slots=True, eq=False)
class _Connection:
    """One peer's connection and ours to the broker for it."""

    up: _Pipe
    down: _Pipe
    peer: asyncio.StreamWriter
    broker: asyncio.StreamWriter | None = None
    tasks: set[asyncio.Task[bool]] = field(default_factory=set)

    def abort(self) -> None:
        """Break both sides with a reset."""
        for writer in (self.peer, self.broker):
            if writer is not None:
                _reset(writer)
        for task in self.tasks:
            task.cancel()


class FaultProxy:
    """A TCP proxy on a free port of this machine; an async context manager.

    Args:
        host: Where the broker is.
        port: Its port; both may be changed later (`target`), for connections to come.
        seed: Of jitter and damage.
        listen: Address to listen on.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0, listen: str = "127.0.0.1") -> None:
        self.target = (host, port)
        """Where new connections lead."""
        self.refusing = False
        """New connections are reset at once."""
        self.half_open = False
        """New connections are taken, and lead nowhere."""
        self.accepted = 0
        """Connections taken so far."""
        self._seed = seed
        self._listen = listen
        self._weather: dict[Direction, Weather] = {"up": FINE, "down": FINE}
        self._live: dict[_Connection, asyncio.Task[None]] = {}
        self._passed: dict[Direction, int] = {"up": 0, "down": 0}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, self._listen, 0, limit=2 * READ_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and break what is open."""
        assert self._server is not None
        self._server.close()
        tasks = list(self._live.values())
        self.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """What peers are given as their broker."""
        return f"mqtt://{self._listen}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._live)

    @property
    def passed(self) -> dict[Direction, int]:
        """Bytes handed on so far, by direction."""
        live = list(self._live)
        return {
            "up": self._passed["up"] + sum(each.up.moved for each in live),
            "down": self._passed["down"] + sum(each.down.moved for each in live),
        }

    def set(self, weather: Weather, direction: Direction | None = None) -> None:
        """Change the weather of one direction, or of both, for open connections and new ones."""
        for each in ("up", "down") if direction is None else (direction,):
            self._weather[each] = weather
            for connection in self._live:
                (connection.up if each == "up" else connection.down).set(weather)

    def reset(self) -> None:
        """Break every open connection with a TCP reset."""
        for connection in list(self._live):
            connection.abort()

    def freeze(self) -> None:
        """Make every open connection half-open: neither side is told, nothing arrives any more.

        Such a connection stays dead whatever comes; new ones are not touched (see `half_open`).
        """
        for connection in self._live:
            connection.up.freeze()
            connection.down.freeze()

    async def _serve(self, reader: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
        """Carry one connection from its beginning to its end."""
        number = self.accepted
        self.accepted += 1
        if self.refusing:
            _reset(peer)
            return
        up, down = (_Pipe(f"{self._seed}/{number}/{way}", self._weather[way]) for way in ("up", "down"))
        connection = _Connection(up, down, peer)
        task = asyncio.current_task()
        assert task is not None
        self._live[connection] = task
        try:
            if self.half_open:
                await _swallow(reader)
            else:
                await self._carry(connection, reader)
        except (OSError, TimeoutError, asyncio.CancelledError):  # cancelled: the proxy closes
            connection.abort()
        finally:
            del self._live[connection]
            self._passed["up"] += up.moved
            self._passed["down"] += down.moved
            await _close(peer)

    async def _carry(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        """Carry both directions until one side ends; a frozen connection until the peer gives up."""
        async with asyncio.timeout(CONNECT_S):
            answers, broker = await asyncio.open_connection(*self.target, limit=2 * READ_BYTES)
        connection.broker = broker
        up = asyncio.create_task(_carry_way(connection.up, reader, broker))
        down = asyncio.create_task(_carry_way(connection.down, answers, connection.peer))
        connection.tasks = {up, down}
        try:
            await asyncio.wait(connection.tasks, return_when=asyncio.FIRST_COMPLETED)
            if connection.up.dead:
                await asyncio.wait({up})
        finally:
            for task in connection.tasks:
                task.cancel()
            ends = await asyncio.gather(up, down, return_exceptions=True)
        for end in ends:
            if end is False:
                connection.abort()
            elif isinstance(end, Exception):
                raise end
        await _close(broker)


async def _carry_way(pipe: _Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Carry one direction until its sender ends it; False when the connection broke."""
    whole = True
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe.fill(reader))
            group.create_task(pipe.empty(writer))
    except* OSError:
        whole = False
    return whole


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(READ_BYTES):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, not an end."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
