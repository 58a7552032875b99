"""Which frames were seen before on the direct path, in bounded memory.

Sequence numbers filter duplicates; they order nothing. Each (sender, session, connection class) has a
window of 4096 numbers below the highest seen; what is older counts as seen. Kinds that are repeated
byte for byte on purpose (`messages.REPEATED`) always pass: a repetition says that its sender is still
there, and may ask for an acknowledgement that was lost. The core treats them as idempotent.
"""

from collections import OrderedDict

from swarmdem.identifiers import PeerId
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import REPEATED

WINDOW = 4096
"""Sequence numbers remembered per key."""

_MASK = (1 << WINDOW) - 1


class ReplayWindow:
    """Remembers which sequence numbers arrived; the key unused for longest makes room for a new one."""

    def __init__(self, *, keys_max: int = 8192) -> None:
        self._keys_max = keys_max
        self._seen: OrderedDict[tuple[PeerId, int, str], tuple[int, int]] = OrderedDict()

    def admits(self, frame: Frame, connection_class: str) -> bool:
        """Return whether *frame* should be looked at, and remember it."""
        if isinstance(frame.message, REPEATED):
            return True
        return self.fresh(frame.sender, frame.session, frame.sequence, connection_class)

    def fresh(self, sender: PeerId, session: int, sequence: int, connection_class: str) -> bool:
        """Return whether this number is new, and remember it.

        Args:
            sender: Whose number.
            session: The sender's start counter.
            sequence: The number within the session.
            connection_class: `control` or `bulk`: the two connections race each other.
        """
        key = (sender, session, connection_class)
        known = self._seen.get(key)
        if known is None:
            if len(self._seen) >= self._keys_max:
                self._seen.popitem(last=False)
            self._seen[key] = (sequence, 1)
            return True
        self._seen.move_to_end(key)
        highest, bits = known  # bit i of `bits`: number (highest - i) was seen
        if sequence > highest:
            step = sequence - highest
            self._seen[key] = (sequence, ((bits << step) & _MASK | 1) if step < WINDOW else 1)
            return True
        age = highest - sequence
        if age >= WINDOW or bits >> age & 1:
            return False
        self._seen[key] = (highest, bits | 1 << age)
        return True
