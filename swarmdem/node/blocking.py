"""`BlockingPeer`: a `Peer` for applications without asyncio.

    with Peer.blocking(charter, learner, brokers=["mqtt://gateway.local"]) as peer:
        peer.run(rounds=20)

The peer lives on an event loop in a thread of its own; every method may be called from any thread.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import NDArray

from swarmdem.errors import MisuseError
from swarmdem.learning.learner import Learner
from swarmdem.node.counters import PeerCounters
from swarmdem.node.explaining import PeerEvent
from swarmdem.node.peer import Peer
from swarmdem.protocol.status import Status
from swarmdem.wire.charter import Charter

_T = TypeVar("_T")


class BlockingPeer:
    """The blocking twin of `Peer`; a context manager that takes what `Peer` takes."""

    def __init__(self, charter: Charter, learner: Learner, **settings: Any) -> None:
        self._peer = Peer(charter, learner, **settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()

    def __enter__(self) -> Self:
        """Connect and take part; raises what `Peer` raises."""
        if self._thread is not None:
            raise MisuseError("this peer ran already")
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="swarmdem-peer", daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the swarm; raises what broke the peer, unless that was raised before."""
        self._finish()
        failure = self._ended.exception()
        if kind is None and failure is not None:
            raise failure

    def run(self, rounds: int | None = None) -> None:
        """See `Peer.run`."""
        self._call(self._peer.run(rounds))

    def leave(self) -> None:
        """See `Peer.leave`."""
        self._finish()

    def events(self) -> Iterator[PeerEvent]:
        """Yield what happens from now on, until the peer stops; see `Peer.events`."""
        stream = self._call(self._stream())
        return iter(lambda: self._next(stream), None)

    @property
    def id(self) -> str:
        """The peer's id: 32 hex digits."""
        return self._peer.id

    @property
    def model(self) -> dict[str, NDArray[Any]]:
        """See `Peer.model`."""
        return self._peer.model

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """See `Peer.predict`."""
        return self._call(self._peer.predict(x))

    @property
    def counters(self) -> PeerCounters:
        """See `Peer.counters`."""
        return self._peer.counters

    def status(self) -> Status:
        """See `Peer.status`."""
        return self._call(self._status())

    async def _stream(self) -> AsyncIterator[PeerEvent]:
        return self._peer.events()

    def _next(self, stream: AsyncIterator[PeerEvent]) -> PeerEvent | None:
        async def read() -> PeerEvent | None:
            return await anext(stream, None)

        try:
            return self._call(read())
        except MisuseError:  # the loop has ended: what is left is there without waiting
            return asyncio.run(read())

    async def _status(self) -> Status:
        return self._peer.status()

    def _call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None or self._ended.done():
            coroutine.close()
            raise MisuseError("this peer does not run: use it inside `with`")
        try:
            call = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has closed, and its thread had no time yet to say so
            coroutine.close()
            raise MisuseError("this peer has stopped") from None
        try:
            both: list[Future[Any]] = [call, self._ended]
            wait(both, return_when=FIRST_COMPLETED)
            if not call.done() or call.cancelled():  # a loop that is ending takes nothing up any more
                coroutine.close()
                raise MisuseError("this peer has stopped")
            return call.result()
        finally:
            call.cancel()  # when the caller was interrupted

    def _finish(self) -> None:
        if self._loop is not None and self._stop is not None and not self._ended.done():
            with contextlib.suppress(RuntimeError):  # it has closed already
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()

    def _main(self, started: "Future[None]") -> None:
        try:
            asyncio.run(self._live(started))
        except BaseException as error:  # handed over to the thread that asked
            if started.done():
                self._ended.set_exception(error)
            else:
                self._ended.set_result(None)
                started.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _live(self, started: "Future[None]") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._peer:
            started.set_result(None)
            await self._stop.wait()
