"""The memory of models that are gone, for models of the same length that come: one store per process.

A peer fetches models of one length round after round. Memory that is fresh from the kernel costs more than
what is written to it: each page is cleared first, and on a virtual machine the host may have to find one. A
block comes back when nothing refers to its model any more.

Bounds: what is free is one block, or several of together no more than `FREE_BYTES`; it goes when a model of
another length begins, and after `KEEP_S`. Blobs below `LEAST_BYTES` are left to the allocator.
"""

import asyncio
import contextlib
import time
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from swarmdem.wire.blobs import untouched

LEAST_BYTES = 2**20
FREE_BYTES = 32 * 2**20
KEEP_S = 30.0
"""What no model has used for so long is not worth its memory: long rounds pay little for new."""


class Blocks:
    """Memory for blobs; `reserve` is called on an event loop, blocks come back from any thread."""

    def __init__(self) -> None:
        self._free: deque[tuple[memoryview, float]] = deque()
        """Blocks, and since when; the one that waits longest first."""

    @property
    def free_bytes(self) -> int:
        """What is kept for models to come."""
        return sum(len(block) for block, _ in tuple(self._free))

    def reserve(self, size_bytes: int) -> memoryview:
        """Return memory of this length, whatever is in it."""
        if size_bytes < LEAST_BYTES:
            return untouched(size_bytes)
        while (block := self._next()) is not None and len(block) != size_bytes:
            pass  # of another length: the next is, too
        if block is None:
            block = untouched(size_bytes)
        # Whatever is made of it, arrays and tensors included, keeps this one object alive; its end is told.
        lent: NDArray[np.uint8] = np.frombuffer(block, np.uint8)
        weakref.finalize(lent, self._came_back, block, asyncio.get_running_loop()).atexit = False
        return lent.data

    def _next(self) -> memoryview | None:
        with contextlib.suppress(IndexError):
            return self._free.popleft()[0]
        return None

    def _came_back(self, block: memoryview, loop: asyncio.AbstractEventLoop) -> None:
        """Keep a block, for a while; in whatever thread the last use of it ended."""
        if self._free and self.free_bytes + len(block) > FREE_BYTES:
            return
        self._free.append((block, time.monotonic()))
        with contextlib.suppress(RuntimeError):  # that loop has ended: it goes with the next that comes back
            loop.call_soon_threadsafe(loop.call_later, KEEP_S, self._give_up)

    def _give_up(self) -> None:
        """Free what nobody wanted for so long."""
        before = time.monotonic() - KEEP_S
        with contextlib.suppress(IndexError):
            while self._free[0][1] <= before:
                self._free.popleft()
