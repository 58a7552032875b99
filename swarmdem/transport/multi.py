"""One link over several brokers: control traffic over all of them, bulk over the best.

Every control message is published on each broker that is up, and the first copy to arrive counts
(`duplicates`). A bulk message goes over one broker, chosen by what their echoes say (`health`,
`paths`); while the chosen one takes nothing, it goes over another. The link is up while any
broker is; brokers may be added and removed while it runs. Each broker has a connection of its
own that is renewed, and its subscriptions with it (`mqtt`).

Wills: a broker that loses sight of a peer publishes the peer's will, though others still see it.
So a message on a will's topic counts only when it came over every broker over which its sender was
heard lately (`wills`).

With one broker none of this costs anything.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from swarmdem.errors import MisuseError, TransportError
from swarmdem.transport.arrivals import ArrivalQueue
from swarmdem.transport.base import NOT_YET, Arrival, Counters, InParts, LinkState
from swarmdem.transport.duplicates import Duplicates, name_of
from swarmdem.transport.member import Member, Message, Ticket
from swarmdem.transport.mqtt import MqttLink, MqttPort
from swarmdem.transport.paths import Paths
from swarmdem.transport.routing import Routes, check_pattern, check_topic
from swarmdem.transport.settings import BrokerAddress, MqttSettings
from swarmdem.transport.wills import Wills

STALL_S = 1.0
"""A broker that takes no bulk message for so long is passed over, when there is another."""
KEEPALIVES_OF_A_LOSS = 2
"""Copies of a will come within so many: a broker notices a dead connection at once, or 1.5 of them later."""


class _Leg:
    """One port's inbox at one broker."""

    def __init__(self, port: "MultiPort", member: Member) -> None:
        self.member = member
        self.access: MqttPort
        self._port = port

    def put(self, arrival: Arrival, *, bulk: bool = False) -> None:
        """See `arrivals.Inbox`."""
        if self._port.link.counts(arrival, self.member, bulk=bulk):
            self._port.queue.put(arrival, bulk=bulk)

    def put_state(self, state: LinkState) -> None:
        """See `arrivals.Inbox`; the link hears of it too."""

    def close(self) -> None:
        """See `arrivals.Inbox`."""


class MultiPort:
    """One peer's access to several brokers; implements `base.Port`."""

    def __init__(self, link: "MultiLink", will: tuple[str, bytes] | None) -> None:
        self.counters = Counters()
        self.link = link
        self.will = will
        self.queue = ArrivalQueue(self.counters, link.settings.queue, link.state)
        self._legs: dict[Member, _Leg] = {}
        self._patterns: dict[tuple[str, bool], None] = {}
        self._open = True

    async def publish(
        self, topic: str, payload: bytes | InParts, *, retain: bool = False, bulk: bool = False
    ) -> None:
        """See `base.Port.publish`. Returns when the first broker took it."""
        self._check_open()
        check_topic(topic)
        if bulk:
            await self.link.publish_bulk(topic, payload, retain=retain)
        else:
            await self.link.publish(topic, bytes(payload), retain=retain)
        self.counters.messages_sent += 1
        self.counters.bytes_sent += len(topic) + len(payload)

    async def subscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """See `base.Port.subscribe`.

        Raises:
            TransportError: Every broker refuses it or does not answer. One that does while another
                grants it is asked again.
        """
        self._check_open()
        check_pattern(pattern)
        self._patterns[pattern, bulk] = None
        if not bulk:
            self.link.echoes.add(pattern, self)
        answers = await asyncio.gather(
            *(leg.access.subscribe(pattern, bulk=bulk, insist=True) for leg in self._legs.values()),
            return_exceptions=True,
        )
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if errors and len(errors) == len(answers):
            await self.unsubscribe(pattern, bulk=bulk)
            raise errors[0]

    async def unsubscribe(self, pattern: str, *, bulk: bool = False) -> None:
        """See `base.Port.unsubscribe`."""
        self._patterns.pop((pattern, bulk), None)
        if not bulk:
            self.link.echoes.remove(pattern, self)
        await asyncio.gather(*(leg.access.unsubscribe(pattern, bulk=bulk) for leg in self._legs.values()))

    def arrivals(self) -> AsyncIterator[Arrival | LinkState]:
        """See `base.Port.arrivals`; for one reader at a time."""
        return self.queue.items()

    async def close(self) -> None:
        """See `base.Port.close`."""
        if self._open:
            self._open = False
            self.queue.close()
            self.link.forget(self)
            await asyncio.gather(*(leg.access.close() for leg in self._legs.values()))

    async def abort(self) -> None:
        """See `base.Port.abort`."""
        if self._open and self.will is not None:
            with contextlib.suppress(TransportError):  # then nobody can be told
                await self.link.publish(*self.will, retain=False)
        await self.close()

    async def join(self, member: Member) -> None:
        """Open a leg to *member* and subscribe there; for the link."""
        leg = self._legs[member] = _Leg(self, member)
        leg.access = await member.link.open_port(will=self.will, inbox=leg)
        for pattern, bulk in tuple(self._patterns):
            with contextlib.suppress(TransportError):  # refused there for now; the others carry it
                await leg.access.subscribe(pattern, bulk=bulk, insist=True)

    async def part(self, member: Member) -> None:
        """Close the leg to *member*; for the link."""
        leg = self._legs.pop(member, None)
        if leg is not None:
            await leg.access.close()

    def _check_open(self) -> None:
        if not self._open:
            raise MisuseError("the port is closed")


class MultiLink:
    """A process's connections to several brokers; implements `base.Link`."""

    def __init__(self, urls: Sequence[str] = (), settings: MqttSettings | None = None) -> None:
        """Prepare a link; nothing is sent yet.

        Args:
            urls: One for each broker, as `MqttLink` takes them; a broker named twice counts once.
            settings: Everything that is not in a URL, for all of them.

        Raises:
            ConfigError: A URL or a TLS file cannot be used.
        """
        self.settings = settings if settings is not None else MqttSettings()
        self.state = LinkState(up=False, reason=NOT_YET if urls else "no broker is known")
        self.duplicates = Duplicates()
        self.echoes: Routes[MultiPort] = Routes()
        """Which of our control messages come back to us."""
        self._members: dict[tuple[str, int], Member] = {}
        self._numbered = 0
        self._paths = Paths()
        self._wills = Wills(KEEPALIVES_OF_A_LOSS * self.settings.keepalive_s)
        self._will_topics: Counter[str] = Counter()
        """What comes before the peer's name in the topics of wills, and how many ports have one there."""
        self._ports: dict[MultiPort, None] = {}
        self._counted: tuple[Arrival, Member, bool] | None = None
        self._news = asyncio.Event()
        self._connecting = False
        self._closed = False
        for url in urls:
            self._new_member(url, own=True)

    @property
    def members(self) -> tuple[Member, ...]:
        """The brokers, in the order in which they came."""
        return tuple(self._members.values())

    @property
    def socket_bytes_sent(self) -> int:
        """Topic and payload bytes handed to all brokers together."""
        return sum(member.link.socket_bytes_sent for member in self._members.values())

    @property
    def socket_bytes_received(self) -> int:
        """Topic and payload bytes that came from all brokers, copies included."""
        return sum(member.link.socket_bytes_received for member in self._members.values())

    async def connect(self, timeout_s: float | None = None) -> None:
        """See `base.Link.connect`; up means that one broker is reached."""
        if self._closed:
            raise MisuseError("the link is closed")
        self._connecting = True
        for member in self.members:
            await member.link.connect()
        if timeout_s is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while not self.state.up:
                    self._news.clear()
                    await self._news.wait()
                    if self._members and all(member.link.hopeless for member in self.members):
                        raise TransportError(f"broker {self._reasons()}")
        except TimeoutError:
            raise TransportError(f"no broker reached in {timeout_s:g} s: {self._reasons()}") from None

    async def open_port(self, *, will: tuple[str, bytes] | None = None) -> MultiPort:
        """See `base.Link.open_port`."""
        await self.connect()
        port = MultiPort(self, will)
        self._ports[port] = None
        if will is not None:
            self._will_topics[will[0].rpartition("/")[0]] += 1
        for member in self.members:
            await port.join(member)
        return port

    async def add(self, url: str, *, own: bool = False) -> None:
        """Use one more broker from now on; one that is used already changes nothing.

        Raises:
            ConfigError: The URL cannot be used.
        """
        member = self._new_member(url, own=own)
        if member is not None and self._connecting:
            await member.link.connect()
            for port in tuple(self._ports):
                await port.join(member)

    async def remove(self, url: str) -> None:
        """Use a broker no longer."""
        address = BrokerAddress.parse(url)
        member = self._members.pop((address.host, address.port), None)
        if member is not None:
            for port in tuple(self._ports):
                await port.part(member)
            await member.close()
            self._tell()

    async def close(self) -> None:
        """See `base.Link.close`."""
        self._closed = True
        for port in tuple(self._ports):
            port.queue.close()
        await asyncio.gather(*(member.close() for member in self.members))

    # For ports

    async def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish on every broker that is up; return when the first of them took it."""
        up = [member for member in self._members.values() if member.state.up]
        if not up:
            raise TransportError(self.state.reason)
        if len(self._members) > 1 and self.echoes.match(topic):
            name, now = name_of(topic, payload), asyncio.get_running_loop().time()
            for member in up:
                member.health.sent(name, now)
        message = Message(topic, payload, retain, Ticket())
        took = [member.offer(message) for member in up]
        if not any(took):
            await message.ticket.taken()

    async def publish_bulk(self, topic: str, payload: bytes | InParts, *, retain: bool) -> None:
        """Publish on the best broker for this receiver, or on another when that takes nothing.

        A connection may take nothing though it counts as up: it was lost a moment ago, and nobody knows
        before the event loop has had its turn. So each is tried once, and once more the best of them.
        """
        now = asyncio.get_running_loop().time
        passed: set[Member] = set()
        while True:
            up = [member for member in self._members.values() if member.state.up]
            if not up:
                raise TransportError(self.state.reason)
            candidates = [member for member in up if member not in passed] or up
            member = self._best(topic, len(payload), candidates, now())
            last = len(candidates) == 1 or (bool(passed) and candidates is up)
            publishing = member.link.connection(bulk=True).publish(topic, payload, retain=retain)
            try:
                if last:
                    return await publishing
                async with asyncio.timeout(STALL_S):
                    return await publishing
            except TimeoutError:
                member.health.fault(now())
            except TransportError:  # lost while the message waited in line, or just before
                if last or not any(each.state.up for each in self._members.values()):
                    raise
            passed.add(member)

    def counts(self, arrival: Arrival, member: Member, *, bulk: bool) -> bool:
        """Return whether a port is to have *arrival* from *member*; asked once for each port."""
        if self._counted is not None and self._counted[0] is arrival and self._counted[1] is member:
            return self._counted[2]
        counted = self._counts(arrival, member, bulk=bulk)
        self._counted = (arrival, member, counted)
        return counted

    def forget(self, port: MultiPort) -> None:
        """Drop a closed *port*."""
        self._ports.pop(port, None)
        if port.will is not None:
            self._will_topics -= Counter([port.will[0].rpartition("/")[0]])
        for pattern in self.echoes.patterns_of(port):
            self.echoes.remove(pattern, port)

    # Inside

    def _new_member(self, url: str, *, own: bool) -> Member | None:
        address = BrokerAddress.parse(url)
        key = (address.host, address.port)
        if key in self._members:
            self._members[key].own |= own
            return None

        def changed(_: LinkState) -> None:
            self._member_changed(member)

        link = MqttLink(url, self.settings, on_change=changed)
        member = self._members[key] = Member(self._numbered, link, own=own)
        self._numbered += 1
        return member

    def _member_changed(self, member: Member) -> None:
        """Take note that a broker came, went, or stays away for another reason."""
        up, was_up = member.state.up, member.was_up
        member.was_up = up
        if up != was_up:
            self.duplicates.forget()
            member.health.reset()
        if was_up and not up:
            member.health.fault(asyncio.get_running_loop().time())
        self._tell(joined=up and not was_up and self.state.up)

    def _tell(self, *, joined: bool = False) -> None:
        """Tell every port how the link is, if that is news."""
        if any(member.state.up for member in self._members.values()):
            lost = (m.link.address for m in self._members.values() if m.own and _lost(m.state))
            state = LinkState(up=True, away=tuple(map(str, lost)))
        else:
            state = LinkState(up=False, reason=self._reasons())
        was, self.state = self.state, state
        self._news.set()
        if (state != was or joined) and not self._closed:
            for port in self._ports:
                port.queue.put_state(replace(state, joined=joined))

    def _reasons(self) -> str:
        """Return why no broker is reached."""
        members = self.members
        if len(members) == 1:
            return members[0].state.reason
        # Those that were not tried yet, or are no more than a help, explain nothing.
        telling = [m for m in members if m.own and _lost(m.state)] or [m for m in members if _lost(m.state)]
        return "; ".join(f"{m.link.address}: {m.state.reason}" for m in telling) or self.state.reason

    def _counts(self, arrival: Arrival, member: Member, *, bulk: bool) -> bool:
        if len(self._members) == 1:
            return True
        now = asyncio.get_running_loop().time()
        topic, _, sender = arrival.topic.rpartition("/")
        self._paths.heard(sender, member.number, now, bulk=bulk)
        if bulk:
            return True
        name = self.duplicates.name(arrival)
        member.health.echoed(name, now)
        news = self.duplicates.news(name, member.number)
        if topic not in self._will_topics:
            self._wills.heard(sender, member.number)
            return news
        seeing = {m.number for m in self._members.values() if m.state.up}
        lost_to = self._wills.published(sender, name, member.number, now)
        return seeing & self._paths.brokers_of(sender, now) <= lost_to

    def _best(self, topic: str, size_bytes: int, candidates: Sequence[Member], now: float) -> Member:
        """Return the broker for a bulk message; its topic ends in receiver and sender."""
        if len(candidates) == 1:
            return candidates[0]
        receiver = topic.rpartition("/")[0].rpartition("/")[2]
        scores = {member.number: member.health.score(now) for member in candidates}
        chosen = self._paths.choose(receiver, size_bytes, scores, now)
        return next(member for member in candidates if member.number == chosen)


def _lost(state: LinkState) -> bool:
    return not state.up and state.reason != NOT_YET
