"""A peer in cells: what it hears and fetches under each of its charters, and what it tells of it.

In a flat swarm a peer has one charter and one set of topics. In cells the core says under which charters
to listen (`events.Enter`, `events.Leave`): the whole swarm's, the cell's and, while the peer speaks for its
cell, the region's. Each has topics of its own, so that a broker or a bridge passes on only what somebody
beyond it needs; models move under the charter that the core names (`events.Fetch.scope`).

Limits: the last will is said in the cell that the peer was in when it connected. Whoever enters a cell after
that has none there until it is started again, and is missed by its silence alone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from swarmdem.errors import ForeignFrameError, TransportError
from swarmdem.identifiers import CellId, ModelHash
from swarmdem.node.bulk import Bulk
from swarmdem.protocol.cells.charters import limit_of, scopes_of
from swarmdem.protocol.cells.core import CellCore
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Degraded, Enter, Event, Fetch, Leave
from swarmdem.protocol.reports import Readable
from swarmdem.transport.base import Arrival, Port
from swarmdem.wire import topics
from swarmdem.wire.cells import CELL, REGION, cell_settings
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer, scope_in
from swarmdem.wire.frame import Frame

_log = logging.getLogger("swarmdem.node.cells")

RETRY_S = 2.0
"""Pause before a subscription that was refused is asked for again."""

ENTERING = 1 / 8
"""Share of a charter's patience for which its subscriptions are waited for, before the peer goes on."""

AnyCore = Core | CellCore
"""The protocol of a peer, in a flat swarm or in cells."""


@dataclass(frozen=True, slots=True)
class CellEntered(Readable):
    """This peer is in a cell from now on; a node's own event."""

    cell: CellId


@dataclass(frozen=True, slots=True)
class SpeakingChanged(Readable):
    """This peer speaks for its cell from now on, or no more; a node's own event."""

    speaks: bool


@dataclass(frozen=True, slots=True)
class InRegion(Readable):
    """Something happened in the region, where this peer speaks for its cell; a node's own event."""

    event: Event


CellEvent = CellEntered | SpeakingChanged | InRegion


class MakeBulk(Protocol):
    """Makes what fetches and serves under one charter."""

    def __call__(self, *, charter: Charter, sealer: FrameSealer) -> Bulk:
        """Return it."""


class CellBulk:
    """The models that one peer in cells fetches and serves, under each of its charters.

    A model is fetched under one charter at a time: a later order under another one takes its place.

    Args:
        make: Makes what fetches and serves under one charter.
    """

    def __init__(self, make: MakeBulk) -> None:
        self.downloads = self
        self._make = make
        self._bulks: dict[bytes, Bulk] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Send what is to be sent, until cancelled."""
        running: dict[Bulk, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                wanted = set(self._bulks.values())  # not scopes: one left and entered again has a new bulk
                for bulk in running.keys() - wanted:
                    running.pop(bulk).cancel()
                for bulk in wanted - running.keys():
                    running[bulk] = tasks.create_task(bulk.run(), name="swarmdem.upload")
                await self._changed.wait()

    def enter(self, charter: Charter, sealer: FrameSealer) -> None:
        """Fetch and serve under *charter* too."""
        scope = scopes_of(charter)[0]
        if scope not in self._bulks:
            self._bulks[scope] = self._make(charter=charter, sealer=sealer)
            self._changed.set()

    def leave(self, charter: Charter) -> None:
        """Forget what is fetched under *charter*, and serve there no more."""
        bulk = self._bulks.pop(scopes_of(charter)[0], None)
        if bulk is not None:
            bulk.close()
            self._changed.set()

    def took(self, arrival: Arrival) -> bool:
        """See `Bulk.took`."""
        level = topics.scope_of(arrival.topic)
        bulks = (bulk for scope, bulk in self._bulks.items() if topics.scope_level(scope) == level)
        return any(bulk.took(arrival) for bulk in bulks)

    def on_frame(self, frame: Frame) -> None:
        """See `Bulk.on_frame`."""
        bulk = self._bulks.get(frame.scope)
        if bulk is not None:
            bulk.on_frame(frame)

    def fetch(self, order: Fetch) -> None:
        """See `Downloads.fetch`."""
        bulk = self._bulks.get(order.scope)
        if bulk is None:
            _log.debug("fetch_dropped model=%s: its charter was left", order.model.hex())
            return
        for other in self._bulks.values():
            if other is not bulk:
                other.downloads.stop(order.model)
        bulk.downloads.fetch(order)

    def stop(self, model: ModelHash) -> None:
        """See `Downloads.stop`."""
        for bulk in self._bulks.values():  # at most three
            bulk.downloads.stop(model)

    def link_changed(self, *, up: bool) -> None:
        """See `Downloads.link_changed`."""
        for bulk in self._bulks.values():
            bulk.downloads.link_changed(up=up)

    def close(self) -> None:
        """Forget all downloads."""
        for bulk in self._bulks.values():
            bulk.close()


class Earshot:
    """What one peer in cells listens to.

    Args:
        sealer: Signs for this peer and opens what others signed, under whatever charter.
        port: Subscribes.
        bulk: Told of every charter.
        report: Takes what there is to tell.
    """

    def __init__(
        self,
        *,
        sealer: FrameSealer,
        port: Port,
        bulk: CellBulk,
        report: Callable[[CellEvent | Degraded], None],
    ) -> None:
        self._sealer = sealer
        self._port = port
        self._bulk = bulk
        self._report = report
        self._openers: dict[bytes, FrameSealer] = {}
        self._wanted: dict[tuple[str, bool], None] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def open(self, payload: bytes) -> Frame:
        """Verify and decode what arrived.

        Raises:
            WireError: It is not a well-formed, correctly signed frame under one of this peer's charters.
        """
        opener = self._openers.get(scope_in(payload))
        if opener is None:
            raise ForeignFrameError("frame of another swarm, or of a cell that was left")
        return opener.open(payload)

    async def perform(self, order: Enter | Leave, retained: Collection[str]) -> set[str]:
        """Listen as *order* says.

        Args:
            order: The core's.
            retained: Topics on which this peer left something with the broker.

        Returns:
            Those of them that are of a charter that was left.
        """
        if isinstance(order, Enter):
            await self._enter(order)
            return set()
        await self._leave(order)
        levels = {topics.scope_level(scope) for scope in scopes_of(order.charter)}
        return {topic for topic in retained if topics.scope_of(topic) in levels}

    def close(self) -> None:
        """Ask for nothing again."""
        for task in self._asking:
            task.cancel()

    async def _enter(self, order: Enter) -> None:
        """Listen as *order* says, and tell of a cell entered or spoken for."""
        charter = order.charter
        fresh = scopes_of(charter)[0] not in self._openers
        if fresh:
            sealer = self._sealer.under(charter)
            self._openers |= dict.fromkeys(scopes_of(charter), sealer)
            self._bulk.enter(charter, sealer)
            self._tell(charter, entered=True)
        to_all = _to_all(charter)
        wanted = [*self._own(charter), *((pattern, False) for pattern in to_all if order.to_all)]
        await self._subscribe(wanted, within_s=charter.patience * ENTERING)
        if not order.to_all:
            for pattern in to_all:
                await self._unsubscribe(pattern)

    async def _leave(self, order: Leave) -> None:
        """Listen under a charter no more."""
        charter = order.charter
        if scopes_of(charter)[0] not in self._openers:
            return
        for scope in scopes_of(charter):
            self._openers.pop(scope, None)
        self._bulk.leave(charter)
        self._tell(charter, entered=False)
        for pattern, bulk in self._own(charter):
            await self._unsubscribe(pattern, bulk=bulk)
        for pattern in _to_all(charter):
            await self._unsubscribe(pattern)

    def _tell(self, charter: Charter, *, entered: bool) -> None:
        settings = cell_settings(charter.ext)
        if settings is not None and settings.kind == CELL and entered:
            self._report(CellEntered(settings.cell))
        elif settings is not None and settings.kind == REGION:
            self._report(SpeakingChanged(entered))

    def _own(self, charter: Charter) -> Iterator[tuple[str, bool]]:
        """Yield the patterns of what is said to this peer alone, with whether it is bulk."""
        me, (scope, swarm) = self._sealer.peer, scopes_of(charter)
        yield topics.inbox_all(scope, me), False
        yield topics.inbox_all(swarm, me), False
        yield topics.bulk_all(scope, me), True

    async def _subscribe(self, wanted: Iterable[tuple[str, bool]], *, within_s: float) -> None:
        """Ask for all that is *wanted* at once; what is not answered in time is asked for on the side.

        Whoever waits for this decides nothing meanwhile, and a broker that does not answer takes long.
        """
        fresh = [each for each in wanted if each not in self._wanted]
        self._wanted |= dict.fromkeys(fresh)
        asking = [self._on_the_side(self._ask(pattern, bulk=bulk)) for pattern, bulk in fresh]
        if asking:
            answered, _ = await asyncio.wait(asking, timeout=within_s)
            for task in answered:
                task.result()

    def _on_the_side(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="swarmdem.subscribe")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, pattern: str, *, bulk: bool) -> None:
        """Ask for a pattern, and on the side for one that is refused again."""
        try:
            await self._port.subscribe(pattern, bulk=bulk)
        except TransportError as error:
            self._report(Degraded(str(error), passing=True))
            self._on_the_side(self._ask_again(pattern, bulk=bulk))
        else:
            await self._drop_unwanted(pattern, bulk=bulk)

    async def _ask_again(self, pattern: str, *, bulk: bool) -> None:
        """Ask for what was refused until it is granted, or not wanted any more."""
        while (pattern, bulk) in self._wanted:
            await asyncio.sleep(RETRY_S)
            if (pattern, bulk) not in self._wanted:
                return
            with contextlib.suppress(TransportError):
                await self._port.subscribe(pattern, bulk=bulk)
                await self._drop_unwanted(pattern, bulk=bulk)
                return

    async def _drop_unwanted(self, pattern: str, *, bulk: bool) -> None:
        """Take back what was granted only after it was not wanted any more."""
        if (pattern, bulk) not in self._wanted:
            await self._port.unsubscribe(pattern, bulk=bulk)

    async def _unsubscribe(self, pattern: str, *, bulk: bool = False) -> None:
        if (pattern, bulk) in self._wanted:
            del self._wanted[pattern, bulk]
            await self._port.unsubscribe(pattern, bulk=bulk)


def channels(
    make: MakeBulk,
    charter: Charter,
    sealer: FrameSealer,
    port: Port,
    report: Callable[[CellEvent | Degraded], None],
) -> tuple[Bulk | CellBulk, Earshot | None]:
    """Return what a peer fetches and serves with, and in cells what it listens with."""
    if not limit_of(charter):
        return make(charter=charter, sealer=sealer), None
    bulk = CellBulk(make)
    return bulk, Earshot(sealer=sealer, port=port, bulk=bulk, report=report)


def _to_all(charter: Charter) -> tuple[str, str]:
    """Return the patterns of what is said to everybody under *charter*: greetings, and all else."""
    return topics.hello_all(charter.swarm), topics.everyone_all(scopes_of(charter)[0])
