"""What each strategy says about the charter, and what it computes, without any machinery."""

import sys
from types import MappingProxyType

import numpy as np
import pytest
import torch

from swarmdem.errors import ConfigError
from swarmdem.learning import models
from swarmdem.learning.aggregation import RunningMean
from swarmdem.learning.learner import Dataset
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.softmax import SoftmaxRegression
from swarmdem.learning.strategies import STRATEGIES, settings_of, strategy_class, strategy_of
from swarmdem.learning.strategy import Strategy, Task
from swarmdem.learning.training import TorchLearner
from swarmdem.wire.charter import Charter
from swarmdem.wire.charter_toml import from_mapping

RNG = np.random.default_rng(3)
CENTRES = RNG.normal(size=(3, 8)).astype(np.float32)


def strategy(name, **chosen):
    return strategy_of(Charter(swarm="s", **settings_of(name, chosen)))


def data(seed, classes=(0, 1, 2), count=24):
    rng = np.random.default_rng(seed)
    y = np.resize(np.array(classes), count)
    return Dataset((CENTRES[y] + rng.normal(size=(count, 8)) * 0.5).astype(np.float32), y)


def peers(*datasets, **settings):
    head = TorchLearner(models.build("mlp", (8,), 3, seed=1), datasets[0], lr=0.05, device="cpu", **settings)
    return [head, *(head.sibling(each) for each in datasets[1:])]


def averaged(parts):
    mean = RunningMean(schema_of(parts[0]))
    for part in parts:
        mean.add(part, 1)
    return mean.result()


def rounds(plan, learners, count):
    """Run whole rounds with one group of everybody, as the machinery would; return each peer's state."""
    travelling = schema_of(learners[0].parameters())
    extras = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in plan.extra(travelling)}
    states = [(one.parameters(), {}) for one in learners]
    anchor = None
    for number in range(1, count + 1):
        outcomes = [
            plan.train(
                one,
                Task(
                    round=number, start=own, anchor=anchor, extras=extras, memory=memory,
                    pull=plan.charter.pull if anchor is not None else 0.0,
                ),
            )
            for one, (own, memory) in zip(learners, states, strict=True)
        ]  # fmt: skip
        result = averaged([each.model for each in outcomes])
        extras = averaged([each.extras for each in outcomes]) if extras else extras
        states = [
            (plan.apply(trained=each.model, result=result, mixing=plan.charter.mixing), each.memory)
            for each in outcomes
        ]
        anchor = result
    return states, outcomes, extras


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def distance(a, b):
    return float(np.sqrt(sum(np.square(a[name] - b[name]).sum() for name in a)))


def test_demlearn_leaves_every_setting_to_choose():
    charter = from_mapping({"swarm": "s", **settings_of("demlearn", {"mixing": 0.8})})

    assert (charter.strategy, charter.levels, charter.mixing, charter.pull, charter.weights) == (
        "demlearn", 3, 0.8, 0.002, "agents",
    )  # fmt: skip


def test_fedavg_is_one_group_whose_mean_by_samples_replaces_every_model():
    charter = from_mapping({"swarm": "s", **settings_of("fedavg", {"patience": 2.0, "levels": 0})})

    assert (charter.strategy, charter.levels, charter.mixing, charter.pull, charter.weights) == (
        "fedavg", 0, 1.0, 0.0, "samples",
    )  # fmt: skip
    assert charter.patience == 2.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("local", ("gossip", 0, 0.0, 0.0, "agents", 0)),
        ("gossip", ("gossip", 0, 1.0, 0.0, "agents", 2)),
        ("fedprox", ("tree", 0, 1.0, 0.002, "samples", 2)),
        ("pfedme", ("tree", 0, 1.0, 0.0, "agents", 2)),
        ("scaffold", ("tree", 0, 1.0, 0.0, "agents", 2)),
        ("fedbn", ("tree", 0, 1.0, 0.0, "samples", 2)),
        ("fedper", ("tree", 0, 1.0, 0.0, "samples", 2)),
    ],
)
def test_each_strategy_is_settings_of_one_update(name, expected):
    charter = strategy(name).charter

    assert expected == (
        charter.update, charter.levels, charter.mixing, charter.pull, charter.weights, charter.neighbours,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"), [("levels", 3), ("mixing", 0.6), ("pull", 0.002), ("weights", "agents")]
)
def test_a_setting_that_contradicts_the_strategy_is_refused_naming_both(setting, value):
    with pytest.raises(
        ConfigError, match=f"{setting} = .* contradicts strategy = 'fedavg', which means {setting}"
    ):
        settings_of("fedavg", {setting: value})


def test_a_charter_that_contradicts_its_strategy_is_refused():
    with pytest.raises(ConfigError, match="levels = 3 contradicts strategy = 'fedavg'"):
        strategy_of(Charter(swarm="s", strategy="fedavg"))


def test_a_schedule_of_a_setting_that_is_fixed_is_refused():
    with pytest.raises(ConfigError, match=r"schedules\.mixing contradicts strategy = 'fedavg'"):
        settings_of("fedavg", {"schedules": {"mixing": (0.5, 1.0)}})


def test_an_option_that_nobody_reads_is_refused():
    with pytest.raises(ConfigError, match=r"options\.mu: strategy = 'pfedme' knows .*lambda"):
        settings_of("pfedme", {"options": {"mu": 0.1}})


def test_options_of_the_charter_change_those_of_the_strategy_and_its_bases():
    plan = strategy("pfedme", options=(("lambda", 20.0), ("calibration", 1.0)))

    assert plan.option == {"calibration": 1.0, "lambda": 20.0, "steps": 5.0, "rate": 0.05}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((("lambda", 0.0),), "lambda = 0"),
        ((("lambda", 15.0), ("rate", 0.1)), "at most 1"),
        ((("steps", 2.5),), r"options\.steps = 2\.5"),
    ],
)
def test_options_of_pfedme_out_of_range_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        strategy("pfedme", options=options)


def test_calibration_is_refused_where_there_are_no_classes():
    class Predicting:
        task = "regression"

        def parameters(self):
            return {"w": np.zeros(1, np.float32)}

    with pytest.raises(ConfigError, match=r"options\.calibration: is for classes"):
        strategy("fedavg", options={"calibration": 1.0}).check(Predicting())


def test_an_unknown_strategy_is_refused():
    with pytest.raises(
        ConfigError, match="strategy = 'fedsgd': known are demlearn, demlearn-plus, fedavg, fedprox"
    ):
        settings_of("fedsgd", {})


def test_a_strategy_can_come_from_any_module(tmp_path, monkeypatch):
    (tmp_path / "my_strategies.py").write_text(
        "from swarmdem.learning.strategy import Strategy\n"
        "class Half(Strategy):\n    name = 'half'\n    fixes = {'mixing': 0.5}\nvalue = 3\n"
    )
    (tmp_path / "my_broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    charter = Charter(swarm="s", **settings_of("my_strategies:Half", {"levels": 1}))

    assert (charter.strategy, charter.mixing, charter.levels) == ("my_strategies:Half", 0.5, 1)
    assert type(strategy_of(charter)) is strategy_class("my_strategies:Half")
    for name, named in (
        ("my_strategies:Whole", "has no 'Whole'"),
        ("my_strategies:value", "not a subclass of"),
        ("my_broken:Half", "ZeroDivisionError: division by zero"),
        ("no_such_module:Half", "No module named 'no_such_module'"),
    ):
        with pytest.raises(ConfigError, match=f"strategy = '{name}': .*{named}"):
            strategy_class(name)


def test_a_class_of_an_application_goes_by_its_own_name():
    class Mine(Strategy):
        name = "mine"
        defaults = MappingProxyType({"levels": 1, "mixing": 0.3})

    charter = Charter(swarm="s", **settings_of(Mine, {"mixing": 0.4}))

    assert (charter.strategy, charter.levels, charter.mixing) == ("mine", 1, 0.4)
    assert Mine(charter).option == {"calibration": 0.0}


@pytest.mark.parametrize("name", ["demlearn", "fedavg", "fedprox", "pfedme", "scaffold", "gossip"])
def test_identical_peers_stay_identical_and_finite(name):
    states, _, _ = rounds(strategy(name), peers(data(1), data(1), data(1)), 3)

    first = states[0][0]
    assert all(np.isfinite(array).all() for array in first.values())
    assert equal(first, states[1][0])
    assert equal(first, states[2][0])


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "pfedme", "scaffold"])
def test_peers_of_other_data_agree_on_one_model_after_the_update(name):
    states, _, _ = rounds(strategy(name), peers(data(1, (0, 1)), data(2, (2,)), data(3)), 2)

    assert equal(states[0][0], states[1][0])
    assert equal(states[0][0], states[2][0])


def test_fedprox_without_a_pull_is_fedavg():
    datasets = data(1, (0, 1)), data(2, (2,))

    prox, _, _ = rounds(strategy("fedprox", pull=0.0), peers(*datasets), 3)
    average, _, _ = rounds(strategy("fedavg"), peers(*datasets), 3)
    pulled, _, _ = rounds(strategy("fedprox", pull=1.0), peers(*datasets), 3)

    assert equal(prox[0][0], average[0][0])
    assert not equal(pulled[0][0], average[0][0])


def test_alone_every_strategy_trains_as_the_learner_does():
    """One peer: the mean is its own model and SCAFFOLD's correction c - c_i is zero."""
    expected, _, _ = rounds(strategy("local"), peers(data(1)), 3)

    for name in ("fedavg", "gossip", "scaffold"):
        states, _, _ = rounds(strategy(name), peers(data(1)), 3)
        assert distance(states[0][0], expected[0][0]) < 1e-5


class TestScaffold:
    def test_the_corrections_of_all_peers_add_up_to_zero(self):
        states, _, common = rounds(strategy("scaffold"), peers(data(1, (0, 1)), data(2, (2,)), data(3)), 3)

        for name, mean in common.items():
            total = sum(mean - memory[name] for _, memory in states)
            assert np.abs(total).max() < 1e-5
        assert any(np.abs(mean - states[0][1][name]).max() > 0.01 for name, mean in common.items())

    def test_a_control_variate_is_the_mean_gradient_of_its_round(self):
        """From c = c_i = 0 one step of size eta over all samples gives c_i+ = (x - y) / eta."""
        one = SoftmaxRegression(3, data(1), lr=0.2, epochs=1, batch_size=24)
        start = one.parameters()
        plan = strategy("scaffold")
        zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in plan.extra(schema_of(start))}

        outcome = plan.train(one, Task(round=1, start=start, anchor=None, pull=0.0, extras=zeros))

        assert set(outcome.extras) == {"control/bias", "control/weight"}
        expected = (start["weight"] - outcome.model["weight"]) / 0.2
        np.testing.assert_allclose(outcome.extras["control/weight"], expected, rtol=1e-6)
        assert equal(outcome.memory, outcome.extras)

    def test_a_step_goes_along_the_gradient_less_c_i_plus_c(self):
        one = SoftmaxRegression(3, data(1), lr=0.2, epochs=1, batch_size=24)
        start = one.parameters()
        common = {f"control/{name}": np.full_like(array, 0.5) for name, array in start.items()}
        own = {name: np.full_like(array, 0.2) for name, array in common.items()}
        plan = strategy("scaffold")
        zero = {name: np.zeros_like(array) for name, array in common.items()}
        plain = plan.train(one, Task(round=1, start=start, anchor=None, pull=0.0, extras=zero))

        outcome = plan.train(
            one, Task(round=1, start=start, anchor=None, pull=0.0, extras=common, memory=own)
        )

        np.testing.assert_allclose(outcome.model["bias"], plain.model["bias"] - 0.2 * (0.5 - 0.2), atol=1e-6)
        np.testing.assert_allclose(outcome.extras["control/bias"], plain.extras["control/bias"], atol=1e-6)

    def test_running_statistics_get_no_control_variate(self):
        model = models.build("cnn3bn", (3, 8, 8), 4).state_dict()
        travelling = schema_of({name: array.numpy() for name, array in model.items()})

        extra = strategy("scaffold").extra(travelling)

        assert len(extra) == len(travelling) - 9
        assert not [spec for spec in extra if "running" in spec.name or "num_batches" in spec.name]

    def test_adam_is_refused(self):
        with pytest.raises(ConfigError, match="strategy = 'scaffold': needs plain gradient steps"):
            strategy("scaffold").check(peers(data(1), optimizer="adam")[0])


class TestPFedMe:
    def test_the_peer_answers_with_theta_and_sends_w(self):
        one = peers(data(1))[0]
        plan, start = strategy("pfedme"), one.parameters()

        outcome = plan.train(one, Task(round=1, start=start, anchor=None, pull=0.0))
        deployed = plan.deploy(
            trained=outcome.model, applied=start, result=start, labels={}, memory=outcome.memory
        )

        assert equal(deployed.models[0], one.parameters())
        assert not equal(deployed.models[0], outcome.model)
        assert 0 < distance(outcome.model, start) < distance(one.parameters(), start)

    def test_one_batch_is_k_steps_of_theta_and_one_of_w(self):
        """By hand in numpy: K = 3 gradient steps with the pull, then w <- w - rate lambda (w - theta)."""
        torch.manual_seed(2)
        batch = data(1)
        one = TorchLearner(torch.nn.Linear(8, 3), batch, lr=0.1, epochs=1, batch_size=24, device="cpu")
        start = one.parameters()
        plan = strategy("pfedme", options=(("lambda", 2.0), ("steps", 3.0), ("rate", 0.25)))
        w = np.c_[start["weight"], start["bias"]].astype(np.float64)
        x, theta = np.c_[batch.x, np.ones(24)], w.copy()
        for _ in range(3):
            scores = np.exp(x @ theta.T)
            error = scores / scores.sum(1, keepdims=True) - np.eye(3)[batch.y]
            theta -= 0.1 * (error.T @ x / 24 + 2.0 * (theta - w))
        moved = w - 0.25 * 2.0 * (w - theta)

        outcome = plan.train(one, Task(round=1, start=start, anchor=None, pull=0.0))

        np.testing.assert_allclose(outcome.memory["weight"], theta[:, :8], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outcome.model["weight"], moved[:, :8], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outcome.model["bias"], moved[:, 8], rtol=1e-5, atol=1e-6)

    def test_arrays_that_stay_are_thetas_own(self):
        one = peers(data(1))[0]
        last = [name for name in one.parameters() if name.startswith("5.")]
        plan = strategy("pfedme", private=("5.*",))

        outcome = plan.train(one, Task(round=1, start=one.parameters(), anchor=None, pull=0.0))

        assert len(last) == 2
        assert all(np.array_equal(outcome.model[name], outcome.memory[name]) for name in last)
        assert not np.array_equal(outcome.model["1.weight"], outcome.memory["1.weight"])

    def test_before_the_first_training_the_shared_model_answers(self):
        model = {"w": np.ones(2, np.float32)}

        deployed = strategy("pfedme").deploy(trained=model, applied=model, result=model, labels={}, memory={})

        assert equal(deployed.models[0], model)


NORMALISED = dict.fromkeys(
    ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
     "norm.num_batches_tracked", "head.weight", "head.bias"), np.zeros(1)
)  # fmt: skip


class TestPrivateArrays:
    def test_fedbn_keeps_layers_with_running_statistics_and_their_affine_arrays(self):
        kept = strategy("fedbn").kept(NORMALISED)

        assert sorted(kept) == [
            "norm.bias", "norm.num_batches_tracked", "norm.running_mean", "norm.running_var", "norm.weight",
        ]  # fmt: skip

    def test_fedbn_refuses_a_model_without_any(self):
        with pytest.raises(ConfigError, match="strategy = 'fedbn': the model has no normalisation layer"):
            strategy("fedbn").check(peers(data(1))[0])

    @pytest.mark.parametrize(("heads", "kept"), [(1, ["5."]), (2, ["3.", "5."])])
    def test_fedper_keeps_the_last_layers(self, heads, kept):
        model = peers(data(1))[0].parameters()
        plan = strategy("fedper", options=(("head_layers", float(heads)),))

        assert sorted(plan.kept(model)) == sorted(f"{p}{end}" for p in kept for end in ("bias", "weight"))

    @pytest.mark.parametrize("heads", [0.0, 3.0, 1.5])
    def test_fedper_needs_a_head_and_a_base(self, heads):
        plan = strategy("fedper", options=(("head_layers", heads),))

        with pytest.raises(ConfigError, match=rf"options\.head_layers = {heads:g}: the model has 3 layers"):
            plan.check(peers(data(1))[0])

    def test_a_model_of_one_layer_has_nothing_to_share_under_fedper(self):
        with pytest.raises(ConfigError, match="the model has 1 layers"):
            strategy("fedper").check(SoftmaxRegression(3, data(1)))

    @pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - {"fedbn"}))
    def test_patterns_of_the_charter_work_with_every_strategy(self, name):
        kept = strategy(name, private=("1.*",)).kept(peers(data(1))[0].parameters())

        assert {"1.weight", "1.bias"} <= kept

    def test_a_pattern_that_fits_nothing_is_refused(self):
        with pytest.raises(ConfigError, match=r"charter\.private: 'head\.\*' fits no array"):
            strategy("demlearn", private=("head.*",)).check(peers(data(1))[0])

    def test_a_strategy_that_keeps_what_is_not_there_is_told(self):
        class Mine(Strategy):
            def private(self, model):
                return ["tail.weight"]

        with pytest.raises(ConfigError, match=r"the model has no array 'tail\.weight' to keep"):
            Mine(Charter(swarm="s")).check(peers(data(1))[0])

    def test_a_model_of_which_nothing_travels_is_refused(self):
        with pytest.raises(ConfigError, match="all 6 arrays of the model stay private"):
            strategy("demlearn", private=("*",)).check(peers(data(1))[0])
