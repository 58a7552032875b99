"""Brokers on several machines: one of them is killed, and the swarm goes on over the others."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from swarmdem import Charter, Peer, RoundFinished, SoftmaxRegression
from swarmdem.apps.keygen import make_key
from swarmdem.transport import brokers
from swarmdem.transport.settings import MqttSettings, TlsFiles
from tests.broker.certificates import write_certificates
from tests.broker.nodes import BROKER, configuration, free_ports, running, wait_until_healthy

PATIENCE_S = 200.0
PASSWORD = "pw"
NODES = ("one", "two", "three")
MOSQUITTO, NATS = brokers._program("mosquitto"), brokers._program("nats")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def peer(number: int, urls: Sequence[str], state: Path | None = None, cafile: Path | None = None) -> Peer:
    """Return one of three peers with a few samples of its own."""
    y = np.arange(30) % 3
    x = np.eye(3, dtype=np.float32)[y] + np.float32(0.1 * number)
    settings = MqttSettings(backoff_min_s=0.1, backoff_max_s=0.5, attempt_s=2.0, tls=TlsFiles(cafile=cafile))
    charter = Charter(swarm="s", founders=3, patience=8.0)
    return Peer(charter, SoftmaxRegression(3, (x, y)), brokers=urls, mqtt=settings, state=state)


@contextlib.asynccontextmanager
async def swarm(*peers: Peer) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for each in peers:
            await stack.enter_async_context(each)
        yield


async def certified(peers: Sequence[Peer], rounds: int = 1) -> None:
    """Return when every peer has finished so many more rounds, certified ones."""

    async def one(member: Peer) -> None:
        done = 0
        async for event in member.events():
            done += isinstance(event, RoundFinished) and event.certified
            if done == rounds:
                return
        raise AssertionError("the peer stopped")

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(one(each) for each in peers))


class Bridged:
    """Two brokers that pass everything on to each other, and the users of three peers."""

    def __init__(self, folder: Path) -> None:
        self.ports = free_ports(2)
        self.cafile = folder / "ca.crt"
        self.states = [folder / f"peer-{number}" for number in range(3)]
        self.users = [make_key(state)[1].hex() for state in self.states]
        write_certificates(folder)
        for number, user in enumerate((*self.users, "bridge")):
            create = ["-c"] if number == 0 else []
            subprocess.run(
                ["mosquitto_passwd", "-b", *create, folder / "passwords", user, PASSWORD], check=True
            )
        files = {f" {name}\n": f" {folder / name}\n" for name in ("ca.crt", "server.crt", "server.key")}
        files |= {" passwords\n": f" {folder / 'passwords'}\n", " acl\n": f" {BROKER / 'acl'}\n"}
        first, second = self.ports
        self._first = configuration(
            "mosquitto-secure.conf", folder / "first",
            files | {"\nlistener 8883\n": f"\nlistener {first} 127.0.0.1\nuser root\n"},
        )  # fmt: skip
        self._second = configuration(
            "mosquitto-bridged.conf", folder / "second",
            files | {
                "\nlistener 8883\n": f"\nlistener {second} 127.0.0.1\nuser root\n",
                "address first.local:8883": f"address 127.0.0.1:{first}", "CHANGE-ME": PASSWORD,
            },
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run both; yield the first."""
        assert MOSQUITTO is not None
        async with (
            running([MOSQUITTO, "-c", self._first], self.ports[0]) as first,
            running([MOSQUITTO, "-c", self._second], self.ports[1]),
        ):
            yield first

    def peer(self, number: int, *places: str) -> Peer:
        """Return a peer that uses brokers at *places*, each one or several doors."""
        urls = [f"mqtts://{self.users[number]}:{PASSWORD}@{place}" for place in places]
        return peer(number, urls, self.states[number], self.cafile)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
async def test_peers_move_to_the_bridged_broker_when_theirs_is_killed(tmp_path: Path) -> None:
    """Two peers are on the first broker and one is on the second: what they say crosses the bridge."""
    bridged = Bridged(tmp_path)
    first, second = (f"127.0.0.1:{port}" for port in bridged.ports)
    async with bridged.running() as process:
        peers = [
            bridged.peer(0, f"{first},{second}"), bridged.peer(1, f"{first},{second}"),
            bridged.peer(2, f"{second},{first}"),
        ]  # fmt: skip
        async with swarm(*peers):
            await certified(peers)

            process.kill()

            await certified(peers, 2)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
async def test_copies_that_the_bridge_makes_are_absorbed(tmp_path: Path) -> None:
    """Peers on both of two bridged brokers hear everything four times; each message counts once."""
    bridged = Bridged(tmp_path)
    places = [f"127.0.0.1:{port}" for port in bridged.ports]
    async with bridged.running():
        peers = [bridged.peer(number, *places) for number in range(3)]
        async with swarm(*peers):
            await certified(peers, 2)

            assert all(each.counters.refused["replayed"] > 0 for each in peers)
            assert all(set(each.counters.refused) == {"replayed"} for each in peers)


@contextlib.asynccontextmanager
async def cluster(
    folder: Path, name: str, port: str, files: Mapping[str, str]
) -> AsyncIterator[tuple[list[str], asyncio.subprocess.Process]]:
    """Run three nodes; yield where peers connect, and the first node's process.

    Args:
        folder: Where each has a folder of its name.
        name: Their file in broker/.
        port: On which it lets peers connect.
        files: Replacements for the files it names.
    """
    assert NATS is not None
    ports = {node: free_ports(4) for node in NODES}
    routes = {f"{node}.local:6222": f"127.0.0.1:{ports[node][0]}" for node in NODES}
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for node in NODES:
            among, mqtt, clients, watch = ports[node]
            conf = configuration(
                name, folder / node,
                routes | files | {
                    "0.0.0.0:6222": f"127.0.0.1:{among}", f"0.0.0.0:{port}": f"127.0.0.1:{mqtt}",
                    "127.0.0.1:4222": f"127.0.0.1:{clients}", '"jetstream"': f'"{folder / node}"',
                },
            )  # fmt: skip
            command = [NATS, "-c", conf, "-m", str(watch)]
            processes.append(await stack.enter_async_context(running(command, mqtt, NODE=node)))
        await asyncio.to_thread(wait_until_healthy, [f"http://127.0.0.1:{ports[node][3]}" for node in NODES])
        yield [f"127.0.0.1:{ports[node][1]}" for node in NODES], processes[0]


def rights(user: str) -> str:
    """Return a line of users.conf, as broker/README.md has it."""
    text = (BROKER / "README.md").read_text()
    begin = text.index('{ user: "PEER_ID"')
    line = text[begin : text.index("} }", begin) + 3]
    return line.replace("PEER_ID", user).replace("...", PASSWORD)


@pytest.mark.skipif(NATS is None, reason="nats-server is not installed")
async def test_a_swarm_learns_over_a_cluster_of_three(tmp_path: Path) -> None:
    async with cluster(tmp_path, "nats-cluster.conf", "1883", {}) as (places, _):
        peers = [peer(number, [f"mqtt://{places[number]}"]) for number in range(3)]
        async with swarm(*peers):
            await certified(peers, 2)


@pytest.mark.skipif(NATS is None, reason="nats-server is not installed")
async def test_a_cluster_of_three_loses_one_node_and_the_swarm_goes_on(tmp_path: Path) -> None:
    """With TLS, and every peer with the rights that broker/README.md gives it."""
    states = [tmp_path / f"peer-{number}" for number in range(3)]
    users = [make_key(state)[1].hex() for state in states]
    write_certificates(tmp_path)
    for node in NODES:
        (tmp_path / node).mkdir()
        (tmp_path / node / "users.conf").write_text("\n".join(["users: [", *map(rights, users), "]"]))
    files = {f'"{each}"': f'"{tmp_path / each}"' for each in ("ca.crt", "server.crt", "server.key")}
    async with cluster(tmp_path, "nats-cluster-secure.conf", "8883", files) as (places, process):
        peers = [
            peer(
                number, [f"mqtts://{users[number]}:{PASSWORD}@{','.join(places[number:] + places[:number])}"],
                states[number], tmp_path / "ca.crt",
            )
            for number in range(3)
        ]  # fmt: skip
        async with swarm(*peers):
            await certified(peers)

            process.kill()

            await certified(peers, 2)
