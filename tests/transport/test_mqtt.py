"""What MQTT links do beyond the contract: refusals, back-pressure, brokers that misbehave."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from swarmdem.errors import ConfigError, MisuseError, TransportError
from swarmdem.transport import client
from swarmdem.transport.base import Arrival, InParts, LinkState
from swarmdem.transport.brokers import start_broker
from swarmdem.transport.client import Client
from swarmdem.transport.mqtt import MqttLink
from swarmdem.transport.settings import MqttSettings
from swarmdem.transport.window import SendWindow

PATIENCE_S = 20.0
QUICK = MqttSettings(backoff_min_s=0.02, backoff_max_s=0.1, window_messages=4, window_bytes=1000)

CONNACK, BAD_PASSWORD = b"\x20\x02\x00\x00", b"\x20\x02\x00\x04"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def fake_broker(behave: Behaviour) -> AsyncIterator[str]:
    """Serve connections by *behave*; yield the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def swallow(reader: asyncio.StreamReader) -> None:
    """Read until the client goes away."""
    while await reader.read(65_536):
        pass


@contextlib.asynccontextmanager
async def open_link(url: str, settings: MqttSettings = QUICK) -> AsyncIterator[MqttLink]:
    link = MqttLink(url, settings)
    try:
        yield link
    finally:
        await link.close()


@pytest.mark.parametrize(
    ("missing", "familiar"),
    [
        (None, True),
        ("_in_packet", False),
        ("_out_packet", False),
        ("_packet_queue", False),
        ("loop_read", False),
    ],
)
def test_a_paho_that_works_otherwise_is_recognised(missing, familiar) -> None:
    arriving = {"command": 0x32, "have_remaining": 0, "remaining_length": 0, "packet": bytearray()}
    parts = {"_in_packet": arriving, "_out_packet": deque(), "_last_bytes_received": 0.0}
    parts |= dict.fromkeys(client.NEEDED, print)
    parts.pop(missing, None)

    assert client.familiar(SimpleNamespace(**parts)) is familiar
    assert not client.familiar(SimpleNamespace(**{**parts, "_in_packet": {"head": 0}}))


@pytest.mark.parametrize("familiar", [True, False], ids=["by ourselves", "its own way"])
async def test_messages_of_any_length_and_in_parts_arrive_whole_and_are_acknowledged(
    familiar, monkeypatch
) -> None:
    """Read and written by us, or by a paho that works otherwise."""
    monkeypatch.setattr(client, "familiar", lambda _: familiar)
    body = bytes(range(256)) * 4096
    payloads = [b"x", body[:16_300], body[:16_400], body, InParts(b"head", memoryview(body)), b"", b"last"]
    roomy = MqttSettings(window_bytes=2 * len(body), window_messages=4)
    async with start_broker("auto") as broker, open_link(broker.url, roomy) as link:
        port = await link.open_port()
        await link.connect(PATIENCE_S)
        await port.subscribe("a", bulk=True)
        stream, arrived = port.arrivals(), []
        sending = asyncio.gather(*(port.publish("a", payload, bulk=True) for payload in payloads))
        async with asyncio.timeout(PATIENCE_S):
            while len(arrived) < len(payloads):
                if isinstance(item := await anext(stream), Arrival):
                    arrived.append(bytes(item.payload))
            await sending
            window = link.connection(bulk=True)._client.window
            await window.take(2 * len(body))  # all of it is free only when everything is acknowledged

    assert arrived == [bytes(payload) for payload in payloads]


def test_a_link_to_no_url_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="not mqtt://"):
        MqttLink("localhost")


async def test_an_unreachable_broker_is_named_with_the_reason() -> None:
    async with open_link("mqtt://127.0.0.1:1") as link:
        with pytest.raises(
            TransportError,
            match=r"^broker mqtt://127\.0\.0\.1:1 not reached in 1 s: nobody listens at 127\.0\.0\.1:1$",
        ):
            await link.connect(1)


async def test_an_unknown_host_is_named_with_the_reason() -> None:
    async with open_link("mqtt://no-such-host.invalid") as link:
        with pytest.raises(TransportError, match=r"^broker mqtt://no-such-host\.invalid:1883 not reached"):
            await link.connect(0.5)


async def test_a_link_keeps_trying_until_the_broker_is_there() -> None:
    async with start_broker("embedded") as broker:
        url, port_number = broker.url, broker.port

    async with open_link(url) as link:
        port = await link.open_port()
        stream = port.arrivals()
        assert await anext(stream) == LinkState(up=False, reason="not connected yet")
        with pytest.raises(TransportError):
            await port.publish("early", b"")
        refused = await asyncio.wait_for(anext(stream), PATIENCE_S)
        assert isinstance(refused, LinkState)
        assert refused.reason == f"nobody listens at 127.0.0.1:{port_number}"
        await port.subscribe("news")
        async with start_broker("embedded", port=port_number):
            assert await asyncio.wait_for(anext(stream), PATIENCE_S) == LinkState(up=True)
            await port.publish("news", b"1")
            assert await asyncio.wait_for(anext(stream), PATIENCE_S) == Arrival("news", b"1")


async def test_a_broker_with_two_doors_is_reached_through_the_one_that_is_open() -> None:
    async with (
        start_broker("embedded") as broker,
        open_link(f"mqtt://127.0.0.1:1,127.0.0.1:{broker.port}") as link,
    ):
        await link.connect(PATIENCE_S)

        assert link.state.up


async def test_a_refusal_of_the_credentials_is_told_at_once() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(BAD_PASSWORD)
        await swallow(reader)

    async with fake_broker(refuse) as url, open_link(url.replace("//", "//ann:wrong@")) as link:
        with pytest.raises(TransportError, match="refuses us: Bad user name or password") as refused:
            await link.connect(PATIENCE_S)

    assert "wrong" not in str(refused.value)


async def test_a_broker_that_does_not_speak_mqtt_is_no_crash() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await swallow(reader)

    settings = MqttSettings(backoff_min_s=0.02, backoff_max_s=0.1, attempt_s=0.2)
    async with fake_broker(answer) as url, open_link(url, settings) as link:
        with pytest.raises(TransportError, match="not reached"):
            await link.connect(1)


async def test_closing_does_not_wait_longer_than_an_attempt_for_a_silent_broker() -> None:
    connected = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await swallow(reader)

    settings = MqttSettings(attempt_s=0.2)
    async with fake_broker(stay_silent) as url:
        link = MqttLink(url, settings)
        await link.connect()
        await asyncio.wait_for(connected.wait(), PATIENCE_S)

        await asyncio.wait_for(link.close(), 5)

    with pytest.raises(MisuseError):
        await link.connect()


async def test_publishers_wait_while_too_much_is_unacknowledged_and_fail_when_the_link_is_lost() -> None:
    cut = asyncio.Event()

    async def never_acknowledge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK)
        reading = asyncio.create_task(swallow(reader))
        await cut.wait()
        reading.cancel()

    async with fake_broker(never_acknowledge) as url, open_link(url) as link:
        port = await link.open_port()
        await link.connect(PATIENCE_S)
        for number in range(4):  # QUICK's window_messages
            await asyncio.wait_for(port.publish("n", bytes([number])), PATIENCE_S)
        fifth = asyncio.create_task(port.publish("n", b""))
        await asyncio.sleep(0.05)
        assert not fifth.done()

        cut.set()

        with pytest.raises(TransportError):
            await asyncio.wait_for(fifth, PATIENCE_S)
        assert port.counters.messages_sent == 4


async def test_a_connection_that_ends_as_its_attempt_runs_out_of_time_is_no_crash() -> None:
    """The library has given up waiting, and has not put the waiting away yet."""
    window = SendWindow(messages_max=1, bytes_max=1)
    client = Client("127.0.0.1", 1883, deliver=lambda *_: None, window=window)
    client._connected.cancel()

    client._on_disconnect(None, None, None, None, None)

    assert not client._disconnected.done()


async def test_what_a_broker_refused_after_a_reconnect_is_asked_for_until_it_is_granted() -> None:
    """As a cluster does that is choosing a leader: it refuses what it grants a little later."""
    answers = [b"\x80", b"\x80", b"\x01"]

    async def refuse_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK)
        while packet := await reader.read(65_536):
            start = packet.find(b"\x82")
            if start >= 0:
                writer.write(b"\x90\x03" + packet[start + 2 : start + 4] + answers.pop(0))
            if not answers:
                writer.write(b"\x30\x07\x00\x04newsx")

    async with fake_broker(refuse_twice) as url, open_link(url) as link:
        port = await link.open_port()
        await port.subscribe("news")  # takes effect with the connection

        async with asyncio.timeout(PATIENCE_S):
            async for item in port.arrivals():
                if isinstance(item, Arrival):
                    break

    assert item == Arrival("news", b"x")


async def test_a_refused_subscription_is_an_error_and_leaves_nothing_behind() -> None:
    async def refuse_subscriptions(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK)
        while packet := await reader.read(65_536):
            start = packet.find(b"\x82")
            if start >= 0:
                writer.write(b"\x90\x03" + packet[start + 2 : start + 4] + b"\x80")

    async with fake_broker(refuse_subscriptions) as url, open_link(url) as link:
        port = await link.open_port()
        await link.connect(PATIENCE_S)

        with pytest.raises(TransportError, match="refuses the subscription to secret"):
            await asyncio.wait_for(port.subscribe("secret"), PATIENCE_S)

        connection = link.connection(bulk=False)
        assert (connection.routes.patterns, connection._denied) == ((), {})


async def test_nobody_is_deaf_unawares_when_the_broker_does_not_answer() -> None:
    """The first asks alone, the two that gather meanwhile are asked for in one packet."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK)
        await swallow(reader)

    async with fake_broker(say_nothing) as url, open_link(url, replace(QUICK, attempt_s=0.5)) as link:
        port = await link.open_port()
        await link.connect(PATIENCE_S)

        answers = await asyncio.gather(
            *(port.subscribe(pattern, insist=True) for pattern in "abc"), return_exceptions=True
        )

        silent = f"{link.address} does not answer the subscription to "
        assert [str(answer) for answer in answers] == [silent + pattern for pattern in "abc"]


async def test_the_link_counts_a_shared_arrival_once() -> None:
    async with start_broker("embedded") as broker, open_link(broker.url) as link:
        ports = [await link.open_port() for _ in range(3)]
        await link.connect(PATIENCE_S)
        for port in ports:
            await port.subscribe("ab")
        await ports[0].publish("ab", b"12345678")
        for port in ports:
            stream = port.arrivals()
            while not isinstance(await asyncio.wait_for(anext(stream), PATIENCE_S), Arrival):
                pass

        assert (link.socket_bytes_sent, link.socket_bytes_received) == (10, 10)
        assert [port.counters.bytes_received for port in ports] == [10, 10, 10]


async def test_what_many_ports_publish_at_once_leaves_in_one_go_even_just_before_the_end(monkeypatch) -> None:
    """A listener on a link of its own gets all of it, though the sender closes without a pause."""
    roomy, sent = MqttSettings(), []
    async with start_broker("embedded") as broker, open_link(broker.url) as hearing:
        listener = await hearing.open_port()
        await hearing.connect(PATIENCE_S)
        await listener.subscribe("a")
        async with open_link(broker.url, roomy) as link:
            ports = [await link.open_port() for _ in range(20)]
            await link.connect(PATIENCE_S)
            library = link.connection(bulk=False)._client._client
            send = library._sock_send
            monkeypatch.setattr(library, "_sock_send", lambda data: sent.append(len(data)) or send(data))
            await asyncio.gather(*(port.publish("a", bytes([n]) * 100) for n, port in enumerate(ports)))
            first = tuple(sent)
            await ports[0].publish("a", b"last")
        stream, arrived = listener.arrivals(), []
        async with asyncio.timeout(PATIENCE_S):
            while len(arrived) < 21:
                if isinstance(item := await anext(stream), Arrival):
                    arrived.append(bytes(item.payload))

    assert first == (20 * (2 + 2 + 1 + 2 + 100),)
    assert arrived == [*(bytes([n]) * 100 for n in range(20)), b"last"]


async def test_many_ports_subscribing_at_once_need_few_packets() -> None:
    """Requests that gather while a SUBSCRIBE is under way go out together."""
    packets = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal packets
        await reader.read(65_536)
        writer.write(CONNACK)
        while packet := await reader.read(65_536):
            if packet[0] == 0x82:
                packets += 1
                writer.write(b"\x90\x03" + packet[2:4] + b"\x01")

    async with fake_broker(count) as url, open_link(url) as link:
        ports = [await link.open_port() for _ in range(50)]
        await link.connect(PATIENCE_S)

        await asyncio.wait_for(asyncio.gather(*(port.subscribe("all") for port in ports)), PATIENCE_S)

        assert packets <= 2


@pytest.mark.parametrize("payload", [b"x" * 20, b"y" * 2**20], ids=["short", "long"])
async def test_a_topic_that_is_no_utf8_is_passed_over(payload: bytes) -> None:
    """Whoever takes the message apart, paho or we; what comes after it arrives."""

    def publish(topic: bytes, number: int) -> bytes:
        body = len(topic).to_bytes(2, "big") + topic + number.to_bytes(2, "big") + payload
        left, length = len(body), b""
        while left:
            length, left = length + bytes([left % 128 | (128 if left > 127 else 0)]), left // 128
        return b"\x32" + length + body

    async def send_both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(CONNACK)
        while packet := await reader.read(65_536):
            start = packet.find(b"\x82")
            if start >= 0:
                writer.write(b"\x90\x03" + packet[start + 2 : start + 4] + b"\x01")
                writer.write(publish(b"\xff", 1) + publish(b"a", 2))

    async with fake_broker(send_both) as url, open_link(url) as link:
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("+")
        while not isinstance(item := await asyncio.wait_for(anext(stream), PATIENCE_S), Arrival):
            pass

    assert item == Arrival("a", payload)


async def test_an_answer_to_what_was_given_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is stopped while it unsubscribes waits no more; the broker answers all the same."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(CONNACK)
        while packet := await reader.read(65_536):
            start = packet.find(b"\x82")
            if start >= 0:
                writer.write(b"\x90\x03" + packet[start + 2 : start + 4] + b"\x01")
                writer.write(b"\xb0\x02\x7f\xff" + b"\x90\x03\x7f\xfe\x01" + b"\x30\x03\x00\x01a")

    async with fake_broker(answer) as url, open_link(url) as link:
        port = await link.open_port()
        stream = port.arrivals()
        await port.subscribe("a")
        while not isinstance(await asyncio.wait_for(anext(stream), PATIENCE_S), Arrival):
            pass

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
