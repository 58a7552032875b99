"""Peers outlive their brokers: one that is killed for good, one that comes back empty, one that is found."""

import asyncio
import contextlib

import numpy as np
import psutil
import pytest

from swarmdem import Charter, Peer, RoundFinished, SoftmaxRegression
from swarmdem.errors import ConfigError
from swarmdem.identifiers import PeerId
from swarmdem.node import brokers, joining
from swarmdem.protocol.events import Degraded, Recovered
from swarmdem.transport.brokers import start_broker
from swarmdem.transport.multi import MultiLink
from swarmdem.transport.settings import BrokerAddress, MqttSettings

PATIENCE_S = 60.0
QUICK = MqttSettings(backoff_min_s=0.05, backoff_max_s=0.3)


def peer(number, *brokers, founders=3, **settings):
    y = np.arange(30) % 3
    x = np.eye(3, dtype=np.float32)[y] + np.float32(0.1 * number)
    charter = Charter(swarm="s", founders=founders, patience=4.0)
    return Peer(charter, SoftmaxRegression(3, (x, y)), brokers=brokers, mqtt=QUICK, **settings)


async def certified(peers, rounds):
    """Return when each of *peers* has finished that many more rounds, the last of them certified."""

    async def one(member):
        done = 0
        async for event in member.events():
            if isinstance(event, RoundFinished):
                done += 1
                if done >= rounds and event.certified:
                    return event.round
        raise AssertionError("the peer stopped")

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*(one(member) for member in peers))


@contextlib.asynccontextmanager
async def running(*peers):
    async with contextlib.AsyncExitStack() as stack:
        for member in peers:
            await stack.enter_async_context(member)
        yield peers


async def test_a_swarm_outlives_the_broker_it_was_born_on(tmp_path):
    async with contextlib.AsyncExitStack() as first:
        born_on = await first.enter_async_context(start_broker("embedded"))
        peers = [
            peer(0, born_on.url, state=tmp_path / "0", host_broker="mqtt://127.0.0.1:0"),
            peer(1, born_on.url, state=tmp_path / "1"),
            peer(2, born_on.url),
        ]
        async with running(*peers):
            await certified(peers, 1)

            await first.aclose()
            await certified(peers, 2)

            await peers[1].leave()
            again = peer(1, born_on.url, state=tmp_path / "1")
            async with again:
                await certified([again], 1)


async def test_a_broker_that_is_killed_and_comes_back_empty_costs_only_time():
    async with contextlib.AsyncExitStack() as first:
        broker = await first.enter_async_context(start_broker())
        peers = [peer(number, broker.url) for number in range(3)]
        async with running(*peers):
            before = await certified(peers, 2)
            broker.process.kill()
            await asyncio.sleep(1)
            await first.aclose()

            async with start_broker(port=broker.port):
                rounds = await certified(peers, 2)

            assert min(rounds) > max(before)


async def test_one_of_two_brokers_is_missed_by_nobody():
    async with contextlib.AsyncExitStack() as first, start_broker() as second:
        broker = await first.enter_async_context(start_broker())
        peers = [peer(number, broker.url, second.url) for number in range(3)]
        async with running(*peers):
            events = peers[0].events()
            await certified(peers, 1)
            await first.aclose()
            await certified(peers, 2)
            assert all(member.status().connected for member in peers)

            told = await trouble(events)
            async with start_broker(port=broker.port):
                back = await trouble(events)

    what = f"running without {broker.url}"
    assert (told, back) == (Degraded(what), Recovered(what))


async def test_a_hosted_broker_is_found_nearby():
    pytest.importorskip("zeroconf")
    charter = Charter(swarm="s")

    async def brokers_of(stack, number, hosts):
        reach = joining.Reach(
            brokers=(), mqtt=QUICK, host_broker=hosts, discover=True, interfaces=("127.0.0.1",)
        )
        return await joining.brokers_of(
            stack, reach, me=PeerId(bytes([number]) * 16), charter=charter, state=None, report=print
        )

    async with contextlib.AsyncExitStack() as stack:
        host = await brokers_of(stack, 1, "mqtt://127.0.0.1:0")
        guest = await brokers_of(stack, 2, None)

        await guest.link.connect(PATIENCE_S)

        [found] = guest.link.members
        assert (found.link.address.host, found.link.address.port) == host.announced_at


async def trouble(events):
    """Return the next thing that is degraded, or not any more."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if isinstance(event, Degraded | Recovered):
                return event
    raise AssertionError("the peer stopped")


async def test_a_hosted_broker_that_ends_is_started_again(monkeypatch):
    monkeypatch.setattr(brokers, "RESTART_S", 0.05)
    told = asyncio.Queue()
    async with brokers.hosted_broker("mqtt://127.0.0.1:0", told.put_nowait) as hosted:
        port = BrokerAddress.parse(hosted.url).port
        [child] = [each for each in psutil.Process().children() if each.is_running()]

        child.kill()

        what = "the broker that this peer hosts ended"
        assert await asyncio.wait_for(told.get(), PATIENCE_S) == Degraded(what)
        assert await asyncio.wait_for(told.get(), PATIENCE_S) == Recovered(what)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()


async def test_a_hosted_broker_without_room_on_the_disk_says_so(monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(brokers, "start_broker", refuse)
    with pytest.raises(ConfigError, match="No space left on device"):
        async with asyncio.timeout(PATIENCE_S), brokers.hosted_broker("mqtt://127.0.0.1:0", print):
            pass


@pytest.mark.parametrize("url", ["mqtts://a:1", "mqtt://me:pw@127.0.0.1:1", "http://a"])
async def test_only_a_plain_broker_can_be_hosted(url):
    with pytest.raises(ConfigError):
        async with brokers.hosted_broker(url, lambda _: None):
            pass


async def test_announced_brokers_are_written_again_after_the_disk_was_full(tmp_path, monkeypatch):
    monkeypatch.setattr(brokers, "LOOK_S", 0.001)
    tried = asyncio.Event()

    class Announced:
        urls, unwritten, writes = ("mqtt://a:1",), True, 0

        def write(self):
            self.writes += 1
            if self.writes == 3:  # there was no room twice
                self.unwritten = False
                loop.call_soon_threadsafe(tried.set)

    loop = asyncio.get_running_loop()
    kept = brokers.Brokers(MultiLink(), me=PeerId(b"m" * 16), charter=b"", state=tmp_path, hosted=None)
    kept._announcements = Announced()
    task = asyncio.create_task(kept.run())
    async with asyncio.timeout(PATIENCE_S):
        await tried.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await kept.link.close()

    assert kept._announcements.writes == 3
