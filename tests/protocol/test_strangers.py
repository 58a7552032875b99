"""What strangers and restarted peers say must not take over, stop or fill up those who listen."""

from types import SimpleNamespace

import pytest
from msgspec import structs

from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.protocol import events
from swarmdem.protocol.checking import _mean_flaw
from swarmdem.protocol.events import Fetch
from swarmdem.protocol.gathering import Gathering, Offer
from swarmdem.protocol.plans import ROUND_LEAP_MAX
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.codec import FrameSealer, encode_plan, plan_id
from swarmdem.wire.messages import (
    DIGESTS,
    FOUNDING,
    NORMAL,
    PRESENCE,
    PROVISIONAL,
    Certificate,
    Digest,
    Entry,
    Fork,
    GroupEntry,
    Mean,
    Ping,
    Plan,
    Proposal,
    SignedVote,
    Vote,
    Want,
)
from tests.protocol.core_swarm import CoreSwarm

STRANGER = 99
GROUP = b"g" * 16


@pytest.fixture
def swarm() -> CoreSwarm:
    swarm = CoreSwarm(3)
    swarm.start(0, 1, 2)
    assert swarm.run(swarm.all_finished(1))
    return swarm


def sealer(swarm: CoreSwarm, index: int = STRANGER, session: int = 7) -> FrameSealer:
    swarm.sessions.setdefault(index, session)
    return FrameSealer(PretendedIdentity(index), swarm.charter, session, PretendedVerifier())


def usurping(swarm: CoreSwarm, mode: int) -> tuple[FrameSealer, bytes, Vote]:
    """Return a plan on the base of all that lists the stranger alone, and the stranger's vote for it."""
    stranger, base = sealer(swarm), swarm.cores[0].round_record().base
    listed = Entry(stranger.peer, b"d" * 32, GROUP, elector=mode == NORMAL, listed=True)
    others = () if mode == NORMAL else base.electorate
    entries = [listed, *(Entry(peer, b"", b"", elector=True, listed=False) for peer in others)]
    plan = Plan(
        base.id, base.round + 1, mode, (), 0, base.seed, base.reference, 0, 1,
        tuple(sorted(entries, key=lambda entry: entry.peer)), (GroupEntry(GROUP, 4, b""),),
    )  # fmt: skip
    body = encode_plan(plan)
    return stranger, body, Vote(base.id, mode, 0, plan_id(body))


def test_a_provisional_plan_without_us_is_not_followed_while_the_majority_is_there(swarm):
    stranger, body, vote = usurping(swarm, PROVISIONAL)
    swarm.give(0, events.Received(stranger.seal(Proposal(PROVISIONAL, 0, body, ()))))
    swarm.give(0, events.Received(stranger.seal(vote)))

    assert swarm.cores[0].status().base != plan_id(body)


def test_a_certificate_that_chooses_its_own_electors_is_refused(swarm):
    stranger, body, vote = usurping(swarm, NORMAL)
    signed = stranger.seal(vote)
    proof = SignedVote(signed.public_key, signed.signature)
    swarm.give(0, events.Received(stranger.seal(Certificate(body, 0, (proof,)))))

    assert swarm.rejects[-1] == (0, "certificate of another electorate")
    assert swarm.cores[0].status().base != plan_id(body)


INVENTED = {
    "of an unknown base, far ahead": (b"u" * 32, 500, ()),
    "of an unknown base, in a longer lineage": (b"u" * 32, 500, (Fork(b"f" * 16, b"u" * 32, 400),)),
}


@pytest.mark.parametrize(("base", "number", "lineage"), INVENTED.values(), ids=INVENTED.keys())
@pytest.mark.parametrize("index", [STRANGER, 1], ids=["a stranger", "an elector"])
def test_a_certificate_that_one_key_invents_is_not_stood_on(swarm, base, number, lineage, index):
    """Its votes are genuine and suffice by its own flags, and who brings it says that it stands on it."""
    liar, ours = sealer(swarm, index, 1), swarm.cores[0].round_record().base
    listed = Entry(liar.peer, b"d" * 32, GROUP, elector=True, listed=True)
    body = encode_plan(
        Plan(base, number, NORMAL, lineage, 0, ours.seed, ours.reference, 0, 1, (listed,),
             (GroupEntry(GROUP, 4, b""),))
    )  # fmt: skip
    signed = liar.seal(Vote(base, NORMAL, 0, plan_id(body)))
    proof = SignedVote(signed.public_key, signed.signature)
    for _ in range(3):
        for receiver in (0, 2):
            swarm.give(receiver, events.Received(liar.seal(Certificate(body, 0, (proof,)))))
            swarm.give(receiver, events.Received(liar.seal(Ping(plan_id(body)))))
        swarm.run(lambda: False, limit_s=3)

    assert plan_id(body) not in {swarm.cores[i].status().base for i in (0, 2)}
    assert swarm.run(lambda: {0, 2} <= set(swarm.finished(3)))


def test_a_fork_that_one_elector_made_up_carries_nobody_away(swarm):
    """A provisional child of everybody's base that lists its maker alone, and a certified child of that."""
    liar, ours = sealer(swarm, 1, 1), swarm.cores[0].round_record().base
    others = [
        Entry(peer, b"", b"", elector=True, listed=False) for peer in ours.electorate if peer != liar.peer
    ]
    listed = Entry(liar.peer, b"d" * 32, GROUP, elector=True, listed=True)
    lineage = (Fork(b"f" * 16, ours.id, ours.round),)
    groups, base, mode, entries = (GroupEntry(GROUP, 4, b""),), ours.id, PROVISIONAL, [listed, *others]
    for number in (2, 3):
        entries.sort(key=lambda entry: entry.peer)
        plan = Plan(base, number, mode, lineage, 0, ours.seed, ours.reference, 0, 1, tuple(entries), groups)
        body = encode_plan(plan)
        signed = liar.seal(Vote(base, mode, 0, plan_id(body)))
        proof = SignedVote(signed.public_key, signed.signature)
        swarm.give(0, events.Received(liar.seal(Certificate(body, 0, (proof,)))))
        base, mode, entries = plan_id(body), NORMAL, [listed]
    swarm.run(lambda: False, limit_s=1)

    assert swarm.cores[0].status().base == ours.id
    assert swarm.run(lambda: {0, 2} <= set(swarm.finished(2)))
    assert all(event.certified for event in swarm.finished(2).values())


def test_a_certificate_without_a_reference_is_refused():
    swarm = CoreSwarm(2)
    swarm.start(0)
    swarm.run(lambda: swarm.now >= 20_000, limit_s=1)
    stranger, base = sealer(swarm), swarm.cores[0]._base.id
    listed = Entry(stranger.peer, b"d" * 32, b"", elector=False, listed=True)
    body = encode_plan(Plan(base, 0, FOUNDING, (), 0, 0, b"", 0, 1, (listed,), ()))
    signed = stranger.seal(Vote(base, FOUNDING, 0, plan_id(body)))
    proof = SignedVote(signed.public_key, signed.signature)
    swarm.give(0, events.Received(stranger.seal(Certificate(body, 0, (proof,)))))

    assert swarm.rejects[-1] == (0, "certificate without the votes it needs")


def test_a_vote_in_the_last_term_does_not_stop_the_founding():
    swarm = CoreSwarm(3)
    swarm.start(0, 1, 2)
    swarm.run(lambda: swarm.now >= 20_000)
    base = swarm.cores[0]._base.id
    for kind in (STRANGER, 1):
        vote = sealer(swarm, kind, 1).seal(Vote(base, FOUNDING, 0xFFFF, b"p" * 32))
        for index in (0, 2):
            swarm.give(index, events.Received(vote))

    assert swarm.run(swarm.all_finished(1), limit_s=120)


def test_a_digest_cannot_use_up_the_numbers_of_rounds(swarm):
    base = swarm.cores[0].round_record().base
    digest = Digest(
        base.id, 0xFFFFFFFF, 1, base.seed, base.reference, 1, b"m" * 32, 10, 0, 1, 1.0, b"\x01" * 16
    )
    frame = sealer(swarm).seal(digest)
    for index in range(3):
        swarm.give(index, events.Received(frame))

    assert swarm.rejects[-1] == (2, "a round out of reach")
    assert swarm.run(lambda: all(core.status().round > 2 for core in swarm.cores.values()))
    assert swarm.cores[0].status().round < ROUND_LEAP_MAX


def test_votes_of_one_stranger_take_bounded_memory(swarm):
    base, stranger = swarm.cores[0].status().base, sealer(swarm)
    for count in range(100):
        vote = Vote(base, PROVISIONAL, count, count.to_bytes(32, "big"))
        swarm.give(0, events.Received(stranger.seal(vote)))
    own = sealer(swarm, 1, 1).seal(Vote(base, NORMAL, 0, b"q" * 32))
    swarm.give(0, events.Received(own))
    voting = swarm.cores[0]._round.agreement.voting

    assert len(list(voting.ballots.choices())) <= 16 + 4
    assert b"q" * 32 in voting.proposals._unknown, "a stranger's plans keep no elector's from being asked for"


def test_peers_behind_us_take_bounded_memory(swarm):
    old = next(iter(swarm.cores[0]._catchup.lineages.older))
    for index in range(1000, 2100):
        swarm.give(0, events.Received(sealer(swarm, index).seal(Ping(old))))

    assert len(swarm.cores[0]._catchup._answers) <= 1024


def test_what_is_wanted_many_times_is_sent_once(swarm):
    held = swarm.cores[0]._round.agreement.s.digests.by_id
    assert swarm.run(lambda: bool(held) or bool(swarm.cores[0]._round.agreement.s.digests.by_id))
    digest = next(iter(swarm.cores[0]._round.agreement.s.digests.by_id))
    before = len(swarm.sent)
    swarm.give(0, events.Received(sealer(swarm).seal(Want(DIGESTS, (digest,) * 100))))

    assert [len(message.frames) for _, message in swarm.sent[before:]] == [1]


def test_a_digest_said_again_after_a_restart_is_taken_though_its_session_is_older(swarm):
    core = swarm.cores[0]
    base = core.round_record().base
    swarm.give(0, events.Received(sealer(swarm, STRANGER, 8).seal(Ping(base.id))))
    digest = Digest(base.id, 2, 1, base.seed, base.reference, 1, b"m" * 32, 10, 0, 1, 1.0, b"\x01" * 16)
    earlier = sealer(swarm, STRANGER, 7)
    swarm.give(0, events.Received(earlier.seal(digest)))
    swarm.give(0, events.Received(earlier.seal(Ping(base.id))))

    assert sealer(swarm).peer in core._round.s.digests.current
    assert swarm.rejects[-1] == (0, "frame of an earlier session")


def test_a_swarm_survives_more_forks_than_a_plan_carries():
    swarm = CoreSwarm(2)
    swarm.start(0, 1)
    assert swarm.run(swarm.all_finished(1))
    for _ in range(66):
        swarm.kill(1)
        reached = swarm.cores[0].status().round + 2
        assert swarm.run(lambda: swarm.cores[0].status().round >= reached)  # noqa: B023 - called at once
        swarm.start(1)
        both = lambda: len(swarm.cores[0].round_record().base.electorate) == 2  # noqa: E731
        assert swarm.run(lambda: both() and len(swarm.bases()) == 1)  # noqa: B023 - called at once


def test_two_sources_of_one_model_are_both_asked():
    gathering = Gathering([b"a", b"b"])
    model = ModelHash(b"m" * 32)
    for source in (PeerId(b"a"), PeerId(b"b")):
        gathering.offer(source, Offer(Fetch(model, 10, (source,)), 1, (source,)))

    assert gathering.fetches[model].sources == (b"a", b"b")


def test_a_mean_cannot_weigh_more_than_its_peers_can():
    known, unknown = PeerId(b"a" * 16), PeerId(b"b" * 16)
    digest = Digest(b"b" * 32, 1, PRESENCE, 0, b"", 3, b"", 0, 0, 0, 0.0, b"")
    desk = SimpleNamespace(digests={known: digest}, start=SimpleNamespace(apart=frozenset()))
    view = SimpleNamespace(group=SimpleNamespace(members=(known, unknown)))
    mean = Mean(b"p" * 32, 0, GROUP, 0, 2**64 - 1, (known, unknown), b"m" * 32, 10, ())

    assert _mean_flaw(desk, view, mean) == "its weight is not that of the peers included"
    assert _mean_flaw(desk, view, structs.replace(mean, weight=4)) == ""
