"""What lies between peers: brokers, delay, reordering, loss, duplication, full queues, cut links.

Every peer has a link with a line to each broker and says everything on all of them; of the copies that
arrive, `world` hands on the first. Sides of a split have brokers of their own (a split is drawn as if
each side had kept one of each). A frame is lost at most twice on each line: on its way up (then nobody
gets it there, its sender's echo included) and on its way down to each receiver. Delays are drawn per
receiver, so frames overtake each other. A line that is down loses frames, or, when the broker keeps the
session, queues them up to a bound and hands them over on return. Full queues drop as real brokers do: the
newest frame (mosquitto) or the oldest (EMQX).
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from swarmdem.identifiers import MILLISECOND, SECOND, Micros
from swarmdem.simulation.channels import Channels, OneChannel

HEARD, HEARING = 3, 4
"""Sides of a split with one way open: one that all the others hear, and one that hears all the others."""
_BRIDGES = frozenset({(HEARD, 0), (0, HEARING)})


class Overflow(StrEnum):
    """Which frame a full queue gives up."""

    NEWEST = "newest"
    """As mosquitto does (max_queued_messages)."""
    OLDEST = "oldest"
    """As EMQX does (max_mqueue_len)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How the network behaves when no fault is in force. Shares are between 0 and 1."""

    brokers: int = 1
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
class Broker:
    """One relay."""

    number: int
    queue_frames: int
    duplication: float
    service: Micros = 0
    """Time it needs per frame; 0: none worth counting."""
    stopped: bool = False
    waiting: deque[tuple[int, int | None, Any, Any]] = field(default_factory=deque)
    """Frames taken in and not yet handed on: (side, receiver or None, parcel, key to retain it under)."""
    serving: bool = False
    retained: dict[Any, dict[Any, tuple[int, Any]]] = field(default_factory=dict)
    """By channel, then by key: (side, parcel)."""


@dataclass(slots=True)
class Line:
    """One peer's connection to one broker."""

    cuts: int = 0
    """Faults in force that cut this line."""
    kept: bool = False
    """The broker keeps the session (and queues) while the line is cut."""
    queue: deque[Any] = field(default_factory=deque)
    draining: bool = False


@dataclass(slots=True)
class Link:
    """One peer's way to the brokers."""

    lines: list[Line]
    running: bool = False
    """The peer's process lives and has connected."""
    island: int = 0
    """Which side of a split: peers of different sides do not hear each other, but for `_BRIDGES`."""
    service: Micros = 0
    """Time the link needs per frame; 0: none worth counting."""
    rate: int = 0
    """Bytes per second; 0: enough."""
    extra: Micros = 0
    """Longest additional delay of a frame."""
    calm_since: Micros = 0
    """When the last fault of this link ended."""

    @property
    def up(self) -> bool:
        """Frames pass on some line."""
        return self.running and any(not line.cuts for line in self.lines)


class After(Protocol):
    """Calls back when a span of virtual time has passed."""

    def __call__(self, delay: Micros, action: Callable[..., None], /, *arguments: Any) -> None:
        """Call *action* with *arguments* *delay* microseconds from now."""


class Network:
    """All links and the brokers between them.

    Args:
        rng: Owns all chance.
        after: Schedules in virtual time.
        deliver: Takes (peer number, parcel) when a frame has arrived; a parcel is anything with a
            length, its bytes.
        links: Number of peers.
        weather: What holds while no fault is in force.
        channels: Who hears what is said to everybody; None: all hear all.
    """

    def __init__(  # noqa: PLR0917 (in the order of the docstring)
        self,
        rng: random.Random,
        after: After,
        deliver: Callable[[int, Any], None],
        links: int,
        weather: Weather,
        channels: Channels | None = None,
    ) -> None:
        self._rng = rng
        self._chance = rng.random
        self._after = after
        self._deliver = deliver
        self.weather = weather
        self.channels = channels or OneChannel(links)
        count = range(weather.brokers)
        self.brokers = [Broker(number, weather.queue_frames, weather.duplication) for number in count]
        self.links = [Link([Line() for _ in count]) for _ in range(links)]
        self.loss = weather.loss
        self._calm_since: Micros = 0
        self.lost = 0
        self.overflowed = 0
        self._span = weather.delay_max - weather.delay_min

    def delay(self) -> Micros:
        """Draw the time one frame takes."""
        return self.weather.delay_min + int(self._chance() * self._span)

    # Frames

    def publish(self, sender: int, parcel: Any, retain: Any = None) -> None:
        """Carry *parcel* to every peer of the sender's side, the sender included.

        Args:
            sender: Number of the publishing peer.
            parcel: What to carry.
            retain: Key under which brokers keep the parcel for newcomers; None: they do not.
        """
        self._say(sender, None, parcel, retain)

    def send(self, sender: int, receiver: int, parcel: Any) -> None:
        """Carry *parcel* to one peer."""
        self._say(sender, receiver, parcel, None)

    def broadcast(self, island: int, parcel: Any, retain: Any = None) -> None:
        """Hand *parcel* to every link of *island*, as its brokers do of themselves."""
        for broker in self.brokers:
            self._take_in(broker, island, None, parcel, retain)

    def _say(self, sender: int, receiver: int | None, parcel: Any, retain: Any) -> None:
        link = self.links[sender]
        for broker, line in zip(self.brokers, link.lines, strict=True):
            if not link.running or line.cuts or self._lost_one():
                self.lost += 1
            elif link.extra:
                late = int(self._chance() * link.extra)
                self._after(late, self._take_in, broker, link.island, receiver, parcel, retain)
            else:
                self._take_in(broker, link.island, receiver, parcel, retain)

    def _take_in(self, broker: Broker, island: int, receiver: int | None, parcel: Any, retain: Any) -> None:
        if not broker.stopped and not broker.service:
            self._relay(broker, island, receiver, parcel, retain)
        elif len(broker.waiting) >= broker.queue_frames * len(self.links):
            self.overflowed += 1
        else:
            broker.waiting.append((island, receiver, parcel, retain))
            self._serve_soon(broker)

    def _serve_soon(self, broker: Broker) -> None:
        if broker.waiting and not broker.stopped and not broker.serving:
            broker.serving = True
            self._after(broker.service or 1, self._serve, broker)

    def _serve(self, broker: Broker) -> None:
        broker.serving = False
        if broker.waiting and not broker.stopped:
            self._relay(broker, *broker.waiting.popleft())
            self._serve_soon(broker)

    def _relay(self, broker: Broker, island: int, receiver: int | None, parcel: Any, retain: Any) -> None:
        if retain is not None:
            broker.retained.setdefault(self.channels.of(parcel), {})[retain] = (island, parcel)
        if receiver is not None:
            self._hand_on(broker, island, receiver, parcel)
            return
        for number in self.channels.listeners(parcel):
            self._hand_on(broker, island, number, parcel)

    def _hand_on(self, broker: Broker, island: int, receiver: int, parcel: Any) -> None:
        link = self.links[receiver]
        if island != link.island and (island, link.island) not in _BRIDGES:
            return
        line = link.lines[broker.number]
        if (line.cuts or not link.running) and not line.kept:
            return
        self._down(broker, receiver, parcel)

    def _lost_one(self) -> bool:
        return bool(self.loss) and self._chance() < self.loss / 2

    def _down(self, broker: Broker, receiver: int, parcel: Any) -> None:
        if self._lost_one():
            self.lost += 1
            return
        extra = self.links[receiver].extra
        wait = self.delay() + (int(self._chance() * extra) if extra else 0)
        self._after(wait, self._arrive, broker, receiver, parcel)
        if broker.duplication and self._chance() < broker.duplication:
            self._after(self.delay(), self._arrive, broker, receiver, parcel)

    def _arrive(self, broker: Broker, receiver: int, parcel: Any) -> None:
        link = self.links[receiver]
        line = link.lines[broker.number]
        up = link.running and not line.cuts
        if up and not link.service and not link.rate and not line.queue:
            self._deliver(receiver, parcel)
            return
        if not up and not line.kept:
            self.lost += 1
            return
        if len(line.queue) >= broker.queue_frames:
            self.overflowed += 1
            if self.weather.overflow is Overflow.NEWEST:
                return
            line.queue.popleft()
        line.queue.append(parcel)
        self._drain_soon(receiver, line)

    def _drain_soon(self, receiver: int, line: Line) -> None:
        link = self.links[receiver]
        if link.running and not line.cuts and line.queue and not line.draining:
            line.draining = True
            span = len(line.queue[0]) * SECOND // link.rate if link.rate else 0
            self._after(max(span, link.service) or MILLISECOND, self._drain, receiver, line)

    def _drain(self, receiver: int, line: Line) -> None:
        line.draining = False
        link = self.links[receiver]
        if link.running and not line.cuts and line.queue:
            self._deliver(receiver, line.queue.popleft())
            self._drain_soon(receiver, line)

    # Transfers

    def reachable(self, one: int, other: int) -> bool:
        """Say whether a transfer between two peers would make progress now."""
        a, b = self.links[one], self.links[other]
        if not (a.running and b.running and a.island == b.island):
            return False
        return any(
            not (broker.stopped or up.cuts or down.cuts)
            for broker, up, down in zip(self.brokers, a.lines, b.lines, strict=True)
        )

    def transfer_time(self, one: int, other: int, size_bytes: int) -> Micros:
        """Return how long *size_bytes* take between two peers on the bulk connection, without delays."""
        rates = (self.links[one].rate, self.links[other].rate, TRANSFER_RATE)
        return size_bytes * SECOND // min(rate for rate in rates if rate)

    # Sessions and faults

    def connect(self, peer: int) -> None:
        """Begin a peer's sessions: what the brokers retain is on its way."""
        link = self.links[peer]
        link.running = True
        for broker, line in zip(self.brokers, link.lines, strict=True):
            line.kept = False
            line.queue.clear()
            if not line.cuts:
                self._returned(broker, peer)

    def disconnect(self, peer: int) -> None:
        """End a peer's sessions: its process is gone."""
        link = self.links[peer]
        link.running = False
        for line in link.lines:
            line.kept = False
            line.queue.clear()

    def calm_since(self, peer: int) -> Micros | None:
        """Return since when no fault touches a peer's link or any broker; None while one does."""
        link = self.links[peer]
        disturbed = link.service or link.rate or link.extra or link.island
        if not link.running or disturbed or self.loss > self.weather.loss:
            return None
        if any(line.cuts for line in link.lines) or any(b.stopped or b.service for b in self.brokers):
            return None
        return max(link.calm_since, self._calm_since)

    def lose(self, share: float, now: Micros) -> None:
        """Lose this share of all frames from now on."""
        self.loss = share
        self._calm_since = now

    def move(self, peer: int, island: int, now: Micros) -> None:
        """Put a peer on another side of a split."""
        self.links[peer].island = island
        self.links[peer].calm_since = now

    def hinder(
        self, peer: int, now: Micros, *, service: Micros = 0, rate: int = 0, extra: Micros = 0
    ) -> None:
        """Let a peer's link need *service* per frame, carry *rate* bytes a second, delay by *extra* more."""
        link = self.links[peer]
        link.service, link.rate, link.extra = service, rate, extra
        link.calm_since = now

    def cut(self, peer: int, *, kept: bool, brokers: Iterable[int] = ()) -> None:
        """Cut a peer's lines to *brokers* (none named: to all); with *kept* they queue for it meanwhile."""
        link = self.links[peer]
        for line in self._lines(link, brokers):
            line.cuts += 1
            line.kept = kept and link.running
            if not line.kept:
                line.queue.clear()

    def mend(self, peer: int, now: Micros, *, brokers: Iterable[int] = ()) -> None:
        """Undo one `cut`."""
        link = self.links[peer]
        link.calm_since = now
        named = tuple(brokers)
        for broker, line in zip(self.named(named), self._lines(link, named), strict=True):
            line.cuts -= 1
            assert line.cuts >= 0
            if link.running and not line.cuts:
                self._returned(broker, peer)

    def named(self, brokers: Iterable[int]) -> Sequence[Broker]:
        """Return the brokers of these numbers; all when there are none."""
        return [self.brokers[number] for number in brokers] or self.brokers

    def resume(self, broker: Broker, now: Micros) -> None:
        """Let a broker that was stopped or slow go on as ever."""
        broker.stopped, broker.service = False, 0
        self._calm_since = now
        self._serve_soon(broker)

    def _lines(self, link: Link, brokers: Iterable[int]) -> Sequence[Line]:
        return [link.lines[number] for number in brokers] or link.lines

    def _returned(self, broker: Broker, peer: int) -> None:
        link = self.links[peer]
        for channel in self.channels.heard_by(peer):
            self._remind(broker, peer, channel)
        self._drain_soon(peer, link.lines[broker.number])

    def remind(self, peer: int, channel: Any) -> None:
        """Hand a peer that begins to listen to *channel* what the brokers retain there."""
        link = self.links[peer]
        for broker, line in zip(self.brokers, link.lines, strict=True):
            if link.running and not line.cuts:
                self._remind(broker, peer, channel)

    def _remind(self, broker: Broker, peer: int, channel: Any) -> None:
        for island, parcel in broker.retained.get(channel, {}).values():
            if island == self.links[peer].island:
                self._down(broker, peer, parcel)


TRANSFER_RATE = 2_000_000
"""Bytes per second of a simulated transfer: eight times the charter's default `min_rate`."""
