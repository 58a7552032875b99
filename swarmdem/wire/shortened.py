"""Frames said in few bytes to peers that hold most of their content already.

A plan follows from its base and the digests it lists, a certificate from a plan and its votes. Who holds
the digests rebuilds the leader's proposal, byte for byte under the leader's own signature, and each vote
under its voter's; who does not asks for the long form. *Electors* are numbered from 0 in the order of
their ids, and the set of some of them is a bitmap: elector i is bit i % 8, from the lowest, of byte i // 8.
"""

from typing import Annotated, ClassVar

import msgspec

from swarmdem.wire import fields as f
from swarmdem.wire.body import KIB, LISTED_MAX, Body

Bitmap = Annotated[bytes, msgspec.Meta(max_length=LISTED_MAX // 8)]
OTHERS_MAX = 256
"""Listed peers outside the electorate that a short proposal may name."""


class ShortProposal(Body, frozen=True):
    """A `Proposal` of term 0 in normal mode, for those who hold the digests it lists."""

    TYPE: ClassVar[int] = 20
    LIMIT: ClassVar[int] = 16 * KIB
    base: f.Bytes32
    plan: f.Plan32
    session: Annotated[int, msgspec.Meta(ge=1)]
    """Of the proposal's frame, as the two that follow."""
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    signature: f.Bytes64
    listed: Bitmap
    """The electors that are listed, each with the digest of its highest session."""
    others: Annotated[tuple[f.Bytes32, ...], msgspec.Meta(max_length=OTHERS_MAX)]
    """Frame ids of the other listed digests, ascending."""
    ext: f.Extensions = ()


class ShortCertificate(Body, frozen=True):
    """The votes of a `Certificate` in normal mode, for those who hold its plan."""

    TYPE: ClassVar[int] = 21
    LIMIT: ClassVar[int] = 68 * KIB
    base: f.Bytes32
    plan: f.Plan32
    term: f.TermNumber
    voters: Bitmap
    signatures: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64 * LISTED_MAX)]
    """Of the voters' `Vote`s in the order of the electors, 64 bytes each."""
    ext: f.Extensions = ()


def bitmap(numbers: set[int], of: int) -> bytes:
    """Return the set *numbers*, all below *of*, as a bitmap."""
    return sum(1 << number for number in numbers).to_bytes((of + 7) // 8, "little")


def numbers_in(mapped: bytes) -> list[int]:
    """Return the numbers in a bitmap, ascending."""
    return [8 * at + bit for at, byte in enumerate(mapped) for bit in range(8) if byte >> bit & 1]
