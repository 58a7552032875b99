"""Verifies the chunks of downloads off the event loop: hashing one MiB would hold up control messages.

Chunks of one blob that come while others of it are hashed go to the thread together afterwards. A single
leaf, and what this machine hashes within `HOLD_UP_S`, is hashed at once: two threads of one interpreter that
pass the chunks of a model on to each other are slower than one, the more so where the processor is busy.

Bounds: of each download twice its credit is in the thread's hands; what comes beyond that was not asked for,
is forgotten, and is asked for again if it is missed.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import cache, partial

from swarmdem.errors import WireError
from swarmdem.node.download import WINDOW_MOST_BYTES, Download
from swarmdem.node.resuming import Part
from swarmdem.wire.blobs import LEAF_BYTES, Assembly, Chunk, leaf_hash, wrong_leaf

_log = logging.getLogger("swarmdem.node.verifying")

HOLD_UP_S = 0.001
"""By this much a chunk may hold up control messages: 1 MiB with SHA instructions, 64 to 128 KiB without."""
HELD_MOST_BYTES = 2 * WINDOW_MOST_BYTES
Verdict = tuple[list[int], int | None]
"""Good leaves of a chunk, and the first wrong one."""


def log_refusal(error: WireError) -> None:
    """Say in the log why a chunk was refused."""
    _log.debug("chunk_refused reason=%s", error)


class Verifier:
    """All methods are called on the event loop.

    Args:
        threads: Where hashing is done.
        added: Told how many leaves a download has gained; not called for none.
        refused: Told why a chunk was refused.
    """

    def __init__(
        self,
        threads: Executor,
        added: Callable[[Download, int], None],
        refused: Callable[[WireError], None],
    ) -> None:
        self._threads = threads
        self._added = added
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._at_once_bytes = max(LEAF_BYTES, int(hashed_per_second() * HOLD_UP_S))

    def take(self, download: Download, assembly: Assembly, chunk: Chunk) -> None:
        """Verify and keep a chunk of the blob that *assembly* collects for *download*.

        Raises:
            WireError: It is no chunk of this blob; where it is hashed at once: a leaf has the wrong hash.
        """
        if not assembly.lacks(chunk):
            return
        if len(chunk.data) <= self._at_once_bytes and download.part is None:
            if added := assembly.add(chunk):
                self._added(download, added)
            return
        if download.held_bytes + len(chunk.data) > HELD_MOST_BYTES:
            return
        download.held_bytes += len(chunk.data)
        download.held.append(chunk)
        if not download.verifying:
            self._verify(download, assembly)

    def restore(self, download: Download, assembly: Assembly, part: Part) -> None:
        """Take what an earlier process left of a blob; the download is told even if that is nothing."""
        download.verifying = download.restoring = True
        job = self._loop.run_in_executor(self._threads, part.restore, assembly)
        job.add_done_callback(partial(self._restored, download, assembly))

    def put_away(self, part: Part, *, keep: bool) -> None:
        """Close the file of a download that has ended, and remove it unless it is to be resumed."""
        self._threads.submit(part.close if keep else part.discard)

    def _verify(self, download: Download, assembly: Assembly) -> None:
        batch, download.held, download.verifying = download.held, [], True
        job = self._loop.run_in_executor(self._threads, _verdicts, assembly, batch, download.part)
        job.add_done_callback(partial(self._verified, download, assembly, batch))

    def _verified(
        self,
        download: Download,
        assembly: Assembly,
        batch: Sequence[Chunk],
        job: "asyncio.Future[list[Verdict]]",
    ) -> None:
        download.held_bytes -= sum(len(chunk.data) for chunk in batch)
        if job.cancelled() or download.ended:
            return
        good = [leaf for leaves, _ in job.result() for leaf in leaves]
        for wrong in [wrong for _, wrong in job.result() if wrong is not None]:
            self._refused(wrong_leaf(wrong))
        self._kept(download, assembly, good)

    def _restored(self, download: Download, assembly: Assembly, job: "asyncio.Future[list[int]]") -> None:
        download.restoring = False
        if not job.cancelled() and not download.ended:
            added = assembly.keep(job.result())
            self._next(download, assembly)
            self._added(download, added)

    def _kept(self, download: Download, assembly: Assembly, good: Sequence[int]) -> None:
        added = assembly.keep(good)
        self._next(download, assembly)
        if added:
            self._added(download, added)

    def _next(self, download: Download, assembly: Assembly) -> None:
        download.verifying = False
        if download.held:
            self._verify(download, assembly)


@cache
def hashed_per_second() -> float:
    """Return how many bytes one thread of this machine hashes in a second of its own."""
    leaf, took_s = bytes(LEAF_BYTES), math.inf
    for _ in range(3):
        began_s = time.thread_time()
        leaf_hash(leaf)
        took_s = min(took_s, time.thread_time() - began_s)
    return LEAF_BYTES / max(took_s, 1e-9)


def _verdicts(assembly: Assembly, batch: Sequence[Chunk], part: Part | None) -> list[Verdict]:
    verdicts = []
    for chunk in batch:
        good, wrong = assembly.verify(chunk)
        if part is not None:
            part.write(chunk, good)
        verdicts.append((good, wrong))
    return verdicts
