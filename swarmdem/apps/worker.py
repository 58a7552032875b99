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
from swarmdem.learning.learner import task_of
from swarmdem.learning.scaling import standardization

_PR_SET_PDEATHSIG = 1
FILES, FILES_PER_PEER = 128, 4
"""Open files of a worker: its own, and of each peer lock, records, journal and what is being written."""


def main() -> None:
    """Run a worker on standard input and output."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    reports = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the reports
    try:
        asyncio.run(_work(reports))
    except SwarmError as error:
        _say(reports, Failed(error=str(error), expected=True))
    except Exception as error:
        traceback.print_exc()
        _say(reports, Failed(error=f"{type(error).__name__}: {error}", expected=False))
        sys.exit(1)


async def _work(reports: BinaryIO) -> None:
    """Prepare, wait for `Go`, host the peers until all are done and `Stop` comes."""

    def say(report: FromWorker) -> None:
        _say(reports, report)

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
        )
    )
    go = await _next_order(orders)
    if not isinstance(go, Go):
        return
    host = Host(job, settings, go, tests, say)
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


def _say(reports: BinaryIO, report: FromWorker) -> None:
    try:
        reports.write(line(report))
        reports.flush()
    except BrokenPipeError:
        # The coordinator is gone: nobody reads this or what follows, and the end of its orders ends us.
        os.dup2(os.open(os.devnull, os.O_WRONLY), reports.fileno())


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
