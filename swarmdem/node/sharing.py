"""Blobs among the peers of one process: what one of them holds or fetches crosses the connection once.

Co-hosted peers of one charter share their connection, their worker threads and the model objects. A
fetch looks first for a neighbour that holds the model, then for one that is receiving it now, and waits
for that one. Whoever falls silent, stops or leaves gives way: the next fetcher goes on with sources of
its own, so nobody waits longer for a neighbour than it would for a source.

Traffic is counted as between separate machines: the taker as if it had received the blob, the giver as
if it had sent it. Limits: a blob handed over while some leaves of it were here already counts whole.
"""

from collections.abc import Sequence
from typing import Protocol

from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.node.models import Model
from swarmdem.wire.blobs import CHUNK_HEADER_BYTES, BlobInfo, leaf_count
from swarmdem.wire.codec import OVERHEAD_BYTES, encode_body
from swarmdem.wire.messages import BlobOffer, BlobWant

Wanted = tuple[ModelHash, int]
"""A model and the length that its fetcher expects."""
Frames = dict[str, tuple[int, int]]
"""Number and bytes of frames by kind, topics included."""


class Exchanged(Protocol):
    """Counts what peers of this process handed each other."""

    def __call__(self, *, sent: Frames, received: Frames) -> None:
        """Count frames as if they had crossed a connection."""


class Neighbour(Protocol):
    """One peer's fetches, as those of its neighbours see them; all on the event loop."""

    me: PeerId

    def held(self, model: ModelHash) -> Model | None:
        """Return a model that this peer would serve."""

    def gave(self, model: Model) -> None:
        """Count a model that a neighbour took."""

    def take(self, model: Model, giver: "Neighbour") -> None:
        """Take a model that *giver* holds, if it is being fetched here."""

    def refuse(self, wanted: Wanted, reason: str) -> None:
        """Give up a fetch that waits for a neighbour: the blob's content cannot be used."""

    def go_on(self, wanted: Wanted) -> None:
        """Go on with a fetch that waits for a neighbour."""


class Neighbours:
    """The peers of one process and one charter; used from one event loop."""

    def __init__(self) -> None:
        self._members: dict[Neighbour, None] = {}
        self._leaders: dict[Wanted, Neighbour] = {}

    def join(self, member: Neighbour) -> None:
        """Add a peer."""
        self._members[member] = None

    def leave(self, member: Neighbour) -> None:
        """Forget a peer; whoever waits for it goes on."""
        self._members.pop(member, None)
        for wanted in [wanted for wanted, leader in self._leaders.items() if leader is member]:
            self.give_way(wanted, member)

    def holder(self, wanted: Wanted, sources: Sequence[PeerId]) -> tuple[Neighbour, Model] | None:
        """Return who holds the model: the first of *sources* that is a neighbour, else any."""
        model, total_bytes = wanted
        rank = {source: place for place, source in enumerate(sources)}
        for member in sorted(self._members, key=lambda each: rank.get(each.me, len(rank))):
            held = member.held(model)
            if held is not None and held.info.total_bytes == total_bytes:
                return member, held
        return None

    def follows(self, wanted: Wanted, member: Neighbour) -> bool:
        """Say whether *member* is to wait for a neighbour; if not, the others wait for it from now on."""
        return self._leaders.setdefault(wanted, member) is not member

    def give_way(self, wanted: Wanted, leader: Neighbour) -> None:
        """The fetch of *leader* stopped or fell silent: the next one goes on."""
        if self._leaders.get(wanted) is leader:
            del self._leaders[wanted]
            for member in tuple(self._members):
                member.go_on(wanted)

    def arrived(self, model: Model, giver: Neighbour) -> None:
        """Hand a model that *giver* has received, and that was verified, to all that fetch it."""
        self._leaders.pop((model.name, model.info.total_bytes), None)
        for member in tuple(self._members):
            if member is not giver:
                member.take(model, giver)

    def failed(self, wanted: Wanted, leader: Neighbour, reason: str) -> None:
        """What *leader* received has the right hash and cannot be used: nobody need receive it again."""
        if self._leaders.get(wanted) is leader:
            del self._leaders[wanted]
            for member in tuple(self._members):
                member.refuse(wanted, reason)


def frames_of(
    info: BlobInfo, *, topic_bytes: int, chunk_leaves: int, window_leaves: int
) -> tuple[Frames, Frames]:
    """Return the frames that a blob takes between two machines: from the receiver, and from the holder.

    Args:
        info: The blob.
        topic_bytes: Length of a bulk topic.
        chunk_leaves: Leaves in one chunk.
        window_leaves: Leaves that the first want asks for; the others ask for half of that.
    """
    leaves = leaf_count(info.total_bytes)
    later, half = max(0, leaves - window_leaves), max(1, window_leaves // 2)
    wants, chunks = 1 + -(-later // half), -(-leaves // chunk_leaves)
    want = encode_body(BlobWant(info.name, True, ((0, min(leaves, window_leaves)),), min(chunk_leaves, 256)))
    offer = encode_body(BlobOffer(info.name, info.total_bytes, info.leaves))
    around = OVERHEAD_BYTES + topic_bytes
    asked: Frames = {"blobwant": (wants, wants * (len(want) + around))}
    given: Frames = {
        "bloboffer": (1, len(offer) + around),
        "chunk": (chunks, chunks * (CHUNK_HEADER_BYTES + topic_bytes) + info.total_bytes),
    }
    return asked, given
