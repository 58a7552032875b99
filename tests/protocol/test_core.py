"""Stories of whole cores: founding, rounds, deaths, joining, restarts, refusals."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.protocol.certificates import open_certificate
from swarmdem.protocol.election import rank
from swarmdem.wire.messages import FOUNDING, NORMAL, PROVISIONAL, Certificate, Digest, Proposal, Skip, Vote
from swarmdem.wire.shortened import ShortProposal
from tests.protocol.core_swarm import DELAY, CoreSwarm, name


def running(count: int, rounds: int = 1, **settings: object) -> CoreSwarm:
    swarm = CoreSwarm(count, **settings)
    swarm.start(*range(count))
    assert swarm.run(swarm.all_finished(rounds))
    return swarm


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_a_swarm_founds_itself_and_every_peer_applies_every_round(count):
    swarm = running(count, rounds=3)

    for number in (1, 2, 3):
        finished = swarm.finished(number)
        assert len(finished) == count
        assert all(e.applied and e.certified for e in finished.values())
        assert len({e.plan for e in finished.values()}) == 1


def test_all_compute_one_tree():
    swarm = running(8, rounds=2)

    for number in (1, 2):
        trees = {e.tree for _, e in swarm.of(events.Certified) if e.round == number}
        assert len(trees) == 1


def test_all_train_against_the_genesis_of_the_founding_proposer():
    swarm = running(5)

    references = {train.reference for _, train in swarm.trained}
    founder = next(i for i, m in swarm.sent if isinstance(m, Proposal))
    assert references == {name("first", founder)}


def test_a_genesis_named_by_the_charter_is_everybodys():
    chosen = name("chosen")
    swarm = running(3, genesis=chosen)

    assert {train.reference for _, train in swarm.trained} == {chosen}


def test_nothing_is_pulled_before_the_first_update():
    swarm = running(3, rounds=2)

    pulls = {(train.round, train.pull) for _, train in swarm.trained}
    assert {(1, False), (2, True), (3, True)} >= pulls >= {(1, False), (2, True)}


def test_rounds_count_from_one():
    swarm = running(3, rounds=2)

    assert [e.round for i, e in swarm.of(events.Certified) if i == 0][:3] == [0, 1, 2]
    assert [e.mode for i, e in swarm.of(events.Certified) if i == 0][:3] == [FOUNDING, NORMAL, NORMAL]


def test_a_vote_is_cast_once_per_term_and_is_on_disk_before_it_is_sent():
    swarm = CoreSwarm(4)
    order: list[tuple[int, str]] = []
    perform = swarm._perform

    def watch(index, effect):
        if isinstance(effect, events.Persist) and effect.key in {"ballots", "founding"}:
            order.append((index, "disk"))
        if isinstance(effect, events.Publish) and isinstance(effect.frame.message, Vote):
            order.append((index, "vote"))
        perform(index, effect)

    swarm._perform = watch
    swarm.start(0, 1, 2, 3)
    swarm.run(swarm.all_finished(1))

    for index in range(4):
        mine = [what for i, what in order if i == index]
        assert mine.index("disk") < mine.index("vote")
    votes = [(i, m.base, m.mode, m.term, m.plan) for i, m in swarm.sent if isinstance(m, Vote)]
    assert len({v[:4] for v in votes}) == len(set(votes))


def test_when_the_proposer_dies_the_next_rank_leads_after_the_skips():
    swarm = running(5)
    base = swarm.cores[0].status().base
    leader = swarm.index(rank([swarm.peer(i) for i in range(5)], base)[0])
    swarm.kill(leader)

    assert swarm.run(swarm.all_finished(2))
    assert all(e.certified and e.applied for e in swarm.finished(2).values())
    assert {e.term for _, e in swarm.of(events.Certified) if e.round == 2} == {1}
    assert any(isinstance(m, Skip) for _, m in swarm.sent)


def test_a_lost_proposal_is_asked_for_when_votes_name_it():
    swarm = running(5)
    swarm.lose = lambda frame, receiver: (
        isinstance(frame.message, Proposal | ShortProposal) and receiver != swarm.index(frame.sender)
    )
    assert swarm.run(swarm.all_finished(2))

    assert all(e.certified and e.applied for e in swarm.finished(2).values())


def test_a_peer_that_dies_is_left_out_and_the_round_is_still_certified():
    swarm = running(5)
    swarm.kill(4)

    assert swarm.run(swarm.all_finished(3))
    assert all(e.certified and e.applied for e in swarm.finished(3).values())
    last = next(e for _, e in swarm.of(events.Certified) if e.round == 3)
    assert last.peers == tuple(sorted(swarm.peer(i) for i in range(4)))


def test_half_of_two_goes_on_uncertified_and_then_alone_certified():
    swarm = running(2)
    swarm.kill(1)

    assert swarm.run(lambda: 0 in swarm.finished(3))
    certified = [e for _, e in swarm.of(events.Certified) if e.round >= 2]
    assert certified[0].mode == PROVISIONAL
    assert certified[1].mode == NORMAL
    assert certified[1].peers == (swarm.peer(0),)


def test_a_peer_that_comes_back_from_its_disk_joins_the_swarm_again():
    swarm = running(3)
    swarm.kill(2)
    assert swarm.run(swarm.all_finished(3))

    swarm.start(2)
    assert swarm.run(lambda: len(swarm.finished(6)) == 3)
    assert all(e.applied and e.certified for e in swarm.finished(6).values())
    assert len(swarm.bases()) == 1


def test_when_all_restart_from_their_disks_the_swarm_goes_on():
    swarm = running(3, rounds=2)
    for index in range(3):
        swarm.kill(index)
    swarm.start(0, 1, 2)

    assert swarm.run(swarm.all_finished(4))
    assert all(e.certified and e.applied for e in swarm.finished(4).values())


def test_a_restarted_peer_publishes_its_stored_digest_instead_of_a_second_one():
    swarm = running(3)
    swarm.training = lambda index: 60 * SECOND if index == 1 else 3 * SECOND
    published = lambda: [m for i, m in swarm.sent if i == 0 and isinstance(m, Digest) and m.round == 2]  # noqa: E731
    assert swarm.run(lambda: bool(published()))
    swarm.kill(0)
    swarm.start(0)
    swarm.run(lambda: False, limit_s=1)

    again = published()
    assert len(again) >= 2
    assert len({m.model for m in again}) == 1
    assert not [e for _, e in swarm.of(events.Equivocated)]


def test_a_late_peer_is_welcomed_with_the_newest_certificate_and_takes_part():
    swarm = CoreSwarm(3, founders=3)
    swarm.start(0, 1, 2)
    assert swarm.run(swarm.all_finished(2))

    swarm.start(3)
    assert swarm.run(
        lambda: any(3 in swarm.finished(r) and swarm.finished(r)[3].applied for r in range(3, 7))
    )


def test_a_peer_with_another_charter_is_told_which_settings_differ():
    swarm = running(2)
    stranger = CoreSwarm(2, mixing=0.7)
    stranger.start(7)
    stranger.run(lambda: bool(stranger.sent), limit_s=1)
    hello = next(e for e in stranger.cores[7].handle(events.LinkChanged(up=True), stranger.now))
    swarm.sessions[7] = 1
    before = len(swarm.sent)
    swarm.deliver(hello.frame, 0, 1)
    swarm.run(lambda: False, limit_s=1)

    refusals = [m for _, m in swarm.sent[before:] if type(m).__name__ == "Refusal"]
    assert refusals
    assert refusals[0].settings == ("mixing",)


def test_while_nothing_comes_back_nobody_skips_or_proposes():
    swarm = running(3)
    swarm.lose = lambda frame, receiver: True
    before = len(swarm.sent)
    swarm.run(lambda: False, limit_s=120)

    said = {type(m).__name__ for _, m in swarm.sent[before:]}
    assert "Skip" not in said
    assert "Proposal" not in said


def test_an_outage_of_the_only_broker_costs_time_and_nothing_else():
    swarm = running(4)
    swarm.lose = lambda frame, receiver: True
    swarm.run(lambda: False, limit_s=200)
    swarm.lose = lambda frame, receiver: False

    assert swarm.run(swarm.all_finished(3), limit_s=60)
    assert all(e.certified and e.applied for e in swarm.finished(3).values())


def test_a_slow_peer_is_not_waited_for_beyond_the_pace_of_the_others():
    swarm = running(5)
    swarm.training = lambda index: (200 if index == 3 else 3) * SECOND
    began = swarm.now

    assert swarm.run(lambda: {0, 1, 2, 4} <= set(swarm.finished(2)))
    assert swarm.now - began < 40 * SECOND


def test_training_that_fails_is_tried_again_after_a_patience():
    swarm = running(3)
    base = swarm.cores[0].status().base
    orders = len([t for i, t in swarm.trained if i == 0])
    swarm.give(0, events.TrainingFailed(base, "out of memory"))
    swarm.training = lambda index: 30 * SECOND if index else 3 * SECOND

    assert ("training failed: out of memory") in [e.what for _, e in swarm.of(events.Degraded)]
    assert swarm.run(lambda: len([t for i, t in swarm.trained if i == 0]) > orders, limit_s=9)


def test_leaving_says_goodbye_and_the_others_do_not_wait():
    swarm = running(4)
    swarm.give(3, events.LeaveRequested())
    swarm.kill(3)
    began = swarm.now

    assert swarm.run(swarm.all_finished(2))
    assert swarm.now - began < 2 * 3 * SECOND + 20 * DELAY
    assert swarm.cores[0].status().peers == tuple(sorted(swarm.peer(i) for i in range(3)))


def test_a_certificate_without_enough_votes_is_refused():
    swarm = running(3)
    record = swarm.cores[0].round_record()
    sealer = swarm.cores[0]._sealer

    assert open_certificate(record.certificate, sealer, swarm.charter) is not None
    short = Certificate(record.certificate.plan, record.certificate.term, record.certificate.votes[:1])
    assert open_certificate(short, sealer, swarm.charter) is None
    other_term = Certificate(record.certificate.plan, record.certificate.term + 1, record.certificate.votes)
    assert open_certificate(other_term, sealer, swarm.charter) is None


def test_the_record_of_a_round_holds_every_listed_digest():
    swarm = running(4)
    record = swarm.cores[2].round_record()

    assert sorted(record.digests) == [swarm.peer(i) for i in sorted(range(4), key=swarm.peer)]


def test_a_peer_falls_silent_when_its_key_is_started_again_elsewhere():
    swarm = running(3)
    copy = CoreSwarm(3)
    copy.sessions[1] = 7
    copy.start(1)
    [said] = [
        e.crossing for e in copy.cores[1].handle(events.LeaveRequested(), 0) if isinstance(e, events.Publish)
    ]
    before = len(swarm.sent)
    swarm.give(1, events.Received(said))

    assert [i for i, _ in swarm.of(events.KeyRefused)] == [1]
    swarm.run(lambda: False, limit_s=10)
    assert 1 not in {i for i, _ in swarm.sent[before:]}


def test_a_swarm_that_dies_between_certificate_and_update_loses_that_round_and_no_other():
    swarm = CoreSwarm(4)
    swarm.start(0, 1, 2, 3)
    certified = lambda: {i for i, e in swarm.of(events.Certified) if e.round == 2}  # noqa: E731
    assert swarm.run(lambda: len(certified()) == 4)
    for index in range(4):
        swarm.kill(index)
    assert swarm.finished(2) == {}

    swarm.start(0, 1, 2, 3)

    assert swarm.run(swarm.all_finished(3), limit_s=100)
    assert swarm.finished(2) == {}
    assert all(event.certified and event.applied for event in swarm.finished(3).values())
