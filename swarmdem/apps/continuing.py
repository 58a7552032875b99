"""Worker processes that died, started again, and their counters continued.

The peers of a worker go on from their state folders, as after a power cut; what they count begins at
nothing again. A worker is started again `RESTARTS_MAX` times, each after twice the pause of the one
before: what kills it every time is not cured by a restart.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from swarmdem.apps.crew import Crew
from swarmdem.apps.pipes import Counts, Go, Job, PeerRound, Usage

RESTARTS_MAX = 3
"""Of one worker in one run."""
PAUSE_S = 1.0
"""Before the first restart."""


class Supervisor:
    """Starts workers of one crew again.

    Args:
        crew: Whose.
        jobs: What each worker is told first.
        go: What each is told once it is prepared.
        started: Told the process id of every worker that was started again.
    """

    def __init__(self, crew: Crew, jobs: Sequence[Job], go: Go, started: Callable[[int], None]) -> None:
        self._crew = crew
        self._jobs = jobs
        self._go = go
        self._started = started
        self._restarts: Counter[int] = Counter()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def again(self, worker: int) -> float | None:
        """Start *worker* again; return after how many seconds, or None: not any more."""
        if self._restarts[worker] >= RESTARTS_MAX:
            return None
        pause_s: float = PAUSE_S * 2 ** self._restarts[worker]
        self._restarts[worker] += 1
        self._tasks[worker] = asyncio.create_task(self._start(worker, pause_s), name=f"restart {worker}")
        return pause_s

    def prepared(self, worker: int) -> None:
        """Let a worker go that was started again and has loaded its data."""
        self._crew.order(worker, self._go)

    async def aclose(self) -> None:
        """Start none any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _start(self, worker: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        pid = await self._crew.restart(worker, self._jobs[worker])
        if pid is not None:
            self._started(pid)


class Offsets:
    """Counters of processes that started from nothing again, as if they had not."""

    def __init__(self) -> None:
        self._before: dict[str, list[float]] = {}
        self._last: dict[str, list[float]] = {}

    def restarted(self, name: str) -> None:
        """Count what comes from *name* on top of what came."""
        last = self._last.get(name)
        if last is not None:
            self._before[name] = last

    def continued(self, report: PeerRound, process: str) -> PeerRound:
        """Return *report* of a peer in *process* with all that both counted in all their lives."""
        counts = self._total(report.peer, list(msgspec.structs.astuple(report.counts)))
        usage = self._total(process, list(msgspec.structs.astuple(report.usage)))
        return msgspec.structs.replace(
            report, counts=msgspec.convert(counts, Counts), usage=msgspec.convert(usage, Usage)
        )

    def _total(self, name: str, counts: list[float]) -> list[float]:
        before = self._before.get(name, [0] * len(counts))
        self._last[name] = [a + b for a, b in zip(before, counts, strict=True)]
        return self._last[name]
