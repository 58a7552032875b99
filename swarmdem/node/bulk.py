"""One peer's side of the bulk connection: the blobs it fetches and those it serves, and how they leave.

    port ──chunks, offers, wants──> Bulk ──> downloads (transfer.py), uploads (serving.py) ──> port

The driver hands it what arrives and what the core orders; a benchmark does the same without a core.
"""

from collections.abc import Sequence

from swarmdem.errors import WireError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.node.counters import NodeCounters
from swarmdem.node.delivery import Deliver
from swarmdem.node.models import ModelShelf, Schema
from swarmdem.node.resuming import Parts
from swarmdem.node.serving import Uploads
from swarmdem.node.trainer import Trainer
from swarmdem.node.transfer import Downloads
from swarmdem.node.verifying import log_refusal
from swarmdem.transport.base import Arrival, InParts, Port
from swarmdem.wire import topics
from swarmdem.wire.blobs import CHUNK, LEAF_BYTES, decode_chunk
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import BlobOffer, BlobWant


class Bulk:
    """Blobs in and out; all methods are called on the event loop.

    Args:
        charter: Chunk size and patience.
        schemas: What a blob may be, by its length.
        sealer: Signs offers and wants.
        port: Takes what leaves; subscribed and closed by the caller.
        shelf: What is served, and what needs no fetching.
        trainer: The worker threads.
        counters: Told of every frame that leaves.
        deliver: Takes `Fetched` with its model, or `FetchFailed`.
        parts: Where large blobs are kept until they are whole; None: in memory only.
    """

    def __init__(
        self,
        *,
        charter: Charter,
        schemas: Sequence[Schema],
        sealer: FrameSealer,
        port: Port,
        shelf: ModelShelf,
        trainer: Trainer,
        counters: NodeCounters,
        deliver: Deliver,
        parts: Parts | None = None,
    ) -> None:
        self._sealer = sealer
        self._port = port
        self._counters = counters
        self._scope = charter_hash(charter)
        self.uploads = Uploads(shelf, self, chunk_leaves=charter.chunk // LEAF_BYTES)
        self.downloads = Downloads(
            charter=charter, schemas=schemas, me=sealer.peer, shelf=shelf, trainer=trainer,
            send=self.uploads.send, deliver=deliver, exchanged=counters.exchanged,
            refused=self._refused, listen=self._listen, parts=parts,
        )  # fmt: skip

    async def run(self) -> None:
        """Send what is to be sent, until cancelled."""
        await self.uploads.run()

    def took(self, arrival: Arrival) -> bool:
        """Take *arrival* if it is a chunk; False: it is not.

        Raises:
            WireError: It is a chunk that must be refused.
        """
        payload = arrival.payload
        if len(payload) <= 3 or payload[3] != CHUNK:
            return False
        self.downloads.on_chunk(topics.sender_of(arrival.topic), decode_chunk(payload))
        return True

    def on_frame(self, frame: Frame) -> None:
        """Take a want or an offer.

        Raises:
            WireError: It is an offer that must be refused.
        """
        sender, message = frame.sender, frame.message
        if sender == self._sealer.peer:
            return
        if isinstance(message, BlobWant):
            self.uploads.on_want(sender, message)
        elif isinstance(message, BlobOffer):
            self.downloads.on_offer(sender, message)

    def close(self) -> None:
        """Forget all downloads."""
        self.downloads.close()

    # For `Downloads`

    def _refused(self, error: WireError) -> None:
        self._counters.refuse(type(error).__name__)
        log_refusal(error)

    async def _listen(self, blob: ModelHash, *, wanted: bool) -> None:
        pattern = topics.blob_all(self._scope, blob)
        await (self._port.subscribe if wanted else self._port.unsubscribe)(pattern, bulk=True)

    # For `Uploads`

    async def message(self, receiver: PeerId, message: BlobWant | BlobOffer) -> None:
        """See `serving.BulkSender.message`."""
        frame = self._sealer.seal(message)
        topic = topics.topic_of(frame.message, frame.scope, self._sealer.peer, receiver)
        await self._port.publish(topic, frame.raw, bulk=True)
        self._counters.sent(topic, frame.raw)

    async def chunk(self, receiver: PeerId | None, blob: ModelHash, parts: tuple[bytes, memoryview]) -> None:
        """See `serving.BulkSender.chunk`."""
        me, (head, body) = self._sealer.peer, parts
        if receiver is None:
            topic = topics.blob(self._scope, blob, me)
        else:
            topic = topics.bulk(self._scope, receiver, me)
        await self._port.publish(topic, InParts(head, body), bulk=True)
        self._counters.sent(topic, head, len(body))
