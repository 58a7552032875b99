"""Memory, mosquitto, nats-server and the embedded broker keep one contract."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import pytest

from swarmdem.errors import ConfigError
from swarmdem.transport.arrivals import QueueLimits
from swarmdem.transport.base import Arrival, Link
from swarmdem.transport.brokers import Broker, available, start_broker
from swarmdem.transport.duplicates import name_of
from swarmdem.transport.memory import MemoryBus
from swarmdem.transport.mqtt import MqttLink
from swarmdem.transport.multi import MultiLink
from swarmdem.transport.settings import MqttSettings
from tests.transport.contract import PATIENCE_S, LinkContract, arrival, until


class MemoryRelay:
    def __init__(self) -> None:
        self._bus = MemoryBus()
        self._links: list[Link] = []

    async def link(self, queue: QueueLimits | None = None) -> Link:
        link = self._bus.link(queue)
        await link.connect(PATIENCE_S)
        self._links.append(link)
        return link

    async def stop(self) -> None:
        self._bus.stop()

    async def start(self) -> None:
        self._bus.start()

    async def settled(self, topic: str) -> None:
        pass

    async def close(self) -> None:
        for link in self._links:
            await link.close()


class BrokerRelay:
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._port = 0
        self._links: list[Link] = []
        self._running = contextlib.AsyncExitStack()
        self.broker: Broker

    async def link(self, queue: QueueLimits | None = None) -> Link:
        settings = MqttSettings(queue=queue or QueueLimits(), backoff_min_s=0.02, backoff_max_s=0.1)
        link = MqttLink(self.broker.url, settings)
        await link.connect(PATIENCE_S)
        self._links.append(link)
        return link

    async def stop(self) -> None:
        await self._running.aclose()

    async def start(self) -> None:
        self.broker = await self._running.enter_async_context(start_broker(self._kind, port=self._port))
        self._port = self.broker.port

    async def settled(self, topic: str) -> None:
        pass

    async def close(self) -> None:
        for link in self._links:
            await link.close()
        await self.stop()


class BrokersRelay:
    """Two brokers that know nothing of each other."""

    def __init__(self, kind: str) -> None:
        self.parts = (BrokerRelay(kind), BrokerRelay(kind))
        self._links: list[MultiLink] = []

    async def link(self, queue: QueueLimits | None = None) -> Link:
        settings = MqttSettings(queue=queue or QueueLimits(), backoff_min_s=0.02, backoff_max_s=0.1)
        link = MultiLink([part.broker.url for part in self.parts], settings)
        await link.connect(PATIENCE_S)
        await until(lambda: all(member.state.up for member in link.members))
        self._links.append(link)
        return link

    async def stop(self) -> None:
        for part in self.parts:
            await part.stop()

    async def start(self) -> None:
        for part in self.parts:
            await part.start()

    async def settled(self, topic: str) -> None:
        name = name_of(topic, b"")
        await until(lambda: any(link.duplicates._brought.get(name) == {0, 1} for link in self._links))

    async def close(self) -> None:
        for link in self._links:
            await link.close()
        await self.stop()


class TestMemory(LinkContract):
    @pytest.fixture
    async def relay(self) -> AsyncIterator[MemoryRelay]:
        relay = MemoryRelay()
        yield relay
        await relay.close()


class TestSeveralBrokers(LinkContract):
    @pytest.fixture
    async def relay(self) -> AsyncIterator[BrokersRelay]:
        relay = BrokersRelay("auto")
        await relay.start()
        yield relay
        await relay.close()


@pytest.mark.parametrize("kind", ["mosquitto", "nats", "embedded"])
class TestMqtt(LinkContract):
    @pytest.fixture
    async def relay(self, kind: str) -> AsyncIterator[BrokerRelay]:
        try:
            available(kind)
        except ConfigError as error:
            pytest.skip(str(error))
        relay = BrokerRelay(kind)
        await relay.start()
        yield relay
        await relay.close()

    async def test_the_broker_publishes_the_will_of_a_process_that_was_killed(
        self, relay: BrokerRelay
    ) -> None:
        watcher = await (await relay.link()).open_port()
        await watcher.subscribe("lost")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LONE_PEER, relay.broker.url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"up\n"

        process.kill()
        await process.communicate()

        assert await arrival(watcher.arrivals()) == Arrival("lost", b"will")


LONE_PEER = """
import asyncio, sys
from swarmdem.transport.mqtt import MqttLink

async def main():
    link = MqttLink(sys.argv[1])
    await link.open_port(will=("lost", b"will"))
    await link.connect(20)
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
