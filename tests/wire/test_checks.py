"""Bodies that decode well and must be refused all the same."""

import pytest
from msgspec.structs import replace

from swarmdem.errors import MalformedFrameError
from swarmdem.wire import codec, messages as m
from tests.wire import samples

BAD_DIGESTS = {
    "scale NaN": {"scale": float("nan")},
    "scale infinite": {"scale": float("inf")},
    "scale negative": {"scale": -1.0},
    "scale minus zero": {"scale": -0.0},
    "scale subnormal": {"scale": 2.0**-127},
    "scale not float32": {"scale": 0.1},
    "scale an integer": {"scale": 1},
    "scale too large": {"scale": 1e39},
    "sketch with -128": {"sketch": b"\x80"},
    "no sketch": {"sketch": b""},
    "sketch too long": {"sketch": bytes(8193)},
    "short reference": {"reference": bytes(31)},
    "no reference": {"reference": b""},
    "scale and seed of no sketch": {"sketch": b"", "reference": b""},
    "seed of no sketch": {"sketch": b"", "reference": b"", "scale": 0.0},
    "short model": {"model": bytes(16)},
    "weight without model": {"model": b"", "model_bytes": 0},
    "model without size": {"model_bytes": 0},
    "unknown kind": {"kind": 3},
    "presence with sketch": {"kind": m.PRESENCE},
    "negative round": {"round": -1},
    "huge weight": {"weight": 2**32},
    "boolean age": {"age": True},
}


@pytest.mark.parametrize("change", BAD_DIGESTS.values(), ids=BAD_DIGESTS.keys())
def test_digests_that_must_not_enter_a_tree_are_refused(change):
    good = next(message for message in samples.MESSAGES if isinstance(message, m.Digest))
    body = codec.encode_body(replace(good, **change))

    with pytest.raises(MalformedFrameError, match="Digest"):
        codec.decode_body(m.Digest, body)


E, G = samples.PLAN.entries, samples.PLAN.groups
BAD_PLANS = {
    "entries out of order": {"entries": (E[1], E[0], E[2])},
    "an entry twice": {"entries": (E[0], E[0])},
    "digest of an unlisted peer": {"entries": (m.Entry(E[0].peer, samples.fill(1), b"", True, False),)},
    "listed without digest": {"entries": (m.Entry(E[0].peer, b"", samples.fill(1, 16), True, True),)},
    "listed without parent": {"entries": (m.Entry(E[0].peer, samples.fill(1), b"", True, True),)},
    "neither elector nor listed": {"entries": (m.Entry(E[0].peer, b"", b"", False, False),)},
    "groups out of order": {"groups": (G[1], G[0])},
    "a group twice": {"groups": (G[0], m.GroupEntry(G[0].group, 1, G[0].group))},
    "root with a parent": {"groups": (m.GroupEntry(G[0].group, 2, G[1].group), G[1])},
    "two roots": {"groups": (G[0], m.GroupEntry(G[1].group, 1, b""))},
    "parent of 15 bytes": {"groups": (G[0], m.GroupEntry(G[1].group, 1, bytes(15)))},
    "unknown mode": {"mode": 3},
    "founding with electors": {"mode": m.FOUNDING, "round": 0, "groups": ()},
    "short reference": {"reference": bytes(5)},
    "an odd ext id of a later version": {"ext": ((11, b""),)},
    "ext ids that do not ascend": {"ext": ((3, b"\xf0\xf0"), (1, bytes(9)))},
    "more listed than a cell holds": {
        "entries": tuple(
            m.Entry(number.to_bytes(16, "big"), samples.fill(1), samples.fill(2, 16), False, True)
            for number in range(1025)
        )
    },
}


@pytest.mark.parametrize("changes", BAD_PLANS.values(), ids=BAD_PLANS.keys())
def test_plans_that_are_not_well_formed_are_refused(changes):
    body = codec.encode_plan(replace(samples.PLAN, **changes))

    with pytest.raises(MalformedFrameError, match="Plan"):
        codec.decode_plan(body)


B, H, GROUP = samples.fill(1), samples.fill(2), samples.fill(3, 16)
BAD_MESSAGES = {
    "hello without charter": m.Hello(b"", GROUP, 1, 1, 0, b""),
    "hello with an empty range": m.Hello(b"x", GROUP, 2, 1, 0, b""),
    "hello with a short base": m.Hello(b"x", GROUP, 1, 1, 0, bytes(16)),
    "refusal that controls a terminal": m.Refusal(GROUP, ("\x1b[2J",)),
    "want of nothing": m.Want(m.DIGESTS, ()),
    "want of the newest by id": m.Want(m.NEWEST, (H,)),
    "want of a plan by half an id": m.Want(m.PLANS, (GROUP,)),
    "want of something unknown": m.Want(4, (H,)),
    "bundle of an empty frame": m.Bundle((b"",)),
    "first proposal with skips": m.Proposal(0, 0, b"x", (b"x",)),
    "proposal of nothing": m.Proposal(0, 0, b"", ()),
    "skip with a vote and no plan": m.Skip(B, 0, 2, 1, b""),
    "skip with a plan and no vote": m.Skip(B, 0, 2, -1, H),
    "skip below -1": m.Skip(B, 0, 2, -2, b""),
    "certificate without votes": m.Certificate(b"x", 0, ()),
    "certificate with a voter twice": m.Certificate(
        b"x", 0, (m.SignedVote(B, B + B), m.SignedVote(B, H + H))
    ),
    "mean with unsorted members": m.Mean(
        H, 0, GROUP, 0, 2, (samples.fill(9, 16), samples.fill(8, 16)), B, 9, ()
    ),
    "mean of weight without model": m.Mean(H, 0, GROUP, 0, 2, (GROUP,), b"", 0, ()),
    "mean of nobody": m.Mean(H, 0, GROUP, 0, 2, (), B, 9, ()),
    "mean of a third term": m.Mean(H, 0, GROUP, 2, 1, (GROUP,), B, 9, ()),
    "first mean with skips": m.Mean(H, 0, GROUP, 0, 1, (GROUP,), B, 9, (b"x",)),
    "final with a size and no model": m.Final(H, 0, GROUP, 0, False, b"", 9, ()),
    "group skip of term 1": m.GroupSkip(H, 0, GROUP, 1),
    "want of an empty range": m.BlobWant(B, False, ((3, 3),), 1),
    "want of overlapping ranges": m.BlobWant(B, False, ((0, 3), (2, 4)), 1),
    "want of unsorted ranges": m.BlobWant(B, False, ((4, 5), (0, 1)), 1),
    "want of chunks of nothing": m.BlobWant(B, False, ((0, 1),), 0),
    "offer with too few leaves": m.BlobOffer(B, 65_537, H),
    "offer with half a leaf hash": m.BlobOffer(B, 1, GROUP),
    "ping of a short base": m.Ping(GROUP),
}


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_messages_that_make_no_sense_are_refused(message):
    with pytest.raises(MalformedFrameError, match=type(message).__name__):
        codec.decode_body(type(message), codec.encode_body(message))
