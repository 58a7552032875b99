"""Every sentence that explains a round, from cores in virtual time in which its cause is made to happen."""

import re

import pytest

from swarmdem.identifiers import SECOND, GroupId, brief
from swarmdem.node.explaining import Explainer
from swarmdem.node.trainer import TrainingFinished
from swarmdem.node.troubles import Troubles
from swarmdem.protocol import events
from swarmdem.protocol.election import rank
from tests.protocol.core_swarm import CoreSwarm


class ToldSwarm(CoreSwarm):
    """Cores whose reports are explained, each peer's apart."""

    def __init__(self, count, **settings):
        super().__init__(count, **settings)
        self.told = {}
        self.troubles = {}
        self.explainers = {}

    def start(self, *indices):
        super().start(*indices)
        for index in indices:
            self.troubles[index] = Troubles(lambda: self.now / SECOND)
            self.explainers[index] = Explainer(
                self.peer(index), 8.0, self.troubles[index], lambda: self.now / SECOND
            )
            status = self.cores[index].status()
            self.explainers[index].resume(status.base, status.round)
            self.told.setdefault(index, [])

    def note(self, index, event):
        self.troubles[index].note(event)
        record = self.cores[index].round_record
        self.told[index] += self.explainers[index].note(event, record)

    def _handle(self, index, event):
        if isinstance(event, events.Trained):
            number = self.cores[index].status().round + 1
            self.note(index, TrainingFinished(number, 0.5, 10, 1.0, event.duration_us / SECOND))
        super()._handle(index, event)

    def _perform(self, index, effect):
        super()._perform(index, effect)
        if isinstance(effect, events.Report):
            self.note(index, effect.event)

    def why(self, index, about):
        return [told.why for told in self.told[index] if told.about == about]

    def names(self, *indices):
        return ", ".join(sorted(brief(self.peer(index)) for index in indices))


def started(count, **settings):
    swarm = ToldSwarm(count, **settings)
    swarm.start(*range(count))
    assert swarm.run(swarm.all_finished(1))
    return swarm


def test_a_calm_swarm_needs_no_explanation():
    swarm = started(4)
    assert swarm.run(swarm.all_finished(4))

    assert swarm.told == {0: [], 1: [], 2: [], 3: []}


def test_a_round_without_a_majority_names_those_that_were_not_heard():
    swarm = started(5)
    for index in (2, 3, 4):
        swarm.kill(index)
    assert swarm.run(lambda: swarm.why(0, "uncertified"))

    [why] = swarm.why(0, "uncertified")
    assert why == (
        "round 2 has no votes of a majority and goes on uncertified: "
        f"of the 5 peers that could vote, 3 were not heard in time: {swarm.names(2, 3, 4)}"
    )


def test_a_second_attempt_names_whose_turn_it_was():
    swarm = started(5)
    base = swarm.cores[0].status().base
    first = rank((swarm.peer(i) for i in range(5)), base)[0]
    swarm.kill(swarm.index(first))
    other = (swarm.index(first) + 1) % 5
    assert swarm.run(lambda: swarm.why(other, "late"))

    assert swarm.why(other, "late") == [
        f"round 2 took 2 attempts: {brief(first)} had the turn "
        "and gave no proposal that enough peers took in time"
    ]


def test_rounds_missed_through_an_outage_tell_how_long_it_was():
    swarm = started(4)
    swarm.lose = lambda frame, receiver: 3 in {receiver, swarm.index(frame.sender)}
    assert swarm.run(lambda: swarm.cores[0].status().round >= 4)
    swarm.lose = lambda frame, receiver: False
    assert swarm.run(lambda: swarm.why(3, "missed"))

    [why] = swarm.why(3, "missed")
    assert re.fullmatch(
        r"rounds 2 to \d went by without this peer: no broker brings back what this peer sends \(for \d+ s\)",
        why,
    )


def test_a_round_missed_while_the_peer_was_not_running_says_so():
    swarm = started(4)
    swarm.kill(3)
    assert swarm.run(lambda: swarm.cores[0].status().round >= 3)
    swarm.start(3)
    assert swarm.run(lambda: swarm.why(3, "missed"))

    assert swarm.why(3, "missed")[0].endswith("went by without this peer: it was not running")


def test_a_peer_left_out_because_it_trained_too_long_is_told_so():
    swarm = started(4)
    swarm.training = lambda index: (90 if index == 3 else 3) * SECOND
    assert swarm.run(lambda: swarm.why(3, "left out"), 600)

    assert re.fullmatch(
        r"round \d does not list this peer: its training, begun \d+\.\d s ago, was not finished",
        swarm.why(3, "left out")[0],
    )


def test_a_peer_left_out_because_of_its_disk_is_told_so():
    swarm = started(4)
    what = "what this peer must keep cannot be written (No space left on device); it goes on in memory"
    swarm.note(3, events.Degraded(what))
    swarm.lose = lambda frame, receiver: swarm.index(frame.sender) == 3 and receiver != 3
    assert swarm.run(lambda: swarm.why(3, "left out"))

    assert swarm.why(3, "left out") == [f"round 2 does not list this peer: {what} (still)"]


def test_a_failed_training_is_the_cause_told():
    swarm = started(4)
    swarm.note(3, events.Degraded("training failed: the camera is covered", passing=True))
    swarm.lose = lambda frame, receiver: swarm.index(frame.sender) == 3 and receiver != 3
    assert swarm.run(lambda: swarm.why(3, "left out"))

    assert swarm.why(3, "left out") == [
        "round 2 does not list this peer: training failed: the camera is covered"
    ]


def test_a_newcomer_is_told_that_the_next_round_can_list_it():
    swarm = started(3)
    swarm.start(7)
    assert swarm.run(lambda: 7 in swarm.finished(2) or swarm.why(7, "left out"))

    assert swarm.why(7, "left out")[0].endswith("does not list this peer: it has just joined")


def test_a_round_without_a_result_names_the_aggregators_and_who_is_lost():
    swarm = started(6, levels=0)
    record = swarm.cores[3].round_record()
    group = swarm.cores[3].status().group
    elected = {e.rank: i for i, e in swarm.of(events.Elected) if (e.plan, e.group) == (record.plan_id, group)}
    first, second = swarm.peer(elected[0]), swarm.peer(elected[1])
    swarm.note(3, events.PeerSeen(first, present=False))
    finished = events.RoundFinished(record.plan_id, 2, True, False, None, group, "no result came in time")
    swarm.note(3, finished)

    both = ", ".join(sorted((brief(first), brief(second))))
    assert swarm.why(3, "no update") == [
        "round 2 ended here without a result: no result came in time; "
        f"its group was to be averaged by {both}, of whom {brief(first)} went out of sight"
    ]
    swarm.note(elected[1], finished)
    assert swarm.why(elected[1], "no update") == [
        "round 2 ended here without a result: no result came in time; "
        f"its group was to be averaged by {brief(first)}, this peer"
    ]


def test_an_update_that_the_next_certificate_overtook_is_told():
    swarm = started(4)
    certified = events.Certified(b"p" * 32, b"b" * 32, 2, 0, 0, (swarm.peer(3),), b"")
    swarm.note(3, certified)
    swarm.note(3, events.Certified(b"q" * 32, b"p" * 32, 3, 0, 0, (swarm.peer(3),), b""))

    assert swarm.why(3, "no update") == [
        "the certificate of round 3 came before the result of round 2; its update was dropped"
    ]


def test_a_slow_round_names_who_was_waited_for():
    swarm = started(4)
    assert swarm.run(swarm.all_finished(5))
    swarm.training = lambda index: (20 if index == 2 else 3) * SECOND
    assert swarm.run(lambda: swarm.why(0, "late"), 600)

    assert re.fullmatch(
        rf"round \d took \d+\.\d s, \d\.\d s are usual: {brief(swarm.peer(2))} did not come in time, and the "
        r"others waited",
        swarm.why(0, "late")[0],
    )


def test_a_slow_round_names_who_trained_for_long():
    swarm = started(4)
    assert swarm.run(swarm.all_finished(5))
    swarm.training = lambda index: (12 if index == 2 else 3) * SECOND
    assert swarm.run(lambda: swarm.why(0, "late"), 600)

    assert re.fullmatch(
        rf"round \d took \d+\.\d s, \d\.\d s are usual: {brief(swarm.peer(2))} trained for 12\.0 s",
        swarm.why(0, "late")[0],
    )


def test_an_aggregator_names_whose_models_are_not_in_a_mean():
    swarm = started(4)
    record = swarm.cores[0].round_record()
    root = record.base.hierarchy.groups[0]
    mean = events.GroupAveraged(
        record.plan_id, 1, root.id, root.level, 0, None, 1, (swarm.peer(0), swarm.peer(1)), ()
    )
    swarm.note(0, events.PeerSeen(swarm.peer(3), present=False))
    swarm.note(0, mean)

    assert swarm.why(0, "incomplete") == [
        f"group {brief(root.id)} of level {root.level} was averaged without {swarm.names(2, 3)}: "
        f"no model of theirs came in time; {swarm.names(3)} went out of sight"
    ]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (events.KeyRefused(), "its key was started again elsewhere, and later"),
        (
            events.CharterRefused(b"\x01" * 16, ("mixing", "pull")),
            "peer 01010101 says the swarm runs under another charter; other settings: mixing, pull",
        ),
    ],
)
def test_why_a_peer_falls_silent_is_told(event, why):
    swarm = started(1)
    swarm.note(0, event)

    assert swarm.why(0, "left") == [why]


def test_why_a_peer_leaves_is_told():
    explainer = started(1).explainers[0]

    assert explainer.left(None).why == "the application asked this peer to leave"
    assert explainer.left(ValueError("no such layer")).why == "it broke: ValueError: no such layer"


def test_a_group_that_was_cut_off_is_told_by_its_aggregator():
    swarm = started(2)
    swarm.note(0, events.GroupFinished(b"p" * 32, 1, GroupId(b"\x0a" * 16), 1, 0, True, b"m" * 32))

    assert swarm.why(0, "incomplete") == [
        "group 0a0a0a0a: no result of the group above came in time; the group's own mean became its result"
    ]
