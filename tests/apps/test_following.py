"""Reports on their way to rows and lines."""

from collections import Counter

import pytest

from swarmdem.apps import following
from swarmdem.apps.following import Follower
from swarmdem.apps.gather import RoundBook
from swarmdem.apps.pipes import Counts, Failed, Passes, PeerRound, Usage
from swarmdem.apps.settings import SwarmSettings
from swarmdem.errors import TransportError

DIED = Failed(error="worker 1 ended (killed by signal 9)", expected=False)


def test_a_group_around_a_single_other_one_is_not_counted_twice():
    groups = [{"members": ["a", "b", "c"]}, {"members": ["a", "b"]}, {"members": ["a", "b"]}]

    assert following._groups({"groups": groups}) == 2


class View:
    def __init__(self):
        self.said, self.rows = [], []

    def say(self, message):
        self.said.append(message)

    def row(self, row, groups, left_s):
        self.rows.append(row)


class Folder:
    def __init__(self):
        self.chosen = []

    def note_choice(self, setting, value, **more):
        self.chosen.append((setting, value, more))

    def append_round(self, row):
        """Take a row."""

    def append_tree(self, row):
        """Take a tree."""


@pytest.fixture
def follower():
    """Of three peers in two workers, of which each is started again once."""
    starts = Counter()

    def again(worker):
        starts[worker] += 1
        return 1.0 if starts[worker] == 1 else None

    book = RoundBook(evaluated=lambda round: False, straggle_s=60.0, grouped=False)
    return Follower(
        SwarmSettings(peers=3, rounds=9), Folder(), View(), peers=("aa", "bb", "cc"), shares=((0,), (1, 2)),
        book=book, cpu_s=lambda: 0.0, again=again,
    )  # fmt: skip


def ended(follower, peers, round):
    for peer in peers:
        counts = Counts(bytes_sent=10)
        report = PeerRound(
            peer=peer,
            round=round,
            certificate="c",
            certified=True,
            applied=True,
            counts=counts,
            usage=Usage(),
        )
        follower.take(0 if peer == "aa" else 1, report, float(round))
    follower.over(float(round))
    return [(row["round"], row["peers"]) for row in follower._view.rows]


def test_peers_of_a_worker_that_is_started_again_are_waited_for_once_they_are_back(follower):
    assert ended(follower, ["aa", "bb", "cc"], 1) == [(1, 3)]
    follower.take(1, DIED, 1.5)

    assert ended(follower, ["aa"], 2)[-1] == (2, 1)
    assert ended(follower, ["aa", "bb", "cc"], 3)[-1] == (3, 3)
    assert ended(follower, ["aa"], 4)[-1] == (3, 3), "the fourth is not whole without them"
    assert follower._view.said == [
        "worker 1 ended (killed by signal 9); it is started again in 1 s, and its 2 peers with it"
    ]


def test_how_a_workers_peers_train_is_written_down(follower):
    follower.take(1, Passes(together=True, why="2.17 times as fast in a trial"), 1.0)

    assert follower._folder.chosen == [
        ("vectorise", "on", {"why": "2.17 times as fast in a trial", "worker": 1})
    ]
    assert follower._view.said == []


def test_what_stops_a_worker_ends_the_run_unless_it_was_started_again(follower):
    away = Failed(error="no broker reached in 30 s", expected=True)
    follower.take(1, DIED, 1.0)
    follower.take(1, away, 2.0)

    assert follower._view.said[-1] == "no broker reached in 30 s; the others go on without its 2 peers"
    with pytest.raises(TransportError, match="no broker reached"):
        follower.take(0, away, 3.0)


def test_a_worker_that_is_not_started_again_is_told_and_the_last_ends_the_run(follower):
    follower.take(1, DIED, 1.0)
    follower.take(1, DIED, 2.0)
    assert follower._view.said[-1].endswith("; the others go on without its 2 peers")

    follower.take(0, DIED, 3.0)
    with pytest.raises(TransportError, match="no worker is left"):
        follower.take(0, DIED, 4.0)
