"""A strategy of a user runs as real peers, in under 60 lines and without a change inside the package."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from swarmdem import Charter, ConfigError, Dataset, Peer, SoftmaxRegression, settings_of
from swarmdem.transport.memory import MemoryBus
from tests.learning.ditto import Ditto

X = np.random.default_rng(4).normal(size=(90, 5)).astype(np.float32)
Y = (X @ np.random.default_rng(5).normal(size=(5, 3))).argmax(1)


def learner(number):
    """Peer *number* holds samples of two of three classes."""
    mine = np.flatnonzero(number != Y)
    return SoftmaxRegression(3, Dataset(X[mine], Y[mine]), lr=0.2, seed=number)


async def run(charter, rounds, **settings):
    bus = MemoryBus()

    async def one(number):
        async with Peer(charter, learner(number), link=bus.link(), **settings) as peer:
            await peer.run(rounds=rounds)
            return peer.model, peer.deployment, await peer.predict(X)

    return await asyncio.gather(*(one(number) for number in range(3)))


@pytest.mark.parametrize("strategy", [Ditto, "tests.learning.ditto:Ditto"])
async def test_peers_share_one_model_and_each_answers_with_its_own(strategy):
    charter = Charter(swarm="ditto", founders=3, patience=4.0, **settings_of(strategy, {}))
    given = {"strategy": strategy} if strategy is Ditto else {}

    (model, mine, answers), (other_model, theirs, _), _ = await run(charter, 3, **given)

    assert all(np.array_equal(model[name], other_model[name]) for name in model)
    assert not np.array_equal(mine.models[0]["weight"], theirs.models[0]["weight"])
    assert not np.array_equal(mine.models[0]["weight"], model["weight"])
    scores = X @ mine.models[0]["weight"] + mine.models[0]["bias"]
    assert np.array_equal(answers.argmax(1), scores.argmax(1))
    np.testing.assert_allclose(np.exp(answers).sum(1), 1.0, rtol=1e-5)


def test_it_takes_under_sixty_lines():
    assert len(Path(__file__).with_name("ditto.py").read_text().splitlines()) < 60


def test_what_it_fixes_cannot_be_contradicted():
    with pytest.raises(ConfigError, match="levels = 2 contradicts strategy = 'ditto'"):
        settings_of(Ditto, {"levels": 2})
