"""A broker as a peer meets it: reached, let in, and asked to carry what a swarm says.

What is published goes to topics that are the peer's own. To all peers it sends empty messages, which every
peer ignores; only the peer's own inbox gets more. Queue limits can be seen only as far as a burst of
`BURST` messages shows them. What one may write into the inboxes of others is not tried.
"""

import asyncio
import ipaddress
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median

from swarmdem.apps.doctor.report import Line, Verdict, fail, ok, skip, warn
from swarmdem.apps.peer import MDNS
from swarmdem.errors import ConfigError, TransportError
from swarmdem.identifiers import PeerId
from swarmdem.transport.base import Arrival, Port
from swarmdem.transport.discovery import check_installed
from swarmdem.transport.mqtt import MqttLink
from swarmdem.transport.settings import BrokerAddress, MqttSettings, TlsFiles
from swarmdem.wire import topics
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.messages import Ping

BURST = 300
"""Messages sent at once to see what a queue loses."""
PINGS = 9
CHUNK_BYTES = 65_536
"""The smallest chunk of a model: every broker must pass it."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is to be tried on a broker."""

    url: str
    tls: TlsFiles
    me: PeerId
    charter: Charter
    known: bool
    """The charter is the swarm's; otherwise one of the doctor's own."""
    wait_s: float


async def broker_lines(patient: Patient) -> list[Line]:
    """Return what there is to say about one broker."""
    if patient.url == MDNS:
        return [_nearby()]
    try:
        address = BrokerAddress.parse(patient.url)
    except ConfigError as error:
        fix = "write it as mqtt://[user:password@]host[:port]"
        return [
            fail(
                "broker", str(error), "correct what follows the question mark" if "?" in patient.url else fix
            )
        ]
    try:
        link = MqttLink(patient.url, MqttSettings(tls=patient.tls, attempt_s=patient.wait_s))
    except ConfigError as error:
        where = "what the URL says about TLS, or the file it names" if address.files else None
        return [
            fail(
                f"broker {address}", str(error), f"mend {where or 'the [tls] settings or the file they name'}"
            )
        ]
    name = f"broker {address}"
    lines = [*_secrecy(name, address)]
    doors = [address.door(number) for number in range(1 + len(address.doors))]
    reached = [
        await _reach(f"{name}, {host}:{port}" if address.doors else name, host, port, patient.wait_s)
        for host, port in doors
    ]
    if all(line.fix for line in reached):
        return [*lines, *reached]
    lines += [replace(line, verdict=Verdict.WARN) if line.fix else line for line in reached]
    try:
        begun = time.monotonic()
        await link.connect(patient.wait_s)
        lines.append(ok(name, f"speaks MQTT 3.1.1 and let us in within {time.monotonic() - begun:.2f} s"))
        lines += await _examine(name, link, patient)
    except TransportError as error:
        lines.append(fail(name, str(error), _remedy(str(error), address)))
    finally:
        await link.close()
    return lines


def _nearby() -> Line:
    try:
        check_installed()
    except ConfigError as error:
        return fail("broker mdns", str(error), "install it, or do without --discover")
    return skip("broker mdns", "brokers found by mDNS are not looked at", "give their URLs to look at them")


def _secrecy(name: str, address: BrokerAddress) -> list[Line]:
    if address.tls or _loopback(address.host):
        return []
    what = "the connection is not encrypted: passwords and models cross the network in clear"
    return [warn(name, what, "use mqtts:// where the network is not trusted (broker/README.md)")]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _reach(name: str, host: str, port: int, wait_s: float) -> Line:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(wait_s):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except TimeoutError:
        fix = "is the host up, and does a firewall let this port through?"
        return fail(name, f"did not answer within {wait_s:g} s", fix)
    except OSError as error:
        # asyncio's own words for a refusal are about the call, not the reason.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        fix = f"is a broker running there, on port {port}? `swarmdem broker` starts one"
        return fail(name, f"cannot be reached: {reason}", fix)
    return ok(name, f"reached in {(time.monotonic() - begun) * 1000:.0f} ms")


def _remedy(reason: str, address: BrokerAddress) -> str:
    lowered = reason.lower()
    if "certificate" in lowered or "ssl" in lowered or "tls" in lowered:
        return "check cafile, certfile and keyfile, the broker's certificate, its host name and this clock"
    if "authori" in lowered or "password" in lowered or "credential" in lowered or "refuse" in lowered:
        return "check user and password in the URL, and the broker's password file and ACL"
    return f"does an MQTT broker listen on port {address.port} (MQTT 3.1.1{', TLS' if address.tls else ''})?"


async def _examine(name: str, link: MqttLink, patient: Patient) -> list[Line]:
    port = await link.open_port()
    try:
        lines = await _rights(name, port, patient)
        if all(line.verdict != "fail" for line in lines):
            lines += await _carrying(name, port, patient)
        return lines
    finally:
        await port.close()


async def _rights(name: str, port: Port, patient: Patient) -> list[Line]:
    """Subscribe to all that a peer does, and hear each of its own messages come back."""
    me, charter = patient.me, patient.charter
    scope, swarm = charter_hash(charter), swarm_hash(charter.swarm)
    tried = (
        ("greetings", topics.hello_all(charter.swarm), topics.hello(charter.swarm, me), False),
        ("what is said to all", topics.everyone_all(scope), topics.everyone(scope, Ping, me), False),
        ("its inbox", topics.inbox_all(scope, me), topics.inbox(scope, me, me), False),
        ("answers to greetings", topics.inbox_all(swarm, me), topics.inbox(swarm, me, me), False),
        ("models", topics.bulk_all(scope, me), topics.bulk(scope, me, me), True),
    )
    lines = []
    for what, pattern, topic, bulk in tried:
        fix = f"allow this client to read {pattern} and to write {topic} (broker/README.md, topic rights)"
        try:
            await port.subscribe(pattern, bulk=bulk)
            async with _listening(port) as arrivals:
                await port.publish(topic, b"", bulk=bulk)
                await _until(arrivals, topic, patient.wait_s)
        except TransportError as error:
            lines.append(fail(name, f"{what}: {error}", fix))
        except TimeoutError:
            found = f"{what}: a message of our own did not come back within {patient.wait_s:g} s"
            lines.append(fail(name, found, fix))
    if not lines:
        whose = "the swarm's topics" if patient.known else "topics of a swarm (no charter given)"
        lines.append(ok(name, f"may read and write {whose}"))
    return lines


async def _carrying(name: str, port: Port, patient: Patient) -> list[Line]:
    """See how fast and how much it carries."""
    topic = topics.bulk(charter_hash(patient.charter), patient.me, patient.me)
    inbox = topics.inbox(charter_hash(patient.charter), patient.me, patient.me)
    lines, spans = [], []
    async with _listening(port) as arrivals:
        for _ in range(PINGS):
            begun = time.monotonic()
            await port.publish(inbox, b"")
            try:
                await _until(arrivals, inbox, patient.wait_s)
            except TimeoutError:
                fix = "the broker throws messages away: raise its queues, or use a less busy one"
                return [fail(name, f"a message did not come back within {patient.wait_s:g} s", fix)]
            spans.append(time.monotonic() - begun)
        lines.append(_latency(name, median(spans), patient.charter))
        for size in sorted({CHUNK_BYTES, patient.charter.chunk}):
            payload = b"doctor" + os.urandom(size)
            try:
                begun = time.monotonic()
                await port.publish(topic, payload, bulk=True)
                await _until(arrivals, topic, 4 * patient.wait_s, payload)
                lines.append(ok(name, f"carried {size} bytes in {(time.monotonic() - begun) * 1000:.0f} ms"))
            except (TimeoutError, TransportError):
                fix = (
                    f"raise its limit above {size + 64} bytes (mosquitto: message_size_limit, "
                    "max_packet_size; NATS: max_payload), or lower `chunk` in the charter"
                )
                lines.append(fail(name, f"did not carry a message of {size} bytes", fix))
                return lines
        lines.append(await _burst(name, port, arrivals, inbox, patient.wait_s))
    return lines


def _latency(name: str, span: float, charter: Charter) -> Line:
    what = f"a message comes back in {span * 1000:.1f} ms (median of {PINGS})"
    if span > charter.patience / 8:
        fix = f"above {charter.patience / 8:g} s no peer counts as connected: nearer broker, more patience"
        return fail(name, what, fix)
    if span > charter.patience / 32:
        return warn(name, what, "use a nearer or less busy broker, or more `patience` in the charter")
    return ok(name, what)


async def _burst(name: str, port: Port, arrivals: asyncio.Queue[Arrival], topic: str, wait_s: float) -> Line:
    sent = [f"doctor {number}".encode() for number in range(BURST)]
    for payload in sent:
        await port.publish(topic, payload)
    missing = set(sent)
    try:
        async with asyncio.timeout(4 * wait_s):
            while missing:
                missing.discard((await arrivals.get()).payload)
    except TimeoutError:
        fix = "raise its queues (mosquitto: max_queued_messages 100000; broker/mosquitto.conf)"
        return warn(name, f"lost {len(missing)} of {BURST} messages sent at once", fix)
    return ok(name, f"lost none of {BURST} messages sent at once")


@asynccontextmanager
async def _listening(port: Port) -> AsyncIterator[asyncio.Queue[Arrival]]:
    """Put what arrives into a queue for as long as the block lasts."""
    queue: asyncio.Queue[Arrival] = asyncio.Queue(10 * BURST)

    async def listen() -> None:
        async for item in port.arrivals():
            if isinstance(item, Arrival) and not queue.full():
                queue.put_nowait(item)

    task = asyncio.create_task(listen(), name="swarmdem.doctor")
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(
    arrivals: asyncio.Queue[Arrival], topic: str, wait_s: float, payload: bytes | None = None
) -> None:
    """Wait for a message on *topic*.

    Raises:
        TimeoutError: None came.
    """
    async with asyncio.timeout(wait_s):
        while True:
            arrival = await arrivals.get()
            if arrival.topic == topic and (payload is None or arrival.payload == payload):
                return
