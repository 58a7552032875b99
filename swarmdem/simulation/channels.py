"""Who hears what is said to everybody: all of it, or what is said under the charters one listens to."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Channels(Protocol):
    """Decides who hears a broadcast."""

    def of(self, parcel: Any) -> Any:
        """Return the channel that *parcel* is said on."""

    def listeners(self, parcel: Any) -> Iterable[int]:
        """Return the numbers of the peers that hear *parcel*, in ascending order."""

    def heard_by(self, peer: int) -> Iterable[Any]:
        """Return the channels that *peer* listens to."""


class OneChannel:
    """Everybody hears everything.

    Args:
        peers: How many there are.
    """

    def __init__(self, peers: int) -> None:
        self._peers = range(peers)

    def of(self, _parcel: Any) -> Any:
        """Return the one channel."""
        return None

    def listeners(self, _parcel: Any) -> Iterable[int]:
        """Return all peers."""
        return self._peers

    def heard_by(self, _peer: int) -> Iterable[Any]:
        """Return the one channel."""
        return (None,)


class Scopes:
    """Every peer hears what is said under the scopes (hashes of charters and swarms) that it joined."""

    def __init__(self) -> None:
        self._listeners: dict[bytes, dict[int, None]] = {}
        self._sorted: dict[bytes, tuple[int, ...]] = {}
        self._heard: dict[int, dict[bytes, None]] = {}

    def of(self, parcel: Any) -> Any:
        """Return the scope of the parcel's frame."""
        return parcel.frame.scope

    def listeners(self, parcel: Any) -> Sequence[int]:
        """Return who joined the scope of *parcel*."""
        scope = parcel.frame.scope
        found = self._sorted.get(scope)
        if found is None:
            found = self._sorted[scope] = tuple(sorted(self._listeners.get(scope, ())))
        return found

    def heard_by(self, peer: int) -> Iterable[Any]:
        """Return the scopes that *peer* joined, in the order in which it did."""
        return tuple(self._heard.get(peer, ()))

    def join(self, peer: int, scopes: Iterable[bytes]) -> list[bytes]:
        """Let *peer* hear these *scopes* too; return those that it did not hear before."""
        heard = self._heard.setdefault(peer, {})
        fresh = [scope for scope in scopes if scope not in heard]
        for scope in fresh:
            heard[scope] = None
            self._listeners.setdefault(scope, {})[peer] = None
            self._sorted.pop(scope, None)
        return fresh

    def leave(self, peer: int, scopes: Iterable[bytes] | None = None) -> None:
        """Let *peer* hear these *scopes* no more, or none at all."""
        heard = self._heard.setdefault(peer, {})
        for scope in tuple(heard) if scopes is None else scopes:
            if heard.pop(scope, 0) is None:
                del self._listeners[scope][peer]
                self._sorted.pop(scope, None)
