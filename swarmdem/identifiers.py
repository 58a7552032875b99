"""The shared nouns: what peers, groups, models and moments are called in code.

Ids are raw bytes in memory and on the wire and lower-case hex digits wherever a person or a
file sees them (`text`). Sorting the bytes and sorting the hex digits give one order.
"""

from typing import NewType

PeerId = NewType("PeerId", bytes)
"""BLAKE2b-128 of a peer's Ed25519 public key (16 bytes, 32 hex digits)."""

GroupId = NewType("GroupId", bytes)
"""Name of a group, unique over all levels of a tree (16 bytes)."""

ModelHash = NewType("ModelHash", bytes)
"""Name of a blob: SHA-256 over its length and the hashes of its leaves (32 bytes)."""

CellId = NewType("CellId", bytes)
"""Name of a cell, for as long as it exists (16 bytes)."""

FrameId = NewType("FrameId", bytes)
"""BLAKE2b-256 of a whole frame as it was sent (32 bytes). A digest is named by its frame."""

PlanId = NewType("PlanId", bytes)
"""BLAKE2b-256 of a plan's body (32 bytes). A certificate is named by its plan."""

CharterHash = NewType("CharterHash", bytes)
"""BLAKE2b-256 of a charter's body (32 bytes)."""

Level = int
"""0 is a peer, 1 the lowest groups, `levels` + 1 the root."""

Round = int
"""Counts from 1; the founding certificate has round 0."""

Term = int
"""Rank of the peer that leads an attempt: term 0 belongs to rank 0."""

Micros = int
"""Microseconds on one peer's monotonic clock."""

SECOND: Micros = 1_000_000
MILLISECOND: Micros = 1_000


def text(identifier: bytes) -> str:
    """Return *identifier* as people see it: lower-case hex digits."""
    return identifier.hex()


def brief(identifier: bytes) -> str:
    """Return the first eight hex digits: enough for a log line, never for a decision."""
    return identifier[:4].hex()
