"""The files in broker/ work as they are; only the port and the folder are changed."""

import asyncio
import contextlib
import gc
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmdem.errors import TransportError
from swarmdem.identifiers import PeerId
from swarmdem.transport import brokers
from swarmdem.transport.base import Arrival, Port
from swarmdem.transport.brokers import Broker, start_broker
from swarmdem.transport.mqtt import MqttLink
from swarmdem.transport.settings import MqttSettings, TlsFiles
from swarmdem.wire import topics
from swarmdem.wire.messages import Digest
from tests.broker.certificates import write_certificates

PATIENCE_S = 20.0
BROKER = Path(__file__).parents[2] / "broker"
ANN, BOB = PeerId(bytes(range(16))), PeerId(bytes(range(16, 32)))
SCOPE = bytes(32)
MOSQUITTO = brokers._program("mosquitto") or ""

pytestmark = pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")


@contextlib.asynccontextmanager
async def run_configuration(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Broker]:
    """Run mosquitto with a copy of broker/NAME whose port is free and whose files lie in *folder*."""

    def command(kind: str, host: str, port: int, _: Path) -> list[str]:
        text = (BROKER / name).read_text()
        assert text.count("\nlistener ") == 1
        standard = text.partition("\nlistener ")[2].split()[0]
        text = text.replace(f"\nlistener {standard}\n", f"\nlistener {port} {host}\nuser root\n")
        for file in ("ca.crt", "server.crt", "server.key", "passwords", "acl"):
            text = text.replace(f" {file}\n", f" {folder / file}\n")
        (folder / name).write_text(text)
        return [MOSQUITTO, "-c", str(folder / name)]

    monkeypatch.setattr(brokers, "_command", command)
    async with start_broker("mosquitto") as broker:
        yield broker


async def arrival(port: Port) -> Arrival:
    async with asyncio.timeout(PATIENCE_S):
        async for item in port.arrivals():
            if isinstance(item, Arrival):
                return item
    raise AssertionError("the port was closed")


async def test_the_plain_configuration_passes_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_configuration("mosquitto.conf", tmp_path, monkeypatch) as broker:
        link = MqttLink(broker.url)
        await link.connect(PATIENCE_S)
        port = await link.open_port()
        await port.subscribe("swarmdem/1/x/+/+/+")
        await port.publish("swarmdem/1/x/bulk/a/b", bytes(2**20), bulk=True)

        assert await arrival(port) == Arrival("swarmdem/1/x/bulk/a/b", bytes(2**20))
        await link.close()


async def test_the_plain_configuration_queues_more_than_mosquittos_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that does not read for a while loses nothing of 3000 messages."""
    async with run_configuration("mosquitto.conf", tmp_path, monkeypatch) as broker:
        asleep = socket.create_connection((broker.host, broker.port))
        asleep.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03zzz" + b"\x82\x06\x00\x01\x00\x01n\x01")
        assert asleep.recv(4) == b"\x20\x02\x00\x00"
        link = MqttLink(broker.url)
        await link.connect(PATIENCE_S)
        port = await link.open_port()
        await port.subscribe("echo")
        for number in range(3000):
            await port.publish("n", number.to_bytes(2, "big"))
        await port.publish("echo", b"")
        await arrival(port)

        numbers = await asyncio.to_thread(_read_numbers, asleep, 3000)
        await link.close()

    assert numbers == list(range(3000))


def _read_numbers(sock: socket.socket, count: int) -> list[int]:
    """Read QoS 1 messages of topic `n` and two bytes each, acknowledging them."""
    sock.settimeout(PATIENCE_S)
    stream = sock.makefile("rb")
    assert stream.read(5) == b"\x90\x03\x00\x01\x01"
    numbers = []
    with sock, stream:
        while len(numbers) < count:
            packet = stream.read(9)  # header 2, topic length 2, topic 1, id 2, payload 2
            sock.sendall(b"\x40\x02" + packet[5:7])
            numbers.append(int.from_bytes(packet[7:9], "big"))
    return numbers


@pytest.fixture
def secured(tmp_path: Path) -> Path:
    """Return a folder with certificates, two users (password `pw`) and the access list."""
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    shutil.copy(BROKER / "acl", tmp_path)
    write_certificates(tmp_path)
    passwords = tmp_path / "passwords"
    for number, peer in enumerate((ANN, BOB)):
        create = ["-c"] if number == 0 else []
        subprocess.run(["mosquitto_passwd", "-b", *create, passwords, peer.hex(), "pw"], check=True)
    return tmp_path


async def test_the_secure_configuration_lets_peers_write_under_their_own_name_only(
    secured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_configuration("mosquitto-secure.conf", secured, monkeypatch) as broker:
        address = f"127.0.0.1:{broker.port}?cafile={secured / 'ca.crt'}"
        ann, bob = (MqttLink(f"mqtts://{peer.hex()}:pw@{address}") for peer in (ANN, BOB))
        of_ann, of_bob = await ann.open_port(), await bob.open_port()
        await ann.connect(PATIENCE_S)
        await bob.connect(PATIENCE_S)
        await of_bob.subscribe(topics.everyone_all(SCOPE))
        await of_bob.subscribe(topics.inbox_all(SCOPE, BOB))

        await of_ann.publish(topics.everyone(SCOPE, Digest, BOB), b"forged")
        await of_ann.publish(topics.everyone(SCOPE, Digest, ANN), b"mine")
        assert await arrival(of_bob) == Arrival(topics.everyone(SCOPE, Digest, ANN), b"mine")

        await of_ann.publish(topics.inbox(SCOPE, BOB, ANN), b"to you")
        assert await arrival(of_bob) == Arrival(topics.inbox(SCOPE, BOB, ANN), b"to you")
        await ann.close()
        await bob.close()


# The client library drops the socket of a failed TLS handshake unclosed; collected here, it warns here.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
async def test_the_secure_configuration_refuses_wrong_passwords_and_unknown_authorities(
    secured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = MqttSettings(tls=TlsFiles(cafile=secured / "ca.crt"))
    insecure = MqttSettings(tls=TlsFiles(insecure=True))
    async with run_configuration("mosquitto-secure.conf", secured, monkeypatch) as broker:
        address = f"127.0.0.1:{broker.port}"
        for url, settings, reason in (
            (f"mqtts://{ANN.hex()}:wrong@{address}", trusting, "refuses us: Not authorized"),
            (f"mqtts://{address}", trusting, "refuses us: Not authorized"),
            (f"mqtts://{ANN.hex()}:pw@{address}", MqttSettings(), "CERTIFICATE_VERIFY_FAILED"),
        ):
            link = MqttLink(url, settings)
            with pytest.raises(TransportError, match=reason):
                await link.connect(PATIENCE_S)
            await link.close()

        link = MqttLink(f"mqtts://{ANN.hex()}:pw@{address}", insecure)
        await link.connect(PATIENCE_S)
        await link.close()
    gc.collect()
