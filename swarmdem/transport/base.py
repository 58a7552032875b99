"""The seam between peers and whatever carries their bytes.

A `Link` is one process's pair of connections (control and bulk) to a broker; every peer hosted in
the process opens its own `Port` on it. Delivery is at most a promise: frames may be lost, doubled,
delayed and reordered, and the protocol must cope.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message from the bus. Co-hosted ports are handed the same *payload* object."""

    topic: str
    payload: bytes | memoryview
    """A view, read-only, of a long one that was read to where it lies; never of a retained message."""


@dataclass(frozen=True, slots=True)
class InParts:
    """A payload to be sent whose body stays where it is until it is written to the socket."""

    head: bytes
    body: memoryview
    """Bytes; whoever publishes it leaves them as they are."""

    def __len__(self) -> int:
        return len(self.head) + len(self.body)

    def __bytes__(self) -> bytes:
        return b"".join((self.head, self.body))


NOT_YET = "not connected yet"
"""The reason of a link that is down because its first attempt has not ended."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """The connection came up (subscriptions in force), went down, or stays down for another reason."""

    up: bool
    reason: str = ""
    """Why it is down."""
    joined: bool = False
    """One more broker joined a link that was up: whoever is there alone has heard nothing yet."""
    away: tuple[str, ...] = ()
    """Of a link over several brokers that is up: those of our own that are not reached."""


@dataclass(slots=True)
class Counters:
    """What one port sent and received, counted as if it had a connection of its own."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0
    dropped: int = 0
    """Arrivals thrown away because the port's queue was full (oldest first)."""


class Port(Protocol):
    """One peer's access to the bus."""

    counters: Counters

    async def publish(
        self, topic: str, payload: bytes | InParts, *, retain: bool = False, bulk: bool = False
    ) -> None:
        """Hand *payload* to the bus (QoS 1). Returning does not mean that anyone received it.

        Args:
            topic: Where to.
            payload: What.
            retain: Leave it with the broker for later subscribers; an empty payload clears it.
            bulk: Use the bulk connection.

        Raises:
            TransportError: The link is down; nothing was queued.
        """

    async def subscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """Receive topics that match an MQTT *pattern* (`+`, `#`) from now on, reconnects included."""

    async def unsubscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """Stop receiving *pattern*."""

    def arrivals(self) -> AsyncIterator[Arrival | LinkState]:
        """Yield what arrives until the port is closed; the first item is the current `LinkState`."""

    async def close(self) -> None:
        """Give the port back; the link stays. Its will is not published."""

    async def abort(self) -> None:
        """Close without saying goodbye: the port's will is published for it."""


class Link(Protocol):
    """One process's connection to the bus."""

    @property
    def state(self) -> LinkState:
        """Whether it is up now, and if not, why."""

    @property
    def socket_bytes_sent(self) -> int:
        """Topic and payload bytes handed to the broker, all ports together."""

    @property
    def socket_bytes_received(self) -> int:
        """Topic and payload bytes that came from the broker: once, however many ports wanted them."""

    async def connect(self, timeout_s: float | None = None) -> None:
        """Begin to connect and keep trying for as long as the link is open.

        Args:
            timeout_s: Wait until the link is up, at most this long. None: return at once; ports
                learn from their `LinkState` when it is up.

        Raises:
            TransportError: Not up in time, or refused for a reason that waiting does not cure
                (credentials, TLS). One line that names host, port and reason. The link goes on
                trying until it is closed.
        """

    async def open_port(self, *, will: tuple[str, bytes] | None = None) -> Port:
        """Return a new port; this also begins to connect.

        Args:
            will: Topic and payload that the broker (or the link, for co-hosted peers) publishes
                when this port's peer is lost without saying goodbye.
        """

    async def close(self) -> None:
        """Disconnect; every port's `arrivals` ends."""
