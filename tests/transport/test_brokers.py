import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator

import psutil
import pytest

from swarmdem.apps.broker import run_broker, urls
from swarmdem.errors import ConfigError, TransportError
from swarmdem.transport import brokers
from swarmdem.transport.brokers import available, start_broker
from swarmdem.transport.mqtt import MqttLink

PATIENCE_S = 20.0


async def gone(pid: int) -> None:
    """Return when no live process has this id any more."""

    def watch() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {pid} lives on"
            time.sleep(0.01)

    with contextlib.suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(watch)


async def test_the_broker_ends_with_the_block() -> None:
    async with start_broker("embedded") as broker:
        assert broker.running()
        pid = broker.pid

    await gone(pid)


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is taken"):
            async with start_broker("embedded", port=port):
                pass


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"on 192\.0\.2\.1 is not usable"):
        async with start_broker("embedded", host="192.0.2.1", port=1883):
            pass


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'rabbit' is none of auto, mosquitto, nats, embedded"):
        available("rabbit")


def test_auto_falls_back_to_the_embedded_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "_program", lambda kind: None)

    assert available("auto") == "embedded"
    with pytest.raises(ConfigError, match="mosquitto is not installed"):
        available("mosquitto")


async def test_a_broker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    complaint = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    monkeypatch.setattr(brokers, "_command", lambda *_: complaint)

    with pytest.raises(ConfigError, match="did not start: no such luck"):
        async with start_broker("embedded"):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs the parent-death signal")
@pytest.mark.parametrize("kind", ["mosquitto", "nats", "embedded"])
async def test_the_broker_dies_with_a_parent_that_is_killed(kind: str) -> None:
    try:
        available(kind)
    except ConfigError as error:
        pytest.skip(str(error))
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, kind, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), PATIENCE_S))
    os.kill(pid, 0)  # it runs

    parent.kill()
    await parent.communicate()

    await gone(pid)


PARENT = """
import asyncio, sys
from swarmdem.transport.brokers import start_broker

async def main():
    async with start_broker(sys.argv[1]) as broker:
        print(broker.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_command_says_where_peers_connect_and_ends_cleanly() -> None:
    lines: list[str] = []
    stop, started = asyncio.Event(), asyncio.Event()

    def say(line: str) -> None:
        lines.append(line)
        if "--broker" in line:
            started.set()

    running = asyncio.create_task(run_broker("embedded", port=0, say=say, stop=stop))
    await asyncio.wait_for(started.wait(), PATIENCE_S)
    link = MqttLink(lines[1].partition("--broker ")[2])
    await link.connect(PATIENCE_S)
    await link.close()
    stop.set()
    await asyncio.wait_for(running, PATIENCE_S)

    assert lines[0].startswith("embedded broker (process ")
    assert lines[-1] == "broker ended"


async def test_the_command_announces_the_broker_to_a_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, str]] = []
    stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def announced(host: str, port: int, swarm: str) -> AsyncIterator[None]:
        told.append((host, port, swarm))
        stop.set()
        yield

    monkeypatch.setattr("swarmdem.apps.broker.announced", announced)
    lines: list[str] = []
    await run_broker("embedded", port=0, swarm="plant-7", say=lines.append, stop=stop)

    port = int(lines[1].rpartition(":")[2])
    assert told == [("127.0.0.1", port, "plant-7")]
    assert "  peers of 'plant-7' on this network: --discover" in lines


async def test_the_command_notices_a_broker_that_ends_by_itself() -> None:
    lines: list[str] = []
    started = asyncio.Event()

    def say(line: str) -> None:
        lines.append(line)
        started.set()

    running = asyncio.create_task(run_broker("embedded", port=0, say=say))
    await asyncio.wait_for(started.wait(), PATIENCE_S)
    os.kill(int(lines[0].partition("process ")[2].partition(")")[0]), signal.SIGKILL)

    with pytest.raises(TransportError, match="embedded broker ended by itself"):
        await asyncio.wait_for(running, PATIENCE_S)


async def test_a_broker_for_all_interfaces_is_reached_by_loopback_first() -> None:
    async with start_broker("embedded", host="0.0.0.0") as broker:
        found = urls(broker)

    assert found[0] == f"mqtt://127.0.0.1:{broker.port}"
    assert all(url.endswith(f":{broker.port}") for url in found)
