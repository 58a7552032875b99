"""Every packaged strategy as three real peers with different classes; their models say which it was."""

import asyncio

import numpy as np
import pytest
import torch

from swarmdem import Charter, Dataset, Peer, TorchLearner, settings_of
from swarmdem.transport.memory import MemoryBus

CENTRES = np.random.default_rng(3).normal(size=(3, 8)).astype(np.float32)
NORMALISATION = {"1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"}
HEAD = {"3.bias", "3.weight"}
NAMES = {"0.weight"} | NORMALISATION | HEAD


def learner(number):
    """Peer *number* holds two of the three classes."""
    rng = np.random.default_rng(number)
    y = np.resize([number, (number + 1) % 3], 20)
    x = (CENTRES[y] + rng.normal(size=(20, 8)) * 0.3).astype(np.float32)
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Linear(8, 6, bias=False), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
    )
    return TorchLearner(module, Dataset(x, y), seed=number, device="cpu")


async def run(charter, rounds):
    bus = MemoryBus()

    async def one(number):
        async with Peer(charter, learner(number), link=bus.link()) as peer:
            await peer.run(rounds=rounds)
            return peer.model, await peer.predict(CENTRES)

    return await asyncio.gather(*(one(number) for number in range(3)))


@pytest.mark.parametrize(
    ("name", "apart"),
    [
        ("local", NAMES - {"1.num_batches_tracked"}),
        ("fedavg", set()),
        ("fedprox", set()),
        ("pfedme", set()),
        ("scaffold", set()),
        ("gossip", set()),
        ("fedbn", NORMALISATION - {"1.num_batches_tracked"}),
        ("fedper", HEAD),
        ("demlearn", NAMES - {"1.num_batches_tracked"}),
    ],
)
async def test_peers_differ_in_what_their_strategy_leaves_to_each(name, apart):
    charter = Charter(swarm=name, founders=3, patience=4.0, **settings_of(name, {}))

    finished = await run(charter, 3)

    first = finished[0][0]
    different = {
        array
        for array in NAMES
        if any(not np.allclose(first[array], model[array], rtol=0, atol=1e-7) for model, _ in finished[1:])
    }
    assert different == apart
    assert all(np.isfinite(array).all() for model, _ in finished for array in model.values())
    assert all(np.isfinite(answers).all() and answers.shape == (3, 3) for _, answers in finished)
