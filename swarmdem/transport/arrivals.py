"""The bounded queue between a link and one port's reader.

Two lanes, so that a flood of model chunks never hides or displaces control messages: control is
read first. A lane that is full drops its oldest arrival and counts it. Changes of the link's
state are read before anything else and are never dropped; of many unread ones only the last two
are kept (the last change, and that there was one).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Protocol

from swarmdem.transport.base import Arrival, Counters, LinkState

FAIR_SHARE = 64
"""Arrivals a reader may take in one go before other tasks get their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What each lane of a port may hold unread."""

    messages: int = 8192
    """A round of 100 peers is about 1,700 control frames (17 frames a peer and round)."""
    size_bytes: int = 64 * 2**20
    """Payload bytes; co-hosted ports share one payload object, so the process holds it once."""


class Inbox(Protocol):
    """Where a link leaves what came for one port. Nothing here may raise or block."""

    def put(self, arrival: Arrival, *, bulk: bool = False) -> None:
        """Take a message."""

    def put_state(self, state: LinkState) -> None:
        """Take the link's new state."""

    def close(self) -> None:
        """Nothing more will come."""


class _Lane:
    """Arrivals of one connection, oldest first."""

    def __init__(self, limits: QueueLimits) -> None:
        self.waiting: deque[Arrival] = deque()
        self._limits = limits
        self._size_bytes = 0

    def put(self, arrival: Arrival) -> int:
        """Append *arrival*; return how many had to go for it."""
        self.waiting.append(arrival)
        self._size_bytes += len(arrival.payload)
        dropped = 0
        while len(self.waiting) > self._limits.messages or self._size_bytes > self._limits.size_bytes:
            self.get()
            dropped += 1
        return dropped

    def get(self) -> Arrival:
        arrival = self.waiting.popleft()
        self._size_bytes -= len(arrival.payload)
        return arrival


class ArrivalQueue:
    """What one port has yet to read. One reader."""

    def __init__(self, counters: Counters, limits: QueueLimits, state: LinkState) -> None:
        self._counters = counters
        self._control = _Lane(limits)
        self._bulk = _Lane(limits)
        self._states: deque[LinkState] = deque(maxlen=2)
        self._state = state
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, arrival: Arrival, *, bulk: bool = False) -> None:
        """Append *arrival* and count it as received."""
        if self._closed:
            return
        self._counters.messages_received += 1
        self._counters.bytes_received += len(arrival.topic) + len(arrival.payload)
        self._counters.dropped += (self._bulk if bulk else self._control).put(arrival)
        self._wake.set()

    def put_state(self, state: LinkState) -> None:
        """Tell the reader that the link came up or went down."""
        self._state = state
        full = len(self._states) == self._states.maxlen
        if full and self._states[0].joined and state.up:
            state = replace(state, joined=True)  # that somebody joined is never forgotten
        self._states.append(state)
        self._wake.set()

    def close(self) -> None:
        """End `items`; what is unread is forgotten."""
        self._closed = True
        self._wake.set()

    async def items(self) -> AsyncIterator[Arrival | LinkState]:
        """Yield the link's state as it is now, then everything that comes, until closed."""
        self._states.clear()
        yield self._state
        in_one_go = 0
        while not self._closed:
            if self._states:
                yield self._states.popleft()
            elif self._control.waiting:
                yield self._control.get()
            elif self._bulk.waiting:
                yield self._bulk.get()
            else:
                self._wake.clear()
                await self._wake.wait()
                in_one_go = 0
                continue
            in_one_go += 1
            if in_one_go == FAIR_SHARE:
                in_one_go = 0
                await asyncio.sleep(0)
