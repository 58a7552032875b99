"""The ledger of a run: messages and bytes by kind, per peer and round, and the median peer's control traffic.

Made from what every peer counts by itself (`node/counters.py`): a run's from the `traffic` lines of its
journals, a simulated one's from its shells. The round in which a swarm is founded is left out where there
are others: greetings and first models cross once, not every round.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from swarmdem.wire.ledger import BULK, Account, Counts, added


class _Line(msgspec.Struct, frozen=True):
    """What is read of a journal's line; the rest is skipped."""

    event: str
    round: int = 0
    sent: dict[str, tuple[int, int]] = {}
    received: dict[str, tuple[int, int]] = {}


@dataclass(frozen=True, slots=True)
class Control:
    """Control traffic per round of the median peer."""

    bytes_sent: int
    bytes_received: int
    messages_sent: float
    messages_received: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What all peers of a run sent and received."""

    accounts: tuple[Account, ...]

    @property
    def peer_rounds(self) -> int:
        """Rounds, summed over peers."""
        return sum(account.rounds for account in self.accounts)

    def control(self) -> Control:
        """Return the control traffic of the median peer, each number by itself."""
        sent = [account.control_sent() for account in self.accounts]
        received = [account.control_received() for account in self.accounts]
        return Control(
            round(median(size for _, size in sent)),
            round(median(size for _, size in received)),
            round(median(messages for messages, _ in sent), 1),
            round(median(messages for messages, _ in received), 1),
        )

    def kinds(self) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
        """Return (kind, sent, received), all peers together; bulk last, what is received most first."""
        sent: Counts = {}
        received: Counts = {}
        for account in self.accounts:
            sent, received = added(sent, account.sent), added(received, account.received)
        none = (0, 0)
        found = [
            (kind, sent.get(kind, none), received.get(kind, none)) for kind in sorted({*sent, *received})
        ]
        return sorted(found, key=lambda row: (row[0] in BULK, -row[2][1]))

    def as_mapping(self) -> dict[str, Any]:
        """Return what `summary.json` says: per peer and round by kind, and the median peer's control."""
        if not self.accounts:
            return {"peer_rounds": 0, "kinds": {}, "control": None}
        each = self.peer_rounds
        return {
            "peer_rounds": each,
            "kinds": {
                kind: {
                    "messages_sent": round(sent[0] / each, 3), "bytes_sent": round(sent[1] / each, 1),
                    "messages_received": round(received[0] / each, 3),
                    "bytes_received": round(received[1] / each, 1),
                }
                for kind, sent, received in self.kinds()
            },
            "control": msgspec.to_builtins(self.control()),
        }  # fmt: skip


def ledger_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a ledger as `Ledger.as_mapping` tells it, for people."""
    control = told["control"]
    if control is None:
        return
    yield "per peer and round        sent: messages       bytes   received: messages       bytes"
    for kind, row in told["kinds"].items():
        name = f"{kind} (bulk)" if kind in BULK else kind
        yield (
            f"  {name:<24} {row['messages_sent']:>13.2f} {row['bytes_sent']:>11,.0f}"
            f" {row['messages_received']:>20.2f} {row['bytes_received']:>11,.0f}"
        )
    yield (
        f"  {'control, median peer':<24} {control['messages_sent']:>13.1f} {control['bytes_sent']:>11,d}"
        f" {control['messages_received']:>20.1f} {control['bytes_received']:>11,d}"
    )


def ledger_of(accounts: Sequence[Account]) -> Ledger:
    """Return the ledger of *accounts*; those of no round are left out."""
    return Ledger(tuple(account for account in accounts if account.rounds))


def ledger_of_run(peers: Path) -> Ledger:
    """Return the ledger of the run whose journals are in the folder *peers*.

    Files and lines that cannot be read count for nothing: a run that ends must not fail over its bookkeeping.
    """
    of_peer: dict[str, list[_Line]] = {}
    for journal in sorted(peers.glob("*.jsonl*")):
        of_peer.setdefault(journal.name.partition(".")[0], []).extend(_traffic_of(journal))
    return ledger_of([_account(lines) for _, lines in sorted(of_peer.items())])


def _traffic_of(journal: Path) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    with contextlib.suppress(OSError), journal.open("rb") as file:
        for line in file:
            if b'"traffic"' not in line:
                continue
            try:
                read = decoder.decode(line)
            except msgspec.MsgspecError:
                continue
            if read.event == "traffic":
                yield read


def _account(lines: Sequence[_Line]) -> Account:
    first = min((line.round for line in lines), default=0)
    later = [line for line in lines if line.round > first] or list(lines)
    sent: Counts = {}
    received: Counts = {}
    for line in later:
        sent, received = added(sent, line.sent), added(received, line.received)
    return Account(len({line.round for line in later}), sent, received)
