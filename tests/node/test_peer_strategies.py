"""Settings of strategies as real peers on a bus in memory: who ends with what, and what peers answer.

What each packaged strategy leaves to each peer: `learning/test_strategies_as_peers.py`.
"""

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest

from swarmdem import Charter, ConfigError, Peer, SoftmaxRegression, Strategy, settings_of
from swarmdem.errors import MisuseError
from swarmdem.learning.learner import Evaluation
from swarmdem.learning.parameters import schema_of
from swarmdem.transport.memory import MemoryBus

CENTRES = np.random.default_rng(7).normal(0, 1, (4, 6))
PEERS = 4


def data(number, count=40):
    random = np.random.default_rng(number)
    y = random.choice(4, count, p=np.roll([0.45, 0.45, 0.05, 0.05], number))
    return (CENTRES[y] + random.normal(0, 0.3, (count, 6))).astype(np.float32), y


def learner(number):
    return SoftmaxRegression(4, data(number), data(number + 100), lr=0.2, seed=number)


def charter(strategy, **chosen):
    settings = settings_of(strategy, {"patience": 5.0, "gather": 60.0, "founders": PEERS} | chosen)
    return Charter(swarm="test", **settings)


async def models_after(strategy, rounds=2, **chosen):
    """Return every peer's model and the fetched bytes after some rounds of a swarm."""
    bus = MemoryBus()
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(Peer(charter(strategy, **chosen), learner(n), link=bus.link()))
            for n in range(PEERS)
        ]
        async with asyncio.timeout(60):
            await asyncio.gather(*(peer.run(rounds=rounds) for peer in peers))
        return [peer.model for peer in peers], peers


def differing(models, name="weight"):
    return sum(not np.array_equal(models[0][name], model[name]) for model in models[1:])


async def test_gossip_with_everybody_is_one_average():
    models, _ = await models_after("gossip", neighbours=4)

    assert all(np.allclose(models[0]["weight"], model["weight"], atol=1e-6) for model in models)


async def test_what_a_charter_calls_private_stays_with_each_peer():
    models, peers = await models_after("fedavg", private=["bi*"])

    assert (differing(models, "weight"), differing(models, "bias")) == (0, PEERS - 1)
    assert [spec.name for spec in peers[0].charter.schema] == ["weight"]


async def test_control_variates_travel_beside_the_model_and_are_none_of_it():
    models, peers = await models_after("scaffold")

    assert sorted(models[0]) == ["bias", "weight"]
    names = [spec.name for spec in peers[0].charter.schema]
    assert names == ["bias", "control/bias", "control/weight", "weight"]


@pytest.mark.parametrize("settings", [
    {"cut": "maxclust", "cuts": (2,), "levels": 1, "pull_to": "all", "pull": 0.1},
    {"levels": 1, "schedules": {"gamma": (1.0, 0.5), "gain": (1.15,)}},
    {"levels": 1, "basis": "updates", "metric": "cosine_delta"},
    {"levels": 1, "metric": "cosine"},
], ids=["all levels", "gamma and gain", "updates", "cosine"])  # fmt: skip
async def test_settings_of_the_meta_law_run_as_peers(settings):
    if "schedules" in settings:
        settings = settings | {"schedules": tuple(settings["schedules"].items())}
    models, peers = await models_after("demlearn", rounds=3, **settings)

    assert all(np.isfinite(model["weight"]).all() for model in models)
    assert all(peer.counters.refused == {} for peer in peers)


class Majority(Strategy):
    """A strategy of an application: answers with prior knowledge of its own labels."""

    name = "majority"

    def deploy(self, *, applied, labels, **models):
        from swarmdem import Deployment

        return Deployment(models=(applied,), boost={max(labels, key=labels.get): 1000.0})


async def test_a_strategy_of_ones_own_says_what_the_peer_answers():
    own = learner(0)
    settings = settings_of(Majority, {"founders": 1, "patience": 1.0})
    async with Peer(Charter(swarm="s", **settings), own, link=MemoryBus().link(), strategy=Majority) as peer:
        async with asyncio.timeout(20):
            await peer.run(rounds=1)
            answers = await peer.predict(data(0)[0])

    assert answers.shape == (40, 4)
    assert set(answers.argmax(1)) == {max(own.labels, key=own.labels.get)}


async def test_a_prediction_is_that_of_the_applied_model():
    x = data(3)[0]
    async with Peer(
        Charter(swarm="s", founders=1, patience=1.0), learner(0), link=MemoryBus().link()
    ) as peer:
        untrained = await peer.predict(x)
        async with asyncio.timeout(20):
            await peer.run(rounds=3)
        judge = learner(0)
        judge.load(peer.model)
        answers = await peer.predict(x)

    assert np.allclose(untrained, np.log(0.25), atol=1e-6), "softmax regression begins without a preference"
    assert (answers.argmax(1) == judge.scores(x).argmax(1)).all()
    assert np.allclose(np.exp(answers).sum(1), 1, atol=1e-5)
    with pytest.raises(MisuseError, match="does not run"):
        await peer.predict(x)


def test_an_application_without_asyncio_is_answered_too():
    settings = {"founders": 1, "patience": 1.0}
    with Peer.blocking(Charter(swarm="s", **settings), learner(0), link=MemoryBus().link()) as peer:
        assert peer.predict(data(3)[0]).shape == (40, 4)


class Mute:
    """A learner without scores."""

    samples = 1

    def parameters(self):
        return {"w": np.zeros(2, np.float32)}

    def load(self, parameters):
        pass

    def train(self, *, round, objective):
        return 0.0

    def evaluate(self, data=None):
        return Evaluation(0, 0, 0)


async def test_a_learner_without_scores_cannot_answer():
    async with Peer(Charter(swarm="s", founders=1), Mute(), link=MemoryBus().link()) as peer:
        with pytest.raises(ConfigError, match=r"Mute has no .*scores"):
            await peer.predict(np.zeros((1, 2), np.float32))


async def test_what_a_strategy_needs_of_a_learner_is_checked_before_the_peer_connects():
    peer = Peer(Charter(swarm="s", **settings_of("scaffold", {})), Mute(), link=MemoryBus().link())

    with pytest.raises(ConfigError, match="scaffold"):
        await peer.__aenter__()


def test_a_strategy_that_the_charter_does_not_name_is_refused():
    with pytest.raises(ConfigError, match="'majority' is given, the charter says 'demlearn'"):
        Peer(Charter(swarm="s"), learner(0), link=MemoryBus().link(), strategy=Majority)
    with pytest.raises(ConfigError, match="contradicts"):
        Peer(Charter(swarm="s", strategy="fedavg"), learner(0), link=MemoryBus().link())


async def test_a_schema_with_other_private_arrays_is_refused():
    whole = schema_of(learner(0).parameters())
    peer = Peer(Charter(swarm="s", schema=whole, private=("bias",)), learner(0), link=MemoryBus().link())

    with pytest.raises(Exception, match="'bias'"):
        await peer.__aenter__()
