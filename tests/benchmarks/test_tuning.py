import numpy as np
import pytest
import torch

from benchmarks import tuning, tuning_rules
from swarmdem import Charter
from swarmdem.learning.aggregation import RunningMean
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.learner import Dataset
from swarmdem.learning.strategies import settings_of, strategy_of
from swarmdem.learning.strategy import Task


def written(path, *, test_pixels=0):
    """Write four devices with two of three labels each, 20 samples to train and 5 to test."""
    chance = np.random.default_rng(5)
    device, train = np.repeat(np.arange(4), 25), np.tile(np.arange(25) < 20, 4)
    y = np.array([(number + chance.integers(2)) % 3 for number in device])
    x = chance.integers(0, 120, (100, 4, 4)) + 40 * y[:, None, None]
    x[~train] = test_pixels
    np.savez(path, x=x.astype(np.uint8), y=y, device=device, train=train)
    return path


def setting(path, *flags):
    return tuning.parsed([str(path), "--model", "mlp", "--rounds", "3", *flags])[1]


def of_peers(parts, rounds):
    """Return the mean model after some rounds of demlearn-plus, made by what peers are made of."""
    held = Dataset(np.zeros((0, 4, 4), np.float32), np.zeros(0, np.int64))
    own = [(Dataset(x.numpy(), y.numpy()), held) for x, y in parts.train]
    learners = build_learners("mlp", own, shape=(4, 4), classes=3, settings=TrainingSettings(device="cpu"))
    strategy = strategy_of(Charter(swarm="s", **settings_of("demlearn-plus", {})))
    mean, memory = learners[0].parameters(), {}
    for round in range(1, rounds + 1):
        total, anchor = RunningMean(learners[0].schema), mean if round > 1 else None
        for number, learner in enumerate(learners):
            task = Task(round=round, start=mean, anchor=anchor, pull=0.002, memory=memory.get(number, {}))
            outcome = strategy.train(learner, task)
            memory[number] = outcome.memory
            total.add(outcome.model, 1)
        mean = total.result()
    learners[0].load(mean)
    return learners[0]


def test_the_loop_does_what_peers_do(tmp_path):
    flags = ("--momentum", ".9", "--nesterov", "--pull-to", "mean", "--bf16", "off")
    asked = setting(written(tmp_path / "data.npz"), *flags)
    parts = tuning.parts_of(asked.data, "kept")

    kept = tuning.run(asked, parts)

    expected = of_peers(parts, rounds=3).scores(parts.x.numpy())
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(kept["mean/3"], expected, atol=2e-5)


def test_the_test_parts_play_no_role(tmp_path):
    dark, bright = (written(tmp_path / f"{value}.npz", test_pixels=value) for value in (0, 255))

    one, other = (tuning.run(setting(path), tuning.parts_of(path, "whole")) for path in (dark, bright))

    assert len(one["y"]) == 16
    assert one["owner"].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert one["counts"].sum(1).tolist() == [16] * 4
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_mixing_leaves_a_peer_between_its_own_and_the_roots_model(tmp_path):
    asked = setting(written(tmp_path / "data.npz"), "--alpha", ".75", "--start", "own")
    swarm = tuning.Swarm(asked, tuning.parts_of(asked.data, "whole"))
    swarm.train(1)
    trained = swarm.own.clone()

    swarm.merge(1)
    swarm.mix()

    torch.testing.assert_close(swarm.mean, trained.mean(0))
    torch.testing.assert_close(swarm.own, 0.25 * trained + 0.75 * trained.mean(0))


def scores():
    """Two peers, three samples, of classes 0, 1, 0; peer 0 holds 3 of class 0, peer 1 one of each."""
    root = np.log(np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]))
    kept = {"y": np.array([0, 1, 0]), "owner": np.array([0, 1, 1]), "counts": np.array([[3, 0], [1, 1]])}
    kept |= {f"{name}/7": root for name in tuning_rules.ROOTS}
    return tuning_rules.Scores(kept | {"trained/7": np.stack([root, -root])})


# The root is right on samples 1 and 2. Peer 0 trained to the same, peer 1 to the opposite; its prior makes
# peer 0 say class 0 to everything, while peer 1, with as much of both, has none.
@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("just trained", (0 / 3, 3 / 6)),
        ("mean, prior 0", (2 / 3, 4 / 6)),
        ("mean, prior 1.5", (3 / 3, 4 / 6)),
    ],
)
def test_a_rule_is_measured_on_each_peers_own_part_and_on_all(name, measured):
    rule = next(rule for rule in tuning_rules.proposed() if rule.name == name)

    assert scores().measured(rule.answers(scores(), 7)) == pytest.approx(measured)


def test_every_rule_answers_for_every_peer():
    kept = scores()
    rules = [*tuning_rules.proposed(), *tuning_rules.turned_down()]
    possible = [rule for rule in rules if all(kept.has(kind, 7) for kind in rule.kinds)]

    assert len(possible) > 100
    for rule in possible:
        answers = rule.answers(kept, 7)
        assert answers.shape == (2, 3, 2), rule.name
        assert np.isfinite(answers).all(), rule.name


def test_scores_that_were_kept_give_the_same_table(tmp_path, capsys):
    path, out = written(tmp_path / "data.npz"), tmp_path / "scores.npz"
    tuning.main([str(path), "--model", "mlp", "--rounds", "2", "--groups", "--save", str(out)])
    printed = capsys.readouterr().out

    tuning_rules.main([str(out), "--rounds", "2"])

    table = capsys.readouterr().out
    assert "| mean, prior 2.25 | " in table
    assert printed.endswith(table)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["missing.npz"], "missing.npz"),
        (["missing.npz", "--rounds", "5", "--evaluate", "6"], "--evaluate 6: from 1 to 5"),
        (["missing.npz", "--start", "own", "--momentum", ".9"], "--momentum is of the root's model"),
    ],
)
def test_a_mistake_ends_in_one_line(flags, complaint, capsys):
    with pytest.raises(SystemExit) as stopped:
        tuning.main(flags)

    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
