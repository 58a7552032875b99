"""Hypothesis strategies: any valid message of every kind."""

from typing import Any

from hypothesis import strategies as st

from swarmdem.wire import messages as m
from swarmdem.wire.shortened import (
    DigestPack,
    PackedDigest,
    ShortCertificate,
    ShortMean,
    ShortProposal,
    bitmap,
)
from swarmdem.wire.signing import peer_id

bytes16, bytes32, bytes64 = (st.binary(min_size=size, max_size=size) for size in (16, 32, 64))
u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
number = st.integers(1, 2**64 - 1)
hash_or_none = st.just(b"") | bytes32
extensions = st.dictionaries(st.integers(0, 2**15 - 1), st.binary(max_size=20), max_size=3).map(
    lambda table: tuple((2 * number, table[number]) for number in sorted(table))
)
modes = st.sampled_from([m.NORMAL, m.PROVISIONAL, m.FOUNDING])
sorted_ids = st.sets(bytes16, max_size=5).map(lambda ids: tuple(sorted(ids)))
some_bytes = st.binary(min_size=1, max_size=50)
frames = st.lists(some_bytes, max_size=3).map(tuple)
scales = st.floats(0, 3.4028234663852886e38, width=32, allow_subnormal=False).map(abs)
sketches = st.binary(min_size=1, max_size=64).map(lambda sketch: sketch.replace(b"\x80", b"\x81"))
models = st.just((b"", 0)) | st.tuples(bytes32, st.integers(1, 2**64 - 1))


@st.composite
def digests(draw: st.DrawFn) -> m.Digest:
    base, round_, seed, age, took = draw(st.tuples(bytes32, u32, u64, u32, u32))
    if draw(st.booleans()):
        return m.Digest(base, round_, m.PRESENCE, seed, b"", draw(u32), b"", 0, age, took, 0.0, b"")
    model, model_bytes = draw(models)
    weight = draw(u32) if model else 0
    scale, sketch, ext = draw(st.tuples(scales, sketches, extensions))
    reference = draw(bytes32)
    if draw(st.booleans()):  # the plan to come keeps its tree
        seed, reference, scale, sketch = 0, b"", 0.0, b""
    return m.Digest(
        base,
        round_,
        draw(st.sampled_from([m.PARAMETERS, m.UPDATES])),
        seed,
        reference,
        weight,
        model,
        model_bytes,
        age,
        took,
        scale,
        sketch,
        ext,
    )


@st.composite
def wants(draw: st.DrawFn) -> m.Want:
    what = draw(st.sampled_from([m.DIGESTS, m.PLANS, m.CERTIFICATES, m.NEWEST]))
    ids = {m.DIGESTS: bytes16 | bytes32, m.NEWEST: None}.get(what, bytes32)
    listed = () if ids is None else tuple(draw(st.lists(ids, min_size=1, max_size=4)))
    return m.Want(what, listed, draw(extensions))


@st.composite
def proposals(draw: st.DrawFn) -> m.Proposal:
    term = draw(u16)
    return m.Proposal(draw(modes), term, draw(some_bytes), draw(frames) if term else (), draw(extensions))


@st.composite
def skips(draw: st.DrawFn) -> m.Skip:
    voted, plan = draw(st.just((-1, b"")) | st.tuples(u16, bytes32))
    return m.Skip(draw(bytes32), draw(modes), draw(u16), voted, plan, draw(extensions))


@st.composite
def certificates(draw: st.DrawFn) -> m.Certificate:
    keys = sorted(draw(st.sets(bytes32, min_size=1, max_size=4)), key=peer_id)
    votes = tuple(m.SignedVote(key, draw(bytes64)) for key in keys)
    return m.Certificate(draw(some_bytes), draw(u16), votes, draw(extensions))


@st.composite
def means(draw: st.DrawFn) -> m.Mean:
    plan, step, group, term, ext = draw(st.tuples(bytes32, u8, bytes16, st.integers(0, 1), extensions))
    given = draw(frames) if term else ()
    if draw(st.booleans()):
        return m.Mean(plan, step, group, term, 0, (), b"", 0, given, ext)
    weight, size = draw(st.tuples(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1)))
    included = draw(sorted_ids.filter(bool))
    return m.Mean(plan, step, group, term, weight, included, draw(bytes32), size, given, ext)


@st.composite
def finals(draw: st.DrawFn) -> m.Final:
    term = draw(st.integers(0, 1))
    model, size = draw(models)
    given = draw(frames) if term else ()
    return m.Final(draw(bytes32), draw(u8), draw(bytes16), term, draw(st.booleans()), model, size, given)


@st.composite
def blob_wants(draw: st.DrawFn) -> m.BlobWant:
    edges = sorted(draw(st.sets(u32, max_size=8)))
    ranges = tuple(zip(edges[::2], edges[1::2], strict=False))
    return m.BlobWant(draw(bytes32), draw(st.booleans()), ranges, draw(st.integers(1, 256)), draw(extensions))


@st.composite
def blob_offers(draw: st.DrawFn) -> m.BlobOffer:
    total = draw(st.integers(0, 5 * 65_536))
    leaves = draw(bytes32) * -(-total // 65_536)
    return m.BlobOffer(draw(bytes32), total, leaves if draw(st.booleans()) else b"")


@st.composite
def plans(draw: st.DrawFn) -> m.Plan:
    mode = draw(modes)
    founding = mode == m.FOUNDING
    entries = []
    for peer in draw(sorted_ids):
        listed = founding or draw(st.booleans())
        elector = not founding and (not listed or draw(st.booleans()))
        digest = draw(bytes32) if listed else b""
        parent = draw(bytes16) if listed and not founding else b""
        entries.append(m.Entry(peer, digest, parent, elector, listed))
    ids = () if founding else draw(sorted_ids)
    levels = sorted((draw(u8) for _ in ids), reverse=True)
    pairs = sorted(zip(levels, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    groups = [
        m.GroupEntry(gid, level, draw(bytes16) if place else b"") for place, (level, gid) in enumerate(pairs)
    ]
    lineage = tuple(m.Fork(*draw(st.tuples(bytes16, bytes32, u32))) for _ in range(draw(st.integers(0, 2))))
    round_ = 0 if founding else draw(u32)
    epoch, seed, reference, hysteresis, tau = draw(
        st.tuples(u32, u64, hash_or_none, u16, st.integers(1, 255))
    )
    return m.Plan(
        draw(bytes32),
        round_,
        mode,
        lineage,
        epoch,
        seed,
        reference,
        hysteresis,
        tau,
        tuple(entries),
        tuple(groups),
        draw(st.just(()) | st.just(((1, bytes(9)), (3, b"\xf0"), (5, bytes(8))))),
    )


def short_means() -> st.SearchStrategy[ShortMean]:
    return st.builds(
        ShortMean, bytes32, bytes16, st.integers(0, 1), u64, st.binary(max_size=128), bytes32, u64,
        st.lists(st.binary(max_size=512), max_size=3).map(tuple), extensions, number, number, bytes64,
        extensions,
    )  # fmt: skip


BY_KIND: dict[type, st.SearchStrategy[Any]] = {
    m.Hello: st.builds(
        m.Hello,
        some_bytes,
        bytes16,
        st.integers(1, 3),
        st.integers(3, 255),
        u64,
        hash_or_none,
        extensions,
    ),
    m.Welcome: st.builds(m.Welcome, bytes16, some_bytes, extensions),
    m.Refusal: st.builds(
        m.Refusal,
        bytes16,
        st.lists(st.text("abc_é", max_size=20), max_size=4).map(tuple),
        extensions,
    ),
    m.Offline: st.builds(m.Offline, st.booleans(), extensions),
    m.Ping: st.builds(m.Ping, bytes32, extensions),
    m.Digest: digests(),
    m.Summary: st.builds(m.Summary, bytes32, sorted_ids, st.booleans(), extensions),
    m.Want: wants(),
    m.Bundle: st.builds(m.Bundle, frames, extensions),
    m.Proposal: proposals(),
    m.Vote: st.builds(m.Vote, bytes32, modes, u16, bytes32, extensions),
    m.Skip: skips(),
    m.Certificate: certificates(),
    m.Mean: means(),
    m.Final: finals(),
    m.GroupSkip: st.builds(m.GroupSkip, bytes32, u8, bytes16, st.just(0), extensions),
    m.Ack: st.builds(m.Ack, bytes32, extensions),
    m.BlobWant: blob_wants(),
    m.BlobOffer: blob_offers(),
    DigestPack: st.builds(
        lambda base, digests, ext: DigestPack(
            base, tuple(sorted(digests, key=lambda each: each.public_key)), ext
        ),
        bytes32,
        st.lists(
            st.builds(
                PackedDigest, bytes32, number, number, u32, u32, bytes32, u64, u32, u32, extensions, bytes64
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda each: each.public_key,
        ),
        extensions,
    ),
    ShortMean: short_means(),
    ShortProposal: st.builds(
        ShortProposal,
        bytes32,
        bytes32,
        st.integers(1, 2**64 - 1),
        st.integers(1, 2**64 - 1),
        st.binary(min_size=64, max_size=64),
        st.binary(max_size=128),
        st.sets(bytes32, max_size=4).map(sorted).map(tuple),
        extensions,
    ),
    ShortCertificate: st.builds(
        lambda voters, *rest: ShortCertificate(
            *rest[:3], bitmap(voters, 40), bytes(64 * len(voters)), *rest[3:]
        ),
        st.sets(st.integers(0, 39), min_size=1),
        bytes32,
        bytes32,
        u16,
        extensions,
    ),
}

any_message: st.SearchStrategy[m.Message] = st.one_of(list(BY_KIND.values()))
