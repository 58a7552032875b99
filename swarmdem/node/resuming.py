"""Keeps on disk what was received of large blobs, so that a restarted peer asks for the rest only.

A part file has the blob's length and its name, and each verified leaf at its place; nothing says which
leaves are there. Whoever opens it hashes them all again: a torn write, a power cut or somebody's hand costs
the leaf concerned and harms nothing. So nothing waits for the disk. All methods but `known` are called
in the hashing thread.

Bounds: blobs from `LEAST_BYTES` on, `FILES_MAX` files; the one written longest ago goes first. On a disk that
is full or broken the peer goes on without.
"""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from swarmdem.identifiers import ModelHash
from swarmdem.node.files import Scattered, make_directory, remove
from swarmdem.wire.blobs import LEAF_BYTES, Assembly, Chunk, leaf_count

_log = logging.getLogger("swarmdem.node.resuming")

LEAST_BYTES = 16 * 2**20
"""Smaller blobs come again within seconds, and would wear out memory cards for nothing."""
FILES_MAX = 4
_SUFFIX = ".part"


class Parts:
    """The part files of one peer.

    Args:
        directory: Where they are; made when first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known = {path.name for path in directory.glob(f"*{_SUFFIX}")}

    def of(self, blob: ModelHash, total_bytes: int) -> "Part | None":
        """Return where to keep a blob's leaves; None: it is not worth it."""
        if total_bytes < LEAST_BYTES:
            return None
        return Part(self, self._directory / f"{blob.hex()}{_SUFFIX}", total_bytes)

    def known(self, blob: ModelHash) -> bool:
        """Return whether an earlier process left something of a blob."""
        return f"{blob.hex()}{_SUFFIX}" in self._known

    def make_room(self, path: Path) -> None:
        """Remove what is too much once *path* is there.

        Raises:
            OSError: The directory cannot be made or read.
        """
        make_directory(self._directory, mode=0o700)
        others = [other for other in self._directory.glob(f"*{_SUFFIX}") if other != path]
        others.sort(key=lambda other: other.stat().st_mtime_ns)
        for oldest in others[: max(0, len(others) - FILES_MAX + 1)]:
            remove(oldest)
            self._known.discard(oldest.name)

    def forget(self, path: Path) -> None:
        """Remove a file nobody needs any more."""
        remove(path)
        self._known.discard(path.name)


class Part:
    """The leaves of one blob on disk."""

    def __init__(self, parts: Parts, path: Path, total_bytes: int) -> None:
        self._parts = parts
        self._path = path
        self._total_bytes = total_bytes
        self._file: Scattered | None = None
        self._broken = False

    def restore(self, assembly: Assembly) -> list[int]:
        """Copy the good leaves of the file to their places in *assembly*; return which those are."""
        good: list[int] = []
        with contextlib.suppress(OSError):
            file = self._open()
            for leaf in range(leaf_count(self._total_bytes)):
                data = file.read(leaf * LEAF_BYTES, min(LEAF_BYTES, self._total_bytes - leaf * LEAF_BYTES))
                good += assembly.verify(Chunk(assembly.info.name, leaf, memoryview(data)))[0] if data else []
        return good

    def write(self, chunk: Chunk, leaves: Sequence[int]) -> None:
        """Keep *leaves* of a chunk; they are verified."""
        if self._broken or not leaves:
            return
        try:
            file = self._open()
            start, stop = leaves[0] - chunk.first, leaves[-1] - chunk.first + 1
            if stop - start == len(leaves):
                file.write(leaves[0] * LEAF_BYTES, chunk.data[start * LEAF_BYTES : stop * LEAF_BYTES])
                return
            for leaf in leaves:
                offset = (leaf - chunk.first) * LEAF_BYTES
                file.write(leaf * LEAF_BYTES, chunk.data[offset : offset + LEAF_BYTES])
        except OSError as error:
            _log.warning("part_not_kept file=%s reason=%s", self._path, error)
            self._broken = True
            self.discard()

    def close(self) -> None:
        """Release the file and leave it for a later process."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        self._parts.forget(self._path)

    def _open(self) -> Scattered:
        if self._file is None:
            self._parts.make_room(self._path)
            self._file = Scattered(self._path, self._total_bytes)
        return self._file
