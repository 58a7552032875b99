"""Fetches the blobs the core asks for; `serving.py` is the other end.

The receiver drives: its `BlobWant` names leaves, and their number is the sender's credit; the leaf
hashes and the first leaves are asked for in one go. Every leaf is checked against its hash before
it is kept, the whole blob against the schema before the core hears of it. After silence, or
when a source does not hold the blob, the missing leaves are asked of the next source; the silence
borne doubles each time, up to `patience`. What is here is never asked for again.

Bounds: `ACTIVE_MAX` downloads receive at once, the others wait for their turn, and one that falls
silent gives up its turn; each has a window of 4 MiB or 16 chunks. Memory is reserved only once
name, leaf list and the expected size agree. What peers of one process hand each other instead is in
`sharing.py`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from swarmdem.errors import WireError
from swarmdem.identifiers import ModelHash, PeerId, brief
from swarmdem.learning.parameters import model_bytes
from swarmdem.node.bench import Deliver
from swarmdem.node.models import Model, ModelShelf, Schema
from swarmdem.node.packing import Packing
from swarmdem.node.sharing import Frames, Neighbour, Wanted, frames_of
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed
from swarmdem.wire import topics
from swarmdem.wire.blobs import LEAF_BYTES, Assembly, BlobInfo, Chunk, blob_name, leaf_count
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.messages import BlobOffer, BlobWant

_log = logging.getLogger("swarmdem.node.transfer")

ACTIVE_MAX = 8
"""Downloads of one peer that receive at once."""
WINDOW_CHUNKS = 16
WINDOW_BYTES = 4 * 2**20
"""Credit of one download: 8 of them may fill 32 MiB of a broker's queue for this peer, no more."""
SILENCE_LEAST_S = 0.25
SILENCE_MOST_S = 5.0
"""First silence borne, whatever `patience` is."""


class Exchanged(Protocol):
    """Counts what peers of this process handed each other."""

    def __call__(self, *, sent: Frames, received: Frames) -> None:
        """Count frames as if they had crossed a connection."""


@dataclass(slots=True, eq=False)
class _Download:
    model: ModelHash
    total_bytes: int
    sources: tuple[PeerId, ...]
    silence_s: float
    turn: int = 0
    """Which source is asked now."""
    refusals: int = 0
    """Sources that said no since anything was received."""
    assembly: Assembly | None = None
    asked: int = 0
    """Leaves below this one were asked for since the last silence."""
    in_flight: int = 0
    """Leaves asked for and not here yet."""
    deadline: float = 0.0
    active: bool = False
    following: bool = False
    """A neighbour is receiving the blob: wait for that."""

    @property
    def wanted(self) -> Wanted:
        return self.model, self.total_bytes

    @property
    def source(self) -> PeerId:
        return self.sources[self.turn % len(self.sources)]


class Downloads:
    """One peer's fetches; all methods are called on the event loop.

    Args:
        charter: Chunk size and patience.
        schemas: What a blob may be, by its length; the first is what is expected unless an order says more.
        me: Never asked.
        shelf: What is there already needs no fetching.
        trainer: Whose threads look for NaN.
        send: Queues a message to one peer.
        deliver: Takes `Fetched` with its model, or `FetchFailed`.
        exchanged: Counts what was taken from a neighbour or given to one.
    """

    def __init__(
        self,
        *,
        charter: Charter,
        schemas: Sequence[Schema],
        me: PeerId,
        shelf: ModelShelf,
        trainer: Trainer,
        send: Callable[[PeerId, BlobWant], None],
        deliver: Deliver,
        exchanged: Exchanged,
    ) -> None:
        self._charter = charter
        self._schemas = {model_bytes(schema): schema for schema in schemas}
        self._model_bytes = next(iter(self._schemas))
        self._packing = Packing(charter, schemas)
        self.me = me
        self._shelf = shelf
        self._trainer = trainer
        self._send = send
        self._deliver = deliver
        self._exchanged = exchanged
        self._loop = asyncio.get_running_loop()
        self._chunk_leaves = max(1, charter.chunk // LEAF_BYTES)
        self._window = max(
            self._chunk_leaves, min(WINDOW_BYTES // LEAF_BYTES, WINDOW_CHUNKS * self._chunk_leaves)
        )
        self._silence_s = min(max(charter.patience / 8, SILENCE_LEAST_S), SILENCE_MOST_S)
        self._downloads: dict[ModelHash, _Download] = {}
        self._waiting: deque[_Download] = deque()
        self._checking: set[ModelHash] = set()
        self._timer: asyncio.TimerHandle | None = None
        scope = charter_hash(charter)
        self._topic_bytes = len(topics.bulk(scope, me, me))
        self._neighbours = trainer.neighbours(scope)
        self._neighbours.join(self)

    def fetch(self, order: Fetch) -> None:
        """Get a model; a second order for the same model replaces its sources."""
        held = self._shelf.get(order.model)
        if held is not None:
            self._deliver(Fetched(order.model), held)
            return
        total_bytes = order.model_bytes or self._model_bytes
        if total_bytes not in self._schemas and not self._charter.fits(total_bytes):
            reason = f"blob of {total_bytes} bytes, the schema has {self._model_bytes}"
            self._deliver(FetchFailed(order.model, reason), None)
            return
        sources = tuple(peer for peer in order.sources if peer != self.me)
        known = self._downloads.get(order.model)
        if known is not None and sources:
            known.sources = sources
        if known is not None or not sources or order.model in self._checking:
            return
        download = _Download(order.model, total_bytes, sources, self._silence_s)
        self._downloads[order.model] = download
        self._waiting.append(download)
        if not self._taken(download):
            self._start_waiting()

    def stop(self, model: ModelHash) -> None:
        """Forget a download."""
        self._checking.discard(model)
        download = self._downloads.get(model)
        if download is not None:
            self._forget(download)
            self._neighbours.give_way(download.wanted, self)

    def link_changed(self, *, up: bool) -> None:
        """Ask again for what was on its way when the link went down."""
        if not up:
            return
        for download in self._downloads.values():
            if download.active:
                self._ask_anew(download)
        self._start_waiting()

    def on_offer(self, sender: PeerId, offer: BlobOffer) -> None:
        """Take the leaf hashes of a blob, or learn that *sender* does not hold it.

        Raises:
            WireError: The offer is not that of the named blob.
        """
        download = self._downloads.get(offer.blob)
        if download is None or sender not in download.sources or download.assembly is not None:
            return
        if not offer.leaves:
            if sender == download.source:
                self._refused(download)
            return
        named_so = blob_name(offer.total_bytes, offer.leaves) == offer.blob
        if named_so and offer.total_bytes != download.total_bytes:
            reason = f"blob of {offer.total_bytes} bytes, expected are {download.total_bytes}"
            self._forget(download)
            self._deliver(FetchFailed(offer.blob, reason), None)
            self._neighbours.failed(download.wanted, self, reason)
            return
        try:
            info = BlobInfo(offer.blob, offer.total_bytes, offer.leaves)
            download.assembly = Assembly(info, limit_bytes=download.total_bytes)
        except WireError:
            if sender == download.source:
                self._refused(download)
            raise
        download.deadline = self._loop.time() + download.silence_s

    def on_chunk(self, sender: PeerId, chunk: Chunk) -> None:
        """Keep the leaves of a chunk.

        Raises:
            WireError: A leaf has the wrong hash, or lies outside the blob.
        """
        download = self._downloads.get(chunk.blob)
        if download is None or download.assembly is None or sender not in download.sources:
            return
        added = download.assembly.add(chunk)
        if not added:
            return
        download.in_flight = max(0, download.in_flight - added)
        download.refusals = 0
        download.silence_s = self._silence_s
        download.deadline = self._loop.time() + download.silence_s
        if download.assembly.complete:
            self._check(download, download.assembly)
        elif download.in_flight <= self._window // 2:
            self._ask(download)

    def close(self) -> None:
        """Forget everything."""
        self._neighbours.leave(self)
        self._downloads.clear()
        self._waiting.clear()
        self._checking.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What `sharing.Neighbours` asks of a peer

    def held(self, model: ModelHash) -> Model | None:
        """See `sharing.Neighbour.held`."""
        return self._shelf.get(model)

    def gave(self, model: Model) -> None:
        """See `sharing.Neighbour.gave`."""
        asked, given = self._frames_of(model)
        self._exchanged(sent=given, received=asked)

    def take(self, model: Model, giver: Neighbour) -> None:
        """See `sharing.Neighbour.take`."""
        download = self._downloads.get(model.name)
        if download is None or download.total_bytes != model.info.total_bytes:
            return
        self._forget(download)
        asked, given = self._frames_of(model)
        self._exchanged(sent=asked, received=given)
        giver.gave(model)
        self._deliver(Fetched(model.name), model)

    def refuse(self, wanted: Wanted, reason: str) -> None:
        """See `sharing.Neighbour.refuse`."""
        download = self._following(wanted)
        if download is not None:
            self._forget(download)
            self._deliver(FetchFailed(download.model, reason), None)

    def go_on(self, wanted: Wanted) -> None:
        """See `sharing.Neighbour.go_on`."""
        download = self._following(wanted)
        if download is not None:
            download.following = False
            self._waiting.append(download)
            self._start_waiting()

    def _following(self, wanted: Wanted) -> _Download | None:
        download = self._downloads.get(wanted[0])
        follows = download is not None and download.following and download.wanted == wanted
        return download if follows else None

    def _frames_of(self, model: Model) -> tuple[Frames, Frames]:
        return frames_of(
            model.info, topic_bytes=self._topic_bytes, chunk_leaves=self._chunk_leaves,
            window_leaves=self._window,
        )  # fmt: skip

    def _taken(self, download: _Download) -> bool:
        """Take the model from a neighbour that holds it, if there is one."""
        found = self._neighbours.holder(download.wanted, download.sources)
        if found is None:
            return False
        giver, model = found
        self.take(model, giver)
        return True

    # The connection

    def _forget(self, download: _Download) -> None:
        self._downloads.pop(download.model, None)
        if download in self._waiting:
            self._waiting.remove(download)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and sum(each.active for each in self._downloads.values()) < ACTIVE_MAX:
            download = self._waiting.popleft()
            download.following = self._neighbours.follows(download.wanted, self)
            if not download.following:
                download.active = True
                self._ask_anew(download)

    def _ask_anew(self, download: _Download) -> None:
        download.asked = 0
        download.in_flight = 0
        self._ask(download)
        download.deadline = self._loop.time() + download.silence_s
        self._set_timer()

    def _ask(self, download: _Download) -> None:
        """Fill the window of *download* with leaves not asked for yet."""
        credit = self._window - download.in_flight
        ranges = _from(self._missing(download), download.asked, credit)
        if not ranges:
            return
        download.asked = ranges[-1][1]
        download.in_flight += sum(stop - start for start, stop in ranges)
        want = BlobWant(download.model, download.assembly is None, ranges, min(self._chunk_leaves, 256))
        self._send(download.source, want)

    def _missing(self, download: _Download) -> tuple[tuple[int, int], ...]:
        if download.assembly is None:
            return ((0, leaf_count(download.total_bytes)),)
        return download.assembly.missing()

    def _refused(self, download: _Download) -> None:
        """The source does not hold the blob: ask the next at once, or pause when none does."""
        download.turn += 1
        download.refusals += 1
        if download.active and download.refusals < len(download.sources):
            self._ask_anew(download)

    def _check(self, download: _Download, assembly: Assembly) -> None:
        """Look for NaN off the loop, then hand the model over."""
        self._checking.add(download.model)
        self._forget(download)
        opening = partial(self._packing.opened, assembly.data(), assembly.info, self._shelf.bases)
        job = self._loop.run_in_executor(self._trainer.tensors, opening)
        job.add_done_callback(lambda done: self._checked(download.wanted, done))

    def _checked(self, wanted: Wanted, job: "asyncio.Future[Model]") -> None:
        """Tell the core, unless it stopped the fetch meanwhile, and the neighbours in any case."""
        name = wanted[0]
        still = name in self._checking
        self._checking.discard(name)
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            _log.warning("model_refused model=%s reason=%s", brief(name), error)
            if still:
                self._deliver(FetchFailed(name, str(error)), None)
            self._neighbours.failed(wanted, self, str(error))
        else:
            if still:
                self._deliver(Fetched(name), job.result())
            self._neighbours.arrived(job.result(), self)

    def _set_timer(self) -> None:
        """One timer for all: it may ring early, since arrivals only move deadlines away."""
        if self._timer is None and self._downloads:
            soonest = min((d.deadline for d in self._downloads.values() if d.active), default=None)
            if soonest is not None:
                self._timer = self._loop.call_at(soonest, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        for download in [d for d in self._downloads.values() if d.active and d.deadline <= now]:
            download.turn += 1
            download.silence_s = min(2 * download.silence_s, max(self._charter.patience, SILENCE_LEAST_S))
            self._neighbours.give_way(download.wanted, self)
            if self._waiting:
                download.active = False
                self._waiting.append(download)
            else:
                self._ask_anew(download)
        self._start_waiting()
        self._set_timer()


def _from(missing: tuple[tuple[int, int], ...], first: int, credit: int) -> tuple[tuple[int, int], ...]:
    """Return at most *credit* leaves of the *missing* ranges, from leaf *first* on."""
    ranges: list[tuple[int, int]] = []
    for begin, end in missing:
        start = max(begin, first)
        stop = min(end, start + credit)
        if start < stop:
            ranges.append((start, stop))
            credit -= stop - start
    return tuple(ranges)
