"""Whatever another peer signs, a core neither raises nor stops: it refuses, and the round goes on."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from msgspec import structs

from swarmdem.protocol import events
from swarmdem.protocol.election import rank
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import TensorSpec
from swarmdem.wire.codec import FrameSealer, decode_plan, encode_body, encode_plan
from swarmdem.wire.messages import (
    DIGESTS,
    KINDS,
    NORMAL,
    PARAMETERS,
    Bundle,
    Digest,
    Proposal,
    Summary,
    Vote,
    Want,
    Welcome,
)
from tests.protocol.core_swarm import CoreSwarm
from tests.wire.strategies import BY_KIND

STRANGER = 99


@pytest.fixture
def swarm() -> CoreSwarm:
    swarm = CoreSwarm(3)
    swarm.start(0, 1, 2)
    assert swarm.run(swarm.all_finished(1))
    return swarm


def say(swarm: CoreSwarm, message: object, index: int = STRANGER) -> list[str]:
    """Have a peer say *message* to core 0; return why it was refused."""
    sealer = FrameSealer(PretendedIdentity(index), swarm.charter, 7, PretendedVerifier())
    before = len(swarm.rejects)
    swarm.sessions.setdefault(index, 7)
    swarm.give(0, events.Received(sealer.seal(message)))
    return [reason for _, reason in swarm.rejects[before:]]


def digest(swarm: CoreSwarm, **changes: object) -> Digest:
    status = swarm.cores[0].status()
    reference = swarm.trained[0][1].reference
    values = {
        "base": status.base, "round": 2, "kind": PARAMETERS, "seed": swarm.trained[0][1].seed,
        "reference": reference, "weight": 1, "model": b"m" * 32, "model_bytes": 10, "age": 0,
        "training_ms": 1, "scale": 1.0, "sketch": b"\x01" * 16, **changes,
    }  # fmt: skip
    return Digest(**values)


def test_a_vote_from_outside_the_electorate_is_refused(swarm):
    base = swarm.cores[0].status().base

    assert say(swarm, Vote(base, NORMAL, 0, b"p" * 32)) == ["vote of a peer outside the electorate"]


def test_a_proposal_of_somebody_who_does_not_lead_is_refused(swarm):
    base = swarm.cores[0].status().base
    plan = structs.replace(decode_plan(swarm.cores[0].round_record().certificate.plan), base=base)
    leader = swarm.index(rank([swarm.peer(i) for i in range(3)], base)[0])
    other = 2 if leader == 1 else 1

    assert say(swarm, Proposal(NORMAL, 0, encode_plan(plan), ()), index=other) == [
        "proposer does not lead this term"
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sketch": b"\x01" * 15}, "sketch of 15 buckets instead of 16"),
        ({"model_bytes": 2**62}, "digest names no model, or one too large"),
    ],
)
def test_a_digest_that_cannot_be_listed_is_refused(swarm, changes, reason):
    assert say(swarm, digest(swarm, **changes)) == [reason]


def test_a_model_of_another_size_than_the_schemas_is_refused():
    swarm = CoreSwarm(3, schema=(TensorSpec("w", (5, 5), "float32"),))
    swarm.start(0, 1, 2)
    assert swarm.run(swarm.all_finished(1))

    assert say(swarm, digest(swarm, model_bytes=101)) == ["model of 101 bytes instead of 100"]


def test_a_digest_made_with_another_reference_is_listed_but_unplaced(swarm):
    assert say(swarm, digest(swarm, reference=b"o" * 32)) == []


def test_a_certificate_and_a_welcome_without_votes_are_refused(swarm):
    record = swarm.cores[0].round_record()
    held = record.certificate
    other_plan = encode_plan(structs.replace(decode_plan(held.plan), epoch=7))

    refused = ["certificate without the votes it needs"]
    assert say(swarm, structs.replace(held, plan=other_plan)) == refused
    assert say(swarm, structs.replace(held, plan=other_plan, votes=held.votes[:1])) == refused
    assert say(swarm, Welcome(b"n" * 16, encode_body(held))) == ["welcome to somebody else"]


def test_a_bundle_of_nonsense_is_refused_frame_by_frame(swarm):
    reasons = say(swarm, Bundle((b"nonsense", b"SD" + bytes(200))))

    assert len(reasons) == 2
    assert all(reason.startswith("forwarded frame") for reason in reasons)


def test_a_bundle_in_a_bundle_is_not_opened(swarm):
    sealer = FrameSealer(PretendedIdentity(STRANGER), swarm.charter, 7, PretendedVerifier())
    inner = sealer.seal(Bundle((b"x",)))

    assert say(swarm, Bundle((inner.raw,))) == ["forwards what may not be forwarded"]


def test_asking_for_what_nobody_holds_is_answered_with_nothing(swarm):
    before = len(swarm.sent)
    say(swarm, Want(DIGESTS, (b"u" * 32,)))

    assert len(swarm.sent) == before


def test_unknown_digests_in_summaries_are_asked_for_twice_and_no_more(swarm):
    base = swarm.cores[0].status().base
    before = len(swarm.sent)
    for name in (b"1", b"2", b"3", b"4"):
        say(swarm, Summary(base, (name * 16,), reply=True))

    wants = [m for i, m in swarm.sent[before:] if i == 0 and isinstance(m, Want)]
    assert len(wants) == 2


@st.composite
def hostile(draw: st.DrawFn) -> tuple[int, object, bool]:
    """A well-formed message about nothing, or about the base everybody stands on."""
    kind = draw(st.sampled_from(list(KINDS.values())))
    return draw(st.sampled_from([STRANGER, 1])), draw(BY_KIND[kind]), draw(st.booleans())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(hostile(), min_size=1, max_size=6))
def test_no_message_stops_a_core(said):
    swarm = CoreSwarm(2)
    swarm.start(0, 1)
    assert swarm.run(swarm.all_finished(1))
    base = swarm.cores[0].status().base
    for index, message, aimed in said:
        field = {"base", "plan"} & set(message.__struct_fields__)
        if aimed and field and len(getattr(message, min(field))) == 32:
            message = structs.replace(message, **{min(field): base})  # noqa: PLW2901
        say(swarm, message, index=index)

    assert swarm.run(lambda: 0 in swarm.finished(2), limit_s=300)
