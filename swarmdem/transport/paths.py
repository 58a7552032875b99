"""Over which broker bulk goes to whom.

    reachable   brokers over which the peer was heard within `HEARD_S`; all, when none
    answer      where the peer's own bulk last came from, while that broker does well: the receiver of a
                blob asks over the broker that is best for it, and is answered there
    best        otherwise the broker with the lowest score; it stays until another is twice as good
    silence     a peer that answered no question for `SILENT_S` is asked over another broker

A bulk message up to `QUESTION_BYTES` is a question; a chunk, which is longer, goes where it was asked for.
Nothing here is an agreement: whoever sends decides alone, and what was lost on a broker that stalled
is asked for again by hash.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

HEARD_S = 60.0
SILENT_S = 0.5
GOOD_S = 0.02
"""Differences below this are none."""
QUESTION_BYTES = 8192
PEERS_MAX = 4096
"""Peers remembered; beyond that the one heard longest ago is forgotten."""


@dataclass(slots=True)
class _Peer:
    heard: dict[int, float] = field(default_factory=dict)
    """When it was last heard over each broker."""
    bulk_from: int | None = None
    """Broker of its latest bulk message."""
    unanswered: tuple[int, float] | None = None
    """Broker and time of the first question to it that it has not answered."""


class Paths:
    """What is known about who is where."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._best: int | None = None

    def heard(self, peer: str, broker: int, now: float, *, bulk: bool) -> None:
        """Note that a message of *peer* came over *broker*."""
        known = self._known(peer)
        known.heard[broker] = now
        if bulk:
            known.bulk_from = broker
            known.unanswered = None

    def brokers_of(self, peer: str, now: float) -> set[int]:
        """Return the brokers over which *peer* was heard lately."""
        known = self._peers.get(peer)
        return {broker for broker, at in known.heard.items() if now - at <= HEARD_S} if known else set()

    def choose(self, peer: str, size_bytes: int, scores: Mapping[int, float], now: float) -> int:
        """Return the broker for a bulk message to *peer*.

        Args:
            peer: Who it is for.
            size_bytes: Length of the payload.
            scores: Of every broker that is up; at least one.
            now: The time.
        """
        known = self._known(peer)
        reachable = [broker for broker in scores if broker in self.brokers_of(peer, now)] or list(scores)
        best = self._least(reachable, scores)
        chosen = best
        if (
            known.bulk_from is not None
            and known.bulk_from in reachable
            and scores[known.bulk_from] <= GOOD_S + 4 * scores[best]
        ):
            chosen = known.bulk_from
        if size_bytes > QUESTION_BYTES:
            return chosen
        if known.unanswered is not None:
            silent, since = known.unanswered
            if now - since < SILENT_S:
                return silent if silent in scores else chosen
            others = [broker for broker in reachable if broker != silent] or list(scores)
            chosen = min(others, key=lambda broker: scores[broker])
        known.unanswered = (chosen, now)
        return chosen

    def _least(self, reachable: list[int], scores: Mapping[int, float]) -> int:
        """Return the broker with the lowest score, or the one before while it is nearly as good."""
        best = min(reachable, key=lambda broker: (scores[broker], broker))
        if (
            self._best is not None
            and self._best in reachable
            and scores[self._best] <= GOOD_S + 2 * scores[best]
        ):
            return self._best
        self._best = best
        return best

    def _known(self, peer: str) -> _Peer:
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= PEERS_MAX:
                self._peers.popitem(last=False)
            known = self._peers[peer] = _Peer()
        self._peers.move_to_end(peer)
        return known
