"""The fault proxy between a client and a server that notes what arrives."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from swarmdem.errors import ConfigError
from swarmdem.transport.proxy import BUFFER_BYTES, FINE, FaultProxy, Weather
from tests.transport.contract import until

SMALL_S = 0.05
"""Long enough for bytes that nothing holds back; waited only where nothing may come."""


class Echo:
    """A server that sends back what it gets, and remembers how its connections ended."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
            self.ends.put_nowait("end")
        except ConnectionError:
            self.ends.put_nowait("reset")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def echo_behind(seed: int = 0) -> AsyncIterator[tuple[Echo, FaultProxy]]:
    echo = Echo()
    async with await asyncio.start_server(echo.serve, "127.0.0.1", 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        async with FaultProxy("127.0.0.1", echo.port, seed=seed) as proxy:
            yield echo, proxy


@contextlib.asynccontextmanager
async def client_of(
    proxy: FaultProxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(SMALL_S):
            return not await reader.read(1)
    except TimeoutError:
        return True


async def test_bytes_pass_unchanged_both_ways_in_fine_weather():
    data = bytes(range(256)) * 4000
    async with echo_behind() as (echo, proxy), client_of(proxy) as (reader, writer):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert proxy.passed == {"up": len(data), "down": len(data)}
        writer.close()
        assert await echo.ends.get() == "end"


async def test_latency_is_added_to_an_open_connection():
    async with echo_behind() as (_, proxy), client_of(proxy) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.set(Weather(latency_s=0.1, jitter_s=0.02))
        began = time.monotonic()
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        assert time.monotonic() - began >= 0.2, "once up, once down"


async def test_one_direction_alone_can_be_slow():
    async with echo_behind() as (_, proxy), client_of(proxy) as (reader, writer):
        proxy.set(Weather(latency_s=30.0), "down")
        writer.write(b"abc")
        await until(lambda: proxy.passed["up"] == 3)
        assert await nothing_comes(reader)
        assert proxy.passed == {"up": 3, "down": 0}


async def test_a_limited_rate_takes_its_time():
    async with echo_behind() as (_, proxy), client_of(proxy) as (reader, writer):
        proxy.set(Weather(bytes_per_s=100_000), "up")
        began = time.monotonic()
        writer.write(bytes(20_000))
        await reader.readexactly(20_000)
        assert time.monotonic() - began >= 0.15, "the last slice of 20 ms need not be waited for"


async def test_a_black_hole_keeps_what_was_sent_until_it_closes():
    async with echo_behind() as (_, proxy), client_of(proxy) as (reader, writer):
        proxy.set(Weather(blackhole=True), "down")
        writer.write(b"before")
        assert await nothing_comes(reader)
        proxy.set(FINE)
        assert await reader.readexactly(6) == b"before"


async def test_a_sender_into_a_black_hole_must_wait():
    """What is taken in is bounded: proxy and sockets hold a part, the rest stays with the sender."""
    async with echo_behind() as (_, proxy), client_of(proxy) as (_, writer):
        proxy.set(Weather(blackhole=True), "up")
        writer.transport.set_write_buffer_limits(high=0)

        async def push() -> None:
            for _ in range(64):
                writer.write(bytes(BUFFER_BYTES))
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(push(), 0.5)
        assert proxy.passed["up"] == 0


async def test_a_reset_reaches_both_sides():
    async with echo_behind() as (echo, proxy), client_of(proxy) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert await echo.ends.get() == "reset"


async def test_while_refusing_a_connection_is_reset_at_once():
    async with echo_behind() as (_, proxy):
        proxy.refusing = True
        async with client_of(proxy) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        proxy.refusing = False
        async with client_of(proxy) as (reader, writer):
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"


async def test_a_frozen_connection_stays_half_open_and_a_new_one_works():
    async with echo_behind() as (echo, proxy), client_of(proxy) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.freeze()
        writer.write(b"lost")
        assert await nothing_comes(reader)
        assert echo.ends.empty(), "nobody is told"
        async with client_of(proxy) as (reader_2, writer_2):
            writer_2.write(b"b")
            assert await reader_2.readexactly(1) == b"b"
        assert await echo.ends.get() in {"end", "reset"}
        writer.close()
        assert await echo.ends.get() in {"end", "reset"}, "once the peer gives up, the broker learns of it"


async def test_a_half_open_proxy_accepts_and_leads_nowhere():
    async with echo_behind() as (echo, proxy):
        proxy.half_open = True
        async with client_of(proxy) as (reader, writer):
            writer.write(b"hello")
            await until(lambda: proxy.connections == 1)
            assert await nothing_comes(reader)
        assert echo.ends.empty()


async def damaged_places(seed: int, data: bytes) -> list[int]:
    async with echo_behind(seed) as (_, proxy):
        proxy.set(Weather(corrupt=0.001), "up")
        async with client_of(proxy) as (reader, writer):
            writer.write(data)
            back = await reader.readexactly(len(data))
    return [place for place, (sent, came) in enumerate(zip(data, back, strict=True)) if sent != came]


async def test_damage_follows_from_the_seed():
    data = bytes(100_000)
    places = await damaged_places(7, data)
    assert places == await damaged_places(7, data)
    assert places != await damaged_places(8, data)
    assert 60 <= len(places) <= 140, "a thousandth of the bytes"


async def test_a_new_target_is_for_new_connections():
    async with echo_behind() as (_, proxy), client_of(proxy) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        async with echo_behind() as (second, _):
            proxy.target = ("127.0.0.1", second.port)
            async with client_of(proxy) as (reader_2, writer_2):
                writer_2.write(b"b")
                assert await reader_2.readexactly(1) == b"b"
                writer_2.close()
                assert await second.ends.get() == "end"
            writer.write(b"c")
            assert await reader.readexactly(1) == b"c"


async def test_without_a_target_a_connection_is_reset():
    async with echo_behind() as (_, proxy):
        proxy.target = ("127.0.0.1", 1)
        async with client_of(proxy) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)


async def test_closing_breaks_what_is_open_even_in_a_black_hole():
    async with echo_behind() as (echo, proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.set(Weather(blackhole=True))
        writer.write(bytes(1000))
        await proxy.__aexit__(None, None, None)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert await echo.ends.get() == "reset"
        writer.transport.abort()
        await proxy.__aenter__()


@pytest.mark.parametrize("weather", [{"latency_s": -1.0}, {"corrupt": 1.5}, {"bytes_per_s": 0.0}])
def test_weather_that_cannot_be_is_refused(weather):
    with pytest.raises(ConfigError):
        Weather(**weather)
