"""Two sites of a swarm in cells, each with a broker of its own, started from the files in broker/."""

import asyncio
import contextlib
from pathlib import Path

import aiomqtt
import numpy as np
import pytest

from swarmdem import Charter, Peer, SoftmaxRegression
from swarmdem.learning.parameters import schema_of
from swarmdem.node.models import model_of
from swarmdem.protocol.cells.charters import cell_charter, in_cells, patterns_between_sites
from swarmdem.transport import brokers
from swarmdem.wire.charter import charter_hash
from swarmdem.wire.topics import scope_level, scope_of
from tests.broker.nodes import configuration, free_ports, running

MOSQUITTO = brokers._program("mosquitto")
PATIENCE_S = 100.0
PLACEHOLDERS = ("GREETING/#", "SWARM/#", "REGION/#", "REGION-GREETING/#")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def learner(number: int) -> SoftmaxRegression:
    y = np.arange(30) % 3
    return SoftmaxRegression(3, (np.eye(3, dtype=np.float32)[y] + np.float32(0.1 * number), y))


def charter() -> Charter:
    initial = learner(0).parameters()
    schema = schema_of(initial)
    genesis = model_of(initial, schema).name
    values = {"founders": 6, "patience": 2.0, "levels": 1, "schema": schema, "genesis": genesis}
    return in_cells(Charter(swarm="s", **values), 6)


def configurations(folder: Path, ports: list[int]) -> list[Path]:
    """Write the two brokers' files: the second has a bridge that passes on what must cross."""
    patterns = patterns_between_sites(charter())
    topics = {f"swarmdem/1/{old} ": f"{new} " for old, new in zip(PLACEHOLDERS, patterns, strict=True)}
    user = "\nuser root\n"
    first = {"\nlistener 1883\n": f"\nlistener {ports[0]} 127.0.0.1{user}"}
    second = {"\nlistener 1883\n": f"\nlistener {ports[1]} 127.0.0.1{user}"}
    second |= {"address other.local:1883": f"address 127.0.0.1:{ports[0]}"} | topics
    return [
        configuration("mosquitto.conf", folder / "north", first),
        configuration("mosquitto-regional.conf", folder / "south", second),
    ]


async def heard(port: int, scopes: set[str]) -> None:
    """Note the scope of everything that passes through the broker at *port*."""
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("swarmdem/1/#")
        async for message in client.messages:
            scopes.add(scope_of(str(message.topic)))


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
async def test_what_is_said_in_a_cell_stays_at_its_site(tmp_path: Path) -> None:
    ports = free_ports(2)
    north, south = configurations(tmp_path, ports)
    scopes: tuple[set[str], set[str]] = (set(), set())
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running([MOSQUITTO, "-c", north], ports[0]))
        await stack.enter_async_context(running([MOSQUITTO, "-c", south], ports[1]))
        for port, found in zip(ports, scopes, strict=True):
            stack.callback(asyncio.create_task(heard(port, found)).cancel)
        peers: list[list[Peer]] = [[], []]
        for number in range(6):
            site = number % 2
            peer = Peer(
                charter(), learner(number), brokers=[f"mqtt://127.0.0.1:{ports[site]}"],
                site=("north", "south")[site],
            )  # fmt: skip
            peers[site].append(await stack.enter_async_context(peer))

        def together() -> bool:
            told = [peer.status() for peer in (*peers[0], *peers[1])]
            regions = [status.region for status in told if status.speaks]
            return all(status.certified for status in told) and len(regions) >= 2 and min(regions) >= 2

        async with asyncio.timeout(PATIENCE_S):
            async for _ in peers[0][0].events():  # its rounds come and go all the time
                if together():
                    break

        cells = [{peer.status().cell for peer in members} for members in peers]
        assert not cells[0] & cells[1]
        for own, other, passed in ((0, 1, scopes[0]), (1, 0, scopes[1])):
            assert _scopes(cells[own]) <= passed
            assert not _scopes(cells[other]) & passed


def _scopes(cells: set) -> set[str]:
    return {scope_level(charter_hash(cell_charter(charter(), cell))) for cell in cells}
