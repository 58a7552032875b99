"""What lies between peers: delay, reordering, loss, duplication, full queues, cut links.

One broker relays everything (a split puts some peers behind a second one without a bridge). A
frame is lost at most twice: on its way up (then nobody gets it, its sender's echo included) and on
its way down to each receiver. Delays are drawn per receiver, so frames overtake each other. A link
that is down loses frames, or, when the broker keeps the session, queues them up to a bound and
hands them over on return. Full queues drop as real brokers do: the newest frame (mosquitto) or the
oldest (EMQX).
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from swarmdem.identifiers import MILLISECOND, SECOND, Micros


class Overflow(StrEnum):
    """Which frame a full queue gives up."""

    NEWEST = "newest"
    """As mosquitto does (max_queued_messages)."""
    OLDEST = "oldest"
    """As EMQX does (max_mqueue_len)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How the network behaves when no fault is in force. Shares are between 0 and 1."""

    delay_min: Micros = 20 * MILLISECOND
    delay_max: Micros = 150 * MILLISECOND
    loss: float = 0.0
    """Share of frames lost on each of the two ways, up and down: half of it on each."""
    duplication: float = 0.0
    """Share of frames that a receiver gets twice."""
    queue_frames: int = 200
    """Frames a broker holds for one receiver."""
    overflow: Overflow = Overflow.NEWEST


@dataclass(slots=True)
class Link:
    """One peer's connection to its broker."""

    running: bool = False
    """The peer's process lives and has connected."""
    cuts: int = 0
    """Faults in force that cut this link."""
    kept: bool = False
    """The broker keeps the session (and queues) while the link is cut."""
    island: int = 0
    """Which broker: peers of different islands do not hear each other."""
    service: Micros = 0
    """Time the link needs per frame; 0: none worth counting."""
    queue: deque[Any] = field(default_factory=deque)
    draining: bool = False
    calm_since: Micros = 0
    """When the last fault of this link ended."""

    @property
    def up(self) -> bool:
        """Frames pass."""
        return self.running and not self.cuts


class After(Protocol):
    """Calls back when a span of virtual time has passed."""

    def __call__(self, delay: Micros, action: Callable[..., None], /, *arguments: Any) -> None:
        """Call *action* with *arguments* *delay* microseconds from now."""


class Network:
    """All links and the broker between them.

    Args:
        rng: Owns all chance.
        after: Schedules in virtual time.
        deliver: Takes (peer number, parcel) when a frame has arrived; a parcel is anything.
        links: Number of peers.
        weather: What holds while no fault is in force.
    """

    def __init__(
        self,
        rng: random.Random,
        after: After,
        deliver: Callable[[int, Any], None],
        links: int,
        weather: Weather,
    ) -> None:
        self._rng = rng
        self._chance = rng.random
        self._after = after
        self._deliver = deliver
        self.weather = weather
        self.links = [Link() for _ in range(links)]
        self.loss = weather.loss
        self.duplication = weather.duplication
        self._calm_since: Micros = 0
        self.lost = 0
        self.overflowed = 0
        self._retained: dict[Any, tuple[int, Any]] = {}
        self._span = weather.delay_max - weather.delay_min

    def delay(self) -> Micros:
        """Draw the time one frame takes."""
        return self.weather.delay_min + int(self._chance() * self._span)

    def publish(self, sender: int, parcel: Any, retain: Any = None) -> None:
        """Carry *parcel* to every peer of the sender's island, the sender included.

        Args:
            sender: Number of the publishing peer.
            parcel: What to carry.
            retain: Key under which the broker keeps the parcel for newcomers; None: it does not.
        """
        link = self.links[sender]
        if not link.up or self._lost_one():
            self.lost += 1
            return
        self.broadcast(link.island, parcel, retain)

    def broadcast(self, island: int, parcel: Any, retain: Any = None) -> None:
        """Hand *parcel* to every link of *island*, as its broker does."""
        if retain is not None:
            self._retained[retain] = (island, parcel)
        for receiver, link in enumerate(self.links):
            if link.island == island and (link.up or link.kept):
                self._down(receiver, parcel)

    def send(self, sender: int, receiver: int, parcel: Any) -> None:
        """Carry *parcel* to one peer."""
        link, other = self.links[sender], self.links[receiver]
        if not link.up or link.island != other.island or not (other.up or other.kept) or self._lost_one():
            self.lost += 1
            return
        self._down(receiver, parcel)

    def reachable(self, one: int, other: int) -> bool:
        """Say whether a transfer between two peers would make progress now."""
        a, b = self.links[one], self.links[other]
        return a.up and b.up and a.island == b.island

    def connect(self, peer: int) -> None:
        """Begin a peer's session: what the broker retains is on its way."""
        link = self.links[peer]
        link.running, link.kept = True, False
        link.queue.clear()
        if link.up:
            self._returned(peer)

    def disconnect(self, peer: int) -> None:
        """End a peer's session: its process is gone."""
        link = self.links[peer]
        link.running, link.kept = False, False
        link.queue.clear()

    def calm_since(self, peer: int) -> Micros | None:
        """Return since when no fault touches a peer's link; None while one does."""
        link = self.links[peer]
        if not link.up or link.service or link.island or self.loss > self.weather.loss:
            return None
        return max(link.calm_since, self._calm_since)

    def lose(self, share: float, now: Micros) -> None:
        """Lose this share of all frames from now on."""
        self.loss = share
        self._calm_since = now

    def move(self, peer: int, island: int, now: Micros) -> None:
        """Put a peer behind another broker."""
        self.links[peer].island = island
        self.links[peer].calm_since = now

    def congest(self, peer: int, service: Micros, now: Micros) -> None:
        """Let a peer's link need this long per frame; 0: no time worth counting."""
        self.links[peer].service = service
        self.links[peer].calm_since = now

    def cut(self, peer: int, *, kept: bool) -> None:
        """Cut a peer's link; with *kept* the broker queues for it meanwhile."""
        link = self.links[peer]
        link.cuts += 1
        link.kept = kept and link.running

    def mend(self, peer: int, now: Micros) -> None:
        """Undo one `cut`."""
        link = self.links[peer]
        link.calm_since = now
        link.cuts -= 1
        assert link.cuts >= 0
        if link.up:
            self._returned(peer)

    def forget_retained(self, key: Any = None) -> None:
        """Clear one retained parcel, or all of them (a broker that restarted)."""
        if key is None:
            self._retained.clear()
        else:
            self._retained.pop(key, None)

    def _returned(self, peer: int) -> None:
        link = self.links[peer]
        for island, parcel in self._retained.values():
            if island == link.island:
                self._down(peer, parcel)
        self._drain_soon(peer)

    def _lost_one(self) -> bool:
        return bool(self.loss) and self._chance() < self.loss / 2

    def _down(self, receiver: int, parcel: Any) -> None:
        if self._lost_one():
            self.lost += 1
            return
        self._after(self.delay(), self._arrive, receiver, parcel)
        if self.duplication and self._chance() < self.duplication:
            self._after(self.delay(), self._arrive, receiver, parcel)

    def _arrive(self, receiver: int, parcel: Any) -> None:
        link = self.links[receiver]
        if link.up and not link.service and not link.queue:
            self._deliver(receiver, parcel)
            return
        if not link.up and not link.kept:
            self.lost += 1
            return
        if len(link.queue) >= self.weather.queue_frames:
            self.overflowed += 1
            if self.weather.overflow is Overflow.NEWEST:
                return
            link.queue.popleft()
        link.queue.append(parcel)
        self._drain_soon(receiver)

    def _drain_soon(self, receiver: int) -> None:
        link = self.links[receiver]
        if link.up and link.queue and not link.draining:
            link.draining = True
            self._after(link.service or MILLISECOND, self._drain, receiver)

    def _drain(self, receiver: int) -> None:
        link = self.links[receiver]
        link.draining = False
        if link.up and link.queue:
            self._deliver(receiver, link.queue.popleft())
            self._drain_soon(receiver)


TRANSFER_RATE = 2_000_000
"""Bytes per second of a simulated transfer: eight times the charter's default `min_rate`."""


def transfer_time(size_bytes: int) -> Micros:
    """Return how long *size_bytes* take on the bulk connection, without delays."""
    return size_bytes * SECOND // TRANSFER_RATE
