"""`swarmdem broker`: run a broker until Ctrl-C and say how peers reach it.

The broker lets anybody in who reaches its address. A network that is not trusted needs a
broker with passwords or TLS: `broker/README.md`.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import psutil

from swarmdem.errors import TransportError
from swarmdem.transport.brokers import LOOPBACK, Broker, start_broker
from swarmdem.transport.discovery import announced, check_installed

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (compared with, never bound without being asked)
WATCH_S = 1.0


async def run_broker(
    kind: str = "auto",
    host: str = LOOPBACK,
    port: int = 1883,
    *,
    swarm: str | None = None,
    say: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Run a broker until SIGINT, SIGTERM or *stop*.

    Args:
        kind: `auto`, `mosquitto`, `nats` or `embedded`.
        host: Address to listen on; `0.0.0.0` for every interface.
        port: TCP port; 0 takes a free one.
        swarm: Announce the broker to this swarm's peers by mDNS; None: to nobody.
        say: Called with each line for the person at the terminal.
        stop: Ends the broker when set.

    Raises:
        ConfigError: Not installed, port taken, or the broker did not start; or zeroconf is missing.
        TransportError: The broker ended by itself.
    """
    stop = stop if stop is not None else asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    try:
        async with AsyncExitStack() as stack:
            if swarm is not None:
                check_installed()
            broker = await stack.enter_async_context(start_broker(kind, host=host, port=port))
            say(f"{broker.kind} broker (process {broker.pid}), open to whoever reaches it; Ctrl-C ends it")
            for url in urls(broker):
                say(f"  peers: --broker {url}")
            if swarm is not None:
                place = addresses()[0] if host in EVERYWHERE else host
                await stack.enter_async_context(announced(place, broker.port, swarm))
                say(f"  peers of {swarm!r} on this network: --discover")
            await _wait(stop, broker)
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
    say("broker ended")


def urls(broker: Broker) -> list[str]:
    """Return every URL by which peers may reach *broker*, this machine's own first."""
    if broker.host not in EVERYWHERE:
        return [broker.url]
    return [broker.url, *(f"mqtt://{each}:{broker.port}" for each in addresses() if each != LOOPBACK)]


def addresses() -> list[str]:
    """Return this machine's IPv4 addresses, loopback last."""
    every = (each for interface in psutil.net_if_addrs().values() for each in interface)
    found = dict.fromkeys(each.address for each in every if each.family == socket.AF_INET)
    return [each for each in found if each != LOOPBACK] + [LOOPBACK]


async def _wait(stop: asyncio.Event, broker: Broker) -> None:
    """Return when *stop* is set; raise when the broker is gone."""
    while not stop.is_set():
        if not broker.running():
            raise TransportError(f"the {broker.kind} broker ended by itself")
        try:
            async with asyncio.timeout(WATCH_S):
                await stop.wait()
        except TimeoutError:
            continue
