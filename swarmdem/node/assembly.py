"""Puts the parts of a peer together when it starts, each with what takes it apart again.

Everything that may wait for the disk or for the learner runs in a worker thread.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from swarmdem.identifiers import PeerId
from swarmdem.learning.learner import Learner, labels_of
from swarmdem.learning.strategy import Strategy
from swarmdem.node.brokers import Brokers
from swarmdem.node.cells import AnyCore
from swarmdem.node.cells_start import core_of, port_of, refuse_in_cells
from swarmdem.node.craft import Craft
from swarmdem.node.driver import Driver, NodeEvent
from swarmdem.node.joining import Reach, brokers_of, cancelled
from swarmdem.node.layout import Layout
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.recording import Recorder
from swarmdem.node.resuming import Parts
from swarmdem.node.store import DirectoryStore, MemoryStore, Store
from swarmdem.node.trainer import Hooks, Trainer
from swarmdem.node.waiting import WaitingStore
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Certified, Degraded, ModelOffered, Started
from swarmdem.transport.base import Link, Port
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameReader, FrameSealer

_log = logging.getLogger("swarmdem.node.assembly")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a peer was asked to be made of; see `Peer` for what each means."""

    charter: Charter
    learner: Learner
    strategy: Strategy
    reach: Reach
    state: Path | None
    link: Link | None
    reader: FrameReader | None
    trainer: Trainer | None
    hooks: Hooks
    durable: bool
    record: Path | None
    capability: int
    site: str
    begin: asyncio.Event | None


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts, connected and ready to run."""

    charter: Charter
    """With its schema."""
    core: AnyCore
    store: Store
    shelf: ModelShelf
    port: Port
    driver: Driver
    recorder: Recorder | None


async def assemble(
    wanted: Wanted,
    stack: AsyncExitStack,
    *,
    on_identity: Callable[[PeerId], None],
    on_event: Callable[[NodeEvent], None],
) -> Assembled:
    """Make the parts of a peer; *stack* takes them apart.

    Args:
        wanted: What it is made of.
        stack: Ends what is begun here.
        on_identity: Told who this peer is, before its first event.
        on_event: Told what happens.

    Raises:
        KeyInUseError: Another running peer has this state directory.
        StoreError: The state directory cannot be used.
        SchemaError: The learner's model is not of the charter's schema.
        ConfigError: A broker cannot be used, hosted or looked for.
    """
    trainer = wanted.trainer
    if trainer is None:
        trainer = Trainer()
        stack.callback(trainer.close)
    refuse_in_cells(wanted.charter, reach=wanted.reach, record=wanted.record is not None, site=wanted.site)
    learner, loop = wanted.learner, asyncio.get_running_loop()
    await loop.run_in_executor(trainer.training, wanted.strategy.check, learner)
    initial = await loop.run_in_executor(trainer.training, learner.parameters)
    layout = Layout(wanted.charter, wanted.strategy, initial)
    charter = msgspec.structs.replace(wanted.charter, schema=layout.wire)
    store = await _open_store(wanted, trainer, stack, on_event)
    on_identity(store.identity.peer)
    shelf = ModelShelf(trainer.pool)
    labels = await loop.run_in_executor(trainer.training, labels_of, learner)
    craft = Craft(charter, wanted.strategy, layout, labels)
    offered, scale, sketch = await loop.run_in_executor(trainer.tensors, craft.offered, initial)
    offered = trainer.pool.shared(offered)
    layout.begin_with(offered)
    shelf.fill(await loop.run_in_executor(trainer.disk, store.load, layout.accepts))
    sealer = FrameSealer(store.identity, charter, store.session, reader=wanted.reader or FrameReader())
    core = core_of(charter, sealer, store.records, shelf, capability=wanted.capability, site=wanted.site)
    link, brokers = wanted.link, None
    if link is None:
        brokers = await brokers_of(
            stack, wanted.reach, me=sealer.peer, charter=charter, state=wanted.state, report=on_event
        )
        link = brokers.link
    port = await port_of(stack, link, charter, sealer, store.records)
    driver = Driver(
        core, sealer=sealer, port=port, store=store, shelf=shelf,
        learner=learner, craft=craft, trainer=trainer, hooks=wanted.hooks,
        on_event=on_event if brokers is None else partial(_noticed, brokers, on_event),
        on_hello=None if brokers is None else brokers.heard,
        parts=None if wanted.state is None else Parts(wanted.state / "parts"),
    )  # fmt: skip
    stack.push_async_callback(driver.close)
    recorder = None
    if wanted.record is not None and isinstance(core, Core):
        recorder = Recorder(
            wanted.record, craft=craft, me=sealer.peer, core=core, shelf=shelf, trainer=trainer
        )
        stack.push_async_callback(recorder.close)
    for what in store.damage:
        _log.warning("state_damaged what=%s", what)
        on_event(Degraded(what, passing=True))
    started = Started(secrets.token_bytes(16), b"" if brokers is None else brokers.announcement)
    offer = ModelOffered(offered.name, offered.info.total_bytes, sketch, scale)
    if wanted.begin is None or wanted.begin.is_set():
        _begin(driver, started, offer, offered)
    else:
        task = asyncio.create_task(_begin_at(wanted.begin, driver, started, offer, offered))
        stack.push_async_callback(cancelled, task)
    return Assembled(charter, core, store, shelf, port, driver, recorder)


async def _open_store(
    wanted: Wanted, trainer: Trainer, stack: AsyncExitStack, on_event: Callable[[NodeEvent], None]
) -> Store:
    if wanted.state is None:
        return MemoryStore()
    loop = asyncio.get_running_loop()
    opening = partial(DirectoryStore, wanted.state, durable=wanted.durable)
    store = WaitingStore(await loop.run_in_executor(trainer.disk, opening), trainer.disk, on_event)
    stack.push_async_callback(loop.run_in_executor, trainer.disk, store.close)
    stack.push_async_callback(cancelled, asyncio.create_task(store.run(), name="swarmdem.disk"))
    return store


def _begin(driver: Driver, started: Started, offer: ModelOffered, offered: Model) -> None:
    driver.deliver(started)
    driver.deliver(offer, offered)


async def _begin_at(
    begin: asyncio.Event, driver: Driver, started: Started, offer: ModelOffered, offered: Model
) -> None:
    await begin.wait()
    _begin(driver, started, offer, offered)


def _noticed(brokers: Brokers, on_event: Callable[[NodeEvent], None], event: NodeEvent) -> None:
    if isinstance(event, Certified):
        brokers.certified(event.peers)
    on_event(event)
