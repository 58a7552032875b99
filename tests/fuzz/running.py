"""Runs a target for so many executions: own mutations in a loop, or atheris with coverage.

Both say what they did: executions, accepted ones, seconds, the slowest one, memory. A finding is raised with
the input that shows it, and the inputs before it where the target remembers.
"""

import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.core import HEAD, CoreUnderFire
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import TARGETS, Target

HANG_S = 10
"""An execution that takes longer hangs."""


class Finding(Exception):  # noqa: N818 - it is no error of the fuzzer
    """An input that a target should have taken or refused, and did neither."""

    def __init__(self, target: str, data: bytes, before: list[bytes]) -> None:
        super().__init__(f"{target}: input {data[:400].hex()}, after {len(before)} others")
        self.data = data
        self.before = before


@dataclass(frozen=True)
class Told:
    """What a run did."""

    target: str
    executions: int
    accepted: int
    cpu_s: float
    """CPU time: what others do on this machine does not count."""
    slowest_s: float
    peak_mib: float
    """Most memory of the process."""
    grown_mib: float
    """How much of it came with the run."""

    def line(self) -> str:
        """Return one line of a table."""
        rate = self.executions / max(self.cpu_s, 1e-9)
        return (
            f"{self.target:<16} {self.executions:>10,} executions {self.accepted:>10,} accepted "
            f"{self.cpu_s:8.1f} s CPU {rate:>10,.0f}/s  slowest {self.slowest_s * 1000:7.1f} ms  "
            f"peak {self.peak_mib:6.0f} MiB (+{self.grown_mib:.0f})"
        )


def target_of(name: str) -> tuple[Target, list[bytes]]:
    """Return a target, made anew where it has a state, and its corpus."""
    if name == "core":
        return Target(CoreUnderFire(), (), tree=HEAD, below=True), corpus.load(name)
    return TARGETS[name], corpus.load(name)


def names() -> list[str]:
    """Return the names of all targets."""
    return [*TARGETS, "core"]


def run(name: str, executions: int, *, seed: int = 0, seconds: float = 1e9) -> Told:
    """Run a target on its corpus and on mutations of it.

    Args:
        name: The target.
        executions: How many at most.
        seed: Decides the mutations.
        seconds: Stop after this time, by the clock on the wall.

    Raises:
        Finding: The target raised what it must not, or did not come back.
    """
    target, seeds = target_of(name)
    mutator = Mutator(seed, seeds, tree=target.tree, limit=target.limit)
    accepted, slowest, done = 0, 0.0, 0
    before, begun, cpu = _peak(), time.perf_counter(), time.process_time()
    with _watchdog():
        for data in _inputs(seeds, mutator, executions):
            started = time.perf_counter()
            accepted += execute(name, target, data)
            ended = time.perf_counter()
            slowest = max(slowest, ended - started)
            done += 1
            if done % 256 == 0:
                signal.alarm(HANG_S)
                if ended - begun > seconds:
                    break
    spent, peak = time.process_time() - cpu, _peak()
    return Told(name, done, accepted, spent, slowest, peak, peak - before)


def execute(name: str, target: Target, data: bytes) -> bool:
    """Execute a target once; return whether it accepted the input.

    Raises:
        Finding: It raised what it must not.
    """
    try:
        return target.decode(data)
    except target.refuses:
        return False
    except Exception as error:
        raise Finding(name, data, getattr(target.decode, "heard", [data])[:-1]) from error


def guided(name: str, executions: int, *, seed: int = 0) -> None:
    """Run a target under atheris, which ends the process; coverage guides it where it is instrumented.

    The decoders must have been imported with `atheris.instrument_imports` (`__main__` does).
    """
    import sys

    import atheris

    target, seeds = target_of(name)
    count, accepted, begun, before = 0, 0, time.process_time(), _peak()

    def once(data: bytes) -> None:
        nonlocal count, accepted
        accepted += execute(name, target, data)
        count += 1
        if count == executions:
            spent, peak = time.process_time() - begun, _peak()
            print(Told(name, count, accepted, spent, 0.0, peak, peak - before).line(), flush=True)  # noqa: T201

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds):
            (Path(folder) / f"seed-{number}").write_bytes(data)
        settings = [f"-runs={executions}", f"-seed={seed + 1}", f"-max_len={target.limit}"]
        settings += [f"-timeout={HANG_S}", "-rss_limit_mb=2048", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *settings, folder], once)
        atheris.Fuzz()


def _inputs(seeds: list[bytes], mutator: Mutator, executions: int) -> Iterator[bytes]:
    yield from seeds[:executions]
    for _ in range(executions - len(seeds)):
        yield mutator.next()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _watchdog() -> Iterator[None]:
    def bark(signum: int, frame: object) -> None:
        raise TimeoutError(f"an execution took longer than {HANG_S} s")

    before: Callable[..., object] | int | None = signal.signal(signal.SIGALRM, bark)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
