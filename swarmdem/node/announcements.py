"""Brokers that peers of the swarm host and announce in their signed `Hello`.

An announcement counts once its peer was listed in a certificate this peer stood on: then it is a
member, whoever it is. The latest `Hello` of a peer says all: it may name other brokers than before,
or none. What is remembered goes to disk beside the checkpoints, so that a peer that was away finds
the swarm after the broker it was born on has gone for good.

Bounds: brokers of `ANNOUNCERS_MAX` members, `OF_ONE_MAX` each; peers listed in the newest certificate
come first, then the lower ids, so that all peers choose the same ones. As many strangers wait to become
members; the oldest gives way. Only bare `mqtt://host:port` and `mqtts://host:port` are taken: no
passwords, no file names.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarmdem.errors import ConfigError
from swarmdem.identifiers import PeerId, brief
from swarmdem.node.files import write_atomic
from swarmdem.transport.settings import BrokerAddress
from swarmdem.wire import extensions
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Hello

_log = logging.getLogger("swarmdem.node.announcements")

ANNOUNCERS_MAX = 8
OF_ONE_MAX = 4
"""Brokers one peer may announce."""
URL_MAX = 256
FILE = "brokers.json"
"""Where a state directory keeps what was announced."""


def packed(urls: Sequence[str]) -> bytes:
    """Return the content of the entry `extensions.BROKERS` of a `Hello`.

    Raises:
        ConfigError: A URL is not one that others would take, or there are too many.
    """
    if len(urls) > OF_ONE_MAX:
        raise ConfigError(f"{len(urls)} brokers are announced, at most {OF_ONE_MAX} may be")
    for url in urls:
        if _bare(url) is None:
            raise ConfigError(f"broker {url!r} cannot be announced: only mqtt://host:port, mqtts://host:port")
    return "\n".join(urls).encode()


def urls_in(hello: Hello) -> tuple[str, ...]:
    """Return the brokers that a greeting announces, without what cannot be used."""
    content = extensions.entry(hello.ext, extensions.BROKERS) or b""
    lines = content.decode(errors="replace").split("\n")[:OF_ONE_MAX]
    return tuple(dict.fromkeys(line for line in lines if _bare(line) is not None))


@dataclass(frozen=True, slots=True)
class _Announced:
    urls: tuple[str, ...]
    said: tuple[int, int]
    """Session and sequence of the greeting."""


class Announcements:
    """What one peer knows about the brokers of others.

    Args:
        me: Whose own greetings say nothing new.
        charter: The charter's body; greetings with another one are of another swarm.
        directory: Where to remember it; None: only in memory.
    """

    def __init__(self, me: PeerId, charter: bytes, directory: Path | None) -> None:
        self._me = me
        self._charter = charter
        self._path = directory / FILE if directory is not None else None
        self._members: dict[PeerId, _Announced] = self._read()
        self._strangers: OrderedDict[PeerId, _Announced] = OrderedDict()
        self._listed: frozenset[PeerId] = frozenset()
        self._written = self.urls
        self._refused = False

    @property
    def unwritten(self) -> bool:
        """Whether the brokers known are others than those on disk."""
        return self._path is not None and self.urls != self._written

    @property
    def urls(self) -> tuple[str, ...]:
        """The brokers of members, in an order that is the same at all peers that know the same."""
        ranked = sorted(self._members, key=self._rank)
        return tuple(dict.fromkeys(url for peer in ranked for url in self._members[peer].urls))

    def hear(self, frame: Frame, hello: Hello) -> bool:
        """Take a verified greeting; return whether the brokers known changed."""
        if frame.sender == self._me or hello.charter != self._charter:
            return False
        announced = _Announced(urls_in(hello), (frame.session, frame.sequence))
        known = self._members.get(frame.sender) or self._strangers.get(frame.sender)
        if known is not None and known.said >= announced.said:
            return False
        if frame.sender not in self._members and frame.sender not in self._listed:
            self._park(frame.sender, announced)
            return False
        before = self.urls
        self._admit(frame.sender, announced)
        return self.urls != before

    def certified(self, peers: Iterable[PeerId]) -> bool:
        """Note who is listed now; return whether the brokers known changed."""
        before = self.urls
        self._listed = frozenset(peers)
        for peer in [peer for peer in self._strangers if peer in self._listed]:
            self._admit(peer, self._strangers.pop(peer))
        return self.urls != before

    def write(self) -> None:
        """Remember what is known; blocks. What a disk does not take stays `unwritten`, to be tried again."""
        if self._path is None:
            return
        urls = self.urls
        known = [
            {"peer": peer.hex(), "urls": list(announced.urls), "said": list(announced.said)}
            for peer, announced in sorted(self._members.items())
        ]
        try:
            write_atomic(self._path, json.dumps(known, indent=1).encode(), durable=False)
            self._written, self._refused = urls, False
        except OSError as error:
            if not self._refused:
                _log.warning("brokers_not_written path=%s reason=%s", self._path, error.strerror)
            self._refused = True

    def _park(self, peer: PeerId, announced: _Announced) -> None:
        self._strangers.pop(peer, None)
        if not announced.urls:
            return
        if len(self._strangers) >= ANNOUNCERS_MAX:
            self._strangers.popitem(last=False)
        self._strangers[peer] = announced

    def _admit(self, peer: PeerId, announced: _Announced) -> None:
        if not announced.urls:
            self._members.pop(peer, None)
            return
        _log.info("broker_announced peer=%s urls=%s", brief(peer), " ".join(announced.urls))
        self._members[peer] = announced
        while len(self._members) > ANNOUNCERS_MAX:
            del self._members[max(self._members, key=self._rank)]

    def _rank(self, peer: PeerId) -> tuple[bool, PeerId]:
        return peer not in self._listed, peer

    def _read(self) -> dict[PeerId, _Announced]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            found = {}
            for each in json.loads(self._path.read_bytes())[:ANNOUNCERS_MAX]:
                urls = tuple(url for url in each["urls"][:OF_ONE_MAX] if _bare(url) is not None)
                session, sequence = each["said"]
                found[PeerId(bytes.fromhex(each["peer"]))] = _Announced(urls, (int(session), int(sequence)))
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("brokers_not_read path=%s reason=%r", self._path, error)
            return {}
        return found


def _bare(url: str) -> BrokerAddress | None:
    """Return the address of a URL that says nothing but scheme, host and port; else None."""
    if len(url) > URL_MAX or "?" in url or "#" in url or "@" in url or not url.isprintable():
        return None
    try:
        address = BrokerAddress.parse(url)
    except ConfigError:
        return None
    return address if address.port > 0 and not address.doors and " " not in url else None
