"""Real `swarmdem peer` processes against a real `swarmdem broker`, watched through their journals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "swarmdem"]
STEP_S = 0.001
"""Journals are looked at this often; nothing tells a test about another process's file any sooner."""


class PeerProcesses:
    """Peers of one swarm, each a process of its own with its state and journal under *folder*."""

    def __init__(self, folder: Path, *, patience: float, levels: int, founders: int) -> None:
        self.folder = folder
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self._read: dict[int, tuple[int, list[dict[str, Any]]]] = {}
        self.charter = folder / "charter.toml"
        settings = ["--swarm", "test", "--model", "softmax", "--patience", str(patience)]
        settings += ["--levels", str(levels), "--founders", str(founders)]
        subprocess.run([*COMMAND, "charter", str(self.charter), *settings], check=True, timeout=60)
        self.broker = self._spawn("broker", ["broker", "--kind", "embedded", "--port", "0"])
        self.url = self._broker_url()

    def _spawn(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        output = open(self.folder / f"{name}.log", "ab")  # noqa: SIM115 - the child owns it
        try:
            return subprocess.Popen([*COMMAND, *arguments], stdout=output, stderr=subprocess.STDOUT)
        finally:
            output.close()

    def _broker_url(self) -> str:
        def url() -> str:
            words = (self.folder / "broker.log").read_text().split()
            return next((word for word in words if word.startswith("mqtt://127.0.0.1:")), "")

        self.wait(lambda: bool(url()))
        return url()

    def start(self, *indices: int) -> None:
        for index in indices:
            arguments = ["peer", "--charter", str(self.charter), "--broker", self.url]
            arguments += ["--data", "digits", "--part", str(index), "--model", "softmax"]
            arguments += ["--state", str(self.folder / f"state-{index}")]
            arguments += ["--journal", str(self.folder / f"journal-{index}.jsonl")]
            self.running[index] = self._spawn(f"peer-{index}", arguments)

    def kill(self, index: int) -> None:
        process = self.running.pop(index)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)

    def events(self, index: int, name: str) -> list[dict[str, Any]]:
        """Return the events of one kind in a peer's journal so far."""
        path = self.folder / f"journal-{index}.jsonl"
        offset, lines = self._read.setdefault(index, (0, []))
        if path.exists():
            with path.open("rb") as file:
                file.seek(offset)
                whole = file.read().rpartition(b"\n")[0]
            lines += [json.loads(line) for line in whole.splitlines()]
            self._read[index] = (offset + len(whole) + (1 if whole else 0), lines)
        return [line for line in lines if line["event"] == name]

    def applied(self, index: int) -> list[int]:
        return [e["round"] for e in self.events(index, "round_finished") if e["applied"]]

    def wait(self, until: Callable[[], bool], limit_s: float = 60.0) -> None:
        end = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < end, f"not within {limit_s} s; logs in {self.folder}"
            time.sleep(STEP_S)

    def __enter__(self) -> "PeerProcesses":
        return self

    def __exit__(self, *exc: object) -> None:
        for process in [*self.running.values(), self.broker]:
            process.terminate()
        for process in [*self.running.values(), self.broker]:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
