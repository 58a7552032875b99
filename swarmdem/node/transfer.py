"""Fetches the blobs the core asks for; `serving.py` is the other end.

The receiver drives: its `BlobWant` names leaves, and their number is the sender's credit; the leaf
hashes and the first leaves are asked for in one go. Every leaf is checked against its hash before it is
kept (`verifying.py`), the whole blob against the schema before the core hears of it. After silence, or when
a source does not hold the blob, the missing leaves are asked of the next source; the silence borne doubles
each time, up to `patience`. What is here is never asked for again (`resuming.py`: after a restart neither).

When the leaf hashes come and no chunk does, something on the way does not take chunks of this size: smaller
ones are asked for (`download.py`). When the source invites (several fetch the blob), the receiver listens on
the blob's topic and asks as before; what others asked for, it takes too.

Bounds: `ACTIVE_MAX` downloads receive at once, the others wait for their turn, and one that falls
silent gives up its turn; the credit of all together is `download.CREDIT_BYTES`. Memory (`blocks.py`) is
reserved only once name, leaf list and size agree. Peers of one process hand models on by `sharing.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from swarmdem.errors import WireError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.learning.parameters import model_bytes
from swarmdem.node.delivery import Deliver
from swarmdem.node.download import CREDIT_BYTES, SMALLER, ChunkLimit, Download, chunk_leaves, window_leaves
from swarmdem.node.listening import Listen, Listening
from swarmdem.node.models import Model, ModelShelf, Schema
from swarmdem.node.opening import Opening
from swarmdem.node.packing import Packing
from swarmdem.node.resuming import Parts
from swarmdem.node.sharing import Exchanged, Frames, Neighbour, Wanted, frames_of
from swarmdem.node.trainer import Trainer
from swarmdem.node.verifying import Verifier, log_refusal
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed
from swarmdem.wire import extensions, topics
from swarmdem.wire.blobs import LEAF_BYTES, Assembly, BlobInfo, Chunk, blob_name
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.messages import BlobOffer, BlobWant

ACTIVE_MAX = 8
"""Downloads of one peer that receive at once."""
SILENCE_LEAST_S = 0.25
SILENCE_MOST_S = 5.0
"""First silence borne, whatever `patience` is."""


class Downloads:
    """One peer's fetches; all methods are called on the event loop.

    Args:
        charter: Chunk size and patience.
        schemas: What a blob may be, by its length; the first is what is expected unless an order says more.
        me: Never asked.
        shelf: What is there already needs no fetching.
        trainer: Whose threads hash and look for NaN.
        send: Queues a message to one peer.
        deliver: Takes `Fetched` with its model, or `FetchFailed`.
        exchanged: Counts what was taken from a neighbour or given to one.
        refused: Takes why a chunk was refused that was not refused at once.
        listen: Subscribes to a blob's topic; None: this peer hears only what is for it alone.
        parts: Where large blobs are kept until they are whole; None: in memory only.
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
        refused: Callable[[WireError], None] = log_refusal,
        listen: Listen | None = None,
        parts: Parts | None = None,
    ) -> None:
        self._charter = charter
        self._schemas = {model_bytes(schema): schema for schema in schemas}
        self._model_bytes = next(iter(self._schemas))
        self.me = me
        self._shelf = shelf
        self._send = send
        self._deliver = deliver
        self._exchanged = exchanged
        self._parts = parts
        self._reserve = trainer.blocks.reserve
        self._loop = asyncio.get_running_loop()
        self._limit = ChunkLimit(max(1, charter.chunk // LEAF_BYTES))
        self._silence_s = min(max(charter.patience / 8, SILENCE_LEAST_S), SILENCE_MOST_S)
        self._downloads: dict[ModelHash, Download] = {}
        self._waiting: deque[Download] = deque()
        self._opening = Opening(Packing(charter, schemas), shelf, trainer, deliver)
        self._timer: asyncio.TimerHandle | None = None
        self._verifier = Verifier(trainer.hashing, self._added, refused)
        self._listening = Listening(listen, self._heard) if listen is not None else None
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
        if known is not None or not sources or order.model in self._opening:
            return
        leaves = chunk_leaves(total_bytes, self._limit.leaves(self._loop.time()))
        download = Download(order.model, total_bytes, sources, self._silence_s, leaves)
        if self._parts is not None:
            download.part = self._parts.of(order.model, total_bytes)
            download.resumes = download.part is not None and self._parts.known(order.model)
        self._downloads[order.model] = download
        self._waiting.append(download)
        if not self._taken(download):
            self._start_waiting()

    def stop(self, model: ModelHash) -> None:
        """Forget a download."""
        self._opening.stop(model)
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
        if download is None or sender not in download.sources:
            return
        if download.assembly is None:
            self._begin(download, sender, offer)
        if download.assembly is not None and extensions.entry(offer.ext, extensions.INVITATION) is not None:
            self._invited(download)

    def on_chunk(self, sender: PeerId, chunk: Chunk) -> None:
        """Verify the leaves of a chunk and keep the good ones.

        Raises:
            WireError: A leaf lies outside the blob; of a single leaf also: it has the wrong hash.
        """
        download = self._downloads.get(chunk.blob)
        if download is None or download.assembly is None or sender not in download.sources:
            return
        self._verifier.take(download, download.assembly, chunk)
        if download.held_bytes:
            self._ask(download)

    def close(self) -> None:
        """Forget everything; what is on the disk stays for a later process."""
        self._neighbours.leave(self)
        for download in self._downloads.values():
            download.end()
            if download.part is not None:
                self._verifier.put_away(download.part, keep=True)
        self._downloads.clear()
        self._waiting.clear()
        self._opening.clear()
        if self._listening is not None:
            self._listening.close()
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

    def _following(self, wanted: Wanted) -> Download | None:
        download = self._downloads.get(wanted[0])
        follows = download is not None and download.following and download.wanted == wanted
        return download if follows else None

    def _frames_of(self, model: Model) -> tuple[Frames, Frames]:
        size = model.info.total_bytes
        return frames_of(
            model.info, topic_bytes=self._topic_bytes,
            chunk_leaves=chunk_leaves(size, self._limit.leaves(self._loop.time())),
            window_leaves=window_leaves(size),
        )  # fmt: skip

    def _taken(self, download: Download) -> bool:
        """Take the model from a neighbour that holds it, if there is one."""
        found = self._neighbours.holder(download.wanted, download.sources)
        if found is None:
            return False
        giver, model = found
        self.take(model, giver)
        return True

    # The connection

    def _begin(self, download: Download, sender: PeerId, offer: BlobOffer) -> None:
        """Make room for a blob whose leaf hashes came."""
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
            assembly = Assembly(info, limit_bytes=download.total_bytes, reserve=self._reserve)
        except WireError:
            if sender == download.source:
                self._refused(download)
            raise
        download.assembly = assembly
        download.deadline = self._loop.time() + download.silence_s
        if download.resumes and download.part is not None:
            self._verifier.restore(download, assembly, download.part)

    def _added(self, download: Download, added: int) -> None:
        """Leaves of *download* were verified."""
        assembly = download.assembly
        if assembly is None or download.ended:
            return
        now = self._loop.time()
        if added and not download.resumes:
            download.refusals = 0
            download.silence_s = self._silence_s
            download.chunks += 1
            download.patient, download.vain = False, 0
            if download.smaller:
                download.smaller = False
                self._limit.passed(download.chunk_leaves, now)
        download.deadline = now + download.silence_s
        download.resumes = False
        if assembly.complete:
            self._forget(download)
            self._opening.open(assembly, self._neighbours, self)
        else:
            self._ask(download)

    def _forget(self, download: Download) -> None:
        self._downloads.pop(download.model, None)
        download.end()
        if download in self._waiting:
            self._waiting.remove(download)
        if self._listening is not None:
            self._listening.stop(download)
        if download.part is not None:
            self._verifier.put_away(download.part, keep=False)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and sum(each.active for each in self._downloads.values()) < ACTIVE_MAX:
            download = self._waiting.popleft()
            download.following = self._neighbours.follows(download.wanted, self)
            if not download.following:
                download.active = True
                self._ask_anew(download)

    def _ask_anew(self, download: Download, *, again: bool = True) -> None:
        """Ask for all that is missing, whatever was asked for; *again*: what was sent was lost."""
        download.asked = 0
        self._ask(download, again=again)
        download.deadline = self._loop.time() + download.silence_s
        self._set_timer()

    def _ask(self, download: Download, *, again: bool = False) -> None:
        """Fill the window of *download* with leaves not asked for yet."""
        if download.restoring:
            return
        active = sum(each.active for each in self._downloads.values())
        share = CREDIT_BYTES // LEAF_BYTES // max(1, active)
        unknown = download.assembly is None
        ranges = () if unknown and download.resumes else download.next_ranges(share)
        if ranges or unknown:
            ext = ((extensions.LISTENING, bytes([again])),) if download.listening else ()
            want = BlobWant(download.model, unknown, ranges, download.chunk_leaves, ext)
            self._send(download.source, want)

    def _invited(self, download: Download) -> None:
        """The source publishes the blob for several: listen there, and ask anew if nothing came yet."""
        if self._listening is None or download.listening or not download.active:
            return
        self._listening.begin(download)

    def _heard(self, download: Download) -> None:
        """Listening began, or is not possible: the source waits for that with what was asked for."""
        current = self._downloads.get(download.model) is download and download.active
        if current and (download.listening or not download.chunks):
            self._ask_anew(download, again=False)

    def _refused(self, download: Download) -> None:
        """The source does not hold the blob: ask the next at once, or pause when none does."""
        download.turn += 1
        download.refusals += 1
        if download.active and download.refusals < len(download.sources):
            self._ask_anew(download)

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
            if download.verifying:
                download.deadline = now + download.silence_s
            elif not download.waits_longer(now) and not self._asks_for_less(download):
                self._turn(download)
        self._start_waiting()
        self._set_timer()

    def _asks_for_less(self, download: Download) -> bool:
        """Ask the same source for smaller chunks, if those there are may be what does not pass."""
        if download.assembly is None or download.chunks or download.chunk_leaves == 1:
            return False
        download.chunk_leaves = max(1, download.chunk_leaves // SMALLER)
        download.smaller = True
        self._ask_anew(download)
        return True

    def _turn(self, download: Download) -> None:
        """Ask the next source, or let another download have the turn."""
        download.turn += 1
        download.vain += 1
        if download.vain > 1:  # it may be deaf: not every broker says that a subscription has no effect
            download.listening = False
        download.silence_s = min(2 * download.silence_s, max(self._charter.patience, SILENCE_LEAST_S))
        if download.smaller:
            leaves = self._limit.leaves(self._loop.time())
            download.chunk_leaves, download.smaller = chunk_leaves(download.total_bytes, leaves), False
        self._neighbours.give_way(download.wanted, self)
        if self._waiting:
            download.active = False
            self._waiting.append(download)
        else:
            self._ask_anew(download)
