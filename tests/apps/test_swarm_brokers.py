"""A swarm on several brokers goes on over those that are left; one without any says what it waits for."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from swarmdem.transport.brokers import start_broker

LIMIT_S = 100.0


async def read_until(process: asyncio.subprocess.Process, *words: str) -> str:
    """Read what the run prints up to a line that holds *words*; return that line."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        printed = []
        while not printed or not all(word in printed[-1] for word in words):
            printed.append((await process.stdout.readline()).decode())
            assert printed[-1], f"the run ended before {words}: {printed}"
    return printed[-1]


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Return what a run folder says of each round."""
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]


@contextlib.asynccontextmanager
async def swarm(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a swarm that prints to a pipe; it does not outlive a test that fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "swarmdem", "swarm", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.timeout(120)
async def test_all_rounds_go_on_when_one_of_two_brokers_is_killed(tmp_path: Path) -> None:
    """Four peers in two processes: those of one process share one pair of connections to each broker."""
    async with contextlib.AsyncExitStack() as first, start_broker("embedded") as b:
        a = await first.enter_async_context(start_broker("embedded"))
        async with swarm(
            "--model", "softmax", "--peers", "4", "--workers", "2",
            "--rounds", "100000", "--evaluate-every", "100000",
            "--broker", a.url, "--broker", b.url, "--out", str(tmp_path / "run"),
        ) as process:  # fmt: skip
            begun = await read_until(process, "peers")
            await read_until(process, "round 2 ")

            await first.aclose()

            await read_until(process, f"running without {a.url}")
            before = int((await read_until(process, "round ")).split()[1])
            after = int((await read_until(process, f"round {before + 2} ")).split()[1])
            process.send_signal(signal.SIGINT)
            await process.communicate()
            assert process.returncode == 130

        last = len(rows_of(tmp_path / "run")) + 3
        async with swarm("--resume", str(tmp_path / "run"), "--rounds", str(last)) as process:
            printed, _ = await process.communicate()
            assert process.returncode == 0, printed.decode()

    assert begun == f"4 peers in 2 processes, demlearn, {a.url}, {b.url}\n"
    rows = rows_of(tmp_path / "run")
    assert [row["round"] for row in rows] == [*range(1, last + 1)]
    assert last >= after + 3
    # In the round in which it was stopped nobody was there to write down what became of it.
    assert all(row["certified"] and row["applied"] == row["peers"] == 4 for row in [*rows[:after], rows[-1]])
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["broker"] == f"{a.url}, {b.url}"


@pytest.mark.timeout(120)
async def test_a_broker_that_does_not_answer_is_named_while_it_is_waited_for(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(110),
        swarm(
            "--model", "softmax", "--peers", "2", "--workers", "2", "--broker", "mqtt://user:secret@127.0.0.1:1",
            "--out", str(tmp_path / "run"),
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        begun = await process.stdout.readline()
        told = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = await process.stdout.read()
        assert await process.wait() == 130, rest

    assert begun == b"2 peers in 2 processes, demlearn, mqtt://127.0.0.1:1\n"
    assert told == b"waiting for mqtt://127.0.0.1:1 (nobody listens at 127.0.0.1:1), 30 s at most\n"
    assert b"waiting" not in rest
