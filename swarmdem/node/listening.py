"""Listens on the topics of blobs that several peers fetch at a time.

Subscribing waits for the broker, so a download goes on when that is done; where the broker refuses, the
source is asked for chunks of its own as before.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from swarmdem.errors import TransportError
from swarmdem.identifiers import ModelHash
from swarmdem.node.download import Download


class Listen(Protocol):
    """Begins to hear what is published to all who fetch a blob, or ceases to."""

    def __call__(self, blob: ModelHash, *, wanted: bool) -> Awaitable[None]:
        """Do so.

        Raises:
            TransportError: The broker does not let us.
        """


class Listening:
    """The blobs listened for; as many as there are downloads.

    Args:
        listen: Subscribes.
        ready: Called when a download listens, or is found to be deaf.
    """

    def __init__(self, listen: Listen, ready: Callable[[Download], None]) -> None:
        self._listen = listen
        self._ready = ready
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[ModelHash] = set()

    def begin(self, download: Download) -> None:
        """Listen for a blob; no more than once at a time."""
        if download.model not in self._begun:
            self._begun.add(download.model)
            self._start(self._subscribe(download))

    def stop(self, download: Download) -> None:
        """Listen for a blob no longer."""
        if download.model in self._begun:
            self._start(self._unsubscribe(download.model))

    def close(self) -> None:
        """Forget everything; the port closes soon."""
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _subscribe(self, download: Download) -> None:
        with contextlib.suppress(TransportError):
            await self._listen(download.model, wanted=True)
            download.listening = True
        self._ready(download)

    async def _unsubscribe(self, model: ModelHash) -> None:
        with contextlib.suppress(TransportError):
            await self._listen(model, wanted=False)
        self._begun.discard(model)
