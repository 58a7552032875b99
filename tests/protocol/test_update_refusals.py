"""What one peer's update refuses to believe, and whom it reports."""

from typing import Any

import pytest

from swarmdem.identifiers import ModelHash
from swarmdem.protocol import events
from swarmdem.protocol.events import Fetch, Publish, Reject, Report, Send
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Ack, Final, GroupSkip, Mean
from tests.protocol.update_parts import PLAN_ID, SECOND, FakeSealer, peer_name
from tests.protocol.update_swarm import Swarm

MODEL = ModelHash(b"m" * 32)
OTHER = ModelHash(b"o" * 32)


class Room:
    """One flat group of five with the update of one plain member, driven by hand."""

    def __init__(self, shape: Any = (0, 1, 2, 3, 4), **settings: Any) -> None:
        self.swarm = Swarm(shape, **settings)
        self.root = self.swarm.hierarchy.root
        self.ranks = self.swarm.leaders[self.root.id]
        self.plain = [peer for peer in self.root.members if peer not in self.ranks]
        self.sealers = {peer: FakeSealer(peer, self.swarm.registry) for peer in self.root.members}
        self.update = self.swarm.machine(self.plain[0], self.swarm.digests)
        self.update.begin()

    def mean(self, **changes: Any) -> Mean:
        fields: dict[str, Any] = {
            "plan": PLAN_ID,
            "step": 0,
            "group": self.root.id,
            "term": 0,
            "weight": 5,
            "included": self.root.members,
            "model": MODEL,
            "model_bytes": 1000,
            "skips": (),
        }
        return Mean(**{**fields, **changes})

    def skip(self, elector: int) -> Frame:
        message = GroupSkip(plan=PLAN_ID, step=0, group=self.root.id, term=0)
        return self.sealers[[self.ranks[1], *self.plain][elector]].seal(message)

    def hear(self, sender: Any, message: Any, now: int = SECOND) -> list[events.Effect]:
        return self.update.on_frame(self.sealers[sender].seal(message), now)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": b"short"}, "the name of its model is malformed"),
        ({"model_bytes": 2**41}, "its model is too large"),
        ({"weight": 0}, "weight, model and peers included contradict each other"),
        ({"model": b""}, "weight, model and peers included contradict each other"),
        ({"included": ()}, "weight, model and peers included contradict each other"),
        ({"included": (b"x" * 16,)}, "peers included are not a sorted part of the group"),
        ({"weight": 6}, "its weight is not that of the peers included"),
        ({"term": 1}, "not the leader of this term"),
    ],
)
def test_a_mean_that_cannot_be_true_is_refused(changes, reason):
    room = Room()

    assert room.hear(room.ranks[0], room.mean(**changes)) == [Reject(room.ranks[0], reason)]


def test_peers_included_twice_or_out_of_order_are_refused():
    room = Room()
    for included in (room.root.members[::-1], room.root.members[:1] * 2):
        (effect,) = room.hear(room.ranks[0], room.mean(included=included, weight=len(included)))
        assert effect == Reject(room.ranks[0], "peers included are not a sorted part of the group")


def test_a_mean_that_includes_a_peer_set_apart_is_refused():
    room = Room(apart=[3])
    leader = room.ranks[0]

    assert room.hear(leader, room.mean()) == [Reject(leader, "it includes a peer that is set apart")]


def test_only_the_leader_of_a_term_is_believed():
    room = Room()

    assert room.hear(room.plain[1], room.mean()) == [Reject(room.plain[1], "not the leader of this term")]
    (fetch,) = room.hear(room.ranks[0], room.mean())
    assert (fetch.model, fetch.sources[:2]) == (MODEL, (room.ranks[0], room.ranks[1]))


def test_a_group_of_one_peer_has_no_second_leader_to_believe():
    swarm = Swarm([0])
    update = swarm.nodes[peer_name(0)].update
    update.begin()
    mean = Mean(PLAN_ID, 0, swarm.hierarchy.root.id, 1, 0, (), b"", 0, ())

    effects = update.on_frame(FakeSealer(peer_name(7), swarm.registry).seal(mean), SECOND)

    assert effects == [Reject(peer_name(7), "not the leader of this term")]


def test_frames_of_another_plan_step_or_group_are_ignored():
    room = Room()
    for changes in ({"plan": b"q" * 32}, {"step": 1}, {"group": b"g" * 16}):
        assert room.hear(room.ranks[0], room.mean(**changes)) == []


def test_the_root_has_no_result_but_its_mean():
    room = Room()
    final = Final(PLAN_ID, 0, room.root.id, 0, False, MODEL, 1000, ())

    assert room.hear(room.ranks[0], final) == [Reject(room.ranks[0], "the root's result is its mean")]


def test_two_results_for_one_term_are_reported_once_and_the_first_stays():
    room = Room()
    first = room.sealers[room.ranks[0]].seal(room.mean())
    second = room.sealers[room.ranks[0]].seal(room.mean(model=OTHER))
    room.update.on_frame(first, SECOND)

    effects = room.update.on_frame(second, SECOND)

    crime = events.Equivocated(room.ranks[0], first.id, second.id)
    assert effects == [Reject(room.ranks[0], "a second result for one term"), Report(crime)]
    assert room.update.on_frame(second, SECOND) == effects[:1]


def test_a_second_result_from_a_new_session_is_refused_but_no_crime():
    room = Room()
    room.hear(room.ranks[0], room.mean())
    restarted = FakeSealer(room.ranks[0], room.swarm.registry, session=2)

    effects = room.update.on_frame(restarted.seal(room.mean(model=OTHER)), SECOND)

    assert effects == [Reject(room.ranks[0], "a second result for one term")]


def test_an_announcement_is_acknowledged_when_its_model_is_here_and_again_when_repeated():
    room = Room()
    frame = room.sealers[room.ranks[0]].seal(room.mean())
    room.update.on_frame(frame, SECOND)
    assert room.update.on_frame(frame, SECOND) == []

    arrived = room.update.on_fetched(MODEL, SECOND)
    again = room.update.on_frame(frame, SECOND)

    acks = [effect for effect in (*arrived, *again) if isinstance(effect, Send)]
    assert [(ack.receiver, ack.frame.message) for ack in acks] == [(room.ranks[0], Ack(frame=frame.id))] * 2


def test_the_second_leader_is_believed_with_the_skips_of_more_than_half_of_the_electors():
    room = Room()  # four electors: the second leader and three plain members
    skips = tuple(room.skip(elector).raw for elector in range(3))

    (fetch,) = room.hear(room.ranks[1], room.mean(term=1, skips=skips))

    assert (fetch.model, fetch.sources[:2]) == (MODEL, (room.ranks[1], room.ranks[0]))


@pytest.mark.parametrize("case", ["half", "one twice", "forged", "another group", "the accused"])
def test_the_second_leader_is_refused_without(case):
    room = Room()
    two = (room.skip(0).raw, room.skip(1).raw)
    elsewhere = GroupSkip(plan=PLAN_ID, step=0, group=b"g" * 16, term=0)
    accused = GroupSkip(plan=PLAN_ID, step=0, group=room.root.id, term=0)
    third = {
        "half": (),
        "one twice": two[:1],
        "forged": (b"forged",),
        "another group": (room.sealers[room.plain[1]].seal(elsewhere).raw,),
        "the accused": (room.sealers[room.ranks[0]].seal(accused).raw,),
    }[case]

    effects = room.hear(room.ranks[1], room.mean(term=1, skips=two + third))

    assert effects == [Reject(room.ranks[1], "its skips do not give it the office")]


def test_a_result_of_a_term_this_peer_skipped_is_refused():
    room = Room()
    late = room.update.next_wakeup()
    assert late == 2 * SECOND
    (skip,) = room.update.on_wake(late)
    assert isinstance(skip, Publish)
    assert isinstance(skip.frame.message, GroupSkip)

    effects = room.hear(room.ranks[0], room.mean(), now=late)

    assert effects[0] == Reject(room.ranks[0], "this peer skipped its term")
    assert not any(isinstance(effect, Fetch) for effect in effects)


def test_a_skip_is_repeated_until_the_second_leader_acknowledges_it():
    room = Room()
    (skip,) = room.update.on_wake(2 * SECOND)
    again = 3 * SECOND
    assert room.update.next_wakeup() == again
    assert room.update.on_wake(again) == [skip]

    room.hear(room.ranks[1], Ack(frame=skip.frame.id), now=again)

    assert room.update.on_wake(again + SECOND) == []


def test_a_skip_of_a_peer_without_a_seat_is_refused():
    room = Room([[0, 1, 2, 3], [4, 5, 6, 7]])
    seats = {peer for child in room.root.children for peer in room.swarm.leaders[child]}
    stranger = next(peer for peer in room.root.members if peer not in seats and peer not in room.ranks)
    second = room.swarm.machine(room.ranks[1], room.swarm.digests)
    second.begin()

    frame = room.sealers[stranger].seal(GroupSkip(plan=PLAN_ID, step=0, group=room.root.id, term=0))

    assert second.on_frame(frame, SECOND) == [Reject(stranger, "not an elector of this group")]


def test_a_model_that_must_not_be_used_is_not_applied():
    room = Room()
    room.hear(room.ranks[0], room.mean())

    effects = room.update.on_fetch_failed(MODEL, SECOND)

    assert not any(isinstance(effect, events.Apply) for effect in effects)
    assert room.update.applied is None


def test_nobody_can_make_a_peer_fetch_after_the_end():
    room = Room()
    end = 600 * SECOND
    (report, *_) = room.update.on_wake(end)
    assert report.event.reason == "no result came in time"

    effects = room.hear(room.ranks[0], room.mean(), now=end)

    assert not any(isinstance(effect, Fetch | events.Apply) for effect in effects)
