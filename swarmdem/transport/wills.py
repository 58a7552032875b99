"""Whether a peer is lost to all brokers, by the last wills that they publish.

A broker publishes the will of a peer when *it* loses sight of it; the peer may be there for others all the
same. Copies of a will count together only while they are one loss: published within a bounded time, with
nothing else heard from that peer over the same broker since. So a connection lost today and another
one lost next week never add up to a goodbye.
"""

from collections import OrderedDict

REMEMBERED_MAX = 1024
"""Wills remembered; beyond that the oldest is forgotten, and counts as never published."""


class Wills:
    """Which brokers published the will of a peer lately.

    Args:
        together_s: Copies that come further apart than this belong to different losses, in seconds.
        remembered_max: Peers whose wills are remembered.
    """

    def __init__(self, together_s: float, remembered_max: int = REMEMBERED_MAX) -> None:
        self._together_s = together_s
        self._remembered_max = remembered_max
        self._published: OrderedDict[str, tuple[bytes, dict[int, float]]] = OrderedDict()

    def published(self, peer: str, name: bytes, broker: int, now: float) -> set[int]:
        """Note that *broker* published a will; return the brokers whose copies count now, it included.

        Args:
            peer: Whose will it is.
            name: The will's hash: another one of the same peer begins anew.
            broker: Number of the broker.
            now: The time, in seconds.
        """
        known, copies = self._published.pop(peer, (name, {}))
        if known != name:
            copies = {}
        copies = {each: at for each, at in copies.items() if now - at <= self._together_s}
        copies[broker] = now
        if len(self._published) >= self._remembered_max:
            self._published.popitem(last=False)
        self._published[peer] = name, copies
        return set(copies)

    def heard(self, peer: str, broker: int) -> None:
        """Note that *peer* said something else over *broker*: its will there was too early."""
        if (known := self._published.get(peer)) is not None:
            known[1].pop(broker, None)
