"""What every link must do, whatever carries it: the tests that memory and all brokers share.

`test_contract.py` runs them; each subclass of `Relay` stands for one kind of bus.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest

from swarmdem.errors import MisuseError, TransportError
from swarmdem.transport.arrivals import QueueLimits
from swarmdem.transport.base import Arrival, Link, LinkState, Port

PATIENCE_S = 20.0
"""A hanging test fails after this long; nothing waits for it to pass."""

Stream = AsyncIterator[Arrival | LinkState]


class Relay(Protocol):
    """A bus under test."""

    async def link(self, queue: QueueLimits | None = None) -> Link:
        """Return a connected link; closed by the relay in the end."""

    async def stop(self) -> None:
        """Make the bus unreachable."""

    async def start(self) -> None:
        """Make it reachable again."""

    async def settled(self, topic: str) -> None:
        """Return when every part of the bus has passed on what was last published to *topic*."""


async def arrival(stream: Stream) -> Arrival:
    """Return the next message, whatever the link's state does meanwhile."""
    while True:
        item = await asyncio.wait_for(anext(stream), PATIENCE_S)
        if isinstance(item, Arrival):
            return item


async def state(stream: Stream, *, up: bool) -> None:
    """Wait until the link is up, or down."""
    while True:
        item = await asyncio.wait_for(anext(stream), PATIENCE_S)
        if isinstance(item, LinkState) and item.up is up:
            return


async def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; for what nothing reports."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def settle(relay: Relay, port: Port, stream: Stream) -> None:
    """Return when the bus has handled everything that *port* published on its control connection."""
    await port.subscribe("settle")
    await port.publish("settle", b"")
    while (await arrival(stream)).topic != "settle":
        pass
    await relay.settled("settle")
    await port.unsubscribe("settle")


class LinkContract:
    async def test_a_message_reaches_another_link(self, relay: Relay) -> None:
        here, there = await (await relay.link()).open_port(), await (await relay.link()).open_port()
        await there.subscribe("greeting")

        await here.publish("greeting", b"hello")

        assert await arrival(there.arrivals()) == Arrival("greeting", b"hello")

    async def test_the_publisher_hears_itself_when_it_subscribed(self, relay: Relay) -> None:
        port = await (await relay.link()).open_port()
        await port.subscribe("greeting")

        await port.publish("greeting", b"hello")

        assert await arrival(port.arrivals()) == Arrival("greeting", b"hello")

    async def test_the_first_thing_a_port_hears_is_the_state_of_the_link(self, relay: Relay) -> None:
        port = await (await relay.link()).open_port()

        assert await asyncio.wait_for(anext(port.arrivals()), PATIENCE_S) == LinkState(up=True)

    async def test_wildcards_match_as_mqtt_says(self, relay: Relay) -> None:
        link = await relay.link()
        for pattern, hit, miss in (
            ("a/+/c", "a/b/c", "a/b/d"),
            ("a/#", "a/b/c", "b/a"),
            ("+/+", "a/b", "a/b/c"),
        ):
            port = await link.open_port()
            await port.subscribe(pattern)

            await port.publish(miss, b"miss")
            await port.publish(hit, b"hit")

            assert await arrival(port.arrivals()) == Arrival(hit, b"hit")
            await port.close()

    async def test_a_retained_message_waits_for_those_who_come_later(self, relay: Relay) -> None:
        early, late = await (await relay.link()).open_port(), await (await relay.link()).open_port()
        await early.publish("card/1", b"one", retain=True)
        await settle(relay, early, early.arrivals())

        await late.subscribe("card/+")

        assert await arrival(late.arrivals()) == Arrival("card/1", b"one")

    async def test_an_empty_retained_message_clears_the_one_before(self, relay: Relay) -> None:
        early, late = await (await relay.link()).open_port(), await (await relay.link()).open_port()
        await early.publish("card/1", b"one", retain=True)
        await early.publish("card/2", b"two", retain=True)
        await early.publish("card/1", b"", retain=True)
        await settle(relay, early, early.arrivals())

        await late.subscribe("card/+")

        assert await arrival(late.arrivals()) == Arrival("card/2", b"two")

    async def test_each_port_of_a_link_gets_what_was_retained_once(self, relay: Relay) -> None:
        link = await relay.link()
        first, second = await link.open_port(), await link.open_port()
        of_first, of_second = first.arrivals(), second.arrivals()
        await first.publish("card/1", b"one", retain=True)
        await settle(relay, first, of_first)

        await first.subscribe("card/+")
        assert await arrival(of_first) == Arrival("card/1", b"one")
        await second.subscribe("card/+")
        assert await arrival(of_second) == Arrival("card/1", b"one")

        await second.publish("card/2", b"two")
        assert await arrival(of_first) == Arrival("card/2", b"two")

    async def test_nothing_comes_after_unsubscribing(self, relay: Relay) -> None:
        port = await (await relay.link()).open_port()
        await port.subscribe("left")
        await port.subscribe("kept")
        await port.unsubscribe("left")

        await port.publish("left", b"1")
        await port.publish("kept", b"2")

        assert await arrival(port.arrivals()) == Arrival("kept", b"2")

    async def test_unsubscribing_leaves_the_other_ports_alone(self, relay: Relay) -> None:
        link = await relay.link()
        leaver, stayer = await link.open_port(), await link.open_port()
        await leaver.subscribe("news")
        await stayer.subscribe("news")
        await leaver.unsubscribe("news")

        await stayer.publish("news", b"1")

        assert await arrival(stayer.arrivals()) == Arrival("news", b"1")
        assert leaver.counters.messages_received == 0

    @pytest.mark.parametrize("bulk", [False, True])
    async def test_a_payload_of_one_mebibyte_arrives_whole(self, relay: Relay, bulk: bool) -> None:
        here, there = await (await relay.link()).open_port(), await (await relay.link()).open_port()
        payload = bytes(range(256)) * 4096
        await there.subscribe("large", bulk=bulk)

        await here.publish("large", payload, bulk=bulk)

        assert await arrival(there.arrivals()) == Arrival("large", payload)

    async def test_twenty_ports_of_one_link_each_get_their_own_and_share_the_common(
        self, relay: Relay
    ) -> None:
        link = await relay.link()
        ports = [await link.open_port() for _ in range(20)]
        for number, port in enumerate(ports):
            await port.subscribe(f"to/{number}/+")
            await port.subscribe("all/+")

        await ports[0].publish("all/x", b"common")
        common = [await arrival(port.arrivals()) for port in ports]
        for number in range(20):
            await ports[0].publish(f"to/{number}/0", str(number).encode())
        own = [await arrival(port.arrivals()) for port in ports]

        assert common == [Arrival("all/x", b"common")] * 20
        assert len({id(each.payload) for each in common}) == 1
        assert [each.payload for each in own] == [str(number).encode() for number in range(20)]
        assert [port.counters.messages_received for port in ports] == [2] * 20

    async def test_counters_add_up_topics_and_payloads(self, relay: Relay) -> None:
        port = await (await relay.link()).open_port()
        await port.subscribe("ab/cd")

        await port.publish("ab/cd", b"12345")
        await arrival(port.arrivals())

        counters = port.counters
        assert (counters.messages_sent, counters.bytes_sent, counters.dropped) == (1, 10, 0)
        assert (counters.messages_received, counters.bytes_received) == (1, 10)

    async def test_closing_a_port_ends_its_arrivals_and_keeps_the_link(self, relay: Relay) -> None:
        link = await relay.link()
        closed, kept = await link.open_port(), await link.open_port()
        reading = asyncio.create_task(_drain(closed))
        await kept.subscribe("news")

        await closed.close()
        await asyncio.wait_for(reading, PATIENCE_S)
        await kept.publish("news", b"1")

        assert await arrival(kept.arrivals()) == Arrival("news", b"1")
        with pytest.raises(MisuseError):
            await closed.publish("news", b"2")

    async def test_closing_the_link_ends_all_arrivals(self, relay: Relay) -> None:
        link = await relay.link()
        reading = [asyncio.create_task(_drain(await link.open_port())) for _ in range(2)]

        await link.close()

        await asyncio.wait_for(asyncio.gather(*reading), PATIENCE_S)

    async def test_a_full_queue_drops_the_oldest_and_counts_them(self, relay: Relay) -> None:
        link = await relay.link(QueueLimits(messages=4))
        slow, quick = await link.open_port(), await link.open_port()
        await slow.subscribe("n")
        await quick.subscribe("n")
        of_quick = quick.arrivals()
        for number in range(10):
            await quick.publish("n", bytes([number]))
            await arrival(of_quick)

        of_slow = slow.arrivals()
        kept = [(await arrival(of_slow)).payload[0] for _ in range(4)]

        assert kept == [6, 7, 8, 9]
        assert (slow.counters.dropped, slow.counters.messages_received) == (6, 10)

    async def test_a_queue_is_bounded_in_bytes_too(self, relay: Relay) -> None:
        link = await relay.link(QueueLimits(size_bytes=1000))
        slow, quick = await link.open_port(), await link.open_port()
        await slow.subscribe("n", bulk=True)
        await quick.subscribe("n", bulk=True)
        of_quick = quick.arrivals()
        for number in range(4):
            await quick.publish("n", bytes([number]) * 400, bulk=True)
            await arrival(of_quick)

        of_slow = slow.arrivals()
        kept = [(await arrival(of_slow)).payload[0] for _ in range(2)]

        assert kept == [2, 3]
        assert slow.counters.dropped == 2

    async def test_a_flood_of_bulk_neither_delays_nor_drops_control(self, relay: Relay) -> None:
        link = await relay.link(QueueLimits(messages=4))
        slow, quick = await link.open_port(), await link.open_port()
        await slow.subscribe("control")
        await slow.subscribe("chunk", bulk=True)
        await quick.subscribe("chunk", bulk=True)
        await quick.subscribe("control")
        of_quick = quick.arrivals()
        await quick.publish("control", b"vote")
        await arrival(of_quick)
        for number in range(8):
            await quick.publish("chunk", bytes([number]), bulk=True)
            await arrival(of_quick)

        assert await arrival(slow.arrivals()) == Arrival("control", b"vote")

    async def test_publishing_while_the_bus_is_down_raises_at_once(self, relay: Relay) -> None:
        port = await (await relay.link()).open_port()
        stream = port.arrivals()
        await state(stream, up=True)

        await relay.stop()
        await state(stream, up=False)

        with pytest.raises(TransportError):
            await port.publish("news", b"1")
        assert port.counters.messages_sent == 0

    async def test_subscriptions_survive_the_loss_of_the_bus(self, relay: Relay) -> None:
        """Those made while it is away included, and `LinkState(up=True)` comes when they are in force."""
        port = await (await relay.link()).open_port()
        stream = port.arrivals()
        await state(stream, up=True)
        await port.subscribe("before")
        await relay.stop()
        await state(stream, up=False)
        await port.subscribe("between")

        await relay.start()
        await state(stream, up=True)
        await port.publish("before", b"1")
        await port.publish("between", b"2")

        came = [await arrival(stream), await arrival(stream)]
        assert sorted(each.topic for each in came) == ["before", "between"]

    async def test_the_will_of_an_aborted_port_is_published_and_that_of_a_closed_one_is_not(
        self, relay: Relay
    ) -> None:
        watcher = await (await relay.link()).open_port()
        await watcher.subscribe("lost/+")
        link = await relay.link()
        leaves = await link.open_port(will=("lost/leaves", b"1"))
        dies = await link.open_port(will=("lost/dies", b"2"))

        await leaves.close()
        await dies.abort()

        assert await arrival(watcher.arrivals()) == Arrival("lost/dies", b"2")

    async def test_topics_and_patterns_that_are_none_are_refused(self, relay: Relay) -> None:
        port = await (await relay.link()).open_port()

        for topic in ("", "a/+", "a/#", "a\0"):
            with pytest.raises(MisuseError):
                await port.publish(topic, b"")
        for pattern in ("", "a/#/b", "a+", "#/a", "a\0"):
            with pytest.raises(MisuseError):
                await port.subscribe(pattern)


async def _drain(port: Port) -> None:
    async for _ in port.arrivals():
        pass
