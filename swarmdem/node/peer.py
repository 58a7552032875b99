"""`Peer`: one member of a swarm, as an application holds it.

    async with Peer(Charter(swarm="plant-7"), learner, brokers=["mqtt://gateway.local"]) as peer:
        async for event in peer.events():
            ...

Entering starts everything, leaving says goodbye and stops it. Nothing here installs a signal handler,
prints, or ends the process; `swarmdem.*` loggers say what happens.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import CharterMismatchError, ConfigError, KeyInUseError, MisuseError, SwarmError
from swarmdem.identifiers import ModelHash, PeerId, Round, brief
from swarmdem.learning.learner import Learner
from swarmdem.learning.strategy import Deployment, Strategy
from swarmdem.node.assembly import Wanted, assemble
from swarmdem.node.chronicle import Chronicle
from swarmdem.node.counters import PeerCounters
from swarmdem.node.driver import Driver, NodeEvent
from swarmdem.node.joining import Reach, cancelled
from swarmdem.node.journal import PART_BYTES
from swarmdem.node.models import Model
from swarmdem.node.parts import Running, strategy_for
from swarmdem.node.recording import Recorder
from swarmdem.node.streams import EventStream
from swarmdem.node.trainer import Hooks, Trainer
from swarmdem.node.troubles import PeerStatus
from swarmdem.protocol.conduct import HIGHEST, ORDINARY
from swarmdem.protocol.events import Certified, CharterRefused, KeyRefused, RoundFinished
from swarmdem.protocol.status import RoundRecord
from swarmdem.transport.base import Link
from swarmdem.transport.settings import BrokerAddress, MqttSettings
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameReader
from swarmdem.wire.messages import Plan

if TYPE_CHECKING:
    from swarmdem.node.blocking import BlockingPeer

_log = logging.getLogger("swarmdem.node.peer")
logging.getLogger("swarmdem").addHandler(logging.NullHandler())  # silent until the application logs

GOODBYE_S = 5.0
"""Longest wait for a broker to take the goodbye."""


class Peer:
    """One peer of a swarm; an async context manager.

    Args:
        charter: What all peers of the swarm agree on. An empty schema is filled from the learner.
        learner: The training loop with this device's data.
        brokers: URLs, as `mqtt://user:password@host:port`: the peer talks over all that it reaches.
        state: Directory for key, checkpoints and records; None: a fresh identity, nothing is kept.
        link: A connection to use instead of `brokers`; it stays open.
        mqtt: How connections to brokers behave, TLS files included.
        host_broker: Run a broker and announce it under this URL, `mqtt://192.168.1.7:1883` for example:
            the others come there when their own brokers are lost.
        discover: Look for brokers of this swarm on the local network (mDNS; extra `discovery`), and
            announce there the one that is hosted.
        reader: Shared by the peers of a process, so that each frame is verified once.
        trainer: Worker threads to share; they stay.
        strategy: The class of a strategy of your own; None: the one that the charter names.
        hooks: An experiment's measurements.
        journal: File for the JSON lines of this peer, or an existing directory to make `ID.jsonl` in.
        journal_bytes: Where that file becomes the older part, `ID.jsonl.1`, and a new one is begun;
            None: never.
        durable: Wait for the disk itself; False: what is kept survives the process, not a power cut.
        record: Directory for every round's evidence and models.
        capability: What this device can do for others: 0 asks to be spared (a battery), 1 is ordinary, 2
            and 3 are more; who claims more leads groups more often once it has served well.
        site: In a swarm in cells, where this peer is: it shares cells with peers of the same site alone,
            which may have a broker of their own. Empty: none in particular.
        begin: Listen, but say nothing until this is set: where many peers start together, all are
            subscribed before the first one speaks. In a swarm in cells a peer does not listen before it
            either: it learns then which cell to listen in.

    Raises:
        ConfigError: The settings contradict each other.
    """

    def __init__(
        self,
        charter: Charter,
        learner: Learner,
        *,
        brokers: Sequence[str] = (),
        state: Path | str | None = None,
        link: Link | None = None,
        mqtt: MqttSettings | None = None,
        host_broker: str | None = None,
        discover: bool = False,
        reader: FrameReader | None = None,
        trainer: Trainer | None = None,
        strategy: type[Strategy] | None = None,
        hooks: Hooks | None = None,
        journal: Path | None = None,
        journal_bytes: int | None = PART_BYTES,
        durable: bool = True,
        record: Path | None = None,
        capability: int = ORDINARY,
        site: str = "",
        begin: asyncio.Event | None = None,
    ) -> None:
        if (link is None) != bool(brokers or host_broker or discover):
            raise ConfigError("brokers: at least one is needed, or a link, not both")
        if isinstance(brokers, str):
            raise ConfigError(f"brokers: a list of URLs is wanted: [{brokers!r}]")
        for url in brokers:
            BrokerAddress.parse(url)
        self._charter = charter
        self._wanted = Wanted(
            charter=charter, learner=learner, strategy=strategy_for(charter, strategy),
            reach=Reach(brokers=tuple(brokers), mqtt=mqtt, host_broker=host_broker, discover=discover),
            state=Path(state) if state is not None else None, link=link, reader=reader, trainer=trainer,
            hooks=hooks or Hooks(), durable=durable, record=record, capability=capability,
            begin=begin, site=site,
        )  # fmt: skip
        if not 0 <= capability <= HIGHEST:
            raise ConfigError(f"capability = {capability}: 0 (asks to be spared), 1 (ordinary), 2 or 3")
        if journal_bytes is not None and journal_bytes < 1:
            raise ConfigError(f"journal_bytes = {journal_bytes}: must be at least 1, or None")
        self._journal, self._journal_bytes = journal, journal_bytes
        self._running: Running | None = None
        self._stack = AsyncExitStack()
        self._failure: BaseException | None = None
        self._told = False  # the failure was raised once
        self._finished: Round = 0
        self._certified = False
        self._chronicle = Chronicle(charter.patience)
        self._recorder: Recorder | None = None
        self._past: Running | None = None  # what it was before it left

    @staticmethod
    def blocking(charter: Charter, learner: Learner, **settings: Any) -> "BlockingPeer":
        """Return the same peer for an application without asyncio; takes what `Peer` takes."""
        from swarmdem.node.blocking import BlockingPeer  # noqa: PLC0415 - the two know each other

        return BlockingPeer(charter, learner, **settings)

    # Life

    async def __aenter__(self) -> Self:
        """Connect and take part.

        Raises:
            KeyInUseError: Another running peer has this state directory.
            StoreError: The state directory cannot be used.
            SchemaError: The learner's model is not of the charter's schema.
        """
        if self._running is not None:
            raise MisuseError("this peer runs already")
        async with AsyncExitStack() as stack:
            self._running = await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the swarm; raises what broke the peer, unless that was raised before."""
        await self.leave()
        if kind is None and self._failure is not None and not self._told:
            self._told = True
            raise self._failure

    async def leave(self) -> None:
        """Say goodbye, stop, and release everything; doing so twice is fine."""
        running, self._running = self._running, None
        if running is None:
            return
        self._past = running  # a round may end while it says goodbye
        if not running.task.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(running.driver.leave(), GOODBYE_S)
        await self._stack.aclose()
        self._chronicle.end(self._failure)

    async def run(self, rounds: int | None = None) -> None:
        """Take part until this peer has finished round *rounds*, or for ever.

        Returning waits for this peer's duties in that round, at most twice `patience`; training for
        later rounds is held back, but the peer answers others until it leaves.

        Raises:
            CharterMismatchError: The swarm of this name runs under another charter.
            KeyInUseError: A peer with this key was started later, elsewhere.
            StoreError: What must be kept cannot be written.
        """
        if rounds is not None and rounds < 1:
            raise ConfigError(f"rounds = {rounds}: at least 1")
        driver = self._require().driver
        driver.limit_rounds(rounds)
        while not self._over(driver, rounds):
            driver.moved.clear()
            await driver.moved.wait()
        with contextlib.suppress(TimeoutError):
            driver.watched = True  # a duty may end without a word
            async with asyncio.timeout(2 * self._charter.patience):
                while not self.status().idle:
                    driver.moved.clear()
                    await driver.moved.wait()
                    self._raise_failure()

    # Looking at it

    @property
    def id(self) -> str:
        """The peer's id: 32 hex digits."""
        return self._known().store.identity.peer.hex()

    @property
    def charter(self) -> Charter:
        """The charter, its schema filled in once the peer runs."""
        return self._charter

    @property
    def model(self) -> dict[str, NDArray[Any]]:
        """A copy of the peer's model after its last update; whole at any moment, from any thread."""
        return {name: np.array(array) for name, array in self._known().model().items()}

    @property
    def deployment(self) -> Deployment:
        """What the peer answers with since its last update: by most strategies its model alone."""
        return self._known().driver.bench.standing[1]

    async def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """Answer with what is deployed (`deployment`), in the learner's thread: after a training that runs.

        Where answers are wanted at once, load `model` into a network of your own.

        Args:
            x: Inputs, shape (n, ...), standardised like the training data.

        Returns:
            Log-probabilities, shape (n, classes); of a regression predictions, shape (n, 1).

        Raises:
            ConfigError: The learner has no method `scores`.
        """
        return await self._require().driver.bench.predict(x)

    @property
    def plan(self) -> Plan | None:
        """The plan of the certificate this peer stands on."""
        record = self._require().core.round_record()
        return record.base.plan if record is not None else None

    def status(self) -> PeerStatus:
        """Return what the peer is doing, and what is not as it should be since when."""
        status = self._require().core.status()
        values = {field.name: getattr(status, field.name) for field in dataclasses.fields(status)}
        return PeerStatus(**values, troubles=self._chronicle.troubles)

    def held(self, model: ModelHash) -> Model | None:
        """Return a model this peer holds at the moment, for example one that an event names."""
        return self._require().shelf.get(model)

    @property
    def counters(self) -> PeerCounters:
        """What this peer sent, received, refused and computed so far."""
        return self._known().counters()

    def events(self) -> EventStream:
        """Return what happens from now on, until the peer stops.

        Up to 1,024 events wait for a slow reader; then the oldest are dropped and a `Degraded` says so.
        Iterating raises what broke the peer.
        """
        stream = self._chronicle.stream()
        if self._failure is not None:
            stream.close(self._failure)
        return stream

    # Inside

    async def _start(self, stack: AsyncExitStack) -> Running:
        def identified(me: PeerId) -> None:
            self._chronicle.open(self._journal, me, self._journal_bytes)
            stack.callback(lambda: self._chronicle.close(self._failure))

        parts = await assemble(self._wanted, stack, on_identity=identified, on_event=self._on_event)
        self._charter = parts.charter
        me, before = parts.store.identity.peer, parts.core.status()
        self._chronicle.resume(before.base, before.round)
        task = asyncio.create_task(self._supervise(parts.driver), name=f"swarmdem[{brief(me)}]")
        stack.push_async_callback(cancelled, task)
        self._recorder = parts.recorder
        return Running(parts.core, parts.store, parts.shelf, parts.port, parts.driver, task)

    async def _supervise(self, driver: Driver) -> None:
        try:
            await driver.run()
        except* Exception as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if not isinstance(error, SwarmError):
                _log.error("peer_broken error=%r", error, exc_info=error)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        if self._running is not None:
            self._running.driver.moved.set()
        self._chronicle.end(self._failure)

    def _on_event(self, event: NodeEvent) -> None:
        self._chronicle.tell(event, self._evidence)
        if self._recorder is not None:
            self._recorder.note(event)
        match event:
            case Certified(round=round):
                self._certified = True
                self._finished = max(self._finished, round - 1)
            case RoundFinished(round=round):
                self._finished = max(self._finished, round)
                self._chronicle.traffic(round, self.counters)
            case CharterRefused(settings=settings) if not self._certified:
                self._fail(CharterMismatchError(self._charter.swarm, settings))
            case KeyRefused():
                self._fail(
                    KeyInUseError(f"peer {self.id}: its key was started again elsewhere; this one stops")
                )

    def _evidence(self) -> RoundRecord | None:
        return self._running.core.round_record() if self._running is not None else None

    def _over(self, driver: Driver, rounds: int | None) -> bool:
        self._raise_failure()
        return rounds is not None and (driver.held_back or self._finished >= rounds)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._told = True
            raise self._failure

    def _known(self) -> Running:
        """Return the parts of this peer, which outlive its leaving."""
        return self._running or self._past or self._require()

    def _require(self) -> Running:
        if self._running is None:
            raise MisuseError("this peer does not run: use it inside `async with`")
        return self._running
