"""Back-pressure towards a broker: how much may be handed over and not yet acknowledged.

Whoever wants to send beyond the limits waits in line. One window belongs to one connection; it
is closed when that connection is lost and never used again.
"""

import asyncio
from collections import deque

from swarmdem.errors import TransportError


class SendWindow:
    """Messages and bytes on their way to the broker."""

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        self.messages = 0
        self.size_bytes = 0
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._line: deque[asyncio.Future[None]] = deque()
        self._lost: str | None = None

    async def take(self, size_bytes: int) -> None:
        """Wait until *size_bytes* more may be sent. A message above the limit goes when it is alone.

        Raises:
            TransportError: The connection was lost.
        """
        if self._line or not self._fits(size_bytes):
            await self._wait(size_bytes)
        if self._lost is not None:
            raise TransportError(self._lost)
        self.messages += 1
        self.size_bytes += size_bytes

    async def empty(self) -> None:
        """Wait until everything is acknowledged or given up; nothing more may be sent afterwards.

        Raises:
            TransportError: The connection was lost.
        """
        await self.take(self._bytes_max)

    def try_take(self, size_bytes: int) -> bool:
        """Do what `take` does if that needs no waiting; False: nothing was done."""
        if self._line or self._lost is not None or not self._fits(size_bytes):
            return False
        self.messages += 1
        self.size_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Note that a message of *size_bytes* was acknowledged or given up."""
        self.messages -= 1
        self.size_bytes -= size_bytes
        self._call_next()

    def close(self, reason: str) -> None:
        """The connection is lost: everybody in line gets a TransportError."""
        self._lost = reason
        self._call_next()

    def _fits(self, size_bytes: int) -> bool:
        if self._lost is not None or self.messages == 0:
            return True
        return self.messages < self._messages_max and self.size_bytes + size_bytes <= self._bytes_max

    async def _wait(self, size_bytes: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            if self._line[0] is not turn:
                await turn
            while not self._fits(size_bytes):
                turn = self._line[0] = asyncio.get_running_loop().create_future()
                await turn
        finally:
            self._line.remove(turn)
            self._call_next()

    def _call_next(self) -> None:
        """Let the first in line look again."""
        if self._line and not self._line[0].done():
            self._line[0].set_result(None)
