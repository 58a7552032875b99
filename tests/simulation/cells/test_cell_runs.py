"""Swarms in cells under faults: whole again when they are over, and nobody ever counts twice."""

import pytest

from swarmdem.errors import ConfigError
from swarmdem.identifiers import SECOND
from swarmdem.protocol import proposals, situation
from swarmdem.protocol.cells.staying import Staying
from swarmdem.protocol.events import FinishMean, HandedDown, Report
from swarmdem.simulation.cells.runs import CellRun, run
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Settings


def played(**settings):
    outcome = run(Settings(**{"seed": 0, "peers": 20, "rounds": 3, "cells": 8, **settings}))
    assert outcome.broken == ""
    return outcome


@pytest.mark.parametrize("seed", [1, 4])
def test_cells_and_region_find_together_after_faults(seed):
    figures = played(seed=seed, vary=seed % 2 == 0).cells

    assert figures.region_rounds >= 3
    assert sum(figures.sizes) == 20
    assert figures.sizes[-1] <= 8


def test_one_seed_gives_one_trace():
    assert played(peers=12).trace == played(peers=12).trace


def test_a_calm_swarm_makes_a_round_of_the_region_in_a_round_of_its_cells():
    figures = played(peers=32, cells=16, faults=False).cells

    assert figures.moves == 0
    assert figures.region_rounds == 3
    assert figures.rounds < 4
    assert len(figures.agreement) == 3
    assert max(figures.agreement) < 2 * SECOND
    assert 0 < figures.said[16] < 60


def test_two_thirds_decide_in_cells_and_region_alike():
    assert played(peers=24, cells=16, rounds=2, faults=False, agreement="bft").cells.region_rounds == 2


def test_a_gain_counts_in_the_cells_and_not_again_in_the_region():
    gain = {"schedules": (("gain", (1.5, 1.0)),)}
    settings = Settings(seed=0, peers=12, rounds=2, cells=8, faults=False)

    assert CellRun(settings, charter=gain).play().broken == ""


def test_what_the_region_hands_down_goes_into_the_next_root_mean_of_every_cell_once():
    swarm = CellRun(Settings(seed=0, peers=16, rounds=4, cells=8, faults=False))
    handed, mixed, count = [], [], swarm.world.observe

    def watch(peer, effect):
        count(peer, effect)
        if isinstance(effect, Report) and isinstance(effect.event, HandedDown):
            handed.append((peer.core.cell, effect.event.model))
        elif isinstance(effect, FinishMean) and effect.above is not None:
            mixed.append((peer.core.cell, effect.above))

    swarm.world.observe = watch

    assert swarm.play().broken == ""
    assert len(mixed) == len(set(mixed)) >= 6
    assert set(mixed) <= set(handed)


def test_a_swarm_that_outgrows_its_cells_divides_them():
    late = tuple(Fault(Kind.LATE, 0, 30 * SECOND, (number,)) for number in range(6, 18))
    swarm = CellRun(Settings(seed=1, peers=18, rounds=3, cells=8), faults=late)
    outcome = swarm.play()

    assert outcome.broken == ""
    assert outcome.cells.moves >= 2
    assert outcome.cells.sizes[-1] <= 8
    assert len(outcome.cells.sizes) >= 3


def test_cells_that_shrink_below_a_quarter_are_merged():
    gone = tuple(Fault(Kind.LEAVE, 40 * SECOND, 4000 * SECOND, (number,)) for number in range(9))
    swarm = CellRun(Settings(seed=2, peers=24, rounds=3, cells=16), faults=gone)
    swarm.world.run(lambda: False, deadline=35 * SECOND)
    before = len(swarm.whole.members(swarm.live))
    swarm.world.run(lambda: False, deadline=41 * SECOND)
    swarm.world.run(lambda: not swarm.whole.flaw(swarm.live), deadline=600 * SECOND)

    assert before == 2
    assert swarm.whole.flaw(swarm.live) == ""
    assert len(swarm.live) == 15


@pytest.fixture
def two_speak(monkeypatch):
    """Let the second in line take itself for the first."""
    first = Staying.speakers

    def speakers(stay):
        ranked = first(stay)
        me = stay.part.status().peer
        return (me, *ranked) if me in ranked[:2] else ranked

    monkeypatch.setattr(Staying, "speakers", speakers)


@pytest.mark.usefixtures("two_speak")
def test_two_that_speak_for_one_cell_are_caught_where_the_rule_is_missing(monkeypatch):
    for module in (situation, proposals):
        monkeypatch.setattr(module, "counted_twice", lambda _digests, _electors: frozenset())

    outcome = run(Settings(seed=0, peers=12, rounds=3, cells=8, faults=False))

    assert outcome.invariant == "nobody counts twice at the top"


@pytest.mark.usefixtures("two_speak")
def test_the_rule_keeps_two_that_speak_for_one_cell_from_counting_both():
    swarm = CellRun(Settings(seed=0, peers=12, rounds=3, cells=8, faults=False))
    swarm.world.run(lambda: False, deadline=40 * SECOND)

    assert max(base.round for base in swarm.whole.region.base.values()) >= 2
    assert {len(base.peers) for base in swarm.whole.region.base.values() if base.round} == {2}


def test_liars_are_not_simulated_in_cells():
    with pytest.raises(ConfigError, match="--liars: not with --cells"):
        CellRun(Settings(seed=0, cells=8, liars=True))
