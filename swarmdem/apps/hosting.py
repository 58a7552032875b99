"""The peers of one worker: connect them, follow their events, measure, report.

A round of a peer is reported once it is over there and, in an evaluated round, its model is
measured. Models of groups are measured by the worker that hosts the aggregator.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from swarmdem.apps.measure import AFTER_TRAINING, HeldOut, Meter
from swarmdem.apps.pipes import (
    Counts,
    FromWorker,
    Go,
    GroupResult,
    GroupScored,
    Job,
    Note,
    Passes,
    PeerRound,
    Score,
    Trained,
    TrainingFailed,
    TreeSeen,
    Usage,
)
from swarmdem.apps.settings import MANY, SwarmSettings
from swarmdem.apps.table import counted
from swarmdem.errors import NotFiniteError, SwarmError
from swarmdem.identifiers import PlanId, Round, text
from swarmdem.learning.learner import Learner, Parameters
from swarmdem.learning.meeting import Vectorise, Verdict
from swarmdem.learning.parameters import to_safetensors
from swarmdem.learning.strategy import Deployment
from swarmdem.node.explaining import PeerEvent
from swarmdem.node.files import write_atomic
from swarmdem.node.peer import Peer
from swarmdem.node.trainer import Hooks, Trainer, TrainingFinished
from swarmdem.protocol.events import Certified, Degraded, GroupAveraged, GroupFinished, RoundFinished
from swarmdem.protocol.hierarchy import Hierarchy, hierarchy_of
from swarmdem.transport.base import Link
from swarmdem.transport.memory import MemoryBus
from swarmdem.transport.mqtt import MqttLink
from swarmdem.transport.multi import MultiLink
from swarmdem.transport.settings import BrokerAddress, MqttSettings
from swarmdem.wire import charter as charters
from swarmdem.wire.codec import FrameReader
from swarmdem.wire.messages import FOUNDING, PROVISIONAL

_log = logging.getLogger("swarmdem.apps.hosting")
T = TypeVar("T")

CONNECT_S = 30.0
"""`swarm` gives up when no broker can be reached for so long."""
TELL_S = 2.0
"""After which it says what it waits for."""
FRAMES_PER_PEER = 32
"""Verified frames remembered for each peer of the run: a round's, for the slowest peer of the worker too."""
OPENED_AT_ONCE = 16
"""Peers that are put together at a time: their waits for disk and broker overlap."""
TREES_MAX = 8
"""Trees remembered: a group's result may come while the next round has begun."""


@dataclass(slots=True)
class Hosted:
    """One peer of this worker, and what its events and hooks leave until its round is reported."""

    number: int
    learner: Learner
    peer: Peer
    events: AsyncIterator[PeerEvent]
    losses: dict[Round, float]
    scores: dict[Round, dict[str, Score]]

    def take(self, round: Round) -> tuple[float | None, dict[str, Score]]:
        """Return loss and scores of a round, forgetting it and all before."""
        loss, scores = self.losses.get(round), self.scores.get(round, {})
        for kept in (self.losses, self.scores):
            for old in [number for number in kept if number <= round]:
                kept.pop(old, None)
        return loss, scores


class Host:
    """All peers of one worker.

    Args:
        job: The worker's share and the run folder.
        settings: Of the run.
        go: The charter, the brokers, the ids of all peers.
        tests: Everybody's test data.
        say: Takes each report, on the event loop.
    """

    def __init__(
        self, job: Job, settings: SwarmSettings, go: Go, tests: HeldOut, say: Callable[[FromWorker], None]
    ) -> None:
        self._settings = settings
        self._first = job.devices[0]
        self._charter = charters.decode(go.charter)
        self._brokers = go.brokers
        self._run = Path(job.run)
        self._peers = go.peers
        self._meter = Meter(tests, go.peers)
        self._say = say
        self._hosted: list[Hosted] = []
        self._seen: set[str] = set()
        self._trees: dict[PlanId, Hierarchy] = {}
        self._trainer = Trainer(cast("Vectorise", settings.vectorise), self._tell_of_passes)
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self.begin = asyncio.Event()
        """Until it is set the peers only listen."""
        self._reports: set[asyncio.Task[None]] = set()
        self._train_cpu_s = self._evaluate_cpu_s = 0.0  # of all: asking every peer for every report adds up
        self._root: Parameters | None = None

    async def open(self, stack: AsyncExitStack, learners: Mapping[int, Learner]) -> None:
        """Connect and start every peer; *stack* ends them.

        Raises:
            TransportError: No broker was reached within `CONNECT_S`.
        """
        stack.callback(self._trainer.close)
        link = _link(self._brokers, len(self._peers))
        stack.push_async_callback(link.close)
        waiting = self._loop.call_later(TELL_S, self._tell_of_waiting, link)
        try:
            await link.connect(CONNECT_S)
        finally:
            waiting.cancel()
        self._link = link
        reader = FrameReader(capacity=max(4096, FRAMES_PER_PEER * self._settings.peers))
        for number, learner in learners.items():
            self._hosted.append(self._new_peer(number, learner, link, reader))
        for first in range(0, len(self._hosted), OPENED_AT_ONCE):
            some = self._hosted[first : first + OPENED_AT_ONCE]
            opened = await asyncio.gather(
                *(stack.enter_async_context(hosted.peer) for hosted in some), return_exceptions=True
            )
            for outcome in opened:
                if isinstance(outcome, BaseException):
                    raise outcome
        stack.push_async_callback(self._leave)

    def _tell_of_waiting(self, link: Link) -> None:
        """Say what the peers wait for, once a run."""
        if self._first == 0:
            where = ", ".join(str(BrokerAddress.parse(url)) for url in self._brokers)
            reason = f" ({link.state.reason})" if link.state.reason else ""
            self._say(Note(f"waiting for {where}{reason}, {CONNECT_S:g} s at most"))

    async def _leave(self) -> None:
        """Let all say goodbye at once: who has left takes no note of the others' leaving."""
        await asyncio.gather(*(hosted.peer.leave() for hosted in self._hosted))

    async def run(self) -> None:
        """Take part until the last round is over and reported at every peer."""
        async with asyncio.TaskGroup() as group:
            followers = [
                group.create_task(self._follow(hosted), name=f"events of peer {hosted.number}")
                for hosted in self._hosted
            ]
            await asyncio.gather(*(hosted.peer.run(rounds=self._settings.rounds) for hosted in self._hosted))
            while self._reports:
                await asyncio.wait(self._reports)
            for follower in followers:
                follower.cancel()

    def _tell_of_passes(self, verdict: Verdict) -> None:
        """In the training thread: report how peers train; say it once a run, where somebody would wonder."""
        _log.info("vectorise together=%s why=%s", verdict.together, verdict.why)
        reports: list[FromWorker] = []
        if self._settings.vectorise == "auto":
            reports.append(Passes(verdict.together, verdict.why))
        if self._first == 0 and (verdict.together or self._settings.vectorise == "on"):
            reports.append(Note(verdict.why))
        with contextlib.suppress(RuntimeError):  # the loop may be closed when a run is torn down
            for report in reports:
                self._loop.call_soon_threadsafe(self._say, report)

    async def save_models(self) -> None:
        """Write every peer's model, and the root's if it was made here, into the run folder."""
        models: dict[str, Parameters] = {hosted.peer.id: hosted.peer.model for hosted in self._hosted}
        if self._root is not None:
            models["root"] = self._root
        for name, parameters in models.items():
            data = to_safetensors(parameters)
            await asyncio.to_thread(
                write_atomic, self._run / "models" / f"{name}.safetensors", data, durable=False
            )

    def _new_peer(self, number: int, learner: Learner, link: Link, reader: FrameReader) -> Hosted:
        scores: dict[Round, dict[str, Score]] = {}
        peer = Peer(
            self._charter,
            learner,
            state=self._run / "state" / str(number),
            link=link,
            reader=reader,
            trainer=self._trainer,
            hooks=self._hooks(number, learner, scores),
            journal=self._run / "peers" / f"{self._peers[number]}.jsonl",
            journal_bytes=None,  # nothing in a run folder is dropped
            durable=False,
            record=self._run / "record" if self._settings.record else None,
            begin=self.begin,
        )
        return Hosted(number, learner, peer, peer.events(), {}, scores)

    def _hooks(self, number: int, learner: Learner, scores: dict[Round, dict[str, Score]]) -> Hooks:
        """Return the measurements of one peer; they run in the training thread."""
        name = self._peers[number]

        def measure(ending: str, round: Round, deployed: Deployment) -> None:
            if self._settings.evaluated(round):
                begun_s = time.thread_time()
                measured = self._meter.measure_peer(learner, name, deployed, ending)
                scores.setdefault(round, {}).update(measured)
                self._evaluate_cpu_s += time.thread_time() - begun_s

        def measure_trained(round: Round, model: Parameters) -> None:
            measure(AFTER_TRAINING, round, Deployment(models=(model,)))

        def failed(round: Round, error: Exception) -> None:
            what = str(error) if isinstance(error, SwarmError) else f"{type(error).__name__}: {error}"
            report = TrainingFailed(name, round, what, isinstance(error, NotFiniteError))
            with contextlib.suppress(RuntimeError):  # the loop may be closed when a run is torn down
                loop.call_soon_threadsafe(self._say, report)

        both, loop = self._settings.evaluate == "both", asyncio.get_running_loop()
        return Hooks(
            after_training=measure_trained if both else None,
            after_update=partial(measure, ""),
            training_failed=failed,
        )

    async def _follow(self, hosted: Hosted) -> None:
        """Turn one peer's events into reports."""
        async for event in hosted.events:
            match event:
                case TrainingFinished(round=round, loss=loss, train_cpu_s=train_cpu_s):
                    hosted.losses[round] = loss
                    self._train_cpu_s += train_cpu_s
                    self._say(Trained(hosted.peer.id, round))
                case Certified():
                    self._certified(hosted, event)
                case GroupAveraged():
                    self._averaged(hosted, event)
                case GroupFinished():
                    self._finished(hosted, event)
                case RoundFinished():
                    self._soon(self._report_round(hosted, event))
                case Degraded(what=what) if (kind := without_seconds(what)) not in self._seen:
                    self._seen.add(kind)
                    self._say(Note(f"peer {hosted.number}: {what}"))

    def _certified(self, hosted: Hosted, event: Certified) -> None:
        """Report the tree of a certificate, once for all peers of this worker."""
        if event.mode == FOUNDING and hosted.number == 0 and len(event.peers) >= MANY:
            self._say(Note(f"founded with {counted(len(event.peers), 'peer')}; the first round begins"))
        if event.plan in self._trees or event.mode == FOUNDING:
            return
        plan = hosted.peer.plan
        tree = hierarchy_of(plan) if plan is not None else None
        if tree is None or hosted.peer.status().base != event.plan:
            return
        self._trees[event.plan] = tree
        if len(self._trees) > TREES_MAX:
            del self._trees[next(iter(self._trees))]
        groups = tuple(
            {
                "level": group.level,
                "id": text(group.id),
                "parent": text(group.parent) if group.parent is not None else None,
                "members": [text(peer) for peer in group.members],
                "leaves": [text(peer) for peer in group.leaves],
            }
            for group in tree.groups
        )
        certified = event.mode != PROVISIONAL
        self._say(TreeSeen(event.round, text(event.plan), certified, event.term, groups))

    def _averaged(self, hosted: Hosted, event: GroupAveraged) -> None:
        included = tuple(text(peer) for peer in event.included)
        self._say(_group_result(hosted, event, final=False, included=included))

    def _finished(self, hosted: Hosted, event: GroupFinished) -> None:
        """Report a group's result; keep the last round's root; measure it in an evaluated round."""
        self._say(_group_result(hosted, event, final=True, cut=event.cut))
        held = hosted.peer.held(event.model)
        if held is None or event.plan not in self._trees:
            return
        model = held.parameters
        group = self._trees[event.plan].group(event.group)
        flat = self._settings.cells is None  # in cells there is a root of each
        if group.parent is None and event.round == self._settings.rounds and flat:
            names = hosted.peer.model.keys()  # not what a strategy sends along, nor sums of results above
            self._root = {name: array for name, array in model.items() if name in names}
        if self._settings.evaluated(event.round):
            self._soon(self._measure_group(hosted, event, model))

    async def _measure_group(self, hosted: Hosted, event: GroupFinished, model: Parameters) -> None:
        members = [text(peer) for peer in self._trees[event.plan].group(event.group).members]

        def measure() -> tuple[Score, Score]:
            begun_s = time.thread_time()
            scores = self._meter.measure_group(hosted.learner, model, members)
            self._evaluate_cpu_s += time.thread_time() - begun_s
            return scores

        special, general = await self._in_training_thread(measure)
        self._say(
            GroupScored(
                certificate=text(event.plan), round=event.round, group=text(event.group), level=event.level,
                term=event.term, members=special, everybody=general,
            )
        )  # fmt: skip

    async def _report_round(self, hosted: Hosted, event: RoundFinished) -> None:
        """Report a round of a peer once its hooks have run: they were queued before the event came."""
        if self._settings.evaluated(event.round):
            await self._in_training_thread(lambda: None)
        loss, scores = hosted.take(event.round)
        counters = hosted.peer.counters
        counts = Counts(
            counters.bytes_sent,
            counters.bytes_received,
            counters.messages_sent,
            counters.messages_received,
            counters.bytes_shared,
        )
        self._say(
            PeerRound(
                peer=hosted.peer.id, round=event.round, certificate=text(event.plan),
                certified=event.certified, applied=event.applied, reason=event.reason, loss=loss,
                scores=scores if event.applied else {}, counts=counts, usage=self._usage(),
            )
        )  # fmt: skip

    def _usage(self) -> Usage:
        assert self._link is not None
        return Usage(
            train_cpu_s=self._train_cpu_s,
            evaluate_cpu_s=self._evaluate_cpu_s,
            socket_bytes_sent=self._link.socket_bytes_sent,
            socket_bytes_received=self._link.socket_bytes_received,
        )

    async def _in_training_thread(self, work: Callable[[], T]) -> T:
        """Do *work* where learners may be touched, after all that is queued there now."""
        return await asyncio.get_running_loop().run_in_executor(self._trainer.training, work)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Report in the background; `run` waits for what is under way."""
        task = asyncio.create_task(work)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)


def without_seconds(what: str) -> str:
    """Return *what* without how long it took: what differs in nothing else is said once a worker."""
    return re.sub(r"\d+(\.\d+)? s\b", "", what)


def _link(brokers: tuple[str, ...], peers: int) -> Link:
    """Return the link of all peers of a worker; with one broker the plain one, at 15 % less CPU.

    The more peers there are, the longer a turn of all of one worker takes: a broker must not take that for
    the end of a connection.
    """
    mqtt = MqttSettings(keepalive_s=max(MqttSettings().keepalive_s, peers // 10))
    match brokers:
        case ("memory",):
            return MemoryBus().link()
        case (url,):
            return MqttLink(url, mqtt)
    return MultiLink(brokers, mqtt)


def _group_result(hosted: Hosted, event: GroupAveraged | GroupFinished, **more: Any) -> GroupResult:
    return GroupResult(
        certificate=text(event.plan), round=event.round, group=text(event.group), level=event.level,
        aggregator=hosted.peer.id, term=event.term, **more,
    )  # fmt: skip
