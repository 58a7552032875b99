"""Frames said in few bytes to peers that hold most of their content already.

A plan follows from its base and the digests it lists, a certificate from a plan and its votes. Who holds
the digests rebuilds the leader's proposal, byte for byte under the leader's own signature, and each vote
under its voter's; who does not asks for the long form. *Electors* are numbered from 0 in the order of
their ids, and the set of some of them is a bitmap: elector i is bit i % 8, from the lowest, of byte i // 8.
In the same way a large group's mean says which of its members it includes, and many digests cross in one
frame, each under its author's signature.
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


class PackedDigest(Body, frozen=True):
    """A `Digest` without a sketch, less what its base and the charter say: enough to rebuild its frame."""

    public_key: f.Bytes32
    session: Annotated[int, msgspec.Meta(ge=1)]
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    round: f.RoundNumber
    weight: f.U32
    model: f.Bytes32
    model_bytes: f.U64
    age: f.U32
    training_ms: f.U32
    remarks: f.Extensions
    """The digest's `ext`."""
    signature: f.Bytes64


class DigestPack(Body, frozen=True):
    """Digests without sketches that were said to few, for everybody."""

    TYPE: ClassVar[int] = 22
    LIMIT: ClassVar[int] = 512 * KIB
    base: f.Bytes32
    digests: Annotated[tuple[PackedDigest, ...], msgspec.Meta(min_length=1, max_length=LISTED_MAX)]
    """By ascending public key, one of each."""
    ext: f.Extensions = ()


class ShortMean(Body, frozen=True):
    """A `Mean` of step 0 that names the members it includes by their numbers."""

    TYPE: ClassVar[int] = 23
    LIMIT: ClassVar[int] = 256 * KIB
    plan: f.Plan32
    group: f.Group16
    term: Annotated[int, msgspec.Meta(ge=0, le=1)]
    weight: f.U64
    included: Bitmap
    """Of the group's members, direct or below, in the order of their ids."""
    model: f.Bytes32
    model_bytes: f.U64
    skips: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=512)], ...], msgspec.Meta(max_length=LISTED_MAX)
    ]
    remarks: f.Extensions
    """The mean's `ext`."""
    session: Annotated[int, msgspec.Meta(ge=1)]
    """Of the mean's frame, as the two that follow."""
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    signature: f.Bytes64
    ext: f.Extensions = ()


Short = ShortProposal | ShortCertificate | DigestPack | ShortMean


def bitmap(numbers: set[int], of: int) -> bytes:
    """Return the set *numbers*, all below *of*, as a bitmap."""
    return sum(1 << number for number in numbers).to_bytes((of + 7) // 8, "little")


def numbers_in(mapped: bytes) -> list[int]:
    """Return the numbers in a bitmap, ascending."""
    return [8 * at + bit for at, byte in enumerate(mapped) for bit in range(8) if byte >> bit & 1]
