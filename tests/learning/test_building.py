import numpy as np
import pytest

from swarmdem.errors import ConfigError
from swarmdem.learning.aggregation import RunningMean, mix
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, digits
from swarmdem.learning.learner import Dataset, Evaluation, Objective
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.scaling import standardization

SAMPLES = digits(12)
DATA = DeviceData(SAMPLES, standardization(SAMPLES, "global"))


def build(model, count=12, first=0, **settings):
    parts = [DATA.device(number) for number in range(first, first + count)]
    return build_learners(
        model,
        parts,
        shape=DATA.shape,
        classes=10,
        settings=TrainingSettings(device="cpu", **settings),
        first=first,
    )


@pytest.mark.parametrize("model", ["softmax", "mlp", "cnn"])
def test_all_learners_begin_alike_and_train_apart(model):
    one, two = build(model, count=2)
    start = one.parameters()
    assert all(np.array_equal(start[name], array) for name, array in two.parameters().items())

    one.train(round=1, objective=Objective())

    assert not all(np.array_equal(start[name], array) for name, array in one.parameters().items())
    assert all(np.array_equal(start[name], array) for name, array in two.parameters().items())


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_a_peer_trains_alike_whichever_process_it_is_built_in(model):
    together, alone = build(model)[7], build(model, count=1, first=7)[0]

    losses = [one.train(round=2, objective=Objective()) for one in (together, alone)]

    assert losses[0] == losses[1]


def test_a_model_and_an_optimizer_that_contradict_are_refused():
    with pytest.raises(ConfigError, match="optimizer = 'adam' contradicts model = 'softmax'"):
        build("softmax", optimizer="adam")


def test_demlearn_generalises_to_labels_a_device_never_saw():
    """Twelve peers of two labels each; one group; eq. 9, eq. 10 and the pull of eq. 8 for 12 rounds."""
    learners = build("softmax")
    tests = [DATA.device(number)[1] for number in range(12)]
    inputs, classes = zip(*((test.x, test.y) for test in tests), strict=True)
    everybody = Dataset(np.concatenate(inputs), np.concatenate(classes))
    anchor = None

    def score(peers, data=None) -> float:
        return sum((one.evaluate(data) for one in peers), Evaluation(0, 0, 0)).score

    for r in range(1, 13):
        mean = RunningMean(schema_of(learners[0].parameters()))
        for one in learners:
            one.train(round=r, objective=Objective(anchor=anchor, pull=0.002))
            mean.add(one.parameters(), 1)
        anchor = mean.result()
        for one in learners:
            one.load(mix(one.parameters(), anchor, 0.6))

    assert score(build("softmax"), everybody) < 0.2
    assert score(learners, everybody) > 0.6
    assert score(learners) > 0.95
