"""What a peer counts about itself: refusals, traffic, cost of learning."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmdem.node.sharing import Frames
from swarmdem.transport.base import Counters
from swarmdem.wire.blobs import CHUNK
from swarmdem.wire.messages import KINDS

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
    shared: Counters = field(default_factory=Counters)
    """Traffic of blobs that peers of this process handed each other, as if it had crossed."""

    def exchanged(self, *, sent: Frames, received: Frames) -> None:
        """Count frames that were spared because a peer of this process was at the other end."""
        for kind, (frames, size_bytes) in sent.items():
            self.frames[kind] += frames
            self.frame_bytes[kind] += size_bytes
            self.shared.messages_sent += frames
            self.shared.bytes_sent += size_bytes
        for frames, size_bytes in received.values():
            self.shared.messages_received += frames
            self.shared.bytes_received += size_bytes

    def sent(self, topic: str, payload: bytes) -> None:
        """Count a frame that was handed to the bus."""
        kind = kind_of(payload)
        self.frames[kind] += 1
        self.frame_bytes[kind] += len(topic) + len(payload)

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

    def since(self, earlier: "PeerCounters | None") -> dict[str, object]:
        """Return what was sent, refused and lost since *earlier*, None: since the peer started."""
        sent, refused = (earlier.sent, earlier.refused) if earlier else ({}, {})
        dropped, unsent = (earlier.dropped, earlier.unsent) if earlier else (0, 0)
        by_kind = {
            kind: [frames - sent.get(kind, (0, 0))[0], size - sent.get(kind, (0, 0))[1]]
            for kind, (frames, size) in self.sent.items()
        }
        reasons = {reason: count - refused.get(reason, 0) for reason, count in self.refused.items()}
        return {
            "sent": {kind: counts for kind, counts in by_kind.items() if counts[0]},
            "refused": {reason: count for reason, count in reasons.items() if count},
            "dropped": self.dropped - dropped,
            "unsent": self.unsent - unsent,
        }


def kind_of(payload: bytes) -> str:
    """Return the kind of a frame of our own: its message's name in lower case, `chunk` or `cleared`."""
    if len(payload) < 4:
        return "cleared"  # an empty payload takes a retained message back
    return "chunk" if payload[3] == CHUNK else KINDS[payload[3]].__name__.lower()
