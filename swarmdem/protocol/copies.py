"""Notices another process that speaks with this peer's key: a state folder that was copied.

A peer hears its own broadcasts. One of a higher session comes from a later start of the same key, and
this process stops. Two that were started from copies at the same moment have equal sessions and use the
same sequence numbers for different frames; of the two frames under one number the one with the lower id
loses, so that as a rule one of the two processes goes on. Hellos of higher sessions do not count: one that a
broker retained may be newer than a state folder restored from a backup.
"""

from collections import OrderedDict

from swarmdem.identifiers import FrameId
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Hello

SAID_MAX = 1024
"""Own broadcasts that others under the same number are held against."""


class Copies:
    """What this process has said, by number.

    Args:
        session: Start counter of this run.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._said: OrderedDict[int, FrameId] = OrderedDict()

    def said(self, frame: Frame) -> None:
        """Note a broadcast of this process; standing frames have no number and cannot be told apart."""
        if frame.sequence and frame.session == self._session:
            self._said.setdefault(frame.sequence, frame.id)
            if len(self._said) > SAID_MAX:
                self._said.popitem(last=False)

    def reveals(self, frame: Frame) -> bool:
        """Return whether *frame*, sealed with this peer's key, says that this process must stop."""
        if frame.session != self._session:
            return frame.session > self._session and not isinstance(frame.message, Hello)
        return self._said.get(frame.sequence, frame.id) < frame.id
