"""Links between devices and brokers: cut, healed, bent, one by one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from swarmdem.apps.torment.network import Network

NOTHING_S = 0.05


@contextlib.asynccontextmanager
async def network_of(devices: int, brokers: int) -> AsyncIterator[Network]:
    """Every broker answers every line with its own number."""
    async with AsyncExitStack() as stack:
        network = Network(devices, brokers, 0)
        await network.open(stack)
        for number in range(brokers):

            async def answer(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number
            ) -> None:
                with contextlib.suppress(ConnectionError):
                    while await reader.readline():
                        writer.write(f"{number}\n".encode())
                        await writer.drain()
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            stack.callback(server.close)
            network.lead(number, server.sockets[0].getsockname()[1])
        yield network


async def answer_of(url: str, wait_s: float) -> str:
    """Return what a broker says over a new connection: its number, `reset` or nothing."""
    host, _, port = url.removeprefix("mqtt://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"?\n")
        async with asyncio.timeout(wait_s):
            return (await reader.readline()).decode().strip()
    except ConnectionError:
        return "reset"
    except TimeoutError:
        return ""
    finally:
        writer.transport.abort()


async def expect(network: Network, device: int, *answers: str) -> None:
    for url, answer in zip(network.urls(device), answers, strict=True):
        assert await answer_of(url, 20.0 if answer else NOTHING_S) == answer


@pytest.mark.parametrize(("style", "silence"), [("refuse", "reset"), ("hole", "")])
async def test_each_side_of_a_partition_reaches_its_own_brokers(style, silence):
    async with network_of(3, 2) as network:
        await expect(network, 0, "0", "1")

        network.split([[0, 1], [2]], [[0], [1]], style)
        await expect(network, 0, "0", silence)
        await expect(network, 1, "0", silence)
        await expect(network, 2, silence, "1")

        network.heal()
        await expect(network, 1, "0", "1")
        await expect(network, 2, "0", "1")


async def test_a_link_fault_meets_one_device_and_outlasts_a_partition():
    async with network_of(2, 1) as network:
        network.disturb("hole", device=0)
        await expect(network, 0, "")
        await expect(network, 1, "0")

        network.split([[0, 1]], [[]], "refuse")
        network.heal()
        await expect(network, 0, "")

        network.soothe(device=0)
        await expect(network, 0, "0")


async def test_a_broker_that_moved_is_found_at_its_new_place():
    async with network_of(1, 2) as network:
        first, second = network.urls(0)
        assert first != second
        await expect(network, 0, "0", "1")
        network.lead(1, 1)
        await expect(network, 0, "0", "reset")
