"""A link over several brokers outlives each of them: loss, stop, slow-down, overflow, amnesia."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from swarmdem.errors import ConfigError, TransportError
from swarmdem.transport.base import Arrival, LinkState
from swarmdem.transport.brokers import Broker, start_broker
from swarmdem.transport.member import WAITING_MAX
from swarmdem.transport.multi import MultiLink, MultiPort
from swarmdem.transport.paths import GOOD_S, QUESTION_BYTES
from swarmdem.transport.proxy import FaultProxy, Weather
from swarmdem.transport.settings import MqttSettings
from tests.transport.contract import PATIENCE_S, Stream, arrival, state, until
from tests.transport.test_mqtt import CONNACK, fake_broker

QUICK = MqttSettings(backoff_min_s=0.02, backoff_max_s=0.1)


@contextlib.asynccontextmanager
async def open_link(*urls: str, settings: MqttSettings = QUICK) -> AsyncIterator[MultiLink]:
    link = MultiLink(urls, settings)
    try:
        await link.connect()
        await until(lambda: all(member.state.up for member in link.members))
        yield link
    finally:
        await link.close()


@contextlib.contextmanager
def stopped(broker: Broker) -> Iterator[None]:
    """Keep the broker's process from running: connections stay open and nothing moves."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


async def next_state(stream: Stream) -> LinkState:
    while True:
        item = await asyncio.wait_for(anext(stream), PATIENCE_S)
        if isinstance(item, LinkState):
            return item


async def test_a_message_over_two_brokers_counts_once_and_a_repetition_once_more() -> None:
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url) as link:
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("news")

        for said in (1, 2):
            await port.publish("news", b"again")
            assert await arrival(stream) == Arrival("news", b"again")
            await until(lambda said=said: link.duplicates.suppressed == said)  # type: ignore[misc]
        await port.publish("news", b"end")

        assert await arrival(stream) == Arrival("news", b"end")
        assert link.socket_bytes_sent == 2 * port.counters.bytes_sent
        assert (port.counters.messages_sent, port.counters.messages_received) == (3, 3)


async def test_the_loss_of_one_broker_is_told_and_costs_no_message() -> None:
    async with contextlib.AsyncExitStack() as first, start_broker() as b:
        a = await first.enter_async_context(start_broker("embedded"))
        async with open_link(a.url, b.url) as link:
            port = await link.open_port()
            stream = port.arrivals()
            await port.subscribe("news")
            assert await next_state(stream) == LinkState(up=True)

            await first.aclose()
            await port.publish("news", b"1")

            assert await arrival(stream) == Arrival("news", b"1")
            await until(lambda: link.state != LinkState(up=True))
            assert link.state == LinkState(up=True, away=(a.url,))


async def test_a_broker_that_comes_back_empty_has_every_subscription_and_is_told_of() -> None:
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        a = await first.enter_async_context(start_broker())
        b = await second.enter_async_context(start_broker("embedded"))
        async with open_link(a.url, b.url) as link:
            port = await link.open_port()
            stream = port.arrivals()
            await port.subscribe("news")
            await first.aclose()
            await until(lambda: bool(link.state.away))
            assert (await next_state(stream)) == LinkState(up=True, away=(a.url,))

            async with start_broker(port=a.port):
                assert await next_state(stream) == LinkState(up=True, joined=True)
                await second.aclose()
                assert await next_state(stream) == LinkState(up=True, away=(b.url,))
                await port.publish("news", b"1")

                assert await arrival(stream) == Arrival("news", b"1")


async def test_the_link_is_down_when_every_broker_is_and_up_with_the_first_that_returns() -> None:
    async with contextlib.AsyncExitStack() as brokers:
        a = await brokers.enter_async_context(start_broker("embedded"))
        b = await brokers.enter_async_context(start_broker("embedded"))
        async with open_link(a.url, b.url) as link:
            port = await link.open_port()
            stream = port.arrivals()

            await brokers.aclose()
            await state(stream, up=False)
            with pytest.raises(TransportError):
                await port.publish("news", b"1")
            async with start_broker("embedded", port=b.port):
                await state(stream, up=True)

                assert link.state.away == (a.url,)


async def test_a_stopped_broker_delays_no_control_message_and_its_queue_is_bounded() -> None:
    patient = replace(QUICK, keepalive_s=300)  # its silence is not taken for its loss
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url, settings=patient) as link:
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("news")
        frozen = link.members[0]
        with stopped(a):
            async with asyncio.timeout(5 * PATIENCE_S):  # a thousand messages, each there and back
                for number in range(QUICK.window_messages + 1 + WAITING_MAX + 10):
                    await port.publish("news", number.to_bytes(2, "big"))
                    assert (await arrival(stream)).payload == number.to_bytes(2, "big")

            assert frozen.dropped == 10


async def test_bulk_leaves_a_broker_that_stops() -> None:
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url) as link:
        sender, receiver = await link.open_port(), await link.open_port()
        stream = receiver.arrivals()
        await receiver.subscribe("bulk/r/+", bulk=True)
        chunk = bytes(QUESTION_BYTES + 1)  # no question, which would change brokers by itself in time
        await sender.publish("bulk/r/s", chunk, bulk=True)
        await arrival(stream)
        [used] = [m for m in link.members if m.link.connection(bulk=True).bytes_received]
        broker = a if used.link.address.port == a.port else b
        client = used.link.connection(bulk=True)._client
        await until(lambda: client is not None and client.window.messages == 0)  # arrived is not acknowledged

        with stopped(broker):
            for _ in range(QUICK.window_messages):  # what the window takes is lost with the broker
                await sender.publish("bulk/r/s", chunk, bulk=True)
            await sender.publish("bulk/r/s", b"moved" + chunk, bulk=True)

            assert (await arrival(stream)).payload == b"moved" + chunk
            assert used.health.faults == 1


async def test_bulk_that_every_connection_has_just_lost_is_given_up_and_holds_nobody_up(monkeypatch) -> None:
    """A peer that stood still: its sockets are closed, and nobody has had the time to say so."""
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url) as link:
        port = await link.open_port()
        for member in link.members:
            client = member.link.connection(bulk=True)._client
            monkeypatch.setattr(client, "hand_over", lambda *arguments, **named: False)
        with pytest.raises(TransportError, match="connection lost"):
            await port.publish("bulk/p/p", b"chunk", bulk=True)

        assert link.state.up, "or else it was given up for another reason"


async def test_bulk_goes_over_the_quicker_broker() -> None:
    """Its echoes tell: those of the slow one are behind."""
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url) as link:
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("all/news/p")
        await port.subscribe("bulk/p/+", bulk=True)
        slow, quick = link.members
        with stopped(a):
            await port.publish("all/news/p", b"1")
            await arrival(stream)

            await port.publish("bulk/p/p", b"chunk", bulk=True)

            assert (await arrival(stream)).payload == b"chunk"
        assert (slow.link.connection(bulk=True).bytes_sent, quick.link.connection(bulk=True).bytes_sent) == (
            0,
            13,
        )


async def test_bulk_leaves_a_broker_that_slows_down() -> None:
    async with (
        start_broker() as a, start_broker() as b, FaultProxy(a.host, a.port) as slow,
        open_link(slow.url, b.url) as link,
    ):  # fmt: skip
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("all/news/p")
        await port.subscribe("bulk/p/+", bulk=True)
        slow.set(Weather(latency_s=0.1))
        for number in range(3):
            await port.publish("all/news/p", bytes([number]))
            await arrival(stream)
        await until(lambda: link.members[0].health.delay_s > 0.15)

        await port.publish("bulk/p/p", b"chunk", bulk=True)

        assert (await arrival(stream)).payload == b"chunk"
        assert link.members[1].link.connection(bulk=True).bytes_sent == 13


async def test_bulk_leaves_a_broker_that_acknowledges_and_throws_away() -> None:
    """As one does whose queues are full: its echoes are missing, and it was chosen before."""
    async with pretender() as url, start_broker() as b, open_link(url, b.url) as link:
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("all/news/p")
        await port.subscribe("bulk/p/+", bulk=True)
        await port.publish("bulk/p/p", b"lost", bulk=True)
        await port.publish("all/news/p", b"1")
        assert (await arrival(stream)).payload == b"1"
        now = asyncio.get_running_loop().time
        deaf, other = (member.health for member in link.members)
        # Until its echo is so long overdue that the other counts as better.
        await until(lambda: deaf.score(now()) > GOOD_S + 2 * other.score(now()))

        await port.publish("bulk/p/p", b"chunk" * 2000, bulk=True)

        assert (await arrival(stream)).payload == b"chunk" * 2000


@contextlib.asynccontextmanager
async def pretender() -> AsyncIterator[str]:
    """Serve MQTT connections that acknowledge everything and deliver nothing; yield the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                kind, length, shift = (await reader.readexactly(1))[0], 0, 0
                while True:
                    [digit] = await reader.readexactly(1)
                    length |= (digit & 0x7F) << shift
                    shift += 7
                    if digit < 0x80:
                        break
                body = await reader.readexactly(length)
                topic = 2 + int.from_bytes(body[:2], "big")
                answers = {
                    1: b"\x20\x02\x00\x00",
                    3: b"\x40\x02" + body[topic : topic + 2],
                    8: b"\x90\x03" + body[:2] + b"\x01",
                    12: b"\xd0\x00",
                }
                writer.write(answers.get(kind >> 4, b""))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_connection_whose_bytes_are_damaged_is_made_anew() -> None:
    settings = MqttSettings(backoff_min_s=0.02, backoff_max_s=0.1, attempt_s=0.5, keepalive_s=2)
    async with (
        start_broker() as a, FaultProxy(a.host, a.port, seed=3) as damaged,
        open_link(damaged.url, settings=settings) as link,
    ):  # fmt: skip
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("news/+")
        damaged.set(Weather(corrupt=0.02))
        with contextlib.suppress(TransportError):
            for number in range(200):
                await port.publish(f"news/{number}", bytes(50))

        damaged.set(Weather())
        saying = asyncio.create_task(say_again(port, "news/end", b"whole"))
        while (await arrival(stream)).payload != b"whole":
            pass
        saying.cancel()


async def say_again(port: MultiPort, topic: str, payload: bytes) -> None:
    while True:
        with contextlib.suppress(TransportError):
            await port.publish(topic, payload)
        await asyncio.sleep(0.05)


async def test_bulk_goes_where_the_receiver_is() -> None:
    async with (
        start_broker() as a, start_broker() as b, start_broker() as c,
        open_link(a.url, b.url, c.url) as link, open_link(c.url) as elsewhere,
    ):  # fmt: skip
        here, there = await link.open_port(), await elsewhere.open_port()
        of_here, of_there = here.arrivals(), there.arrivals()
        await here.subscribe("all/+/+")
        await there.subscribe("bulk/there/+", bulk=True)
        await there.publish("all/news/there", b"I am here")
        await arrival(of_here)

        await here.publish("bulk/there/here", b"chunk", bulk=True)

        assert await arrival(of_there) == Arrival("bulk/there/here", b"chunk")


async def test_a_will_counts_only_when_no_broker_sees_its_peer_any_more() -> None:
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url) as watching:
        watcher = await watching.open_port(will=("all/lost/watcher", b"watcher is lost"))
        stream = watcher.arrivals()
        await watcher.subscribe("all/+/+")
        async with open_link(a.url, b.url) as link:
            port = await link.open_port(will=("all/lost/peer", b"peer is lost"))
            first, second = link.members
            await port.publish("all/news/peer", b"1")
            assert (await arrival(stream)).payload == b"1"
            await until(lambda: watching.duplicates.suppressed == 1)

            await first.link.connection(bulk=False).publish("all/lost/peer", b"peer is lost", retain=False)
            await second.link.connection(bulk=False).publish("all/news/peer", b"2", retain=False)
            assert (await arrival(stream)).payload == b"2"
            await second.link.connection(bulk=False).publish("all/lost/peer", b"peer is lost", retain=False)

            assert (await arrival(stream)).payload == b"peer is lost"


async def test_two_losses_with_a_return_between_them_are_no_goodbye() -> None:
    """Each broker published the will once, but the peer was back at the first before the second lost it."""
    async with start_broker() as a, start_broker() as b, open_link(a.url, b.url) as watching:
        watcher = await watching.open_port(will=("all/lost/watcher", b"watcher is lost"))
        stream = watcher.arrivals()
        await watcher.subscribe("all/+/+")
        async with open_link(a.url, b.url) as link:
            port = await link.open_port()
            first, second = (member.link.connection(bulk=False) for member in link.members)
            await port.publish("all/news/peer", b"1")
            assert (await arrival(stream)).payload == b"1"
            await until(lambda: watching.duplicates.suppressed == 1)

            await first.publish("all/lost/peer", b"peer is lost", retain=False)
            await first.publish("all/news/peer", b"back", retain=False)
            assert (await arrival(stream)).payload == b"back"
            await second.publish("all/lost/peer", b"peer is lost", retain=False)
            await second.publish("all/news/peer", b"2", retain=False)

            assert (await arrival(stream)).payload == b"2"


async def test_brokers_are_added_and_removed_while_the_link_runs() -> None:
    async with contextlib.AsyncExitStack() as first, start_broker() as b:
        a = await first.enter_async_context(start_broker())
        async with open_link(a.url) as link:
            port = await link.open_port()
            stream = port.arrivals()
            await port.subscribe("news")

            await link.add(b.url)
            await link.add(b.url)
            await until(lambda: all(member.state.up for member in link.members))
            await link.remove(a.url)
            await first.aclose()
            await port.publish("news", b"1")

            assert await arrival(stream) == Arrival("news", b"1")
            assert [str(member.link.address) for member in link.members] == [b.url]


async def test_a_broker_that_only_helps_is_not_missed() -> None:
    async with start_broker() as a, open_link(a.url) as link:
        await link.add("mqtt://127.0.0.1:1", own=False)
        await until(lambda: "nobody listens at" in link.members[1].state.reason)

        assert link.state == LinkState(up=True)


async def test_all_brokers_are_named_when_none_is_reached() -> None:
    link = MultiLink(["mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2"], QUICK)
    with pytest.raises(TransportError, match=r"^no broker reached in 0\.3 s: mqtt://127\.0\.0\.1:1: .*1:2: "):
        await link.connect(0.3)
    await link.close()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="not mqtt://"):
        MultiLink(["mqtt://here", "there"])


async def test_a_broker_that_refuses_what_another_grants_is_asked_until_it_grants_it_too() -> None:
    answers = [b"\x80", b"\x80", b"\x01"]

    async def refuse_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK)
        while packet := await reader.read(65_536):
            start = packet.find(b"\x82")
            if start >= 0:
                answer = answers.pop(0)
                writer.write(b"\x90\x03" + packet[start + 2 : start + 4] + answer)
                if answer == b"\x01":
                    writer.write(b"\x30\x07\x00\x04newsx")

    async with start_broker() as grants, fake_broker(refuse_twice) as url, open_link(grants.url, url) as link:
        port = await link.open_port()
        await port.subscribe("news")

        assert await arrival(port.arrivals()) == Arrival("news", b"x")
    assert answers == []
