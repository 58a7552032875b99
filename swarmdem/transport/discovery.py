"""Brokers of a swarm on the local network, found and announced by mDNS (DNS-SD, RFC 6763).

    service   _swarmdem._tcp.local.
    TXT       v=1   swarm=NAME   charter=first 32 hex digits of the charter's hash (left out: any)

Anybody on the network may announce anything: what is found is one more broker that may withhold
messages and can forge none. Announced are brokers without TLS (`mqtt://`). Needs the package
zeroconf: `pip install 'swarmdem[discovery]'`.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from swarmdem.errors import ConfigError, TransportError

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

SERVICE = "_swarmdem._tcp.local."
VERSION = "1"
ANSWER_MS = 3000
"""Time for an announcer to say where its broker is."""
FOUND_MAX = 16
"""Announcements followed at a time; further ones are ignored until one goes."""
SWARM_BYTES_MAX = 240
"""What fits a TXT entry beside its key; a charter's names are shorter."""

Found = Callable[[str, bool], None]
"""Called with a broker's URL, and whether it is there or gone."""


def check_installed() -> None:
    """Raise ConfigError when the extra is missing."""
    try:
        import zeroconf  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "finding brokers by mDNS needs the package zeroconf: pip install 'swarmdem[discovery]'"
        ) from None


@contextlib.asynccontextmanager
async def announced(
    host: str, port: int, swarm: str, charter: str = "", *, interfaces: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """Announce a broker for as long as the block lasts.

    Args:
        host: Address by which others reach it, in digits.
        port: Its TCP port.
        swarm: Name of the swarm it is for.
        charter: First 32 hex digits of the charter's hash; empty: any charter of that name.
        interfaces: Addresses of the interfaces to use; None: all.

    Raises:
        ConfigError: zeroconf is not installed, *host* is no address, or *swarm* is too long for a name.
        TransportError: The network cannot be used for it.
    """
    check_installed()
    if len(swarm.encode()) > SWARM_BYTES_MAX:
        raise ConfigError(f"mDNS: the swarm's name has more than {SWARM_BYTES_MAX} bytes")
    from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415 - an extra

    properties = {"v": VERSION, "swarm": swarm} | ({"charter": charter} if charter else {})
    name = f"{secrets.token_hex(8)}"
    info = AsyncServiceInfo(
        SERVICE, f"{name}.{SERVICE}", port=port, properties=properties, server=f"{name}.local.",
        addresses=[_packed(host)],
    )  # fmt: skip
    async with _opened(interfaces) as zeroconf:
        telling = await zeroconf.async_register_service(info, cooperating_responders=True)
        try:
            yield
        finally:
            await telling
            await (await zeroconf.async_unregister_service(info))  # until the goodbye is said


@contextlib.asynccontextmanager
async def discovered(
    swarm: str, charter: str, found: Found, *, interfaces: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """Look for brokers of a swarm for as long as the block lasts.

    Args:
        swarm: The swarm's name.
        charter: First 32 hex digits of the charter's hash.
        found: Called on the event loop with what comes and goes.
        interfaces: Addresses of the interfaces to use; None: all.

    Raises:
        ConfigError: zeroconf is not installed.
        TransportError: The network cannot be used for it.
    """
    check_installed()
    from zeroconf.asyncio import AsyncServiceBrowser  # noqa: PLC0415 - an extra

    async with _opened(interfaces) as zeroconf:
        search = _Search(zeroconf, swarm, charter, found)
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[search.changed])
        try:
            yield
        finally:
            await browser.async_cancel()
            await search.close()


class _Search:
    """What was heard so far."""

    def __init__(self, zeroconf: "AsyncZeroconf", swarm: str, charter: str, found: Found) -> None:
        self._zeroconf = zeroconf
        self._swarm = swarm
        self._charter = charter
        self._found = found
        self._urls: dict[str, str] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def changed(
        self, zeroconf: "Zeroconf", service_type: str, name: str, state_change: "ServiceStateChange"
    ) -> None:
        """Follow one announcement; the names of the arguments are zeroconf's."""
        if state_change.name != "Added" and (asking := self._asking.pop(name, None)) is not None:
            asking.cancel()  # its answer may be what was said before
        if state_change.name == "Removed":
            self._gone(name)
            return
        followed = self._asking.keys() | self._urls.keys()
        if name not in self._asking and (name in followed or len(followed) < FOUND_MAX):
            self._asking[name] = asyncio.create_task(self._ask(service_type, name))

    async def close(self) -> None:
        """Ask no more."""
        asking = tuple(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, service_type: str, name: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415 - an extra

        info = AsyncServiceInfo(service_type, name)
        try:
            answered = await info.async_request(self._zeroconf.zeroconf, ANSWER_MS)
            self._heard(name, self._url(info) if answered else None)
        finally:
            if self._asking.get(name) is asyncio.current_task():
                del self._asking[name]

    def _heard(self, name: str, url: str | None) -> None:
        """Take what an announcement says now: a broker, or (None) nothing for us."""
        if url == self._urls.get(name):
            return
        self._gone(name)
        if url is not None:
            known = (
                url in self._urls.values()
            )  # it was started again under another name, or is announced twice
            self._urls[name] = url
            if not known:
                log.info("broker_found: %s", url)
                self._found(url, True)

    def _url(self, info: "AsyncServiceInfo") -> str | None:
        """Return the URL of an announced broker, None when it is not for this swarm."""
        said = info.decoded_properties
        fits = said.get("v") == VERSION and said.get("swarm") == self._swarm
        addresses = sorted(info.parsed_addresses(), key=lambda address: (":" in address, address))
        if not fits or said.get("charter", self._charter) != self._charter or not addresses or not info.port:
            return None
        address = addresses[0]
        return f"mqtt://[{address}]:{info.port}" if ":" in address else f"mqtt://{address}:{info.port}"

    def _gone(self, name: str) -> None:
        url = self._urls.pop(name, None)
        if url is not None and url not in self._urls.values():
            log.info("broker_gone: %s", url)
            self._found(url, False)


@contextlib.asynccontextmanager
async def _opened(interfaces: Sequence[str] | None) -> "AsyncIterator[AsyncZeroconf]":
    from zeroconf import InterfaceChoice  # noqa: PLC0415 - an extra
    from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415

    chosen = list(interfaces) if interfaces is not None else InterfaceChoice.All
    try:
        zeroconf = AsyncZeroconf(interfaces=chosen)
    except OSError as error:
        raise TransportError(f"mDNS: {error.strerror or error}") from None
    try:
        yield zeroconf
    finally:
        await zeroconf.async_close()


def _packed(host: str) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.inet_pton(family, host)
    except OSError:
        raise ConfigError(f"mDNS: {host!r} is not an address in digits") from None
