"""The processes at the ends of a measured transfer, as the measuring one sees them."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from swarmdem.errors import SwarmError

ANSWER_S = 120.0
"""No single step takes longer, or something is wrong."""
END_S = 10.0


class MeasurementError(SwarmError):
    """An end of a transfer fell silent or ended."""


class Process:
    """One end; see `ends.py` for what it can be asked."""

    def __init__(self, role: str, process: asyncio.subprocess.Process) -> None:
        self._role = role
        self._process = process

    def say(self, **order: Any) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def hear(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            MeasurementError: There is none.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise MeasurementError(f"{self._role}: no answer within {timeout_s:g} s") from None
        if not line:
            raise MeasurementError(f"{self._role}: ended, see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and return its answer."""
        self.say(**order)
        return await self.hear()

    async def end(self) -> None:
        """Let it end, or make it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def started(role: str, url: str) -> AsyncIterator[Process]:
    """Run one end for as long as the block lasts."""
    process = Process(
        role,
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "swarmdem.apps.bench.ends", role, url,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
        ),
    )  # fmt: skip
    try:
        yield process
    finally:
        await process.end()
