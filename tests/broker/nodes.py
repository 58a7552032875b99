"""Brokers started from the files in broker/, on loopback, with ports and folders of the test."""

import asyncio
import contextlib
import os
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

BROKER = Path(__file__).parents[2] / "broker"
PATIENCE_S = 60.0


def free_ports(count: int) -> list[int]:
    """Return TCP ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def configuration(name: str, folder: Path, replacements: Mapping[str, str]) -> Path:
    """Write a copy of broker/NAME into *folder*; every text to be replaced must be there."""
    text = (BROKER / name).read_text()
    for old, new in replacements.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str | Path], port: int, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a broker until the block ends or somebody kills it; it accepts connections on *port*."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await _accepts(port):
                assert process.returncode is None, f"{command} ended with {process.returncode}"
                await asyncio.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def wait_until_healthy(places: Sequence[str]) -> None:
    """Return when every nats-server says that it is one of a cluster that works: *places* are of `-m`."""
    deadline = time.monotonic() + PATIENCE_S
    for place in places:
        while not _healthy(place):
            assert time.monotonic() < deadline, f"{place} is not healthy"
            time.sleep(0.05)


def _healthy(place: str) -> bool:
    try:
        with urllib.request.urlopen(f"{place}/healthz", timeout=PATIENCE_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
