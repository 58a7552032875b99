"""A disk that fails, tears or dies at any write: it stands in for `os` in `swarmdem.node.files`.

Every change to the disk is one numbered step. A test first counts the steps of a script with a disk that
does not fail, and then lets the script run once for every step, with the fault at that step.
"""

import errno
import functools
import os
import stat
from pathlib import Path

STEPS = ("open", "write", "ftruncate", "fsync", "replace", "unlink", "link", "mkdir")
"""The calls of `os` that change the disk; opening for reading is none."""
NEEDS_ROOM = ("write", "ftruncate", "mkdir", "link")
"""Those that a full disk refuses, beside making a new file."""
USES_THE_FILE = ("write", "ftruncate", "fsync")
"""Those that a directory without permission still allows: the file is open already."""
GARBAGE = b"\xa5" * 64


class Killed(BaseException):
    """The process is gone: nothing that it wants to do afterwards happens."""


class FaultyDisk:
    """`os` with a fault.

    Args:
        at: The step at which the fault strikes; None: never.
        kill: The process dies there; a write is torn in the middle.
        power: The machine dies there: what was not synced is lost, and so are unsynced renames.
        error: The steps from there on fail with this error number where such a disk would refuse them.
        times: How many steps are refused before the disk is well again; None: it stays as it is.
    """

    def __init__(self, at=None, *, kill=False, power=False, error=None, times=None):
        self.at, self.kill, self.power, self.error, self.times = at, kill or power, power, error, times
        self.count = 0
        self.struck = self._dead = False
        self._synced = {}  # inode -> what a power cut leaves of it
        self._dirty = {}  # inode -> a path of it
        self._renamed = []  # (path, what was there) since the directory was synced

    def __getattr__(self, name):
        return functools.partial(self._step, name) if name in STEPS else getattr(os, name)

    def _step(self, name, *args, **kwargs):
        if name == "open" and not args[1] & (os.O_CREAT | os.O_WRONLY):
            return os.open(*args, **kwargs)
        number, self.count = self.count, self.count + 1
        if self._dead:
            raise Killed
        if self.at is not None and number >= self.at:
            if self.kill:
                self._die(name, args)
            if self.times != 0 and self._refuses(name, args):
                self.struck = True
                self.times = None if self.times is None else self.times - 1
                if name == "write":
                    os.write(args[0], args[1][: len(args[1]) // 2])
                raise OSError(self.error, os.strerror(self.error))
        self._before(name, args)
        # No test waits for a real disk: what would be lost is remembered here.
        result = None if name == "fsync" else getattr(os, name)(*args, **kwargs)
        self._after(name, args, result)
        return result

    def _refuses(self, name, args):
        match self.error:
            case errno.ENOSPC:
                return name in NEEDS_ROOM or (name == "open" and not Path(args[0]).exists())
            case errno.EACCES:
                return name not in USES_THE_FILE
            case _:
                return True

    def _die(self, name, args):
        self._dead = self.struck = True
        if name == "write":
            self._before(name, args)
            os.write(args[0], args[1][: len(args[1]) // 2])
        if self.power:
            for path, before in reversed(self._renamed):
                path.unlink(missing_ok=True)
                if before is not None:
                    path.write_bytes(before)
            for inode, path in self._dirty.items():
                if path.exists() and path.stat().st_ino == inode:
                    path.write_bytes(self._synced[inode])
        raise Killed

    def _before(self, name, args):
        if name == "replace":
            path = Path(args[1])
            self._renamed.append((path, path.read_bytes() if path.exists() else None))
        if name in {"write", "ftruncate"}:
            state = os.fstat(args[0])
            path = Path(os.readlink(f"/proc/self/fd/{args[0]}"))
            # An append keeps what was synced; blocks that are written over may be anything.
            appends = "log" in path.suffix
            self._synced.setdefault(state.st_ino, path.read_bytes() if appends else GARBAGE)
            self._dirty[state.st_ino] = path

    def _after(self, name, args, result):
        if name == "replace":
            inode = os.stat(args[1]).st_ino
            if inode in self._dirty:
                self._dirty[inode] = Path(args[1])
        if name == "fsync":
            state = os.fstat(args[0])
            if stat.S_ISDIR(state.st_mode):
                folder = Path(os.readlink(f"/proc/self/fd/{args[0]}"))
                self._renamed = [(path, before) for path, before in self._renamed if path.parent != folder]
            else:
                self._dirty.pop(state.st_ino, None)
                self._synced.pop(state.st_ino, None)
