"""Runs a program and counts what it costs: every process it started, wherever that ended up.

A run is marked by a word in its environment, which its processes hand on to their children; so
daemons that left the tree (as Ray's do) are counted too, and none is left behind. Every `SAMPLE_S` the
memory (PSS) and CPU of all of them are read, and again when the program prints a mark: a line that
begins with `@@ ` and holds one JSON object. All other lines go to a log. Linux only.

What a process used between its last reading and its end is not counted: at most `SAMPLE_S` each.
"""

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import psutil

from swarmdem.apps.accounting import Costs

SAMPLE_S = 0.25
MARK = "@@ "
DONE = "done"
"""The event of the last mark: the work is done, and what still runs then is ended."""
WORD = "SIDE_BY_SIDE_RUN"
END_S = 20.0
"""A program that closed its output and does not end is ended."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that the program printed for us."""

    at_s: float
    """Since the program was started."""
    cpu_s: float
    """Of all its processes until then."""
    told: Mapping[str, Any]


@dataclass(slots=True)
class Watched:
    """What became of a program."""

    marks: list[Mark] = field(default_factory=list)
    whole_s: float = 0.0
    cpu_s: float = 0.0
    peak_pss_bytes: int = 0
    processes: int = 0
    """Started in all, as far as they were seen."""
    failed: str = ""
    """One line on what went wrong; empty when it ended as it should."""
    left: int = 0
    """Processes that were still there when it had ended."""


class _Processes:
    """All processes of one run."""

    def __init__(self, word: str, root: int) -> None:
        self.costs = Costs()
        self.mine = {root}
        self._line = f"{WORD}={word}".encode()
        self._others: set[int] = set(psutil.pids()) - {root}
        self.costs.watch(root)

    def look(self) -> None:
        """Find those that are new, and read what all use."""
        for pid in psutil.pids():
            if pid in self.mine or pid in self._others:
                continue
            try:
                words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if self._line in words:
                self.mine.add(pid)
                self.costs.watch(pid)
            elif words != [b""]:  # a process that is about to end shows an empty one
                self._others.add(pid)
        self.costs.cpu_s()
        self.costs.sample_memory()

    def end(self) -> int:
        """End all that are left; return how many there were."""
        self.look()
        found = []
        for pid in self.mine:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    found.append(process)
        psutil.wait_procs(found, timeout=END_S)
        return len(found)


def watch(
    command: Sequence[str],
    *,
    log: Path,
    limit_s: float,
    limit_bytes: int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Watched:
    """Run *command* and return what it cost.

    Args:
        command: Program and arguments.
        log: File for everything it prints that is no mark.
        limit_s: It is ended when it takes longer,
        limit_bytes: or when all its processes together have more memory.
        env: Additions to our environment.
        cwd: Folder to run it in, for what it leaves where it is; None: ours.
    """
    word, watched, begun = uuid.uuid4().hex, Watched(), time.monotonic()
    lines: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=written, text=True,
            errors="replace", start_new_session=True, env={**os.environ, **(env or {}), WORD: word}, cwd=cwd,
        )  # fmt: skip
        processes = _Processes(word, process.pid)
        assert process.stdout is not None
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        try:
            watched.failed = _follow(processes, lines, watched, written, begun, limit_s, limit_bytes)
            if not watched.failed and (not watched.marks or watched.marks[-1].told["event"] != DONE):
                watched.failed = _ending(process)
        finally:
            watched.whole_s = time.monotonic() - begun
            watched.left = processes.end() - (process.poll() is None)
            process.wait()
            process.stdout.close()
    watched.cpu_s = processes.costs.cpu_s()
    watched.peak_pss_bytes = processes.costs.peak_pss_bytes
    watched.processes = len(processes.mine)
    if watched.failed.startswith("ended with"):
        watched.failed += f": {last_words(log)}"
    return watched


def last_words(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line[:200] for line in reversed(lines) if any(map(str.isalnum, line))), "it said nothing")


def _read(stdout: TextIO, lines: "queue.SimpleQueue[tuple[float, str] | None]") -> None:
    with contextlib.suppress(ValueError):  # closed under us, at the end
        for line in stdout:
            lines.put((time.monotonic(), line))
    lines.put(None)


def _follow(
    processes: _Processes,
    lines: "queue.SimpleQueue[tuple[float, str] | None]",
    watched: Watched,
    written: TextIO,
    begun: float,
    limit_s: float,
    limit_bytes: int,
) -> str:
    """Read marks and costs until the output ends; return why it was given up, or nothing."""
    looked = 0.0
    while True:
        now = time.monotonic()
        if now - looked >= SAMPLE_S:
            processes.look()
            looked = now
        if now - begun > limit_s:
            return f"not finished within {limit_s:g} s, {len(watched.marks)} marks seen"
        if processes.costs.peak_pss_bytes > limit_bytes:
            return f"took more than {limit_bytes / 1e9:.1f} GB"
        try:
            line = lines.get(timeout=SAMPLE_S)
        except queue.Empty:
            continue
        if line is None:
            return ""
        at, text = line
        if text.startswith(MARK):
            processes.look()
            told = json.loads(text[len(MARK) :])
            watched.marks.append(Mark(at - begun, processes.costs.cpu_s(), told))
            if told["event"] == DONE:
                return ""
        else:
            written.write(text)


def _ending(process: "subprocess.Popen[str]") -> str:
    """Wait for the end of a program that says no more; return what was wrong with it, or nothing."""
    try:
        code = process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        return ""  # its work is done and told; what it leaves behind is counted
    return f"ended with {code}" if code else ""
