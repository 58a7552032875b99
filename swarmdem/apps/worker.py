"""One worker process of `swarmdem swarm`: hosts a share of the peers, reports to the coordinator.

The peers of a worker share one link to the broker, one frame reader and one set of threads. What
they tell each other goes through the broker all the same.
"""

import asyncio
import ctypes
import gc
import os
import signal
import sys
import traceback
from contextlib import AsyncExitStack
from typing import BinaryIO

from swarmdem.apps.charter import first_model, wire_schema
from swarmdem.apps.hosting import Host
from swarmdem.apps.limits import require_files
from swarmdem.apps.measure import HeldOut
from swarmdem.apps.pipes import (
    LINE_MAX,
    Begin,
    Done,
    Failed,
    FromWorker,
    Go,
    Job,
    Opened,
    Prepared,
    Ready,
    Score,
    Stop,
    ToWorker,
    line,
    read_order,
)
from swarmdem.apps.settings import from_mapping
from swarmdem.errors import SwarmError
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load_for
from swarmdem.learning.learner import device_used, task_of
from swarmdem.learning.scaling import standardization

_PR_SET_PDEATHSIG = 1
GATHER_S = 0.02
"""For which reports of rounds are gathered."""
FILES, FILES_PER_PEER = 128, 4
"""Open files of a worker: its own, and of each peer lock, records, journal and what is being written."""


def main() -> None:
    """Run a worker on standard input and output."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    reports = Reports(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever a library prints must not end up among the reports
    try:
        asyncio.run(_work(reports))
    except SwarmError as error:
        reports.say(Failed(error=str(error), expected=True))
    except Exception as error:
        traceback.print_exc()
        reports.say(Failed(error=f"{type(error).__name__}: {error}", expected=False))
        sys.exit(1)


async def _work(reports: "Reports") -> None:
    """Prepare, wait for `Go`, host the peers until all are done and `Stop` comes."""
    try:
        await _hosting(reports)
    finally:
        reports.flush()


async def _hosting(reports: "Reports") -> None:
    say = reports.say
    orders = await _open_orders()
    job = await _next_order(orders)
    if not isinstance(job, Job):
        return
    hosted = f"{len(job.devices)} peers in one process"
    require_files(FILES + FILES_PER_PEER * len(job.devices), hosted)
    settings = from_mapping(job.settings, "settings.")
    samples = load_for(settings, devices=settings.peers)
    constants = standardization(samples, settings.standardize)
    data = DeviceData(samples, constants)
    training = TrainingSettings(
        optimizer=settings.optimizer, lr=settings.step_size, epochs=settings.epochs,
        batch_size=settings.batch_size, device=settings.device,
    )  # fmt: skip
    learners = build_learners(
        settings.model, [data.device(number) for number in job.devices], shape=data.shape,
        classes=data.outputs, settings=training, seed=settings.seed, first=job.devices[0],
    )  # fmt: skip
    tests = HeldOut(data, settings.peers)
    untrained = learners[0].evaluate(tests.everybody)
    say(
        Prepared(
            schema=wire_schema(settings, learners[0]),
            inputs=constants.to_inputs(),
            genesis=first_model(settings, learners[0]),
            untrained=Score(untrained.correct, untrained.count),
            metric="mae" if task_of(learners[0]) == "regression" else "accuracy",
            devices=data.devices,
            device=device_used(learners[0]),
        )
    )
    go = await _next_order(orders)
    if not isinstance(go, Go):
        return
    host = Host(job, settings, go, tests, reports.say_soon)
    async with AsyncExitStack() as stack:
        await host.open(stack, dict(zip(job.devices, learners, strict=True)))
        gc.freeze()  # torch's half a million objects stay: no collection need look at them again
        say(Opened())
        if not isinstance(await _next_order(orders), Begin):
            return
        host.begin.set()
        say(Ready())
        running = asyncio.create_task(host.run(), name="rounds")
        stopping = asyncio.create_task(_until_stop(orders), name="orders")
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            say(Done())
        told = await stopping
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if told:
            await host.save_models()


async def _open_orders() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_MAX)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    return reader


async def _next_order(orders: asyncio.StreamReader) -> ToWorker | None:
    """Return the next order; None when the coordinator is gone."""
    data = await orders.readline()
    return read_order(data) if data else None


async def _until_stop(orders: asyncio.StreamReader) -> bool:
    """Return True when told to stop, False when the coordinator is gone."""
    while (order := await _next_order(orders)) is not None:
        if isinstance(order, Stop):
            return True
    return False


class Reports:
    """What a worker says to the coordinator; nothing is said any more once that is gone.

    A worker that is killed takes along what it has gathered: rows of the run may count fewer peers.

    Args:
        pipe: Read by the coordinator.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lines = bytearray()

    def say(self, report: FromWorker) -> None:
        """Say *report* now, after what waits."""
        self._lines += line(report)
        self.flush()

    def say_soon(self, report: FromWorker) -> None:
        """Say *report* within `GATHER_S`, together with others: each time wakes the coordinator."""
        if not self._lines:
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        self._lines += line(report)

    def flush(self) -> None:
        """Say what waits."""
        lines, self._lines = self._lines, bytearray()
        try:
            self._pipe.write(lines)
            self._pipe.flush()
        except BrokenPipeError:
            # Nobody reads this or what follows, and the end of the orders ends us.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._pipe.fileno())


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
