"""Serves the blobs on the shelf and sends this peer's bulk messages, one at a time.

Wants of our own go first: they are small and keep others busy. Then whoever asked first is served:
the leaf hashes, then as many leaves as its credit says. Waiting for each publish is the
back-pressure: a slow broker slows the chunks down and nothing piles up here.

Bounds: `RECEIVERS_MAX` requests are open at once, each for at most `LEAVES_MAX` leaves; what
goes beyond is ignored and will be asked for again. A repeated request adds nothing that is
still queued.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from swarmdem.errors import TransportError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.node.models import Model, ModelShelf
from swarmdem.wire.blobs import CHUNK_LEAVES_MAX, encode_chunk, leaf_count
from swarmdem.wire.messages import BlobOffer, BlobWant

RECEIVERS_MAX = 1024
LEAVES_MAX = 256
"""Credit one request may hold: 16 MiB."""


class BulkSender(Protocol):
    """How messages and chunks leave."""

    async def message(self, receiver: PeerId, message: BlobWant | BlobOffer) -> None:
        """Sign and publish.

        Raises:
            TransportError: The link is down.
        """

    async def chunk(self, receiver: PeerId, chunk: bytes) -> None:
        """Publish a chunk.

        Raises:
            TransportError: The link is down.
        """


@dataclass(slots=True)
class _Request:
    model: Model
    chunk_leaves: int
    offer: bool = False
    leaves: dict[int, None] = field(default_factory=dict)
    """Leaves to send, in order."""

    def next_range(self) -> tuple[int, int]:
        """Take the first leaves that fit one chunk."""
        first = next(iter(self.leaves))
        stop = first
        while stop in self.leaves and stop - first < self.chunk_leaves:
            del self.leaves[stop]
            stop += 1
        return first, stop


class Uploads:
    """What one peer has to send on its bulk connection; `run` sends it."""

    def __init__(self, shelf: ModelShelf, sender: BulkSender, *, chunk_leaves: int) -> None:
        self._shelf = shelf
        self._sender = sender
        self._chunk_leaves = chunk_leaves
        self._messages: deque[tuple[PeerId, BlobWant | BlobOffer]] = deque(maxlen=RECEIVERS_MAX)
        self._requests: dict[tuple[PeerId, ModelHash], _Request] = {}
        self._something = asyncio.Event()

    def send(self, receiver: PeerId, message: BlobWant | BlobOffer) -> None:
        """Queue a message of our own, ahead of all chunks."""
        self._messages.append((receiver, message))
        self._something.set()

    def on_want(self, receiver: PeerId, want: BlobWant) -> None:
        """Queue what *receiver* asks for, or the answer that we do not hold it."""
        model = self._shelf.get(want.blob)
        if model is None:
            self.send(receiver, BlobOffer(want.blob, 0, b""))
            return
        key = (receiver, want.blob)
        request = self._requests.get(key)
        if request is None:
            if len(self._requests) >= RECEIVERS_MAX:
                return
            chunk_leaves = min(want.chunk_leaves, self._chunk_leaves, CHUNK_LEAVES_MAX)
            request = self._requests[key] = _Request(model, chunk_leaves)
        request.offer = request.offer or want.offer
        count = leaf_count(model.info.total_bytes)
        for start, stop in want.ranges:
            for leaf in range(start, min(stop, count, start + LEAVES_MAX)):
                if len(request.leaves) >= LEAVES_MAX:
                    break
                request.leaves[leaf] = None
        self._something.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._something.wait()
            await self.send_all()

    async def send_all(self) -> None:
        """Send what is queued; when the link is down, forget it."""
        try:
            while self._messages or self._requests:
                await self._send_next()
        except TransportError:
            # Whoever still wants something asks again when the link is back.
            self._messages.clear()
            self._requests.clear()
        self._something.clear()

    async def _send_next(self) -> None:
        if self._messages:
            receiver, message = self._messages.popleft()
            await self._sender.message(receiver, message)
            return
        (receiver, blob), request = next(iter(self._requests.items()))
        if request.offer:
            request.offer = False
            info = request.model.info
            await self._sender.message(receiver, BlobOffer(blob, info.total_bytes, info.leaves))
        elif request.leaves:
            first, stop = request.next_range()
            await self._sender.chunk(receiver, encode_chunk(blob, request.model.data, first, stop - first))
        else:
            del self._requests[receiver, blob]
