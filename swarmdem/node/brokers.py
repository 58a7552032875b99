"""The brokers of one peer: its own, one that it hosts, those of others, those found nearby.

    own         named by the user; always used
    hosted      run by this peer for everybody, announced in its greeting; used by itself too
    announced   hosted by other members: the first `SPARES` while a broker of our own is up, all while none is
    nearby      found by mDNS; all, up to what `transport.discovery` follows

So the members share a broker after the one they met on is gone for good. A broker that is not wanted any
more is kept for `LINGER_S`: others may still be on their way back from it. The link does the rest.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from swarmdem.errors import ConfigError, TransportError
from swarmdem.identifiers import PeerId
from swarmdem.node.announcements import Announcements, packed
from swarmdem.protocol.events import Degraded, Recovered
from swarmdem.transport.brokers import LOOPBACK, available, start_broker
from swarmdem.transport.multi import MultiLink
from swarmdem.transport.settings import BrokerAddress
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Hello

_log = logging.getLogger("swarmdem.node.brokers")

SPARES = 2
"""Announced brokers used beside our own."""
LINGER_S = 60.0
LOOK_S = 1.0
"""How often the link is looked at."""
RESTART_S = 2.0
"""Pause before a hosted broker that ended is started again."""

Report = Callable[[Degraded | Recovered], None]


@dataclass(frozen=True, slots=True)
class Hosted:
    """A broker this peer runs."""

    url: str
    """By which others reach it."""
    local: str
    """By which this peer does."""

    @property
    def announcement(self) -> bytes:
        """What the greeting says about it."""
        return packed((self.url,))


@contextlib.asynccontextmanager
async def hosted_broker(url: str, report: Report) -> AsyncIterator[Hosted]:
    """Run a broker for the swarm as long as the block lasts; one that ends is started again.

    Args:
        url: `mqtt://host:port` by which others reach it; port 0 takes a free one. It listens on loopback
            when the host is loopback, else on every interface, and lets everybody in.
        report: Told when it ended, and when it runs again.

    Raises:
        ConfigError: The URL cannot be announced, or the broker does not start.
    """
    address = BrokerAddress.parse(url)
    if address.tls or address.username is not None:
        raise ConfigError(f"hosted broker {address}: only mqtt://host:port; it has neither TLS nor passwords")
    listen, here = _places(address.host)
    kind = available("auto")
    running: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        _keep_running(kind, listen, address.port, running, report), name="swarmdem.hosted"
    )
    try:
        port = await running
        host = f"[{address.host}]" if ":" in address.host else address.host
        hosted = Hosted(f"mqtt://{host}:{port}", f"mqtt://{here}:{port}")
        packed((hosted.url,))  # refuses what others would not take
        _log.info("broker_hosted kind=%s url=%s", kind, hosted.url)
        yield hosted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _places(host: str) -> tuple[str, str]:
    """Return where a broker listens that others reach as *host*, and where this machine reaches it."""
    if host == "localhost" or host.startswith("127."):
        return (LOOPBACK, LOOPBACK) if host == "localhost" else (host, host)
    if ":" in host:
        return ("::1" if host == "::1" else "::"), "[::1]"
    return "0.0.0.0", LOOPBACK  # noqa: S104 - the user asked for a broker that others reach


async def _keep_running(
    kind: str, host: str, port: int, running: "asyncio.Future[int]", report: Report
) -> None:
    what = "the broker that this peer hosts ended"
    while True:
        try:
            async with start_broker(kind, host=host, port=port) as broker:
                if running.done():
                    report(Recovered(what))
                else:
                    running.set_result(broker.port)
                port = broker.port  # the announced one from now on
                await broker.process.wait()
                _log.warning("hosted_broker_ended kind=%s port=%d", kind, port)
                report(Degraded(what))
        except (ConfigError, OSError) as error:
            if not running.done():
                running.set_exception(ConfigError(f"hosted broker: {error}"))
                return
            _log.warning("hosted_broker_not_started reason=%s", error)
        await asyncio.sleep(RESTART_S)


class Brokers:
    """Keeps a link supplied with brokers; `run` does it.

    Args:
        link: Over this peer's own brokers.
        me: This peer.
        charter: The charter's body.
        state: Where announced brokers are remembered; None: nowhere.
        hosted: The broker that this peer runs, if any.
    """

    def __init__(
        self, link: MultiLink, *, me: PeerId, charter: bytes, state: Path | None, hosted: Hosted | None
    ) -> None:
        self.link = link
        self.announcement = hosted.announcement if hosted is not None else b""
        """What this peer's greeting says about the broker it hosts."""
        self._announcements = Announcements(me, charter, state)
        self._hosted = hosted
        self._nearby: dict[str, None] = {}
        self._unwanted: dict[str, float] = {}
        """Since when a broker is used that is not wanted any more."""
        self._refused: set[str] = set()
        self._news = asyncio.Event()

    @property
    def announced_at(self) -> tuple[str, int] | None:
        """Host and port by which others reach the broker that this peer hosts."""
        if self._hosted is None:
            return None
        address = BrokerAddress.parse(self._hosted.url)
        return address.host, address.port

    @property
    def known(self) -> tuple[str, ...]:
        """The brokers that other members announced."""
        return self._announcements.urls

    def heard(self, frame: Frame, hello: Hello) -> None:
        """Take a verified greeting."""
        if self._announcements.hear(frame, hello):
            self._news.set()

    def certified(self, peers: Iterable[PeerId]) -> None:
        """Note whom the newest certificate lists."""
        if self._announcements.certified(peers):
            self._news.set()

    def nearby(self, url: str, there: bool) -> None:
        """Note a broker found by mDNS, or gone."""
        if there:
            self._nearby[url] = None
        else:
            self._nearby.pop(url, None)
        self._news.set()

    async def run(self) -> None:
        """Add and remove brokers until cancelled."""
        while True:
            await self._supply()
            if self._announcements.unwritten:
                await asyncio.to_thread(self._announcements.write)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            self._news.clear()

    async def _supply(self) -> None:
        own = [member for member in self.link.members if member.own]
        spares = self.known[:SPARES] if any(member.state.up for member in own) else self.known
        wanted = dict.fromkeys((*spares, *self._nearby))
        if self._hosted is not None:
            wanted.pop(self._hosted.url, None)  # found nearby as well
            wanted[self._hosted.local] = None
        for url in wanted:
            try:
                await self.link.add(url)
            except (ConfigError, TransportError) as error:
                if url not in self._refused:
                    _log.warning("broker_not_used url=%s reason=%s", url, error)
                self._refused.add(url)
        self._refused &= set(wanted)
        await self._dismiss(wanted)

    async def _dismiss(self, wanted: Iterable[str]) -> None:
        addresses = {(address.host, address.port) for address in map(BrokerAddress.parse, wanted)}
        now = asyncio.get_running_loop().time()
        helpers = [member.link.address for member in self.link.members if not member.own]
        unwanted = {str(each): each for each in helpers if (each.host, each.port) not in addresses}
        self._unwanted = {url: self._unwanted.get(url, now) for url in unwanted}
        for url, since in tuple(self._unwanted.items()):
            if now - since >= LINGER_S:
                await self.link.remove(url)
