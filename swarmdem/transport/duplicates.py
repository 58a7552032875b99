"""One copy of what came over several brokers.

A message published on several brokers arrives once from each. The first copy is news; copies from
other brokers are not, until a broker brings it a second time: then its sender has said it again,
on purpose, and that is news once more. So repetitions pass, one for each round of copies, and no
clock is needed. Limits: what is forgotten too early, or repeated before a slow broker brought its
copy, may pass once more than it was said. The protocol bears that; it must not bear less.
"""

from collections import OrderedDict
from hashlib import blake2b

from swarmdem.transport.base import Arrival

REMEMBERED_MAX = 8192
"""Messages remembered; beyond that the oldest is forgotten."""


def name_of(topic: str, payload: bytes | memoryview) -> bytes:
    """Return the hash by which copies of a message are told from other messages (16 bytes)."""
    return blake2b(payload, digest_size=16, key=blake2b(topic.encode(), digest_size=16).digest()).digest()


class Duplicates:
    """Which brokers brought the latest saying of a message.

    Args:
        remembered_max: Messages remembered.
    """

    def __init__(self, remembered_max: int = REMEMBERED_MAX) -> None:
        self._brought: OrderedDict[bytes, set[int]] = OrderedDict()
        self._remembered_max = remembered_max
        self.suppressed = 0
        """Copies that were no news."""
        self._last: tuple[Arrival, bytes] | None = None

    def name(self, arrival: Arrival) -> bytes:
        """Return `name_of` the arrival; the ports of one link ask about the same one in a row."""
        if self._last is None or self._last[0] is not arrival:
            self._last = (arrival, name_of(arrival.topic, arrival.payload))
        return self._last[1]

    def news(self, name: bytes, broker: int) -> bool:
        """Note a copy from *broker*; return whether it is news."""
        brought = self._brought.get(name)
        if brought is None:
            if len(self._brought) >= self._remembered_max:
                self._brought.popitem(last=False)
            self._brought[name] = {broker}
            return True
        if broker in brought:
            brought.clear()
            brought.add(broker)
            return True
        brought.add(broker)
        self.suppressed += 1
        return False

    def forget(self) -> None:
        """Forget everything: a broker came or went, and with it an unknown number of copies."""
        self._brought.clear()
