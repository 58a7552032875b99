"""`swarmdem swarm`: N peers on this machine, in worker processes, over a real broker.

The coordinator in here hosts no peer and loads no tensor library. It starts the broker (unless it
is given one) and the workers, merges what they report into the run folder's rows and shows them.
The swarm does not need it: peers agree among themselves, and a worker that dies takes its peers
along and nobody else. It is started again, and they go on from their state folders.
"""

import asyncio
import contextlib
import os
import resource
import shlex
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

from swarmdem.apps.accounting import Costs
from swarmdem.apps.cell_summary import cells_of_run
from swarmdem.apps.charter import check_update, make_charter
from swarmdem.apps.continuing import Supervisor
from swarmdem.apps.crew import Crew
from swarmdem.apps.following import Follower
from swarmdem.apps.gate import Gate
from swarmdem.apps.gather import RoundBook, rate
from swarmdem.apps.ledger import ledger_of_run
from swarmdem.apps.pipes import Failed, FromWorker, Go, Job, Opened, Prepared, Stop
from swarmdem.apps.runfolder import RunFolder, summarise
from swarmdem.apps.settings import MANY, SwarmSettings
from swarmdem.apps.table import View, counted
from swarmdem.errors import ConfigError, NoTrainingError
from swarmdem.identifiers import text
from swarmdem.node.keys import read_key, write_key
from swarmdem.node.store import KEY_FILE
from swarmdem.transport.brokers import Broker, available, start_broker
from swarmdem.transport.settings import BrokerAddress
from swarmdem.wire import charter as charters
from swarmdem.wire.charter import Charter
from swarmdem.wire.encodings import CODECS, encoding, sizes
from swarmdem.wire.signing import Identity

POLL_S = 0.2
SAMPLE_S = 2.0
"""Between two looks at the memory of all processes."""
SAMPLE_SPARE = 200
"""A sample that takes long (page tables of large processes) is taken the more seldom: .5 % of a core."""
PREPARE_S = 300.0
"""For workers to load data and models: a first import of torch from a slow disk takes a minute."""
CHUNKS = {"mosquitto": 2**20, "nats": 2**20, "memory": 2**20, "embedded": 2**18, "url": 2**16}
"""Bytes per chunk message: larger is faster where we know the broker's limits, because we set them."""


@dataclass(slots=True)
class _Session:
    """What one call of `run_swarm` works with."""

    settings: SwarmSettings
    folder: RunFolder
    view: View
    crew: Crew
    inbox: asyncio.Queue[tuple[int, FromWorker]]
    costs: Costs
    command: str
    brokers: tuple[str, ...] = ()
    charter: Charter | None = None
    peers: tuple[str, ...] = ()
    untrained: float | None = None
    metric: str = "accuracy"
    shares: tuple[tuple[int, ...], ...] = ()
    supervisor: Supervisor | None = None


async def run_swarm(
    settings: SwarmSettings,
    out: Path,
    view: View,
    *,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a swarm to its last round and return what `summary.json` says.

    Args:
        settings: What to do.
        out: Run folder: new or empty, or with *resume* one to go on with.
        view: Where progress is shown.
        resume: Go on after the last round of *out*.
        changes: Settings that differ from those the resumed run began with.

    Raises:
        ConfigError: A setting, file or model is wrong, or *out* cannot be used.
        TransportError: The broker cannot be reached, or every worker is lost.
        NoTrainingError: Training fails at so many peers that no round can end.
    """
    check_update(settings)  # a contradiction is told before anything starts
    begun = _own_and_ended_cpu_s()
    settings = replace(settings, workers=1 if settings.broker == "memory" else _workers(settings))
    folder = RunFolder(out)
    if not resume:
        folder.require_empty()  # before torch is loaded
    charter = folder.load()[1] if resume else None
    earlier = folder.rows() if resume else []
    last_round = max((row["round"] for row in earlier), default=0)
    if last_round >= settings.rounds:
        raise ConfigError(f"--resume {out}: has its {last_round} rounds already; ask for more with --rounds")
    inbox: asyncio.Queue[tuple[int, FromWorker]] = asyncio.Queue()
    costs = Costs()
    costs.watch(os.getpid())
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        async with AsyncExitStack() as stack:
            broker = await _broker(settings, stack)
            crew = await stack.enter_async_context(
                Crew(lambda worker, report: inbox.put_nowait((worker, report)))
            )
            session = _Session(settings, folder, view, crew, inbox, costs, command, charter=charter)
            session.brokers = (broker.url,) if isinstance(broker, Broker) else broker
            if isinstance(broker, Broker):
                costs.watch(broker.pid)
            await _prepare(session, resume, changes or {}, broker)
            await _follow(session, last_round)
            crew.order_all(Stop())
            await crew.ended()
        cpu_s = sum(row["cpu_s"] for row in earlier) + _own_and_ended_cpu_s() - begun
        summary = _summary(session, broker=_shown(broker), cpu_s=cpu_s)
        folder.write_summary(summary)
    except NoTrainingError as error:
        folder.note_failure(str(error), _now())
        raise
    finally:
        folder.close()
    return summary


def _summary(session: _Session, *, broker: str, cpu_s: float) -> dict[str, Any]:
    settings, folder = session.settings, session.folder
    peak = session.costs.peak_pss_bytes
    summary = summarise(folder.rows(), peers=settings.peers, broker=broker, peak_pss_bytes=peak)
    summary["rounds_cpu_s"], summary["cpu_s"] = summary["cpu_s"], round(cpu_s, 3)
    summary["untrained_c_gen"] = session.untrained
    if settings.cells is not None:
        summary["cells"] = cells_of_run(folder.path / "peers")
    summary["traffic"] = ledger_of_run(folder.path / "peers").as_mapping()
    return summary


def default_out(settings: SwarmSettings) -> Path:
    """Return a new run folder's path, named by the swarm and the time."""
    return Path("runs") / f"{settings.swarm}-{datetime.now():%Y%m%d-%H%M%S}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _workers(settings: SwarmSettings) -> int:
    cores = len(os.sched_getaffinity(0))
    return min(settings.peers, cores if settings.workers is None else settings.workers)


def _own_and_ended_cpu_s() -> float:
    """Return CPU seconds of this process and of all children it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


async def _broker(settings: SwarmSettings, stack: AsyncExitStack) -> Broker | tuple[str, ...]:
    """Start the broker asked for; URLs and `memory` are returned as they are."""
    kind = settings.all_brokers[0]
    if kind == "memory" or "://" in kind:
        return settings.all_brokers
    return await stack.enter_async_context(start_broker(available(kind)))


def _shown(broker: Broker | tuple[str, ...]) -> str:
    """Return brokers as people may read them: no password."""
    if isinstance(broker, Broker):
        return broker.kind
    return ", ".join(str(BrokerAddress.parse(each)) if "://" in each else each for each in broker)


async def _prepare(
    session: _Session, resume: bool, changes: dict[str, Any], broker: Broker | tuple[str, ...]
) -> None:
    """Start the workers, settle the charter and the peers' keys, open the run folder, let go."""
    settings, folder, crew = session.settings, session.folder, session.crew
    workers = settings.workers or 1
    edges = [settings.peers * worker // workers for worker in range(workers + 1)]
    session.shares = tuple(tuple(range(first, end)) for first, end in pairwise(edges))
    run = str(folder.path.resolve())
    jobs = [Job(settings=settings.as_mapping(), devices=share, run=run) for share in session.shares]
    for job in jobs:
        await crew.start(job)
    for pid in crew.pids:
        session.costs.watch(pid)
    prepared = await _all_prepared(session)
    session.untrained, session.metric = rate(prepared.untrained), prepared.metric
    started = _now()
    if session.charter is None:
        session.charter = _charter(settings, prepared, broker)
        folder.create(settings, session.charter, session.command, started)
    else:
        if session.charter.schema != prepared.schema:
            raise ConfigError(f"--resume {folder.path}: the model is not the one the run began with")
        if dict(session.charter.inputs) != dict(prepared.inputs):
            raise ConfigError(f"--resume {folder.path}: {settings.data} is not the data the run began with")
        folder.reopen(session.command, started, changes)
    for setting, value in _chosen(settings, session.charter, prepared, _shown(broker)):
        folder.note_choice(setting, value)
    session.peers = tuple(_key_of(folder, settings.seed, number) for number in range(settings.peers))
    session.view.say(
        f"{counted(settings.peers, 'peer')} in {counted(workers, 'process', 'processes')}, "
        f"{settings.strategy}, {_shown(broker)}"
    )
    if settings.peers >= MANY:
        sized = ", sized for so many peers" if settings.patience is None else ""
        session.view.say(
            f"patience {settings.patience_s:g} s{sized}; founding takes an eighth of it and more"
        )
    if settings.peers > prepared.devices:
        session.view.say(
            f"{settings.data} is of {counted(prepared.devices, 'device')}: peer {prepared.devices} trains on "
            "the data of device 0 again, and so on"
        )
    go = Go(charter=charters.encode(session.charter), brokers=session.brokers, peers=session.peers)
    session.supervisor = Supervisor(crew, jobs, go, session.costs.watch)
    crew.order_all(go)


def _chosen(
    settings: SwarmSettings, charter: Charter, prepared: Prepared, broker: str
) -> Iterator[tuple[str, str]]:
    """Yield (setting, what stands for it) of those that leave the choice to the run and are known by now."""
    if settings.broker == "auto":
        yield "broker", broker
    if settings.device == "auto":
        yield "device", prepared.device
    if charter.codec not in CODECS:
        yield "codec", encoding(charter.codec, sizes(charter.schema)).codec


async def _all_prepared(session: _Session) -> Prepared:
    prepared: dict[int, Prepared] = {}
    try:
        async with asyncio.timeout(PREPARE_S):
            while len(prepared) < len(session.shares):
                worker, report = await session.inbox.get()
                if isinstance(report, Failed):
                    raise ConfigError(report.error)
                if isinstance(report, Prepared):
                    prepared[worker] = report
    except TimeoutError:
        raise ConfigError(f"workers did not load data and model within {PREPARE_S:.0f} s") from None
    return prepared[0]


def _charter(settings: SwarmSettings, prepared: Prepared, broker: Broker | tuple[str, ...]) -> Charter:
    kind = broker.kind if isinstance(broker, Broker) else "memory" if broker == ("memory",) else "url"
    return make_charter(
        settings,
        prepared.schema,
        prepared.inputs,
        founders=settings.peers,
        gather=max(120.0, 4 * settings.patience_s),
        chunk=CHUNKS[kind],
        genesis=prepared.genesis,
    )


def _key_of(folder: RunFolder, seed: int, number: int) -> str:
    """Return the id of peer *number*, writing its key first when the run is new.

    Keys of a run follow from its seed, so that equal settings give equal peer ids and elections;
    they are for study on one machine and protect nothing.
    """
    path = folder.state / str(number) / KEY_FILE
    if path.exists():
        return text(read_key(path).peer)
    secret = blake2b(f"{seed}/{number}".encode(), digest_size=32, person=b"sd/study-key").digest()
    identity = Identity.from_private_bytes(secret)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_key(path, identity)
    return text(identity.peer)


async def _reports(session: _Session) -> AsyncIterator[tuple[int, FromWorker] | None]:
    """Yield reports as they come, and None whenever none came for a moment."""
    while True:
        while not session.inbox.empty():  # a timer for each would cost more than the report
            yield session.inbox.get_nowait()
        report = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                report = await session.inbox.get()
        yield report


@asynccontextmanager
async def _memory_sampled(costs: Costs) -> AsyncIterator[None]:
    async def sample() -> None:
        while True:
            began = time.thread_time()
            costs.sample_memory()
            await asyncio.sleep(max(SAMPLE_S, SAMPLE_SPARE * (time.thread_time() - began)))

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()
        costs.sample_memory()


async def _follow(session: _Session, last_round: int) -> None:
    """Write and show rows until the last round's, or until nobody is left to report one."""
    settings, supervisor = session.settings, session.supervisor
    assert supervisor is not None
    book = RoundBook(
        evaluated=settings.evaluated,
        straggle_s=60.0 + 4 * settings.patience_s,
        last_round=last_round,
        metric=session.metric,
        grouped=session.charter is None or session.charter.update == "tree",
        in_cells=settings.cells is not None,
    )
    follower = Follower(
        settings,
        session.folder,
        session.view,
        peers=session.peers,
        shares=session.shares,
        book=book,
        cpu_s=session.costs.cpu_s,
        again=supervisor.again,
    )
    gate = Gate(session.crew, len(session.shares))
    book.begin(time.monotonic(), session.costs.cpu_s())
    async with _memory_sampled(session.costs), aclosing(supervisor):
        async for item in _reports(session):
            now_s = time.monotonic()
            match item:
                case (worker, Prepared()):
                    supervisor.prepared(worker)
                case (worker, Opened()):
                    gate.opened(worker)
                case (worker, report):
                    if isinstance(report, Failed):
                        gate.lost(worker)
                    follower.take(worker, report, now_s)
            if follower.over(now_s):
                return
