"""The peers of a run, each a process of its own, and what their journals have told so far."""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from swarmdem.apps.crew import worker_environment
from swarmdem.apps.torment.history import History, Tail
from swarmdem.apps.torment.worker import Life
from swarmdem.identifiers import text
from swarmdem.node.keys import write_key
from swarmdem.node.store import KEY_FILE
from swarmdem.wire.signing import Identity

END_S = 15.0
"""For a process to say goodbye and save its models after SIGTERM."""


@dataclass(slots=True)
class Seat:
    """One device: its data stays, peers come and go."""

    device: int
    peer: str
    generation: int = 0
    process: asyncio.subprocess.Process | None = None
    watch: asyncio.Task[None] | None = None
    stopped: bool = False
    cut: bool = False
    """On the smaller side of a partition."""
    ready: bool = False
    certified: int = 0
    """Round of the newest certificate its journal tells of."""
    finished: int = 0
    """The last round it finished."""
    leads: int = 0
    """The last round in which it was elected to aggregate a group."""
    plan: str = ""
    """The certificate of the last round it finished, when it was certified."""
    journal: Tail = field(default_factory=lambda: Tail(Path()))
    notes: Tail = field(default_factory=lambda: Tail(Path()))

    @property
    def up(self) -> bool:
        """Its process lives and is not stopped."""
        return self.process is not None and not self.stopped

    @property
    def well(self) -> bool:
        """It takes part, on the larger side."""
        return self.up and self.ready and not self.cut


class PeerCrew:
    """Starts, kills, stops and replaces peers; an async context manager.

    Args:
        folder: The run folder.
        seed: Peers' keys follow from it (those of the first peers are the ones `swarmdem swarm` gives).
        urls: How each device reaches the brokers.
        history: Told of everything.
    """

    def __init__(self, folder: Path, seed: int, urls: list[tuple[str, ...]], history: History) -> None:
        self._folder = folder
        self._seed = seed
        self._urls = urls
        self._history = history
        for name in ("jobs", "logs", "notes"):
            (folder / name).mkdir()
        self.seats = [Seat(device, "") for device in range(len(urls))]
        for seat in self.seats:
            self._settle(seat)
        self._first = tuple(seat.peer for seat in self.seats)

    async def __aenter__(self) -> "PeerCrew":
        return self

    async def __aexit__(self, *exception: object) -> None:
        """End every process, whatever state it is in."""
        living = [seat.process for seat in self.seats if seat.process is not None]
        for seat in self.seats:
            self._quit_watching(seat)
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
                process.send_signal(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(process.wait() for process in living)), END_S)
        for process in living:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self.look()
        for seat in self.seats:
            seat.journal.close()
            seat.notes.close()

    # What can be done to a peer

    async def start(self, seat: Seat) -> None:
        """Start the peer of a device, unless it runs."""
        if seat.process is not None:
            return
        peers = tuple(seat.peer if n == seat.device else peer for n, peer in enumerate(self._first))
        job = self._folder / "jobs" / f"{seat.peer}.json"
        life = Life(
            run=str(self._folder.resolve()), device=seat.device, peers=peers, brokers=self._urls[seat.device],
            notes=str(seat.notes.path.resolve()), parent=os.getpid(),
        )  # fmt: skip
        job.write_bytes(msgspec.json.encode(life))
        with (self._folder / "logs" / f"{seat.peer}.txt").open("ab") as log:
            seat.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "swarmdem.apps.torment.worker", str(job),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=worker_environment(),
            )  # fmt: skip
        seat.ready = seat.stopped = False
        self._note("start", seat)
        seat.watch = asyncio.create_task(self._watch(seat, seat.process), name=f"peer {seat.device}")

    async def kill(self, seat: Seat, *, what: str = "kill") -> None:
        """Kill it: no goodbye, nothing written."""
        process = seat.process
        if process is None:
            return
        self._quit_watching(seat)
        self._note(what, seat)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        seat.process, seat.ready, seat.stopped = None, False, False
        self.look()

    def stop(self, seat: Seat) -> None:
        """Let it stand still."""
        if seat.process is not None and not seat.stopped:
            self._note("stop", seat)
            seat.process.send_signal(signal.SIGSTOP)
            seat.stopped = True

    def go_on(self, seat: Seat) -> None:
        """Let it run again."""
        if seat.process is not None and seat.stopped:
            self._note("continue", seat)
            seat.process.send_signal(signal.SIGCONT)
            seat.stopped = False

    async def replace(self, seat: Seat) -> None:
        """Kill it for good; a newcomer with a key of its own will live on its device."""
        await self.kill(seat, what="replaced")
        seat.journal.close()
        seat.notes.close()
        state = self._folder / "state" / str(seat.device)
        state.rename(state.with_name(f"{seat.device}-gone-{seat.generation}"))
        seat.generation += 1
        self._settle(seat)

    def look(self) -> None:
        """Read what journals and notes got since the last look, into the history and the seats."""
        for seat in self.seats:
            for event in seat.journal.new_lines():
                self._history.note("saw", peer=seat.peer, event=event)
                _learn(seat, event)
            for note in seat.notes.new_lines():
                self._history.note("told", device=seat.device, peer=seat.peer, note=note)
                if note.get("type") == "ready":
                    seat.ready = True
                    self._note("ready", seat)

    def _settle(self, seat: Seat) -> None:
        """Give a device a peer that never was."""
        number = seat.device + seat.generation * len(self.seats)
        secret = blake2b(f"{self._seed}/{number}".encode(), digest_size=32, person=b"sd/study-key").digest()
        identity = Identity.from_private_bytes(secret)
        state = self._folder / "state" / str(seat.device)
        state.mkdir(parents=True)
        write_key(state / KEY_FILE, identity)
        seat.peer = text(identity.peer)
        seat.certified = seat.finished = seat.leads = 0
        seat.plan = ""
        seat.journal = Tail(self._folder / "peers" / f"{seat.peer}.jsonl")
        seat.notes = Tail(self._folder / "notes" / f"{seat.peer}.jsonl")

    async def _watch(self, seat: Seat, process: asyncio.subprocess.Process) -> None:
        """Note when a process ends that was not told to."""
        code = await process.wait()
        self._note("exit", seat, code=code)
        seat.process, seat.ready = None, False

    def _quit_watching(self, seat: Seat) -> None:
        if seat.watch is not None:
            seat.watch.cancel()
            seat.watch = None

    def _note(self, what: str, seat: Seat, **more: Any) -> None:
        pid = seat.process.pid if seat.process is not None else None
        self._history.note(what, device=seat.device, peer=seat.peer, pid=pid, **more)


def _learn(seat: Seat, event: dict[str, Any]) -> None:
    match event:
        case {"event": "certified", "round": int(round)}:
            seat.certified = round
        case {"event": "elected", "round": int(round), "rank": 0}:
            seat.leads = round
        case {"event": "round_finished", "round": int(round), "certified": certified, "plan": str(plan)}:
            seat.finished = round
            seat.plan = plan if certified else ""
