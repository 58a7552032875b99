"""What a peer counts about itself: refusals, traffic, cost of learning."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmdem.node.sharing import Frames
from swarmdem.transport.base import Counters
from swarmdem.wire.ledger import kind_of, less

REASONS_MAX = 64
"""Different reasons for refusals that are counted apart; the rest is `other`."""


@dataclass(slots=True)
class NodeCounters:
    """What one peer refused and could not send."""

    refused: Counter[str] = field(default_factory=Counter)
    """Arrivals refused, by reason."""
    unsent: int = 0
    """Frames not sent because the link was down."""
    frames: Counter[str] = field(default_factory=Counter)
    """Frames sent, by kind."""
    frame_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes sent, topics included, by kind."""
    arrivals: Counter[str] = field(default_factory=Counter)
    """Frames received, by kind."""
    arrival_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes received, topics included, by kind."""
    shared: Counters = field(default_factory=Counters)
    """Traffic of blobs that peers of this process handed each other, as if it had crossed."""

    def exchanged(self, *, sent: Frames, received: Frames) -> None:
        """Count frames that were spared because a peer of this process was at the other end."""
        for kind, (frames, size_bytes) in sent.items():
            self.frames[kind] += frames
            self.frame_bytes[kind] += size_bytes
            self.shared.messages_sent += frames
            self.shared.bytes_sent += size_bytes
        for kind, (frames, size_bytes) in received.items():
            self.arrivals[kind] += frames
            self.arrival_bytes[kind] += size_bytes
            self.shared.messages_received += frames
            self.shared.bytes_received += size_bytes

    def sent(self, topic: str, payload: bytes, body_bytes: int = 0) -> None:
        """Count a frame that was handed to the bus; *body_bytes*: of its second part, if it has two."""
        kind = kind_of(payload)
        self.frames[kind] += 1
        self.frame_bytes[kind] += len(topic) + len(payload) + body_bytes

    def received(self, topic: str, payload: bytes | memoryview) -> None:
        """Count an arrival, whatever becomes of it."""
        kind = kind_of(payload)
        self.arrivals[kind] += 1
        self.arrival_bytes[kind] += len(topic) + len(payload)

    def refuse(self, reason: str) -> None:
        """Count one refusal."""
        if reason not in self.refused and len(self.refused) >= REASONS_MAX:
            reason = "other"
        self.refused[reason] += 1


@dataclass(slots=True)
class TrainingCounters:
    """What one peer's learning cost."""

    train_cpu_s: float = 0.0
    evaluate_cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerCounters:
    """What one peer did since it started, counted as if it had its own connection."""

    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    dropped: int
    """Arrivals thrown away because this peer did not keep up."""
    unsent: int
    """Frames not sent because the link was down."""
    refused: Mapping[str, int]
    """Arrivals refused, by reason."""
    train_cpu_s: float
    evaluate_cpu_s: float
    sent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Frames and bytes sent, by kind: a message's name in lower case, `chunk` (of a model), `cleared`."""
    bytes_shared: int = 0
    """Of `bytes_received`: models that peers of the same process handed over; no connection carried them."""
    received: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Frames and bytes received, by kind as in `sent`."""

    def since(self, earlier: "PeerCounters | None") -> dict[str, object]:
        """Return what was sent, received, refused and lost since *earlier*, None: since the peer started."""
        refused = earlier.refused if earlier else {}
        dropped, unsent = (earlier.dropped, earlier.unsent) if earlier else (0, 0)
        sent = less(self.sent, earlier.sent if earlier else {})
        received = less(self.received, earlier.received if earlier else {})
        reasons = {reason: count - refused.get(reason, 0) for reason, count in self.refused.items()}
        return {
            "sent": {kind: list(counts) for kind, counts in sent.items()},
            "received": {kind: list(counts) for kind, counts in received.items()},
            "refused": {reason: count for reason, count in reasons.items() if count},
            "dropped": self.dropped - dropped,
            "unsent": self.unsent - unsent,
        }
