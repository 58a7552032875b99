"""All writing of a peer's state: files that are whole or absent, and one that only grows.

A reader never sees half a file, whatever kills the writer: write (or link) beside, then rename. With
`durable` the bytes and the name are on the disk when a call returns; without it they survive the
process, not a power cut. Every change to the disk is one call of `os` made in this module, so that a
test can make each of them fail in turn. Other modules of a peer's state (`records`, `store`, `keys`)
only read by themselves.
"""

import contextlib
import os
from pathlib import Path

_NEW = ".new"


def write_atomic(
    path: Path,
    *data: bytes | memoryview,
    durable: bool = True,
    mode: int = 0o644,
    spare: Path | None = None,
) -> None:
    """Replace *path* by *data*, one part after the other.

    Args:
        path: The file.
        data: Its new content.
        durable: Wait for the disk.
        mode: Of a file that is made anew.
        spare: A file nobody needs any more, which goes; its blocks are written over where it has no
            other name: much cheaper than new ones.

    Raises:
        OSError: The disk is full, or the directory is not writable; *path* is as it was, or (when only
            the directory could not be synced) whole and new.
    """
    beside = _beside(path)
    try:
        _remove(beside)  # of a process that died: it may be another name of a file in use
        if spare is not None and spare != path:
            _take_over(spare, beside)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            os.ftruncate(descriptor, sum(memoryview(part).nbytes for part in data))
            for part in data:
                _write_all(descriptor, part)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
    except OSError:
        remove(beside)
        raise
    if durable:
        sync_directory(path.parent)


def link_atomic(source: Path, path: Path, *, durable: bool = True) -> bool:
    """Replace *path* by another name of the file *source*; say whether that was possible here."""
    beside = _beside(path)
    try:
        _remove(beside)
        os.link(source, beside)
        if durable:  # whoever wrote it may not have waited for the disk
            _sync(beside)
        os.replace(beside, path)
        _remove(beside)  # renaming a file to another of its own names does nothing
        if durable:
            sync_directory(path.parent)
    except OSError:  # other disk, no such feature, source gone: the caller writes instead
        remove(beside)
        return False
    return True


class Appender:
    """A file that grows by whole entries: what could not be written as a whole is cut off again.

    Args:
        path: The file; it must be there.
        durable: Wait for the disk with every entry.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._descriptor: int | None = None
        self._ragged = False
        self.length = 0
        """Bytes that are whole entries."""
        self._open()

    def append(self, entry: bytes) -> None:
        """Add *entry*.

        Raises:
            OSError: The file is as it was, or will be before anything else is added to it.
        """
        descriptor = self._open() if self._descriptor is None else self._descriptor
        if self._ragged:
            self._cut(descriptor)
        try:
            _write_all(descriptor, entry)
            if self._durable:
                os.fsync(descriptor)
        except OSError:
            self._ragged = True  # half an entry would hide all that come after it
            with contextlib.suppress(OSError):
                self._cut(descriptor)
            raise
        self.length += len(entry)

    def replace(self, content: bytes) -> None:
        """Replace all entries by *content*.

        Raises:
            OSError: The file is as it was, or whole and new.
        """
        self.close()
        torn = os.stat(self._path).st_ino
        try:
            write_atomic(self._path, content, durable=self._durable)
        finally:
            # It may have failed after the new file took the name: that one must not be cut as the old one.
            self._ragged = self._ragged and os.stat(self._path).st_ino == torn
        self._open()

    def close(self) -> None:
        """Release the file; appending opens it again."""
        if self._descriptor is not None:
            if self._ragged:
                with contextlib.suppress(OSError):
                    self._cut(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._descriptor = descriptor
        if not self._ragged:
            self.length = os.fstat(descriptor).st_size
        return descriptor

    def _cut(self, descriptor: int) -> None:
        os.ftruncate(descriptor, self.length)
        self._ragged = False


class Scattered:
    """A file of a known length whose pieces come in any order; what was not written reads as zeros.

    Nothing waits for the disk, and no piece is promised to be whole: readers check what they read.

    Args:
        path: The file; made when it is not there.
        length: In bytes.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(self._descriptor, length)
        except OSError:
            os.close(self._descriptor)
            raise

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put *data* at *offset*.

        Raises:
            OSError: The disk is full or broken.
        """
        rest = memoryview(data).cast("B")
        while len(rest):
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written

    def read(self, offset: int, length: int) -> bytes:
        """Return what is at *offset*: fewer bytes only at the end of the file.

        Raises:
            OSError: The disk is broken.
        """
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        """Release the file."""
        os.close(self._descriptor)


def make_directory(path: Path, *, mode: int = 0o777) -> None:
    """Make *path* and what is above it, unless it is there.

    Raises:
        OSError: It cannot be made, or is something else.
    """
    if not path.is_dir():
        if not path.parent.is_dir():
            make_directory(path.parent)
        os.mkdir(path, mode)


def remove(path: Path | str) -> bool:
    """Remove a file nobody needs, and say whether it is gone; what cannot be removed stays."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def sweep(directory: Path) -> None:
    """Remove what processes that died were writing; nobody else may be writing in *directory*."""
    for path in directory.glob(f".*{_NEW}"):
        remove(path)


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside *directory* survive a power cut."""
    _sync(directory)


def _sync(path: Path | str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _take_over(spare: Path, beside: str) -> None:
    """Rename *spare* to *beside*, if it is there; with another name somewhere it only goes."""
    try:
        names = os.stat(spare).st_nlink
    except FileNotFoundError:
        return
    if names > 1:
        os.unlink(spare)
    else:
        os.replace(spare, beside)


def _beside(path: Path) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}{_NEW}")


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while len(rest):
        rest = rest[os.write(descriptor, rest) :]
