"""Who is there, as far as this peer can tell: heard lately, naming which base, or gone.

Silence is counted in connected time (`clock`). A last will is a hint: it only ends the waiting for
a peer's digest, and any later frame of that peer takes it back. There are no pings of each other:
a broker delivers every broadcast to everybody, so silence is the only signal worth having.
"""

from dataclasses import dataclass

from swarmdem.identifiers import Micros, PeerId
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Ping


@dataclass(slots=True)
class Sighting:
    """The last direct word of one peer."""

    at: Micros
    base: bytes
    session: int
    since: Micros
    """From when on it has been in sight without a break."""
    away: bool = False
    """It said goodbye, or its broker lost sight of it."""
    left: bool = False
    """It said goodbye itself."""
    lost_at: Micros = 0
    """When that was heard."""


class Membership:
    """Sightings of other peers, at most *capacity* of them (the longest silent is forgotten first)."""

    def __init__(self, patience: Micros, capacity: int) -> None:
        self.patience = patience
        """How long the last word of a peer keeps it in sight."""
        self._capacity = capacity
        self._sightings: dict[PeerId, Sighting] = {}

    def hear(self, peer: PeerId, base: bytes, session: int, now: Micros) -> bool:
        """Note a direct frame that names *base*; return True when the peer comes into sight."""
        sighting = self._sightings.pop(peer, None)
        fresh = sighting is None or sighting.away or now - sighting.at > self.patience
        known = sighting.session if sighting else 0
        if sighting is None and len(self._sightings) >= self._capacity:
            del self._sightings[next(iter(self._sightings))]
        since = now if sighting is None or fresh else sighting.since
        self._sightings[peer] = Sighting(now, base, max(known, session), since)
        return fresh

    def renews(self, frame: Frame, base: bytes, now: Micros) -> bool:
        """Take a ping of a peer that is in sight and named *base* before; False: it is something else."""
        known = self._sightings.get(frame.sender)
        if (
            known is None
            or not isinstance(frame.message, Ping)
            or not base == known.base == frame.message.base
        ):
            return False
        if known.away or frame.session < known.session or now - known.at > self.patience:
            return False
        return not self.hear(frame.sender, base, frame.session, now)

    def lose(self, peer: PeerId, session: int, now: Micros = 0, *, left: bool = False) -> bool:
        """Note a goodbye (*left*) or last will of one session; return True when the peer was in sight."""
        sighting = self._sightings.get(peer)
        if sighting is None or sighting.left or session < sighting.session or sighting.away > left:
            return False
        seen = not sighting.away
        sighting.away, sighting.left, sighting.lost_at = True, left, now
        return seen

    def sighting(self, peer: PeerId) -> Sighting | None:
        """Return the last direct word of *peer*; None when it was never heard, or not for very long."""
        return self._sightings.get(peer)

    def away(self, peer: PeerId) -> bool:
        """Return whether the last word about *peer* was that it is gone."""
        sighting = self._sightings.get(peer)
        return sighting is not None and sighting.away

    def session_of(self, peer: PeerId) -> int:
        """Return the highest session heard of *peer*; 0 when none."""
        sighting = self._sightings.get(peer)
        return sighting.session if sighting else 0

    def in_sight_since(self, peer: PeerId, now: Micros) -> Micros:
        """Return from when on *peer* has been in sight without a break; *now* when it is not."""
        sighting = self._sightings.get(peer)
        if sighting is None or sighting.away or now - sighting.at > self.patience:
            return now
        return sighting.since

    def naming(self, base: bytes, now: Micros) -> set[PeerId]:
        """Return the peers in sight whose last word within `patience` named *base*."""
        return {
            peer
            for peer, seen in self._sightings.items()
            if seen.base == base and not seen.away and now - seen.at <= self.patience
        }

    def names(self, peer: PeerId, base: bytes, now: Micros) -> bool:
        """Return whether *peer* is in sight and its last word named *base*."""
        seen = self._sightings.get(peer)
        return seen is not None and seen.base == base and not seen.away and now - seen.at <= self.patience

    def in_sight(self, now: Micros) -> tuple[PeerId, ...]:
        """Return every peer heard within `patience`, sorted."""
        return tuple(
            sorted(p for p, s in self._sightings.items() if not s.away and now - s.at <= self.patience)
        )

    def bases(self, now: Micros) -> dict[PeerId, bytes]:
        """Return what every peer in sight names."""
        return {
            peer: seen.base
            for peer, seen in self._sightings.items()
            if not seen.away and now - seen.at <= self.patience
        }
