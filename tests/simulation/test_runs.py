"""Whole runs: seeds under faults, equal traces, and what is reported."""

import os
import subprocess
import sys

import pytest

from swarmdem.apps import simulate
from swarmdem.errors import ConfigError
from swarmdem.identifiers import SECOND
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import GroupChanged, NeighboursAveraged, Persist, Report
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Run, Settings, run

TRACED = """
from swarmdem.simulation.runs import Settings, run
print(run(Settings(seed=11, peers=5, rounds=4)).trace)
"""


@pytest.mark.parametrize("seed", range(6, 20))
def test_no_invariant_breaks_under_faults(seed):
    outcome = run(Settings(seed=seed, peers=5, rounds=5))

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    assert outcome.rounds >= 5


@pytest.mark.parametrize("peers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(100, 106))
def test_no_invariant_breaks_in_the_smallest_swarms(peers, seed):
    outcome = run(Settings(seed=seed, peers=peers, rounds=5))

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])


@pytest.mark.parametrize("seed", range(18))
def test_no_invariant_breaks_under_faults_whatever_the_charter(seed):
    outcome = run(Settings(seed=seed, peers=6, rounds=5, vary=True))

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    assert outcome.rounds >= 5


@pytest.mark.parametrize("peers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(200, 204))
def test_no_invariant_breaks_in_the_smallest_swarms_whatever_the_charter(peers, seed):
    outcome = run(Settings(seed=seed, peers=peers, rounds=4, vary=True))

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])


def reports(kind, settings, **charter):
    """Return the reports of one kind in a calm run under a charter."""
    calm = Run(settings, faults=(), charter=charter)
    found, tally = [], calm.world.observe

    def observe(peer, effect):
        tally(peer, effect)
        if isinstance(effect, Report) and isinstance(effect.event, kind):
            found.append(effect.event)

    calm.world.observe = observe
    assert calm.play().broken == ""
    return found


@pytest.mark.parametrize(("peers", "near"), [(2, 1), (3, 2), (8, 4)])
def test_gossiping_peers_average_with_all_their_neighbours_in_calm_weather(peers, near):
    settings = Settings(seed=1, peers=peers, rounds=3, faults=False)

    means = reports(NeighboursAveraged, settings, update="gossip", levels=0, neighbours=4)

    assert len(means) >= 2 * peers
    assert {(len(mean.included), mean.silent) for mean in means} == {(1 + near, ())}


def test_groups_keep_their_names_while_their_tree_is_kept():
    settings = Settings(seed=1, peers=8, rounds=8, faults=False)

    moves = reports(GroupChanged, settings, tau=100)

    assert {move.round for move in moves} == {1}


def test_a_result_that_was_skipped_while_its_blob_was_on_the_way_is_not_applied():
    """Found by a drawn seed: a FINAL announced, then skipped, then fetched when a cut link healed."""
    faults = (
        Fault(Kind.FAIL, 12_132_130, 19_159_193, (0,)),
        Fault(Kind.SLOW, 48_923_864, 51_138_487, (2,), 4.0),
        Fault(Kind.CUT, 51_143_680, 57_600_000, (0,)),
    )

    outcome = Run(Settings(seed=2075, peers=3, rounds=12), faults=faults).play()

    assert outcome.broken == ""


def test_a_peer_that_dies_alone_between_writing_its_certificate_and_sending_it():
    faults = (
        Fault(Kind.KILL, 15_703_271, 18_130_615, (0,), 8),
        Fault(Kind.KILL, 44_743_217, 51_680_216, (0,), 5),
    )

    assert Run(Settings(seed=15052, peers=1, rounds=12), faults=faults).play().broken == ""


def stumbling(seed, core_factory=Core):
    """Everybody dies after every vote for two minutes, while a third of all frames is lost."""
    faults = tuple(Fault(Kind.STUMBLE, 20 * SECOND + peer, 150 * SECOND, (peer,), 1) for peer in range(5))
    settings = Settings(seed=seed, peers=5, rounds=8, loss=0.3)
    return Run(settings, faults=faults, core_factory=core_factory).play().broken


@pytest.mark.parametrize("seed", [18, 20, 23, 25, 32])
def test_votes_survive_restarts(seed):
    """A peer that had voted before its own digest was out once forgot its vote over a restart."""
    assert stumbling(seed) == ""


def test_votes_that_are_not_on_disk_are_found_out():
    class Forgetful(Core):
        def handle(self, event, now):
            effects = super().handle(event, now)
            return [e for e in effects if not (isinstance(e, Persist) and e.key == "ballots")]

    verdicts = [stumbling(seed, Forgetful) for seed in range(8)]

    assert sum(" vote" in verdict for verdict in verdicts) >= 4


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_other_numbers_of_levels(levels):
    outcome = run(Settings(seed=4, peers=9, rounds=4, levels=levels))

    assert outcome.broken == ""


def test_equal_seeds_give_equal_traces_in_other_processes_under_other_hash_seeds():
    def traced(hash_seed):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", TRACED]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    here = run(Settings(seed=11, peers=5, rounds=4)).trace

    assert traced("1").strip() == here
    assert traced("2").strip() == here
    assert run(Settings(seed=12, peers=5, rounds=4)).trace != here


def test_a_stalled_swarm_is_found_out():
    """A fault that outlasts the run (here: a broker that never comes back) leaves nobody agreeing."""
    run = Run(Settings(seed=1, peers=3, rounds=3, faults=False), faults=())
    run.world.after(15 * SECOND, lambda: [run.world.network.cut(peer, kept=False) for peer in range(3)])

    assert run.play().broken.startswith("a swarm without faults makes rounds")


def test_a_swarm_cut_in_two_for_long_comes_together():
    """Two halves each go on uncertified and meet when the split is over."""
    split = Fault(Kind.SPLIT, 20 * SECOND, 120 * SECOND, (0, 1))
    outcome = Run(Settings(seed=1, peers=4, rounds=12, faults=False), faults=(split,)).play()

    assert outcome.provisional >= 2
    assert outcome.broken == ""


def test_the_report_counts_and_says_nothing_broke():
    lines = []

    report = simulate.run(
        Settings(seed=7, peers=3, rounds=3, vary=True), seeds=2, workers=1, say=lines.append
    )

    assert report.exit_code == 0
    assert lines[0] == "seeds 2, broken 0 (first seed 7)"
    assert len(report.outcomes) == 2


def test_a_broken_invariant_is_told_with_the_command_that_repeats_it(monkeypatch):
    def broken(settings):
        outcome = run(Settings(seed=settings.seed, peers=2, rounds=1, faults=False))
        outcome.settings, outcome.broken, outcome.last_lines = settings, "one vote per peer", ["5 0 Woke"]
        return outcome

    monkeypatch.setattr(simulate.runs, "run", broken)
    lines = []

    report = simulate.run(
        Settings(seed=9, peers=2, rounds=1, loss=0.1, liars=True, crowd=5), workers=1, say=lines.append
    )

    assert report.exit_code == 1
    assert lines[0] == "BROKEN at seed 9: one vote per peer"
    assert "  trace: 5 0 Woke" in lines
    drawn = "--peers 2 --rounds 1 --seeds 1 --seed 9 --plain --liars --crowd 5 --loss 0.1"
    assert f"  repeat: swarmdem simulate {drawn}" in lines


def test_the_whole_trace_of_the_first_seed_can_be_kept(tmp_path):
    simulate.run(
        Settings(seed=0, peers=2, rounds=2), workers=1, trace=tmp_path / "trace.txt", say=lambda _: None
    )

    assert "Certified" in (tmp_path / "trace.txt").read_text()


@pytest.mark.parametrize("wrong", ["peers", "rounds", "brokers", "loss", "patience", "crowd"])
def test_a_number_out_of_range_is_named(wrong):
    with pytest.raises(ConfigError, match=wrong):
        simulate.run(Settings(**({"seed": 0} | {wrong: -1})))


@pytest.mark.parametrize("wrong", ["seeds", "workers"])
def test_too_few_seeds_or_workers_are_refused(wrong):
    with pytest.raises(ConfigError, match=wrong):
        simulate.run(Settings(seed=0), **{wrong: 0})
