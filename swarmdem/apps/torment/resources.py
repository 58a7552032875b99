"""Memory and open files of every process stay flat.

Compared are the medians of the first and the last third of a process's samples, after a quarter of
them for warming up. A peer's samples count from the first round it finished, a broker's from the first
that anybody did: what is loaded until then is no growth. Who lived too short for that is not judged.
A broker's open files are its clients' connections, fewer while the swarm is split or peers are down: it may
have as many as all peers together may open, however few it began with.
"""

import statistics
from collections.abc import Iterator
from typing import Any

from swarmdem.apps.torment.findings import Finding
from swarmdem.apps.torment.history import Line

FLAT = "memory and open files of a process stay flat"

SAMPLES_MIN = 24
"""Fewer say nothing: with one every two seconds, 48 seconds of life."""
GROWTH_SHARE = 0.15
GROWTH_BYTES = 24 * 2**20
"""Memory may grow by either, whichever is more: allocators keep what they once had."""
GROWTH_FILES = 16
"""Connections come and go while brokers are away."""
LINKS_PER_PEER = 2
"""Connections of a peer to one broker: control and bulk."""


class Resources:
    """Watches the samples.

    Attributes:
        judged: Processes that lived long enough.
        most: (bytes, files) of the largest growth seen.
        peak_rss: The most memory of all processes together, in bytes.
        cpu_s: CPU seconds of all of them.
    """

    def __init__(self) -> None:
        self.judged = 0
        self.most = (0.0, 0.0)
        self.peak_rss = 0
        self._lives: dict[int, list[tuple[int, int, int]]] = {}
        self._warm: set[str] = set()
        """Processes, by name, that finished a round since they started."""
        self._name_of: dict[str, str] = {}
        self._begun = False
        self._names: dict[int, str] = {}
        self._cpu: dict[int, float] = {}
        self._now: dict[int, int] = {}

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes, as last seen."""
        return sum(self._cpu.values())

    def on(self, line: Line) -> Iterator[Finding]:
        """See `findings.Watcher`."""
        entry = line.entry
        if line.what == "sample":
            self._sample(line.number, entry)
        elif line.what == "start":
            self._name_of[entry["peer"]] = name = f"peer {entry['device']}"
            self._warm.discard(name)
        elif line.what == "saw" and entry["event"].get("event") == "round_finished":
            self._warm.add(self._name_of[entry["peer"]])
            self._begun = True
        elif line.what in {"kill", "replaced", "exit", "broker_kill"}:
            self._now.pop(entry["pid"], None)
        yield from ()

    def _sample(self, number: int, entry: dict[str, Any]) -> None:
        pid, name = entry["pid"], entry["process"]
        self._names[pid], self._cpu[pid], self._now[pid] = name, entry["cpu"], entry["rss"]
        self.peak_rss = max(self.peak_rss, sum(self._now.values()))
        if name in self._warm or (self._begun and name.startswith("broker")):
            self._lives.setdefault(pid, []).append((number, entry["rss"], entry["files"]))

    def end(self) -> Iterator[Finding]:
        """See `findings.Watcher`."""
        for pid, samples in self._lives.items():
            if len(samples) < SAMPLES_MIN:
                continue
            self.judged += 1
            settled = samples[len(samples) // 4 :]
            third = len(settled) // 3
            (rss_0, files_0), (rss_1, files_1) = _medians(settled[:third]), _medians(settled[-third:])
            self.most = (max(self.most[0], rss_1 - rss_0), max(self.most[1], files_1 - files_0))
            name = f"{self._names[pid]} (process {pid})"
            if rss_1 - rss_0 > max(GROWTH_BYTES, GROWTH_SHARE * rss_0):
                what = f"memory of {name} grew from {rss_0 / 1e6:.0f} to {rss_1 / 1e6:.0f} MB"
                yield Finding(FLAT, what, settled[-1][0])
            if files_1 > self._files_allowed(pid, files_0):
                what = f"open files of {name} grew from {files_0:.0f} to {files_1:.0f}"
                yield Finding(FLAT, what, settled[-1][0])

    def _files_allowed(self, pid: int, files_0: float) -> float:
        """Return how many open files a process that began with *files_0* may end with."""
        if not self._names[pid].startswith("broker"):
            return files_0 + GROWTH_FILES
        devices = len(set(self._name_of.values()))
        return max(files_0, LINKS_PER_PEER * devices) + GROWTH_FILES


def _medians(samples: list[tuple[int, int, int]]) -> tuple[float, float]:
    return statistics.median(rss for _, rss, _ in samples), statistics.median(n for _, _, n in samples)
