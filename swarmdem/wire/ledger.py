"""What crossed, by kind of message: the entries of every run's ledger.

A kind is a message's name in lower case, `chunk` (a piece of a model) or `cleared` (a retained message
taken back). Bytes count the topic and the payload; what MQTT and TCP add is not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.wire.blobs import CHUNK
from swarmdem.wire.messages import KINDS

Counts = Mapping[str, tuple[int, int]]
"""Messages and bytes by kind."""

BULK = frozenset({"blobwant", "bloboffer", "chunk"})
"""Kinds that carry models or ask for them; all others are control traffic."""

_NAMES = {number: kind.__name__.lower() for number, kind in KINDS.items()} | {CHUNK: "chunk"}


def kind_of(payload: bytes | memoryview) -> str:
    """Return the kind of a payload, by what its header says; `unknown` where it says nothing known."""
    if not payload:
        return "cleared"
    return _NAMES.get(payload[3], "unknown") if len(payload) > 3 else "unknown"


@dataclass(frozen=True, slots=True)
class Account:
    """What one peer sent and received in some rounds."""

    rounds: int
    """At least 1."""
    sent: Counts
    received: Counts

    def control_sent(self) -> tuple[float, float]:
        """Return control messages and bytes sent per round."""
        return _control(self.sent, self.rounds)

    def control_received(self) -> tuple[float, float]:
        """Return control messages and bytes received per round."""
        return _control(self.received, self.rounds)


def _control(counts: Counts, rounds: int) -> tuple[float, float]:
    found = [count for kind, count in counts.items() if kind not in BULK]
    return sum(messages for messages, _ in found) / rounds, sum(size for _, size in found) / rounds


def less(now: Counts, before: Counts) -> dict[str, tuple[int, int]]:
    """Return what running totals grew by; kinds that did not grow are left out."""
    grown = {
        kind: (messages - before.get(kind, (0, 0))[0], size - before.get(kind, (0, 0))[1])
        for kind, (messages, size) in now.items()
    }
    return {kind: counts for kind, counts in grown.items() if counts[0]}


def added(first: Counts, second: Counts) -> dict[str, tuple[int, int]]:
    """Return two counts taken together."""
    total = dict(first)
    for kind, (messages, size) in second.items():
        known = total.get(kind, (0, 0))
        total[kind] = (known[0] + messages, known[1] + size)
    return total
