"""The run: from the founding through the schedule's faults to calm and the end.

Nothing here judges: what happened goes into the history, and the verdict is made from that alone.
"""

import asyncio
import shlex
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import psutil

from swarmdem.apps.charter import check_update, make_charter, wire_schema
from swarmdem.apps.limits import allow_files
from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.swarm import CHUNKS
from swarmdem.apps.table import duration
from swarmdem.apps.torment.crew import PeerCrew, Seat
from swarmdem.apps.torment.history import TAIL_S, History
from swarmdem.apps.torment.nemesis import Nemesis
from swarmdem.apps.torment.network import Network
from swarmdem.apps.torment.relays import Relay
from swarmdem.apps.torment.schedule import draw_schedule
from swarmdem.apps.torment.settings import TormentSettings
from swarmdem.errors import TransportError
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load_for
from swarmdem.learning.scaling import standardization
from swarmdem.transport.brokers import available
from swarmdem.wire.charter import Charter

SAMPLE_S = 2.0
"""Between two looks at memory and open files of all processes."""
STALL_PATIENCES = 15.0
"""No round ended for so long, and a minute more: the swarm is stuck, and the run ends."""
FIRST_ROUND_S = 0.5
"""A guess of how long a round takes, before there was one."""
CALM_PATIENCES = 8.0
"""How long after calm, and a minute more, all are waited for."""
START_S = 300.0
"""For all processes to load their data and models."""

FILES = 8192

Say = Callable[[str], None]


async def torment(settings: TormentSettings, out: Path, say: Say) -> None:
    """Run a swarm through the schedule and write the history of it.

    Args:
        settings: What to run and what to do to it.
        out: The run folder: new or empty.
        say: Takes each line of progress.

    Raises:
        ConfigError: A setting, file or model is wrong, or *out* cannot be used.
        TransportError: A peer's process did not start.
    """
    check_update(settings.swarm)
    kind = available(settings.swarm.all_brokers[0])
    allow_files(FILES)
    charter = charter_for(settings, kind)
    folder = RunFolder(out)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    folder.create(settings.swarm, charter, command, datetime.now().astimezone().isoformat(timespec="seconds"))
    history = History(out)
    try:
        async with AsyncExitStack() as stack:
            await _Run(settings, out, say, history).run(kind, stack)
    except (asyncio.CancelledError, KeyboardInterrupt):
        history.note("end", done=False)
        raise
    finally:
        history.close()
        folder.close()


def _no_start(seat: Seat, out: Path) -> str:
    log = out / "logs" / f"{seat.peer}.txt"
    words = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
    return f"peer {seat.device} did not start: {words} ({log})"


class _Run:
    """What one run works with."""

    def __init__(self, settings: TormentSettings, out: Path, say: Say, history: History) -> None:
        self._settings = settings
        self._out = out
        self._say = say
        self._history = history
        self._front = 0
        """The round that more than half of the devices have finished."""
        self._rounds = 0
        """How many there were: when two sides meet, numbers jump."""
        self._moved_s = 0.0

    async def run(self, kind: str, stack: AsyncExitStack) -> None:
        settings, history = self._settings, self._history
        schedule = draw_schedule(settings)
        history.note("begin", settings=settings.as_mapping(), schedule=[asdict(fault) for fault in schedule])
        network = Network(settings.swarm.peers, settings.brokers, settings.swarm.seed)
        await network.open(stack)
        relays = [Relay(number, kind, history, network.lead) for number in range(settings.brokers)]
        for relay in relays:
            stack.push_async_callback(relay.close)
            await relay.start()
        urls = [network.urls(device) for device in range(settings.swarm.peers)]
        crew = await stack.enter_async_context(PeerCrew(self._out, settings.swarm.seed, urls, history))
        nemesis = Nemesis(
            schedule, patience_s=settings.patience_s, crew=crew, relays=relays, network=network,
            history=history,
        )  # fmt: skip
        stack.push_async_callback(nemesis.close)
        await stack.enter_async_context(self._watched(crew, relays))
        counted = Counter(fault.kind for fault in schedule)
        planned = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
        self._say(f"{settings.swarm.peers} peers, {settings.brokers} {kind} brokers; planned: {planned}")
        for seat in crew.seats:
            await crew.start(seat)
        await self._all_up(crew)
        if gone := [seat for seat in crew.seats if seat.process is None]:
            raise TransportError(_no_start(gone[0], self._out))
        if not await self._faults(crew, nemesis):
            return
        await nemesis.calm()
        await self._all_up(crew)
        history.note("calm", round=self._front)
        self._say(f"calm after {self._rounds} rounds; waiting for all to meet")
        await self._settle(crew)
        history.note("end", done=True)

    async def _all_up(self, crew: PeerCrew) -> None:
        """Wait until every peer whose process lives takes part.

        Raises:
            TransportError: One did not get so far in time; its log says why.
        """
        end_s = self._history.now_s + START_S
        while late := [seat for seat in crew.seats if not seat.ready and seat.process is not None]:
            if self._history.now_s > end_s:
                raise TransportError(_no_start(late[0], self._out))
            await asyncio.sleep(TAIL_S)
        self._moved_s = self._history.now_s

    async def _faults(self, crew: PeerCrew, nemesis: Nemesis) -> bool:
        """Go through the rounds; False when the swarm got stuck on the way.

        Raises:
            TransportError: Every process ended before the first round; a log says why.
        """
        wanted = self._settings.swarm.rounds
        begun_s = self._history.now_s
        lengths_s = deque([FIRST_ROUND_S], maxlen=3)
        began = begun = 0
        while self._rounds < wanted:
            await asyncio.sleep(TAIL_S)
            nemesis.check()
            if not began and all(seat.process is None for seat in crew.seats):
                raise TransportError(f"no round began: {_no_start(crew.seats[0], self._out)}")
            if (newest := _begun(crew.seats)) > begun:
                begun = newest
                began += 1
                nemesis.reach(began, min(lengths_s))
            front = _front(crew.seats)
            now_s = self._history.now_s
            if front > self._front:
                self._rounds += 1
                lengths_s.append(now_s - self._moved_s)
                self._front, self._moved_s = front, now_s
                left_s = (now_s - begun_s) / self._rounds * (wanted - self._rounds)
                self._say(_progress(self._rounds, wanted, crew.seats, front, left_s))
            elif now_s - self._moved_s > STALL_PATIENCES * self._settings.patience_s + 60.0:
                self._history.note("stalled", why=f"no round ended for {now_s - self._moved_s:.0f} s")
                self._say("no round ends any more: given up")
                return False
        return True

    async def _settle(self, crew: PeerCrew) -> None:
        """Wait until all live peers have finished one certified round that began after calm."""
        end_s = self._history.now_s + CALM_PATIENCES * self._settings.patience_s + 60.0
        at_calm = max(seat.certified for seat in crew.seats)
        by_plan: dict[str, set[int]] = {}
        while self._history.now_s < end_s:
            living = {seat.device for seat in crew.seats if seat.process is not None}
            for seat in crew.seats:
                if seat.plan and seat.finished > at_calm:
                    by_plan.setdefault(seat.plan, set()).add(seat.device)
            if any(living <= met for met in by_plan.values()):
                return
            await asyncio.sleep(TAIL_S / 5)

    @asynccontextmanager
    async def _watched(self, crew: PeerCrew, relays: list[Relay]) -> AsyncIterator[None]:
        """Read journals and sample processes while the block lasts."""

        async def read() -> None:
            while True:
                crew.look()
                await asyncio.sleep(TAIL_S)

        async def sample() -> None:
            while True:
                for seat in crew.seats:
                    if seat.process is not None:
                        self._sample(f"peer {seat.device}", seat.process.pid)
                for relay in relays:
                    if relay.pid is not None:
                        self._sample(f"broker {relay.number}", relay.pid)
                await asyncio.sleep(SAMPLE_S)

        tasks = [asyncio.create_task(read(), name="journals"), asyncio.create_task(sample(), name="samples")]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _sample(self, process: str, pid: int) -> None:
        try:
            found = psutil.Process(pid)
            times = found.cpu_times()
            self._history.note(
                "sample", process=process, pid=pid, rss=found.memory_info().rss, files=found.num_fds(),
                cpu=round(times.user + times.system, 2),
            )  # fmt: skip
        except psutil.Error:
            return  # it ended just now


def charter_for(settings: TormentSettings, kind: str) -> Charter:
    """Return the charter of the run: what data and model say, and all peers as founders."""
    swarm = settings.swarm
    samples = load_for(swarm, devices=swarm.peers)
    constants = standardization(samples, swarm.standardize)
    data = DeviceData(samples, constants)
    [learner] = build_learners(
        swarm.model, [data.device(0)], shape=data.shape, classes=data.outputs,
        settings=TrainingSettings(device="cpu"), seed=swarm.seed,
    )  # fmt: skip
    return make_charter(
        swarm, wire_schema(swarm, learner), constants.to_inputs(), founders=swarm.peers,
        gather=max(120.0, 4 * swarm.patience_s), chunk=CHUNKS[kind],
    )  # fmt: skip


def _front(seats: list[Seat]) -> int:
    """Return the round that more than half of the devices have finished."""
    ordered = sorted((seat.finished for seat in seats), reverse=True)
    return ordered[len(seats) // 2]


def _begun(seats: list[Seat]) -> int:
    """Return the round that a third of the devices have the certificate of: too many to be on their own."""
    ordered = sorted((seat.certified for seat in seats), reverse=True)
    return ordered[len(seats) // 3]


def _progress(rounds: int, wanted: int, seats: list[Seat], front: int, left_s: float) -> str:
    away = {
        "down": sum(seat.process is None for seat in seats),
        "stopped": sum(seat.stopped for seat in seats),
        "cut off": sum(seat.cut for seat in seats),
    }
    words = [f"{count} {state}" for state, count in away.items() if count]
    behind = sum(seat.well and seat.finished < front for seat in seats)
    words += [f"{behind} behind"] if behind else []
    numbered = f" (number {front})" if front != rounds else ""
    return f"round {rounds}/{wanted}{numbered}  {', '.join(words) or 'all there'}  left {duration(left_s)}"
