"""One peer by itself: how soon after its launch it takes part, and what memory it holds while it waits."""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from swarmdem.apps.accounting import pss_bytes
from swarmdem.apps.bench.processes import MeasurementError
from swarmdem.apps.crew import worker_environment

SETTLE_S = 2.0
"""Before the memory of an idle peer is read."""
WAIT_S = 60.0
"""Longest wait for a line."""


async def measured(url: str, data: str, model: str, launches: int) -> dict[str, Any]:
    """Return `ready_s`, the median of some launches, and `idle_pss_mb`, after the last one's first round.

    Args:
        url: A broker.
        data: As of `swarmdem peer`.
        model: `softmax` (numpy) or a torch network.
        launches: Each with a state folder of its own.

    Raises:
        MeasurementError: There is no charter for it, or the peer ended or fell silent.
    """
    with TemporaryDirectory(prefix="swarmdem-bench-") as folder:
        charter = Path(folder) / "charter.toml"
        async with _started(
            "charter", str(charter), "--swarm", "bench", "--model", model, "--data", data, "--founders", "1",
            "--patience", "2",
        ) as writing:  # fmt: skip
            if await writing.wait():
                raise MeasurementError(f"the charter of a peer with model {model} was not written, see above")
        ready: list[float] = []
        for number in range(launches):
            begun_s = time.perf_counter()
            async with _started(
                "peer", "--charter", str(charter), "--broker", url, "--data", data, "--model", model,
                "--state", str(Path(folder) / str(number)),
            ) as peer:  # fmt: skip
                await _line_with(peer, "peer ")
                ready.append(time.perf_counter() - begun_s)
                if number == launches - 1:
                    await _line_with(peer, "round 1:")
                    await asyncio.sleep(SETTLE_S)
                    idle = pss_bytes(peer.pid)
    return {"model": model, "ready_s": statistics.median(ready), "launches": ready, "idle_pss_mb": idle / 1e6}


@contextlib.asynccontextmanager
async def _started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "swarmdem", *arguments, stdout=asyncio.subprocess.PIPE,
        env=worker_environment(),
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _line_with(process: asyncio.subprocess.Process, words: str) -> None:
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            async for line in process.stdout:
                if words.encode() in line:
                    return
    raise MeasurementError(f"a peer by itself did not say {words.strip()!r} within {WAIT_S:g} s, see above")
