"""A swarm on several brokers goes on over those that are left; one without any says what it waits for."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

import pytest

from swarmdem.transport.brokers import start_broker

PATIENCE_S = 60.0
ROUNDS = 8


@pytest.mark.timeout(90)
async def test_all_rounds_go_on_when_one_of_two_brokers_is_killed(tmp_path: Path) -> None:
    """Four peers in two processes: those of one process share one pair of connections to each broker."""
    async with contextlib.AsyncExitStack() as first, start_broker("embedded") as b:
        a = await first.enter_async_context(start_broker("embedded"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "swarmdem", "swarm", "--model", "softmax", "--patience", "2",
            "--peers", "4", "--workers", "2", "--rounds", str(ROUNDS), "--evaluate-every", "100",
            "--broker", a.url, "--broker", b.url, "--out", str(tmp_path / "run"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        printed = b""
        async with asyncio.timeout(PATIENCE_S):
            while b"round 2 " not in printed:
                line = await process.stdout.readline()
                assert line, printed.decode()
                printed += line

            await first.aclose()

            printed += await process.stdout.read()
            assert await process.wait() == 0, printed.decode()

    rows = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [*range(1, ROUNDS + 1)]
    assert all(row["certified"] and row["applied"] == row["peers"] == 4 for row in rows)
    assert f"running without {a.url}" in printed.decode()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["broker"] == f"{a.url}, {b.url}"


@pytest.mark.timeout(120)
async def test_a_broker_that_does_not_answer_is_named_while_it_is_waited_for(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "swarmdem", "swarm", "--model", "softmax", "--peers", "2", "--workers", "2",
        "--broker", "mqtt://user:secret@127.0.0.1:1", "--out", str(tmp_path / "run"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(110):
        begun = await process.stdout.readline()
        told = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = await process.stdout.read()
        assert await process.wait() == 130, rest

    assert begun == b"2 peers in 2 processes, demlearn, mqtt://127.0.0.1:1\n"
    assert told == b"waiting for mqtt://127.0.0.1:1 (nobody listens at 127.0.0.1:1), 30 s at most\n"
    assert b"waiting" not in rest
