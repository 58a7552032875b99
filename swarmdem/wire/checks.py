"""What a decoded body must satisfy beyond types and sizes.

Order, uniqueness, optional hashes and floats: whatever MessagePack and the struct's types cannot say.
Every rule follows from the body alone; what depends on a plan, a charter or on other frames is the
protocol's business.
"""

import struct
from collections.abc import Callable, Collection, Iterable
from itertools import pairwise
from typing import Any

from swarmdem.errors import MalformedFrameError
from swarmdem.wire import messages as m
from swarmdem.wire.extensions import UNDERSTOOD
from swarmdem.wire.fields import Extensions
from swarmdem.wire.shortened import DigestPack, ShortCertificate, ShortProposal
from swarmdem.wire.signing import peer_id

SMALLEST_NORMAL = 2.0**-126
"""Smallest positive float32 that is not subnormal."""

_FLOAT32 = struct.Struct(">f")


def check(body: Any) -> None:
    """Raise unless *body* (any struct of `messages`) keeps the rules of its kind.

    Raises:
        MalformedFrameError: It does not; the message says which field.
    """
    _ext(body.ext, UNDERSTOOD.get(type(body), frozenset()))
    rules = _RULES.get(type(body))
    if rules is not None:
        rules(body)


def _must(condition: bool, complaint: str) -> None:
    if not condition:
        raise MalformedFrameError(complaint)


def _ext(ext: Extensions, understood: Collection[int]) -> None:
    if ext:
        ids = [number for number, _ in ext]
        _must(_ascends(ids), "ext: ids must ascend")
        odd = [number for number in ids if number & 1]
        _must(all(number in understood for number in odd), "ext: an id that must be understood is not")


def _ascends(values: Iterable[Any]) -> bool:
    """Return whether *values* are sorted and all different."""
    return all(a < b for a, b in pairwise(values))


def _optional(value: bytes, size: int, field: str) -> None:
    _must(len(value) in {0, size}, f"{field}: {len(value)} bytes, not 0 or {size}")


def _model(model: bytes, model_bytes: int) -> None:
    _optional(model, 32, "model")
    _must(bool(model) == (model_bytes > 0), "model_bytes: 0 exactly when there is no model")


def is_scale(value: float) -> bool:
    """Return whether *value* is a float32 that is finite, not negative and not subnormal."""
    if not (value == 0.0 or SMALLEST_NORMAL <= value <= 3.4028234663852886e38):
        return False
    return _FLOAT32.pack(value) != b"\x80\0\0\0" and _FLOAT32.unpack(_FLOAT32.pack(value))[0] == value


def _hello(b: m.Hello) -> None:
    _must(len(b.charter) > 0, "charter: empty")
    _must(1 <= b.version_min <= b.version_max, "version_min, version_max: no range")
    _optional(b.base, 32, "base")


def _welcome(b: m.Welcome) -> None:
    _must(len(b.certificate) > 0, "certificate: empty")


def _refusal(b: m.Refusal) -> None:
    _must(all(name.isprintable() for name in b.settings), "settings: not printable")


def _digest(b: m.Digest) -> None:
    _must(b.kind in {m.PRESENCE, m.PARAMETERS, m.UPDATES}, f"kind: unknown, {b.kind}")
    _optional(b.reference, 32, "reference")
    _model(b.model, b.model_bytes)
    _must(is_scale(b.scale), "scale: not a finite, non-negative, normal float32")
    _must(b"\x80" not in b.sketch, "sketch: holds -128")
    if b.kind == m.PRESENCE:
        _must(not b.model and not b.sketch and b.scale == 0.0, "kind: presence with a model or a sketch")
    else:
        _must(bool(b.sketch) == bool(b.reference), "kind: a sketch without a reference, or the reverse")
        _must(bool(b.sketch) or (b.seed == 0 and b.scale == 0.0), "kind: seed or scale of no sketch")
        _must(b.weight == 0 or len(b.model) == 32, "weight: without a model")


def _summary(b: m.Summary) -> None:
    _must(_ascends(b.digests), "digests: not sorted or not unique")


def _want(b: m.Want) -> None:
    _must(b.what in {m.DIGESTS, m.PLANS, m.CERTIFICATES, m.NEWEST}, f"what: unknown, {b.what}")
    _must((b.what == m.NEWEST) == (not b.ids), "ids: empty exactly when the newest is wanted")
    sizes = {16, 32} if b.what == m.DIGESTS else {32}
    _must(all(len(wanted) in sizes for wanted in b.ids), "ids: of the wrong length")


def _bundle(b: m.Bundle) -> None:
    _must(all(b.frames), "frames: one is empty")


def _proposal(b: m.Proposal) -> None:
    _must(len(b.plan) > 0, "plan: empty")
    _must(b.term > 0 or not b.skips, "skips: present in term 0")


def _skip(b: m.Skip) -> None:
    _optional(b.voted_plan, 32, "voted_plan")
    _must((b.voted_term < 0) == (not b.voted_plan), "voted_plan: empty exactly when no vote was given")


def _certificate(b: m.Certificate) -> None:
    _must(len(b.plan) > 0, "plan: empty")
    _must(len(b.votes) > 0, "votes: none")
    _must(_ascends([peer_id(vote.public_key) for vote in b.votes]), "votes: voters not sorted or not unique")


def _mean(b: m.Mean) -> None:
    _model(b.model, b.model_bytes)
    _must(_ascends(b.included), "included: not sorted or not unique")
    _must(
        (b.weight > 0) == bool(b.included) == bool(b.model), "weight, included and model: one without another"
    )
    _must(b.term > 0 or not b.skips, "skips: present in term 0")


def _final(b: m.Final) -> None:
    _model(b.model, b.model_bytes)
    _must(b.term > 0 or not b.skips, "skips: present in term 0")


def _blob_want(b: m.BlobWant) -> None:
    edges = [edge for span in b.ranges for edge in span]
    _must(all(start < stop for start, stop in b.ranges), "ranges: one is empty")
    _must(all(a <= b for a, b in pairwise(edges)), "ranges: not sorted or overlapping")


def _blob_offer(b: m.BlobOffer) -> None:
    leaves = -(-b.total_bytes // 65_536)
    _must(not b.leaves or len(b.leaves) == 32 * leaves, "leaves: do not fit total_bytes")


def _short_proposal(b: ShortProposal) -> None:
    _must(_ascends(b.others), "others: not sorted or not unique")


def _short_certificate(b: ShortCertificate) -> None:
    voters = sum(byte.bit_count() for byte in b.voters)
    _must(len(b.signatures) == 64 * voters, "signatures: not one for each voter")


def _digest_pack(b: DigestPack) -> None:
    _must(_ascends([each.public_key for each in b.digests]), "digests: not sorted or not unique")


def _plan(b: m.Plan) -> None:
    _optional(b.reference, 32, "reference")
    _must(b.tau >= 1, "tau: 0")
    _must(_ascends([entry.peer for entry in b.entries]), "entries: not sorted or not unique")
    for entry in b.entries:
        _must(entry.elector or entry.listed, "entries: neither elector nor listed")
        _must(len(entry.digest) == (32 if entry.listed else 0), "entries: digest exactly of the listed")
        placed = entry.listed and b.mode != m.FOUNDING
        _must(len(entry.parent) == (16 if placed else 0), "entries: parent exactly of the listed")
    _must(sum(entry.listed for entry in b.entries) <= m.LISTED_MAX, "entries: too many listed")
    _must(_ascends([(-group.level, group.group) for group in b.groups]), "groups: not in order")
    _must(len({group.group for group in b.groups}) == len(b.groups), "groups: an id twice")
    for position, group in enumerate(b.groups):
        _must(len(group.parent) == (16 if position else 0), "groups: a parent exactly below the root")
    if b.mode == m.FOUNDING:
        _must(b.round == 0 and not b.groups, "founding: has a round or groups")
        _must(not any(entry.elector for entry in b.entries), "founding: has electors")


_RULES: dict[type, Callable[[Any], None]] = {
    m.Hello: _hello,
    m.Welcome: _welcome,
    m.Refusal: _refusal,
    m.Digest: _digest,
    m.Summary: _summary,
    m.Want: _want,
    m.Bundle: _bundle,
    m.Proposal: _proposal,
    m.Skip: _skip,
    m.Certificate: _certificate,
    m.Mean: _mean,
    m.Final: _final,
    m.BlobWant: _blob_want,
    m.BlobOffer: _blob_offer,
    ShortProposal: _short_proposal,
    ShortCertificate: _short_certificate,
    DigestPack: _digest_pack,
    m.Plan: _plan,
}
