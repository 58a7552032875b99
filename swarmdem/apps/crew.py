"""The worker processes of one run, seen from the coordinator: start, order, listen, end.

A worker is `python -P -m swarmdem.apps.worker`: it imports the package that the coordinator runs, whatever
lies in the folder it is started in. It ends when told to, when its standard input ends,
and, should the coordinator be killed, by the kernel's parent-death signal; whatever happens,
`Crew.close` ends what is left, by process id.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import swarmdem
from swarmdem.apps.pipes import LINE_MAX, Failed, FromWorker, ToWorker, line, read_report

_END_S = 15.0  # for a worker to save its models and leave after `Stop`
_KILL_S = 2.0
_LARGE_PAGES = "glibc.malloc.hugetlb=1"
"""The C library asks for pages of 2 MB where the kernel leaves that to programs: tensors of a large model are
given back and asked for anew at every step, in pages of 4 kB at a third of a training's CPU."""


class Crew:
    """Starts workers and hands every report to one callable, on the event loop."""

    def __init__(self, on_report: Callable[[int, FromWorker], None]) -> None:
        self._on_report = on_report
        self._processes: list[asyncio.subprocess.Process] = []
        self._listeners: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids, in the order of starting."""
        return tuple(process.pid for process in self._processes)

    async def start(self, first: ToWorker) -> int:
        """Start a worker with its first order and return its number."""
        number = len(self._processes)
        self._processes.append(await _spawned())
        self._listen_to(number)
        self.order(number, first)
        return number

    async def restart(self, number: int, first: ToWorker) -> int | None:
        """Put a new worker in the place of one that has given up; return its process id.

        None: the machine lets no further process start; it is reported as the worker's failure.
        """
        old = self._processes[number]
        if old.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                old.kill()
            await old.wait()
        if old.stdin is not None:
            old.stdin.close()
        try:
            self._processes[number] = new = await _spawned()
        except OSError as error:
            why = f"worker {number} could not be started again: {error.strerror}"
            self._on_report(number, Failed(error=why, expected=False))
            return None
        self._listen_to(number)
        self.order(number, first)
        return new.pid

    def order(self, number: int, order: ToWorker) -> None:
        """Send an order; one that comes after the worker's end is dropped."""
        stdin = self._processes[number].stdin
        assert stdin is not None
        if not stdin.is_closing():
            stdin.write(line(order))

    def order_all(self, order: ToWorker) -> None:
        """Send an order to every worker."""
        for number in range(len(self._processes)):
            self.order(number, order)

    async def ended(self, timeout_s: float = _END_S) -> None:
        """Wait until every worker has left by itself, *timeout_s* at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(p.wait() for p in self._processes)), timeout_s)

    async def close(self) -> None:
        """End every worker that still runs and wait for it."""
        for process in self._processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
        await self.ended(_KILL_S)
        for process in self._processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()

    def _listen_to(self, number: int) -> None:
        self._listeners.append(asyncio.create_task(self._listen(number), name=f"worker {number}"))

    async def _listen(self, number: int) -> None:
        process = self._processes[number]
        assert process.stdout is not None
        told = False
        async for data in process.stdout:
            report = read_report(data)
            told = told or isinstance(report, Failed)
            self._on_report(number, report)
        code = await process.wait()
        if code != 0 and not told:
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            self._on_report(number, Failed(error=f"worker {number} ended ({how})", expected=False))


async def _spawned() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "swarmdem.apps.worker",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_MAX,
        env=worker_environment(),
    )  # fmt: skip


def worker_environment() -> dict[str, str]:
    """Return a worker's environment: one thread a library, this package before any other, large pages."""
    here = str(Path(swarmdem.__file__).parents[1])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"GLIBC_TUNABLES": _LARGE_PAGES, **os.environ, **one, "PYTHONPATH": path}
