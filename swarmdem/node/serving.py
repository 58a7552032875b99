"""Serves the blobs on the shelf and sends this peer's bulk messages, one at a time.

Wants of our own go first: they are small and keep others busy. Then whoever asked first is served:
the leaf hashes, then as many leaves as its credit says. Waiting for each publish is the
back-pressure: a slow broker slows the chunks down and nothing piles up here. What several ask for at a
time is published once for all of them (`casting.py`).

Bounds: `RECEIVERS_MAX` requests are open at once, each for at most `LEAVES_MAX` leaves; what
goes beyond is ignored and will be asked for again. A repeated request adds nothing that is
still queued. `CASTS_MAX` blobs are remembered as asked for by several.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from swarmdem.errors import TransportError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.node import casting
from swarmdem.node.casting import Cast
from swarmdem.node.models import Model, ModelShelf
from swarmdem.wire import extensions
from swarmdem.wire.blobs import CHUNK_LEAVES_MAX, chunk_parts, leaf_count
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import BlobOffer, BlobWant

RECEIVERS_MAX = 1024
LEAVES_MAX = 256
"""Credit one request may hold: 16 MiB."""
CASTS_MAX = 16
HELD_UP_S = 0.01
"""Pause when all that is asked for waits for listeners, unless somebody asks for more."""
INVITED: Extensions = ((extensions.INVITATION, b""),)


class BulkSender(Protocol):
    """How messages and chunks leave."""

    async def message(self, receiver: PeerId, message: BlobWant | BlobOffer) -> None:
        """Sign and publish.

        Raises:
            TransportError: The link is down.
        """

    async def chunk(self, receiver: PeerId | None, blob: ModelHash, parts: tuple[bytes, memoryview]) -> None:
        """Publish a chunk of *blob*, its header and its leaves; for None to all who listen for the blob.

        Raises:
            TransportError: The link is down.
        """


@dataclass(slots=True)
class _Request:
    model: Model
    chunk_leaves: int
    offer: bool = False
    last: bool = False
    """The blob's last leaf was asked for."""
    held_until: float = 0.0
    """Its receiver was invited to listen: until then nothing is sent to it alone."""
    leaves: dict[int, None] = field(default_factory=dict)
    """Leaves to send, in order."""


class Uploads:
    """What one peer has to send on its bulk connection; `run` sends it."""

    def __init__(self, shelf: ModelShelf, sender: BulkSender, *, chunk_leaves: int) -> None:
        self._shelf = shelf
        self._sender = sender
        self._chunk_leaves = chunk_leaves
        self._messages: deque[tuple[PeerId, BlobWant | BlobOffer]] = deque(maxlen=RECEIVERS_MAX)
        self._requests: dict[tuple[PeerId, ModelHash], _Request] = {}
        self._casts: OrderedDict[ModelHash, Cast] = OrderedDict()
        self._something = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def send(self, receiver: PeerId, message: BlobWant | BlobOffer) -> None:
        """Queue a message of our own, ahead of all chunks."""
        self._messages.append((receiver, message))
        self._something.set()

    def on_want(self, receiver: PeerId, want: BlobWant) -> None:
        """Queue what *receiver* wants, or that we do not hold it."""
        model = self._shelf.get(want.blob)
        if model is None:
            self.send(receiver, BlobOffer(want.blob, 0, b""))
            return
        cast = self._cast_of(model)
        flag = extensions.entry(want.ext, extensions.LISTENING)
        if cast is not None:
            if want.offer:
                cast.begins(receiver)
            if cast.shared(receiver, self._loop.time()) and want.offer and flag is None:
                self._invite(cast, model, receiver)
                return
        request = self._request(receiver, want, model)
        if request is None:
            return
        request.offer = request.offer or want.offer
        request.last |= any(stop >= leaf_count(model.info.total_bytes) for _, stop in want.ranges)
        if cast is not None and flag is not None and len(cast.listeners) < RECEIVERS_MAX:
            leaves = cast.wants(receiver, want.ranges, self._loop.time(), again=flag == b"\1")
            request.leaves |= dict.fromkeys(leaves[: LEAVES_MAX - len(request.leaves)])
        else:
            if cast is not None:
                cast.listeners.pop(receiver, None)
            count = leaf_count(model.info.total_bytes)
            for start, stop in want.ranges:
                room = LEAVES_MAX - len(request.leaves)
                request.leaves |= dict.fromkeys(range(start, min(stop, count, start + max(0, room))))
        self._something.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._something.wait()
            await self.send_all()

    async def send_all(self) -> None:
        """Send what is queued; when the link is down, forget it."""
        self._something.clear()
        try:
            while self._messages or self._requests:
                await self._send_next()
        except TransportError:
            # Whoever still wants something asks again when the link is back.
            self._messages.clear()
            self._requests.clear()

    def _request(self, receiver: PeerId, want: BlobWant, model: Model) -> _Request | None:
        key = (receiver, want.blob)
        request = self._requests.get(key)
        if request is None:
            if len(self._requests) >= RECEIVERS_MAX:
                return None
            request = self._requests[key] = _Request(model, 1)
        request.chunk_leaves = min(want.chunk_leaves, self._chunk_leaves, CHUNK_LEAVES_MAX)
        return request

    # Several receivers

    def _cast_of(self, model: Model) -> Cast | None:
        if model.info.total_bytes < casting.LEAST_BYTES:
            return None
        cast = self._casts.setdefault(model.name, Cast(leaf_count(model.info.total_bytes)))
        self._casts.move_to_end(model.name)
        while len(self._casts) > CASTS_MAX:
            self._casts.popitem(last=False)
        return cast

    def _invite(self, cast: Cast, model: Model, receiver: PeerId) -> None:
        """Ask *receiver*, and whoever is still served alone, to listen; it will ask again."""
        now = self._loop.time()
        alone = {
            peer: request
            for (peer, blob), request in self._requests.items()
            if blob == model.name and not cast.listens(peer) and not request.held_until
        }
        for request in alone.values():
            request.offer, request.held_until = False, now + casting.GATHER_MOST_S
        for peer in (receiver, *alone):
            self.send(peer, BlobOffer(model.name, model.info.total_bytes, model.info.leaves, INVITED))
        cast.invite(now)

    async def _send_next(self) -> None:
        if self._messages:
            receiver, message = self._messages.popleft()
            await self._sender.message(receiver, message)
            return
        now = self._loop.time()
        for (receiver, blob), request in tuple(self._requests.items()):
            info = request.model.info
            if request.offer:
                request.offer = False
                await self._sender.message(receiver, BlobOffer(blob, info.total_bytes, info.leaves))
                return
            cast = self._casts.get(blob)
            if not request.leaves:
                del self._requests[receiver, blob]
                if cast is not None and request.last:
                    cast.ends(receiver)
                return
            if cast is None or not cast.listens(receiver):
                if request.held_until <= now:
                    await self._chunk(receiver, blob, request, lambda _: True)
                    return
            elif cast.starts_at <= now and await self._cast(receiver, blob, request, cast, now):
                return
        self._something.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELD_UP_S):
                await self._something.wait()

    async def _cast(
        self, receiver: PeerId, blob: ModelHash, request: _Request, cast: Cast, now: float
    ) -> bool:
        """Send the next leaves that a listener wants, to all or to it alone; False: they must wait."""
        leaf = next(iter(request.leaves))
        others = [
            other for (peer, name), other in self._requests.items() if name == blob and cast.listens(peer)
        ]
        lacking = sum(leaf in other.leaves for other in others)
        if not (cast.is_new(leaf) or cast.missed(leaf) or lacking >= casting.REPAIR_ALL):
            await self._chunk(receiver, blob, request, lambda each: not cast.is_new(each))
            return True
        if not cast.may_publish(leaf, now):
            return False
        new = cast.is_new(leaf)
        smallest = min(other.chunk_leaves for other in others)
        first, stop = _take(request, smallest, lambda each: cast.is_new(each) == new)
        cast.publish(first, stop)
        for other in others:
            for each in range(first, stop):
                other.leaves.pop(each, None)
        await self._sender.chunk(None, blob, chunk_parts(blob, request.model.data, first, stop - first))
        await asyncio.sleep(0)
        return True

    async def _chunk(
        self, receiver: PeerId, blob: ModelHash, request: _Request, belongs: Callable[[int], bool]
    ) -> None:
        first, stop = _take(request, request.chunk_leaves, belongs)
        cast = self._casts.get(blob)
        if cast is not None and not cast.listens(receiver):
            cast.send_alone(receiver, first, stop)
        await self._sender.chunk(receiver, blob, chunk_parts(blob, request.model.data, first, stop - first))
        await asyncio.sleep(0)  # it leaves while the next is put together


def _take(request: _Request, most: int, belongs: Callable[[int], bool]) -> tuple[int, int]:
    """Take the first leaves of a request that fit one chunk; all *belongs* to."""
    first = stop = next(iter(request.leaves))
    while stop in request.leaves and stop - first < most and belongs(stop):
        del request.leaves[stop]
        stop += 1
    return first, stop
