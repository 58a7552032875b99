"""Measures the transfer of models between two peers, each in a process of its own.

For every size: a bare aiomqtt pair and our transfer by turns, after one of each that does not count; then
control messages both ways while models flow; then a transfer whose receiver is cut off at half, by a
proxy in this process. The chunk size of the bare pair is the best of `BARE_CHUNKS`.
"""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import typer

from swarmdem.apps.bench import tables
from swarmdem.apps.bench.processes import ANSWER_S, MeasurementError, Process, started
from swarmdem.apps.table import counted
from swarmdem.errors import ConfigError
from swarmdem.transport.brokers import start_broker
from swarmdem.transport.proxy import FaultProxy
from swarmdem.transport.settings import BrokerAddress

BARE_CHUNKS = (2**18, 2**20, 2**22)
ROLES = ("bare-take", "bare-give", "take", "give")
TRIAL_BYTES = 50_000_000
"""The bare pair's chunk size is chosen with blobs of at most this length."""
PINGS_S = 3.0
LOST_S = 20.0
"""A bare pair that takes longer has lost something: nobody asks again."""
WATCH_S = 0.001
SIZE_MOST_MB = 16_000

_COLUMNS = (
    ("size_mb", "MB", "{:.4g}"),
    ("bare_mb_s", "bare MB/s", "{:.0f}"),
    ("transfer_mb_s", "ours MB/s", "{:.0f}"),
    ("ratio", "ours/bare", "{:.2f}"),
    ("sender_peak_mb", "sender MB", "{:.0f}"),
    ("receiver_peak_mb", "receiver MB", "{:.0f}"),
    ("control_p50_ms", "control p50 ms", "{:.1f}"),
    ("control_p99_ms", "p99 ms", "{:.1f}"),
    ("cut_extra", "cut: extra", "{:.1%}"),
)
Row = dict[str, Any]


def read_sizes(text: str) -> tuple[int, ...]:
    """Return lengths in bytes, whole numbers of float32 values.

    Raises:
        ConfigError: *text* is no list of megabytes.
    """
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(0.01 <= size <= SIZE_MOST_MB for size in sizes):
        raise ConfigError(f"--sizes {text}: not megabytes from 0.01 to {SIZE_MOST_MB}, like 3.3,50,500")
    return tuple(int(size * 1e6) // 4 * 4 for size in sizes)


async def run(broker: str, sizes: Sequence[int], *, chunk: int, repeat: int, out: Path | None) -> list[Row]:
    """Measure each size, print a row for it, and write those that are there.

    Raises:
        ConfigError: The broker cannot be started or named like that, or *out* cannot be written.
    """
    if chunk % 65_536:
        raise ConfigError(f"--chunk {chunk}: not a multiple of 65536")
    tables.require_folder(out)
    async with _broker(broker) as (url, kind):
        typer.echo(f"broker {kind}; medians of {repeat}; chunks up to {chunk // 1024} KiB")
        typer.echo(tables.heading(_COLUMNS))
        rows: list[Row] = []
        for size in sizes:
            tables.announce(f"models of {size / 1e6:g} MB: {counted(repeat, 'transfer')}, control, a cut")
            row = await _measure(url, size, chunk, repeat)
            typer.echo(tables.line(_COLUMNS, row))
            rows.append(row)
            tables.write(out, {"broker": kind, "chunk_bytes": chunk, "repeat": repeat, "sizes": rows})
    return rows


@contextlib.asynccontextmanager
async def _broker(broker: str) -> AsyncIterator[tuple[str, str]]:
    if "://" in broker:
        address = BrokerAddress.parse(broker)
        try:
            _, writer = await asyncio.open_connection(address.host, address.port)
        except OSError as error:
            raise ConfigError(f"--broker {address}: {error.strerror or error}") from None
        writer.close()
        yield broker, str(address)
        return
    async with start_broker(broker) as made:
        yield made.url, made.kind


async def _measure(url: str, size: int, chunk: int, repeat: int) -> Row:
    row: Row = {"size_bytes": size, "size_mb": size / 1e6}
    async with contextlib.AsyncExitStack() as stack:
        *bare, taker, giver = [await stack.enter_async_context(started(role, url)) for role in ROLES]
        ours = (taker, giver)
        for each in bare:
            await each.hear()
        peers = [(await each.ask(size=size, chunk=chunk))["peer"] for each in ours]
        best = await _best_chunk(bare, size)
        times: dict[str, list[float]] = {"bare": [], "ours": []}
        for turn in range(repeat + 1):
            pair = [("bare", await _bare(bare, size, best)), ("ours", await _fetch(ours, peers, turn))]
            for name, took_s in pair if turn else []:
                times[name].append(took_s)
        row["bare_chunk_bytes"] = best
        row["bare_mb_s"] = size / 1e6 / statistics.median(times["bare"])
        row["transfer_mb_s"] = size / 1e6 / statistics.median(times["ours"])
        row["ratio"] = row["transfer_mb_s"] / row["bare_mb_s"]
        row["bare_s"], row["transfer_s"] = times["bare"], times["ours"]
        row |= await _control(ours, peers)
    return row | await _cut(url, size, chunk)


async def _best_chunk(bare: Sequence[Process], size: int) -> int:
    """Return the chunk size with which the bare pair is fastest."""
    trial = min(size, TRIAL_BYTES)
    times = {}
    for chunk in BARE_CHUNKS:
        with contextlib.suppress(MeasurementError):  # this broker takes no such chunks, or loses some
            times[chunk] = min([await _bare(bare, trial, chunk) for _ in range(3)])
    if not times:
        raise MeasurementError("the bare pair lost messages with every size of chunks")
    return min(times, key=lambda chunk: times[chunk])


async def _bare(bare: Sequence[Process], size: int, chunk: int) -> float:
    taker, giver = bare
    taker.say(size=size)
    began = await giver.ask(size=size, chunk=chunk)
    return float((await taker.hear(LOST_S))["ended_s"] - began["began_s"])


async def _fetch(ours: Sequence[Process], peers: Sequence[str], seed: int) -> float:
    """Let a new model be fetched; return the seconds from the order to the model, checked and usable."""
    taker, giver = ours
    model = (await giver.ask(do="make", seed=seed))["model"]
    took = await taker.ask(do="fetch", model=model, source=peers[1])
    return float(took["ended_s"] - took["began_s"])


async def _control(ours: Sequence[Process], peers: Sequence[str]) -> Row:
    """Send control messages both ways while models flow; also say what memory the ends have had."""
    taker, giver = ours
    for each in ours:
        await each.ask(do="told")
    model = (await giver.ask(do="make", seed=99))["model"]
    giver.say(do="ping", peer=peers[0], seconds=PINGS_S)
    await taker.ask(do="flow", model=model, source=peers[1], seconds=PINGS_S)
    await giver.hear()
    told = [await each.ask(do="told") for each in ours]
    delays = [delay for each in told for delay in each["delays_s"]]
    cuts = statistics.quantiles(delays, n=100)
    return {
        "control_p50_ms": cuts[49] * 1e3,
        "control_p99_ms": cuts[98] * 1e3,
        "control_messages": len(delays),
        "receiver_peak_mb": told[0]["peak_mb"],
        "sender_peak_mb": told[1]["peak_mb"],
    }


def through(url: str, proxy: FaultProxy) -> str:
    """Return *url*, account and TLS files included, with the proxy's place instead of the broker's."""
    parts = urlsplit(url)
    place = urlsplit(proxy.url).netloc
    account, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{account}{at}{place}"))


async def _cut(url: str, size: int, chunk: int) -> Row:
    """Cut both connections of the receiver when half has come; say what share was sent twice."""
    address = BrokerAddress.parse(url)
    async with (
        FaultProxy(address.host, address.port) as proxy,
        started("take", through(url, proxy)) as taker,
        started("give", url) as giver,
    ):
        peers = [(await each.ask(size=size, chunk=chunk))["peer"] for each in (taker, giver)]
        model = (await giver.ask(do="make", seed=1))["model"]
        taker.say(do="fetch", model=model, source=peers[1])
        before = proxy.passed["down"]
        async with asyncio.timeout(ANSWER_S):
            while proxy.passed["down"] - before < size / 2:  # noqa: ASYNC110 - a proxy tells nobody
                await asyncio.sleep(WATCH_S)
        proxy.reset()
        took = await taker.hear()
        sent = (await giver.ask(do="told"))["chunk_bytes"]
    return {"cut_extra": sent / size - 1, "cut_s": took["ended_s"] - took["began_s"]}
