"""One peer in a process of its own, as `swarmdem torment` starts and kills it.

    python -m swarmdem.apps.torment.worker JOB.json

It lives until SIGTERM (it says goodbye), or until its parent dies (the kernel kills it). Its journal
and what it measures go to files, line by line, so that nothing it saw is lost when it is killed.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from swarmdem.apps.hosting import Host
from swarmdem.apps.measure import HeldOut
from swarmdem.apps.pipes import FromWorker, Go, Job, Ready, line
from swarmdem.apps.runfolder import RunFolder
from swarmdem.errors import SwarmError
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load_for
from swarmdem.learning.learner import Learner
from swarmdem.learning.scaling import standardization
from swarmdem.transport.multi import MultiLink
from swarmdem.wire import charter as charters
from swarmdem.wire.codec import FrameReader

_PR_SET_PDEATHSIG = 1


class Life(msgspec.Struct, frozen=True):
    """What one process is told, in its job file."""

    run: str
    """The run folder."""
    device: int
    peers: tuple[str, ...]
    """Ids by device: this peer's at its own place, elsewhere those at the start of the run."""
    brokers: tuple[str, ...]
    notes: str
    """File for what it measures."""
    parent: int
    """Process to die with."""


class LoneHost(Host):
    """A host of one peer that waits for no broker and never has enough rounds."""

    def __init__(self, life: Life, tests: HeldOut, notes: int) -> None:
        settings, charter = RunFolder(Path(life.run)).load()
        job = Job(settings=settings.as_mapping(), devices=(life.device,), run=life.run)
        go = Go(charter=charters.encode(charter), brokers=life.brokers, peers=life.peers)

        def say(report: FromWorker) -> None:
            os.write(notes, line(report))

        super().__init__(job, settings, go, tests, say)

    async def open(self, stack: AsyncExitStack, learners: Mapping[int, Learner]) -> None:
        """Start the peer; whether a broker can be reached shows later."""
        stack.callback(self._trainer.close)
        link = MultiLink(self._brokers)
        stack.push_async_callback(link.close)
        self._link = link
        self.begin.set()
        for number, learner in learners.items():
            hosted = self._new_peer(number, learner, link, FrameReader())
            self._hosted.append(hosted)
            await stack.enter_async_context(hosted.peer)

    async def run(self) -> None:
        """Take part until cancelled."""
        async with asyncio.TaskGroup() as group:
            for hosted in self._hosted:
                group.create_task(self._follow(hosted), name="events")
                group.create_task(hosted.peer.run(), name="rounds")


def main() -> None:
    """Run a peer; a mistake in its settings ends it with one line and code 2."""
    life = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Life)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != life.parent:
        sys.exit(1)
    try:
        asyncio.run(_live(life))
    except SwarmError as error:
        sys.stderr.write(f"swarmdem: {error}\n")
        sys.exit(2)


async def _live(life: Life) -> None:
    settings, _ = RunFolder(Path(life.run)).load()
    samples = load_for(settings, devices=settings.peers)
    data = DeviceData(samples, standardization(samples, settings.standardize))
    training = TrainingSettings(
        optimizer=settings.optimizer, lr=settings.step_size, epochs=settings.epochs,
        batch_size=settings.batch_size, device=settings.device,
    )  # fmt: skip
    learners = build_learners(
        settings.model, [data.device(life.device)], shape=data.shape, classes=data.outputs,
        settings=training, seed=settings.seed, first=life.device,
    )  # fmt: skip
    notes = os.open(life.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    host = LoneHost(life, HeldOut(data, settings.peers), notes)
    async with AsyncExitStack() as stack:
        await host.open(stack, {life.device: learners[0]})
        os.write(notes, line(Ready()))
        running = asyncio.create_task(host.run(), name="life")
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            await host.save_models()


if __name__ == "__main__":
    main()
