"""A store for a disk that may be full or read-only for a while: what it refuses waits in memory.

The peer goes on, says so, and the store tries again every few seconds and before it closes. Until all is
written, nothing may leave that must be on disk before it is on the wire: a peer that votes, forgets it in a
crash and votes otherwise would be worse than a silent one. `withholds` says which frames those are; the
core repeats what still stands, so they go out once there is room.

Bounded: of every record and slot only the last value waits. A crash meanwhile loses what waited, and nobody
was told of it.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from swarmdem.errors import StoreError
from swarmdem.node.models import Model
from swarmdem.node.store import Accepts, Store
from swarmdem.protocol.events import Degraded, Recovered, Slot
from swarmdem.wire.messages import (
    Ack,
    BlobOffer,
    BlobWant,
    Final,
    GroupSkip,
    Hello,
    Mean,
    Message,
    Offline,
    Ping,
    Refusal,
    Want,
)

_log = logging.getLogger("swarmdem.node.waiting")

RETRY_S = 2.0
"""Pause before the disk is tried again."""
FREE = (Hello, Offline, Ping, Refusal, Want, Ack, Mean, Final, GroupSkip, BlobWant, BlobOffer)
"""Kinds that promise nothing over a restart. All others wait: own digests, votes, skips, proposals, and
whatever may hold one of them (certificates, welcomes, bundles, summaries)."""


class WaitingStore:
    """A `Store` around another one that never fails while the peer runs; made on the event loop.

    Args:
        store: Writes to the disk.
        disk: The thread that waits for it.
        report: Told on the event loop when writing begins to fail, and when all is written.
    """

    def __init__(
        self,
        store: Store,
        disk: Executor,
        report: Callable[[Degraded | Recovered], None],
    ) -> None:
        self._store = store
        self._disk = disk
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._turn = threading.Lock()  # guards what follows, and is never held while the disk works
        self._records: dict[str, bytes] = {}
        self._slots: dict[Slot, Model] = {}
        self._trouble = ""
        self._failed = asyncio.Event()
        self.identity = store.identity
        self.session = store.session
        self.damage = store.damage
        self.in_memory = store.in_memory
        self.quick = store.quick

    @property
    def records(self) -> Mapping[str, bytes]:
        """The records in force on disk."""
        return self._store.records

    @property
    def behind(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._trouble)

    def withholds(self, message: Message) -> bool:
        """Return whether *message* must not leave now: what it promises may not be on disk."""
        return bool(self._trouble) and not isinstance(message, FREE)

    def write(self, records: Mapping[str, bytes]) -> None:
        """See `Store.write`; what the disk refuses waits."""
        if not self._waits(records, {}):
            try:
                self._store.write(records)
            except StoreError as error:
                self._wait(error, records, {})

    def save(self, models: Mapping[Slot, Model]) -> None:
        """See `Store.save`; what the disk refuses waits."""
        if not self._waits({}, models):
            try:
                self._store.save(models)
            except StoreError as error:
                self._wait(error, {}, models)

    def load(self, accepts: Accepts) -> dict[Slot, Model]:
        """See `Store.load`."""
        found = self._store.load(accepts)
        self.damage = self._store.damage
        return found

    async def run(self) -> None:
        """Try again for as long as something waits, until cancelled."""
        while True:
            await self._failed.wait()
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(StoreError):
                await self._loop.run_in_executor(self._disk, self._catch_up)

    def close(self) -> None:
        """Try once more, then release files and lock."""
        if self._trouble:
            try:
                self._catch_up()
            except StoreError as error:
                _log.warning("state_lost reason=%s", error)
        self._store.close()

    def _waits(self, records: Mapping[str, bytes], models: Mapping[Slot, Model]) -> bool:
        """Put these behind what waits already, if anything does: order matters."""
        with self._turn:
            if not self._trouble:
                return False
            self._records |= records
            self._slots |= models
            return True

    def _wait(self, error: StoreError, records: Mapping[str, bytes], models: Mapping[Slot, Model]) -> None:
        with self._turn:
            self._records = {**records, **self._records}
            self._slots = {**models, **self._slots}
            if self._trouble:
                return
            self._trouble = f"what this peer must keep cannot be written ({error}); it goes on in memory"
            self._tell(Degraded(self._trouble))
        _log.warning("disk_refuses reason=%s", error)

    def _catch_up(self) -> None:
        """Write what waits: models first, as records may name them.

        Raises:
            StoreError: The disk still refuses.
        """
        while True:
            with self._turn:
                records, slots = dict(self._records), dict(self._slots)
            if slots:
                self._store.save(slots)
            if records:
                self._store.write(records)
            with self._turn:
                # What changed meanwhile is written in the next turn.
                self._records = {k: v for k, v in self._records.items() if records.get(k) is not v}
                self._slots = {k: v for k, v in self._slots.items() if slots.get(k) is not v}
                if not self._records and not self._slots:
                    self._tell(Recovered(self._trouble))
                    self._trouble = ""
                    return

    def _tell(self, event: Degraded | Recovered) -> None:
        def tell() -> None:
            if isinstance(event, Degraded):
                self._failed.set()
            else:
                self._failed.clear()
            self._report(event)

        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody listens any more
            self._loop.call_soon_threadsafe(tell)
