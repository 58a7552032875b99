"""Files that are whole or absent: write (or link) beside, then rename.

A reader never sees half a file, whatever kills the writer. With `durable` the bytes and the name
are on the disk when the call returns; without it they survive the process, not a power cut.
"""

import os
from pathlib import Path


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
        OSError: The disk is full, or the directory is not writable; *path* is as it was.
    """
    beside = _beside(path)
    try:
        beside.unlink(missing_ok=True)  # of a process that died: it may be another name of a file in use
        if spare is not None and spare != path and spare.exists():
            spare.replace(beside)
            if beside.stat().st_nlink > 1:
                beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT, mode)
        with open(descriptor, "wb", buffering=0) as file:
            file.truncate(sum(memoryview(part).nbytes for part in data))
            for part in data:
                rest = memoryview(part).cast("B")
                while len(rest):
                    rest = rest[file.write(rest) :]
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def link_atomic(source: Path, path: Path, *, durable: bool = True) -> bool:
    """Replace *path* by another name of the file *source*; say whether that was possible here."""
    beside = _beside(path)
    try:
        beside.unlink(missing_ok=True)
        os.link(source, beside)
        if durable:  # whoever wrote it may not have waited for the disk
            descriptor = os.open(beside, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        beside.replace(path)
        beside.unlink(missing_ok=True)  # renaming a file to another of its own names does nothing
    except OSError:  # other disk, no such feature, source gone: the caller writes instead
        beside.unlink(missing_ok=True)
        return False
    if durable:
        sync_directory(path.parent)
    return True


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside *directory* survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
