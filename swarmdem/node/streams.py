"""Events on their way to the application: a bounded queue per listener.

When a listener falls behind, the oldest events are dropped and a `Degraded` says how many.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from swarmdem.node.explaining import PeerEvent
from swarmdem.protocol.events import Degraded

EVENTS_MAX = 1024


class EventStream(AsyncIterator[PeerEvent]):
    """One listener's events, until the peer has closed; raises what ended the peer, if anything."""

    def __init__(self) -> None:
        self._events: deque[PeerEvent] = deque(maxlen=EVENTS_MAX)
        self._dropped = 0
        self._something = asyncio.Event()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, event: PeerEvent) -> None:
        """Add an event."""
        self._dropped += len(self._events) == EVENTS_MAX
        self._events.append(event)
        self._something.set()

    def close(self, error: BaseException | None = None) -> None:
        """End the stream after what is queued."""
        self._closed, self._error = True, error or self._error
        self._something.set()

    async def __anext__(self) -> PeerEvent:
        """Return the next event."""
        while not self._events and not self._closed:
            self._something.clear()
            await self._something.wait()
        if self._dropped:
            count, self._dropped = self._dropped, 0
            what = f"{count} events were dropped because nobody read them in time"
            return Degraded(what, passing=True)
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration
