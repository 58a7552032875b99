"""What a peer counts about itself: refusals, traffic, cost of learning."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

REASONS_MAX = 64
"""Different reasons for refusals that are counted apart; the rest is `other`."""


@dataclass(slots=True)
class NodeCounters:
    """What one peer refused and could not send."""

    refused: Counter[str] = field(default_factory=Counter)
    """Arrivals refused, by reason."""
    unsent: int = 0
    """Frames not sent because the link was down."""

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
