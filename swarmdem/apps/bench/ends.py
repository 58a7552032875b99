"""One end of a measured transfer: a process of its own that does what JSON lines on its input say.

`python -m swarmdem.apps.bench.ends ROLE URL`, with ROLE `give`, `take` (two peers), `bare-give` or
`bare-take` (an aiomqtt pair). Every line is answered by one line. Times are those of the monotonic
clock, which the processes of one machine share. End of file on the input ends the process.
"""

import asyncio
import contextlib
import json
import logging
import resource
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from swarmdem.errors import WireError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.node.bulk import Bulk
from swarmdem.node.counters import NodeCounters
from swarmdem.node.models import Model, ModelShelf, model_of_bytes
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.events import Fetch, Fetched, Input
from swarmdem.transport import bare
from swarmdem.transport.base import Arrival, LinkState
from swarmdem.transport.multi import MultiLink, MultiPort
from swarmdem.wire import topics
from swarmdem.wire.charter import Charter, TensorSpec, charter_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import BlobOffer, BlobWant
from swarmdem.wire.signing import Identity

CONNECT_S = 20.0
PING_EVERY_S = 0.01
_PING = struct.Struct(">d248x")
"""A control message of 256 bytes: when it was published, on the monotonic clock."""
Answer = dict[str, Any]


class End:
    """A peer without a core: it serves models, fetches them, and says the time on its control connection.

    Args:
        url: The broker.
        size_bytes: Length of the model.
        chunk: The charter's.
    """

    def __init__(self, url: str, size_bytes: int, chunk: int) -> None:
        schema = (TensorSpec("w", (size_bytes // 4,), "float32"),)
        self.charter = Charter(swarm="bench", schema=schema, chunk=chunk)
        self._scope = charter_hash(self.charter)
        self._sealer = FrameSealer(Identity.generate(), self.charter, 1)
        self._link = MultiLink([url])
        self._trainer = Trainer()
        self._shelf = ModelShelf(self._trainer.pool)
        self._fetched: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._delays: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._counters = NodeCounters()
        self._port: MultiPort
        self._bulk: Bulk

    async def open(self) -> Answer:
        """Connect; answer with the peer's id."""
        self._port = port = await self._link.open_port()
        await self._link.connect(CONNECT_S)
        me = self._sealer.peer
        await port.subscribe(topics.inbox_all(self._scope, me))
        await port.subscribe(topics.bulk_all(self._scope, me), bulk=True)
        self._bulk = Bulk(
            charter=self.charter, schemas=(self.charter.schema,), sealer=self._sealer, port=port,
            shelf=self._shelf, trainer=self._trainer, counters=self._counters, deliver=self._deliver,
        )  # fmt: skip
        self._tasks = [asyncio.create_task(self._bulk.run()), asyncio.create_task(self._listen())]
        return {"peer": me.hex()}

    async def make(self, seed: int) -> Answer:
        """Put a model of random numbers on the shelf; answer with its name."""
        self._shelf.keep(())  # before another takes as much memory
        count = self.charter.schema[0].shape[0]
        data = np.random.default_rng(seed).random(count, np.float32)
        model = model_of_bytes(data.data.cast("B").toreadonly(), self.charter.schema)
        self._shelf.put(model)
        return {"model": model.name.hex()}

    async def fetch(self, model: str, source: str) -> Answer:
        """Fetch a model; answer when that began and ended."""
        self._fetched = asyncio.get_running_loop().create_future()
        began_s = time.monotonic()
        name = ModelHash(bytes.fromhex(model))
        self._bulk.downloads.fetch(Fetch(name, 0, (PeerId(bytes.fromhex(source)),)))
        ended_s = await self._fetched
        self._shelf.keep(())
        return {"began_s": began_s, "ended_s": ended_s}

    async def ping(self, peer: str, seconds: float) -> Answer:
        """Publish a control message every 10 ms."""
        topic = topics.inbox(self._scope, PeerId(bytes.fromhex(peer)), self._sealer.peer)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self._port.publish(topic, _PING.pack(time.monotonic()))
            await asyncio.sleep(PING_EVERY_S)
        return {}

    async def flow(self, model: str, source: str, seconds: float) -> Answer:
        """Fetch a model again and again, and publish control messages to its source meanwhile."""
        pings = asyncio.create_task(self.ping(source, seconds))
        fetched = 0
        while not pings.done():
            await self.fetch(model, source)
            fetched += 1
        await pings
        return {"fetched": fetched}

    async def told(self) -> Answer:
        """Answer with what was sent and heard since the last time, and the peak of memory."""
        delays, self._delays = self._delays, []
        sent = self._counters.frame_bytes["chunk"]
        return {"delays_s": delays, "chunk_bytes": sent, "peak_mb": peak_mb(), "cpu_s": time.process_time()}

    async def close(self) -> None:
        """Disconnect."""
        self._bulk.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()
        self._trainer.close()

    def _deliver(self, answer: Input, model: Model | None = None, /) -> None:
        if not self._fetched.done():
            assert isinstance(answer, Fetched), answer
            self._fetched.set_result(time.monotonic())

    async def _listen(self) -> None:
        async for item in self._port.arrivals():
            if isinstance(item, LinkState):
                self._bulk.downloads.link_changed(up=item.up)
            else:
                with contextlib.suppress(WireError):
                    self._arrived(item)

    def _arrived(self, arrival: Arrival) -> None:
        if len(arrival.payload) == _PING.size:
            self._delays.append(time.monotonic() - _PING.unpack(arrival.payload)[0])
        elif not self._bulk.took(arrival):
            frame = self._sealer.open(bytes(arrival.payload))
            if isinstance(frame.message, BlobWant | BlobOffer):
                self._bulk.on_frame(frame)


def peak_mb() -> float:
    """Return the most memory that this program has had, in MB.

    Linux hands `ru_maxrss` on from whoever started the process; VmHWM begins with the program.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


async def _peer(url: str, lines: "Lines") -> None:
    first = await lines.next()
    if first is None:
        return
    end = End(url, first["size"], first["chunk"])
    lines.say(await end.open())
    doing: dict[str, Callable[..., Awaitable[Answer]]] = {
        "make": end.make, "fetch": end.fetch, "flow": end.flow, "ping": end.ping, "told": end.told,
    }  # fmt: skip
    while (line := await lines.next()) is not None:
        what = line.pop("do")
        lines.begin(doing[what](**line))
    await end.close()


async def _bare(role: str, url: str, lines: "Lines") -> None:
    topic, blob = "swarmdem/1/bench/bare", np.empty(0, np.float32)
    async with bare.client(url) as client:
        if role == "bare-take":
            await client.subscribe(topic, qos=1)
        lines.say({})
        while (line := await lines.next()) is not None:
            if role == "bare-take":
                lines.say({"ended_s": await bare.take(client, line["size"])})
                continue
            if blob.nbytes != line["size"]:
                blob = np.random.default_rng(0).random(line["size"] // 4, np.float32)
            lines.say({"began_s": await bare.give(client, topic, blob.data.cast("B"), line["chunk"])})


class Lines:
    """JSON lines of this process's input and output."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._doing: set[asyncio.Task[None]] = set()

    async def next(self) -> dict[str, Any] | None:
        """Return the next order; None: there will be none."""
        line = await self._reader.readline()
        return json.loads(line) if line else None

    def say(self, answer: Answer) -> None:
        """Answer."""
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    def begin(self, work: Awaitable[Answer]) -> None:
        """Answer when *work* is done; the next order may come meanwhile."""

        async def do() -> None:
            self.say(await work)

        task = asyncio.create_task(do())
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)


async def main(role: str, url: str) -> None:
    """Do what is asked until the input ends."""
    logging.getLogger("swarmdem").setLevel(logging.ERROR)  # a connection is cut on purpose
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    lines = Lines(reader)
    if role.startswith("bare"):
        await _bare(role, url, lines)
    else:
        await _peer(url, lines)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
