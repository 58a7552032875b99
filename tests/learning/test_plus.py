"""`demlearn-plus`: momentum from two results, and a prior over the peer's labels."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from swarmdem import Charter
from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Dataset, Evaluation, MutableParameters, Objective, Parameters
from swarmdem.learning.strategies import settings_of, strategy_of
from swarmdem.learning.strategies.plus import label_prior
from swarmdem.learning.strategy import Task


class Still:
    """A learner that remembers where training began and does not move."""

    samples = 1

    def __init__(self) -> None:
        self.model: Parameters = {}

    def parameters(self) -> MutableParameters:
        return dict(self.model)

    def load(self, parameters: Parameters) -> None:
        self.model = parameters

    def train(self, *, round: int, objective: Objective) -> float:
        return 0.5

    def evaluate(self, data: Dataset | None = None) -> Evaluation:
        return Evaluation(0, 0, 0)


def plus(**options: float):
    return strategy_of(Charter(swarm="s", **settings_of("demlearn-plus", {"options": options})))


def task(value: float, memory: Mapping[str, np.ndarray], round: int = 1) -> Task:
    return Task(
        round=round,
        start={"w": np.array([value, 0.0], np.float32), "count": np.array(3)},
        anchor=None,
        pull=0,
        memory=memory,
    )


def test_first_round_starts_from_the_result_itself():
    outcome = plus().train(Still(), task(2.0, {}))
    assert outcome.model["w"].tolist() == [2.0, 0.0]


def test_later_rounds_start_ahead_by_momentum_times_the_last_step():
    strategy = plus(momentum=0.5)
    first = strategy.train(Still(), task(2.0, {}))
    second = strategy.train(Still(), task(3.0, first.memory, round=2))
    assert second.model["w"].tolist() == [3.5, 0.0]
    assert second.model["w"].dtype == np.float32
    third = strategy.train(Still(), task(3.0, second.memory, round=3))
    assert third.model["w"].tolist() == [3.0, 0.0]


def test_a_peer_that_missed_a_round_starts_from_the_result_and_takes_two_rounds_to_be_ahead_again():
    strategy = plus(momentum=0.5)
    first = strategy.train(Still(), task(2.0, {}))
    late = strategy.train(Still(), task(2.0, first.memory, round=3))
    assert late.model["w"].tolist() == [2.0, 0.0]
    back = strategy.train(Still(), task(6.0, late.memory, round=4))
    assert back.model["w"].tolist() == [6.0, 0.0]
    ahead = strategy.train(Still(), task(7.0, back.memory, round=5))
    assert ahead.model["w"].tolist() == [7.5, 0.0]


def test_a_peer_that_joins_late_is_not_thrown_ahead_by_all_that_the_swarm_learned_before():
    strategy = plus(momentum=0.5)
    genesis = strategy.train(Still(), task(0.0, {}, round=50))
    first = strategy.train(Still(), task(9.0, genesis.memory, round=51))
    assert first.model["w"].tolist() == [9.0, 0.0]
    second = strategy.train(Still(), task(10.0, first.memory, round=52))
    assert second.model["w"].tolist() == [10.5, 0.0]


def test_what_stays_with_the_peer_has_no_momentum():
    charter = Charter(swarm="s", private=("head",), **settings_of("demlearn-plus", {}))
    start = {"w": np.zeros(1, np.float32), "head": np.zeros(1, np.float32)}
    outcome = strategy_of(charter).train(Still(), Task(round=1, start=start, anchor=None, pull=0))
    assert sorted(outcome.memory) == ["before/w", "round"]


def test_counters_and_running_statistics_have_no_momentum():
    def start(value: float) -> Task:
        arrays = {"w": np.float32(value), "bn.running_mean": np.float32(value), "count": np.int64(value)}
        return Task(round=int(value), start={k: np.array(v) for k, v in arrays.items()}, anchor=None, pull=0)

    first = plus(momentum=0.5).train(Still(), start(1.0))
    assert sorted(first.memory) == ["before/w", "round"]
    second = replace(start(2.0), memory=first.memory)
    model = plus(momentum=0.5).train(Still(), second).model
    assert {name: float(array) for name, array in model.items()} == {
        "w": 2.5,
        "bn.running_mean": 2.0,
        "count": 2.0,
    }


def test_a_quadratic_is_minimised_in_fewer_rounds_with_momentum():
    """Gradient steps of .1 on (w - 1)^2 / 2, the group's result being the one peer's model."""

    class Step(Still):
        def train(self, *, round: int, objective: Objective) -> float:
            self.model = {**self.model, "w": self.model["w"] * np.float32(0.9) + np.float32(0.1)}
            return 0.0

    def distance(momentum: float) -> float:
        strategy, memory, w = plus(momentum=momentum), {}, np.zeros(1, np.float32)
        for number in range(1, 31):
            out = strategy.train(
                Step(), Task(round=number, start={"w": w}, anchor=None, pull=0, memory=memory)
            )
            memory, w = out.memory, out.model["w"]
        return abs(float(w[0]) - 1)

    assert distance(0.0) == pytest.approx(0.9**30, rel=1e-3)
    assert distance(0.5) < 0.002


def test_it_answers_with_the_groups_model_and_a_prior_over_its_labels():
    applied, trained = {"w": np.zeros(1)}, {"w": np.ones(1)}
    seen = {"trained": trained, "applied": applied, "result": applied, "memory": {}}
    labels = {0: 0, 1: 9, 2: 0, 3: 0}
    deployed = plus(prior=2.0).deploy(**seen, labels=labels)
    assert deployed.models == (applied,)
    assert deployed.boost == {1: pytest.approx(2.0 * math.log(10))}
    union = plus(share=0.25).deploy(**seen, labels=labels)
    assert union.models == (applied, trained)
    assert union.weights == (0.75, 0.25)


def test_the_prior_fades_as_a_peers_labels_become_even():
    half = label_prior({0: 20, 1: 20, 2: 0, 3: 0}, 1.0)
    assert half == {0: pytest.approx(0.25 * math.log(21)), 1: pytest.approx(0.25 * math.log(21))}
    assert label_prior({0: 20, 1: 20}, 1.0) == {0: pytest.approx(0), 1: pytest.approx(0)}
    assert label_prior({}, 1.0) == {}
    assert label_prior({0: 5}, 1.0) == {}


@pytest.mark.parametrize(("option", "value"), [("momentum", 1.0), ("prior", -1.0), ("share", 2.0)])
def test_options_out_of_range_are_refused_by_name(option, value):
    with pytest.raises(ConfigError, match=rf"options\.{option} = "):
        plus(**{option: value})
