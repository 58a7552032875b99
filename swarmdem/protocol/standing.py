"""Frames that are repeated, byte for byte, until those who need them have acknowledged.

A frame stops standing when nobody is missing any more, when something newer overtakes it, or when
its time is over: whoever is dead does not make others talk for ever.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from swarmdem.identifiers import FrameId, Micros, PeerId
from swarmdem.wire.frame import Frame


@dataclass(slots=True, eq=False)
class _Standing:
    frame: Frame
    missing: set[PeerId]
    next_at: Micros
    until: Micros


class StandingFrames:
    """What one peer announced in an update and others have not acknowledged."""

    def __init__(self, *, period: Micros) -> None:
        self._period = period
        self._frames: dict[FrameId, _Standing] = {}

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, frame: Frame, *, missing: Iterable[PeerId], now: Micros, until: Micros) -> None:
        """Repeat *frame*, which is sent for the first time now, until all *missing* have it."""
        waiting = set(missing)
        if waiting:
            self._frames[frame.id] = _Standing(frame, waiting, now + self._period, until)

    def acknowledge(self, frame: FrameId, peer: PeerId) -> None:
        """Note that *peer* has *frame*."""
        standing = self._frames.get(frame)
        if standing is not None:
            standing.missing.discard(peer)
            if not standing.missing:
                del self._frames[frame]

    def overtake(self, frame: FrameId) -> None:
        """Stop repeating *frame*: nobody needs it any more."""
        self._frames.pop(frame, None)

    def due(self, now: Micros, reached: Callable[[Micros], bool]) -> list[Frame]:
        """Return the frames to repeat now and forget those whose time is over.

        Args:
            now: The time.
            reached: Tells whether a moment has come; asked about every moment that matters.
        """
        for frame in [key for key, standing in self._frames.items() if standing.until <= now]:
            del self._frames[frame]
        repeated = []
        for standing in self._frames.values():
            if reached(standing.next_at):
                repeated.append(standing.frame)
                standing.next_at = now + self._period
            reached(min(standing.next_at, standing.until))
        return repeated
