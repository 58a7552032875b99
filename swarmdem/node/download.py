"""One blob on its way here: what is missing, what was asked for and of whom, and how large the steps are.

Credit is what was asked for and is not here; it is the most that a lost connection can cost.
A blob up to `WHOLE_BYTES` is asked for in one go, a larger one has 1/20 of its length on the way, within
bounds. Chunks are as large as the charter allows, and smaller where the credit would be only a few of
them, or where a broker on the way has proven not to take them.
"""

import random
from dataclasses import dataclass, field

from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.node.resuming import Part
from swarmdem.node.sharing import Wanted
from swarmdem.wire.blobs import CHUNK_LEAVES_MAX, LEAF_BYTES, Assembly, Chunk, leaf_count

WHOLE_BYTES = 4 * 2**20
PARTS = 20
WINDOW_LEAST_BYTES = 2 * 2**20
WINDOW_MOST_BYTES = 8 * 2**20
CREDIT_BYTES = 32 * 2**20
"""Of all downloads of a peer together: so much may wait for it in a broker's queue."""
CHUNK_LEAST_LEAVES = 4
"""Smaller chunks cost broker and event loops more than they gain; larger ones leave the first hop later."""
ONE_CHUNK_LEAVES = 8
"""A blob up to this travels as one chunk: there is nothing to overlap."""
CHUNKS_IN_WINDOW = 8
REFILL = 2
"""Credit is renewed by the half: each want costs a signature, in quarters more than the fuller pipe gains."""
SMALLER = 4
"""Factor between a size of chunks that does not pass and the next one tried."""
AGAIN_S = 3600.0
"""After this the charter's size is tried again: another broker may stand there by now."""


def window_leaves(total_bytes: int) -> int:
    """Return the credit of a download that is alone, in leaves."""
    if total_bytes <= WHOLE_BYTES:
        return leaf_count(total_bytes)
    return min(max(total_bytes // PARTS, WINDOW_LEAST_BYTES), WINDOW_MOST_BYTES) // LEAF_BYTES


def chunk_leaves(total_bytes: int, most: int) -> int:
    """Return how many leaves a chunk of the blob has where *most* pass."""
    if leaf_count(total_bytes) <= ONE_CHUNK_LEAVES:
        return min(ONE_CHUNK_LEAVES, most)
    fitting = max(window_leaves(total_bytes) // CHUNKS_IN_WINDOW, CHUNK_LEAST_LEAVES)
    return min(fitting, most, CHUNK_LEAVES_MAX)


class ChunkLimit:
    """How many leaves in one message pass between this peer and others, as far as is known.

    Args:
        most: What the charter allows.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._proven = most
        self._proven_at = 0.0

    def leaves(self, now: float) -> int:
        """Return the most leaves to ask for in one chunk."""
        if now - self._proven_at > AGAIN_S:
            self._proven = self._most
        return self._proven

    def passed(self, leaves: int, now: float) -> None:
        """Note that chunks of *leaves* arrive where larger ones did not."""
        self._proven, self._proven_at = leaves, now


@dataclass(slots=True, eq=False)
class Download:
    """See the module."""

    model: ModelHash
    total_bytes: int
    sources: tuple[PeerId, ...]
    silence_s: float
    chunk_leaves: int
    turn: int = 0
    """Which source is asked now."""
    refusals: int = 0
    """Sources that said no since anything was received."""
    assembly: Assembly | None = None
    resumes: bool = False
    """An earlier process received some of it, which is not in the assembly yet."""
    restoring: bool = False
    """That is being read from the disk."""
    asked: int = 0
    """Leaves below this one were asked for since the last silence."""
    deadline: float = 0.0
    active: bool = False
    following: bool = False
    """A neighbour is receiving the blob: wait for that."""
    chunks: int = 0
    """Chunks that were good."""
    smaller: bool = False
    """Chunks are smaller than the link's limit, to see whether that helps."""
    held: list[Chunk] = field(default_factory=list)
    """Chunks that wait for the thread that verifies them."""
    held_bytes: int = 0
    """Of those, and of the chunks that are being verified."""
    verifying: bool = False
    ended: bool = False
    """Whole, stopped or closed: what the thread still finds out about it is of no use."""
    part: Part | None = None
    """Where the leaves are kept on disk."""
    listening: bool = False
    """What the source publishes to all who fetch this blob is heard here."""
    vain: int = 0
    """Silences since the last good chunk."""
    patient: bool = False
    """Waits a moment longer, by chance, for what others may ask for."""

    @property
    def wanted(self) -> Wanted:
        """Model and length."""
        return self.model, self.total_bytes

    @property
    def source(self) -> PeerId:
        """Who is asked now."""
        return self.sources[self.turn % len(self.sources)]

    def end(self) -> None:
        """Forget what waits to be verified."""
        self.ended = True
        self.held.clear()

    def waits_longer(self, now: float) -> bool:
        """Wait a little longer, by chance and once, if what is missing may come because others ask for it."""
        if not self.listening or self.patient:
            return False
        self.patient = True
        self.deadline = now + random.random() * self.silence_s / 2
        return True

    def next_ranges(self, share_leaves: int) -> tuple[tuple[int, int], ...]:
        """Return the leaves to ask for now, if enough of the credit is free, and count them as asked for.

        Args:
            share_leaves: What this download may have of the peer's credit.
        """
        window = max(1, min(window_leaves(self.total_bytes), share_leaves))
        if self.assembly is None:
            self.asked = min(window, leaf_count(self.total_bytes))
            return ((0, self.asked),)
        held = self.held_bytes // LEAF_BYTES
        free = window - max(0, self.assembly.missing_below(self.asked) - held)
        if self.held_bytes > WINDOW_MOST_BYTES or (self.asked and REFILL * free < window):
            return ()
        ranges = self.assembly.missing(first=self.asked, most_leaves=free)
        if ranges:
            self.asked = ranges[-1][1]
        return ranges
