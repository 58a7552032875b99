"""What a run costs, as the operating system counts it: CPU seconds and memory of all its processes.

Linux only: memory is the proportional set size (PSS) from `/proc/PID/smaps_rollup`, in which pages
shared by several processes are divided among them, so that sums over processes are honest.
"""

from pathlib import Path

import psutil


def cpu_seconds(pid: int) -> float:
    """Return user plus system CPU seconds of a process, all its threads included; 0.0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process; 0 when it is gone or may not be read."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    kilobytes = next((row.split()[1] for row in text.splitlines() if row.startswith("Pss:")), "0")
    return int(kilobytes) * 1024


class Costs:
    """Adds up what the processes of one run use; a process that ended keeps its last reading."""

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}
        self.peak_pss_bytes = 0

    def watch(self, pid: int) -> None:
        """Count process *pid* from its start."""
        self._cpu_s.setdefault(pid, 0.0)

    def cpu_s(self) -> float:
        """Return the CPU seconds of all watched processes so far; never decreases."""
        for pid, last in self._cpu_s.items():
            self._cpu_s[pid] = max(last, cpu_seconds(pid))
        return sum(self._cpu_s.values())

    def sample_memory(self) -> int:
        """Return the memory of all watched processes now, in bytes, and remember the peak."""
        now = sum(pss_bytes(pid) for pid in self._cpu_s)
        self.peak_pss_bytes = max(self.peak_pss_bytes, now)
        return now
