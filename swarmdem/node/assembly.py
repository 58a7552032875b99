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
from swarmdem.learning.learner import Learner, Parameters, labels_of
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
    trainer = wanted.trainer or _own_trainer(stack)
    refuse_in_cells(wanted.charter, reach=wanted.reach, record=wanted.record is not None, site=wanted.site)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(trainer.training, wanted.strategy.check, wanted.learner)
    craft, initial = await _craft_of(wanted, trainer)
    charter, layout = craft.charter, craft.layout
    store = await _open_store(wanted, trainer, stack, on_event)
    on_identity(store.identity.peer)
    shelf = ModelShelf(trainer.pool)
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
        learner=wanted.learner, craft=craft, trainer=trainer, hooks=wanted.hooks,
        on_event=on_event if brokers is None else partial(_noticed, brokers, on_event),
        on_hello=None if brokers is None else brokers.heard,
        parts=None if wanted.state is None else Parts(wanted.state / "parts"),
    )  # fmt: skip
    stack.push_async_callback(driver.close)
    recorder = _recorder_of(wanted, stack, core, craft=craft, me=sealer.peer, shelf=shelf, trainer=trainer)
    for what in store.damage:
        _log.warning("state_damaged what=%s", what)
        on_event(Degraded(what, passing=True))
    started = Started(secrets.token_bytes(16), b"" if brokers is None else brokers.announcement)
    offer = ModelOffered(offered.name, offered.info.total_bytes, sketch, scale)
    _begin(wanted.begin, stack, lambda: _deliver_first(driver, started, offer, offered))
    return Assembled(charter, core, store, shelf, port, driver, recorder)


def _own_trainer(stack: AsyncExitStack) -> Trainer:
    trainer = Trainer()
    stack.callback(trainer.close)
    return trainer


async def _craft_of(wanted: Wanted, trainer: Trainer) -> tuple[Craft, Parameters]:
    """Return the arithmetic for the learner's model, with the charter completed, and that model."""
    loop = asyncio.get_running_loop()
    initial = await loop.run_in_executor(trainer.training, wanted.learner.parameters)
    labels = await loop.run_in_executor(trainer.training, labels_of, wanted.learner)
    layout = Layout(wanted.charter, wanted.strategy, initial)
    charter = msgspec.structs.replace(wanted.charter, schema=layout.wire)
    return Craft(charter, wanted.strategy, layout, labels), initial


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


def _recorder_of(
    wanted: Wanted, stack: AsyncExitStack, core: AnyCore, *, craft: Craft, me: PeerId, shelf: ModelShelf,
    trainer: Trainer,
) -> Recorder | None:  # fmt: skip
    """Return what writes the record that was asked for, if it was; a peer in cells has none."""
    if wanted.record is None or not isinstance(core, Core):
        return None
    recorder = Recorder(wanted.record, craft=craft, me=me, core=core, shelf=shelf, trainer=trainer)
    stack.push_async_callback(recorder.close)
    return recorder


def _begin(moment: asyncio.Event | None, stack: AsyncExitStack, begin: Callable[[], None]) -> None:
    """Begin now, or at the *moment* that was asked for."""
    if moment is None or moment.is_set():
        begin()
        return

    async def later() -> None:
        await moment.wait()
        begin()

    stack.push_async_callback(cancelled, asyncio.create_task(later()))


def _deliver_first(driver: Driver, started: Started, offer: ModelOffered, offered: Model) -> None:
    driver.deliver(started)
    driver.deliver(offer, offered)


def _noticed(brokers: Brokers, on_event: Callable[[NodeEvent], None], event: NodeEvent) -> None:
    if isinstance(event, Certified):
        brokers.certified(event.peers)
    on_event(event)
