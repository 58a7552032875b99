"""`swarmdem peer`: one peer of a real deployment, until Ctrl-C, SIGTERM or its last round.

Prints a line per round and whatever a person should know, or only what goes wrong. The broker need not be
there yet, and may go: the peer keeps trying and says so.
"""

import asyncio
import signal
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from swarmdem.apps.broker import addresses
from swarmdem.apps.table import counted
from swarmdem.config import LearnerSettings, PeerSettings, Settings
from swarmdem.errors import ConfigError, SchemaError
from swarmdem.identifiers import PlanId, Round, brief
from swarmdem.learning.building import build_learners
from swarmdem.learning.datasets import DIGITS, DeviceData, load_for
from swarmdem.learning.deployment import evaluate
from swarmdem.learning.learner import Dataset, Evaluation, Learner, task_of
from swarmdem.learning.scaling import standardization, standardization_of
from swarmdem.learning.strategy import Deployment
from swarmdem.node.cells import CellEntered, InRegion, SpeakingChanged
from swarmdem.node.explaining import Explained, PeerEvent
from swarmdem.node.peer import Peer
from swarmdem.node.trainer import Hooks, TrainingFinished
from swarmdem.protocol.events import (
    Certified,
    Degraded,
    Elected,
    GroupChanged,
    HandedDown,
    PeerSeen,
    Recovered,
    RoundFinished,
)
from swarmdem.transport.discovery import check_installed
from swarmdem.transport.settings import PORTS, BrokerAddress, MqttSettings
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import FOUNDING

MDNS = "mdns"
"""In place of a broker's URL: those on the local network."""
DEVICES = 10
"""Over how many a source is split that does not say so: peers that try the swarm out need not agree on N."""

CERTIFICATES_KEPT = 100
"""The swarm is taken to be as large as the largest of so many certificates."""

Say = Callable[[str], None]


class _Measurements:
    """Loss and own-test results on their way from the training thread to the round's line.

    Args:
        learner: Of this peer.
        test: What it is measured on.
        pause_s: For which the training thread rests after a round: the swarm takes it for slow training.
        rounds: There is no rest after this one.
    """

    def __init__(self, learner: Learner, test: Dataset, *, pause_s: float, rounds: int | None) -> None:
        self._pause_s, self._rounds = pause_s, rounds
        self._over = threading.Event()
        self.losses: dict[Round, float] = {}
        self._errors = task_of(learner) == "regression"
        self._learner = learner
        self._test = test
        self._loop = asyncio.get_running_loop()
        self._own: dict[Round, asyncio.Future[Evaluation | None]] = {}

    def after_update(self, round: Round, deployed: Deployment) -> None:
        """Evaluate what the peer answers with on its own test data; in the training thread."""
        evaluation = None
        try:
            evaluation = evaluate(self._learner, deployed, self._test)
        finally:
            self._loop.call_soon_threadsafe(self._settle, round, evaluation)
            if self._rounds is None or round < self._rounds:
                self._over.wait(self._pause_s)

    def end(self) -> None:
        """Let the training thread go: there will be no further round."""
        self._over.set()

    async def of(self, round: Round) -> tuple[float | None, Evaluation | None]:
        """Return loss and own-test result of a round that was applied, and forget it."""
        own = await self._future(round)
        del self._own[round]
        return self.losses.pop(round, None), own

    def told(self, own: Evaluation | None) -> str:
        """Return an own-test result in words; empty when there is none."""
        if own is None or not own.count:
            return ""
        if self._errors:
            return f"own test error {own.score:.4g} in the unit of the targets"
        return f"own test {own.score:.3f}"

    def _settle(self, round: Round, evaluation: Evaluation | None) -> None:
        future = self._future(round)
        if not future.done():
            future.set_result(evaluation)

    def _future(self, round: Round) -> "asyncio.Future[Evaluation | None]":
        return self._own.setdefault(round, self._loop.create_future())


class _Listed:
    """How many peers the newest certificates list."""

    def __init__(self) -> None:
        self._counts: OrderedDict[PlanId, int] = OrderedDict()

    def note(self, event: Certified) -> None:
        """Take note of a certificate."""
        self._counts[event.plan] = len(event.peers)
        if len(self._counts) > CERTIFICATES_KEPT:
            self._counts.popitem(last=False)

    def told(self, plan: PlanId) -> str:
        """Return by how many a plan was certified, where others listed more; else nothing."""
        count, most = self._counts.get(plan, 0), max(self._counts.values(), default=0)
        return f" by {count} of {counted(most, 'peer')}" if 0 < count < most else ""


async def run_peer(settings: Settings, say: Say, *, quiet: bool = False) -> None:
    """Take part in a swarm as one peer.

    Args:
        settings: Of the peer.
        say: Takes each line for people.
        quiet: Say only what goes wrong, and when it is over.

    Raises:
        ConfigError: A setting is missing or wrong.
        DataError: The data file is missing or malformed.
        KeyInUseError: This state folder's peer runs already.
        CharterMismatchError: The swarm of this name runs under another charter.
    """
    charter, brokers = _required(settings)
    learner, test = build_learner(settings.learner, charter)
    measured = _Measurements(learner, test, pause_s=settings.peer.pause, rounds=settings.peer.rounds)
    usual: Say = _unsaid if quiet else say
    if settings.peer.pause > charter.patience:
        say(
            f"! --pause {settings.peer.pause:g} is longer than the charter's patience, "
            f"{charter.patience:g} s: the others go on without this peer unless most of them pause as long"
        )
    async with AsyncExitStack() as stack:
        peer = _peer(settings, charter, brokers, learner, measured)
        events = peer.events()
        try:
            await stack.enter_async_context(peer)
        except SchemaError as error:
            what = f"--model {settings.learner.model} on --data {settings.learner.data}"
            raise ConfigError(f"{what} is not the charter's model: {error}") from error
        usual(
            f"peer {peer.id} of swarm {charter.swarm!r}, {learner.samples} training samples, "
            f"{_told(settings.peer, brokers)}"
        )
        teller = asyncio.create_task(_tell(events, measured, usual, say), name="lines")
        running = asyncio.create_task(peer.run(settings.peer.rounds), name="rounds")
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, running.cancel)
        try:
            await asyncio.wait({running})
            if not running.cancelled():
                running.result()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            running.cancel()
            measured.end()
            await peer.leave()
            teller.cancel()
            await asyncio.gather(running, teller, return_exceptions=True)
        usual("left the swarm")


def build_learner(settings: LearnerSettings, charter: Charter) -> tuple[Learner, Dataset]:
    """Return the learner of one device and its test data; inputs are scaled by the charter's constants.

    Raises:
        ConfigError: A setting is wrong, or the charter's constants do not fit the data.
        DataError: The data file is missing or malformed.
    """
    samples = load_for(settings, devices=DEVICES)
    if not 0 <= settings.part < samples.devices:
        more = "; --devices deals them out to more" if settings.data == DIGITS else ""
        last = samples.devices - 1
        raise ConfigError(f"--part {settings.part}: {settings.data} has parts 0 to {last}{more}")
    constants = standardization_of(charter.inputs) if charter.inputs else standardization(samples, "global")
    data = DeviceData(samples, constants)
    part = data.device(settings.part)
    [learner] = build_learners(
        settings.model,
        [part],
        shape=data.shape,
        classes=data.outputs,
        settings=settings,
        seed=settings.seed,
        first=settings.part,
    )
    return learner, part[1]


def _peer(
    settings: Settings,
    charter: Charter,
    brokers: tuple[str, ...],
    learner: Learner,
    measured: _Measurements,
) -> Peer:
    return Peer(
        charter,
        learner,
        brokers=brokers,
        mqtt=MqttSettings(tls=settings.tls),
        host_broker=_hosted_at(settings.peer.host_broker),
        discover=settings.peer.discover or MDNS in settings.peer.brokers,
        state=settings.peer.state,
        journal=settings.peer.journal,
        journal_bytes=settings.peer.journal_mb * 2**20 or None,
        durable=settings.peer.durable,
        capability=settings.peer.capability,
        site=settings.peer.site,
        hooks=Hooks(after_update=measured.after_update),
    )


def _required(settings: Settings) -> tuple[Charter, tuple[str, ...]]:
    if settings.charter is None:
        raise ConfigError("--charter: missing; `swarmdem charter` writes one")
    if settings.peer.rounds is not None and settings.peer.rounds < 1:
        raise ConfigError(f"--rounds {settings.peer.rounds}: at least 1")
    brokers = tuple(url for url in settings.peer.brokers if url != MDNS)
    discover = settings.peer.discover or MDNS in settings.peer.brokers
    if not brokers and not discover and settings.peer.host_broker is None:
        raise ConfigError("--broker: missing (or --discover, or --host-broker); may be repeated")
    for url in brokers:
        BrokerAddress.parse(url)
    if discover:
        check_installed()
    return settings.charter, brokers


def _unsaid(line: str) -> None:
    """Take a line that nobody wants."""


def _hosted_at(url: str | None) -> str | None:
    """Return the URL under which a hosted broker is announced."""
    return f"mqtt://{addresses()[0]}:{PORTS['mqtt']}" if url == "auto" else url


def _told(settings: PeerSettings, brokers: tuple[str, ...]) -> str:
    """Return in words where this peer looks for the others."""
    parts = [str(BrokerAddress.parse(url)) for url in brokers]
    if settings.host_broker is not None:
        parts.append(f"one hosted here for {_hosted_at(settings.host_broker)}")
    if settings.discover or MDNS in settings.brokers:
        parts.append("those found by mDNS")
    return f"broker{'s' * (len(parts) > 1)} {', '.join(parts)}"


async def _tell(events: AsyncIterator[PeerEvent], measured: _Measurements, usual: Say, troubles: Say) -> None:
    """Say what happens, one line each: *usual* takes what happens anyway, *troubles* the rest."""
    listed = _Listed()
    async for event in events:
        if isinstance(event, TrainingFinished):
            measured.losses[event.round] = event.loss
        elif isinstance(event, RoundFinished):
            loss, own = await measured.of(event.round) if event.applied else (None, None)
            usual(_round_line(event, loss, measured.told(own), listed.told(event.plan)))
        else:
            if isinstance(event, Certified):
                listed.note(event)
            if line := _line(event):
                (troubles if isinstance(event, Degraded | Recovered | Explained) else usual)(line)


def _round_line(event: RoundFinished, loss: float | None, own: str, by: str) -> str:
    parts = [f"round {event.round}: {f'certified{by}' if event.certified else 'not certified'}"]
    if not event.applied:
        return f"{parts[0]}, kept its own model ({event.reason})"
    if loss is not None:
        parts.append(f"training loss {loss:.3f}")
    if own:
        parts.append(own)
    return ", ".join(parts)


def _line(event: PeerEvent) -> str:
    match event:
        case Certified(mode=mode, peers=peers) if mode == FOUNDING:
            return f"founded with {counted(len(peers), 'peer')}"
        case GroupChanged(group=group, level=level, members=members):
            return f"now in group {brief(group)} of level {level}, {counted(members, 'peer')}"
        case Elected(round=round, group=group, level=level, rank=0):
            return f"round {round}: aggregates group {brief(group)} of level {level}"
        case CellEntered(cell=cell):
            return f"now in cell {brief(cell)}"
        case SpeakingChanged(speaks=speaks):
            return f"speaks for its cell {'from now on' if speaks else 'no more'}"
        case InRegion(event=HandedDown(round=round)):
            return f"round {round} of the region: its result comes down to the cell"
        case PeerSeen(peer=peer, present=present):
            return f"peer {brief(peer)} {'is here' if present else 'is gone'}"
        case Degraded(what=what, lasted_s=lasted_s):
            return f"! {what}{f' (for {lasted_s:.0f} s)' if lasted_s else ''}; going on"
        case Recovered(what=what):
            return f"over: {what}"
        case Explained(why=why, about=about) if about != "left":
            return why
    return ""
