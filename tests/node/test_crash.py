"""A peer that is killed as it begins a round comes back as the same peer with its model.

Killed between a round's certificate and its result it would miss that round; deaths at any write are in
`test_disk_trouble.py`.
"""

import asyncio
import signal
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from swarmdem import Charter, Degraded, Peer, SoftmaxRegression
from swarmdem.transport.memory import MemoryBus

PROGRAM = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_crash import new_peer
from swarmdem import RoundFinished

async def main():
    async with new_peer(sys.argv[2]) as peer:
        async for event in peer.events():
            if isinstance(event, RoundFinished):
                print(peer.id, event.round, flush=True)
                if event.round == int(sys.argv[3]):
                    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def new_peer(state):
    y = np.arange(30) % 3
    learner = SoftmaxRegression(3, (np.eye(3, dtype=np.float32)[y], y), lr=0.01)
    return Peer(Charter(swarm="s", founders=1, patience=1.0), learner, link=MemoryBus().link(), state=state)


def fingerprint(model):
    return sha256(b"".join(model[name].tobytes() for name in sorted(model))).hexdigest()


def run_until_killed(state, last):
    """Return what a peer in another process said of its rounds before it was killed at the end of *last*."""
    tests = str(__file__).rpartition("/")[0]
    command = [sys.executable, "-c", PROGRAM, tests, state, str(last)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    return [line.split() for line in done.stdout.splitlines()]


async def models_of_rounds(count):
    """Return the models of an undisturbed run: learning alone gives the same in every run."""
    models = {}
    async with new_peer(None) as peer:
        for number in range(1, count + 1):
            await peer.run(rounds=number)
            models[number] = fingerprint(peer.model)
    return models


@pytest.mark.parametrize("last", [1, 6])
async def test_a_killed_peer_comes_back_with_its_last_model_and_goes_on(tmp_path, last):
    state = str(tmp_path / "state")
    lines = await asyncio.to_thread(run_until_killed, state, last)
    async with asyncio.timeout(60):
        expected = await models_of_rounds(last + 2)
        async with new_peer(state) as peer:
            events = peer.events()
            assert fingerprint(peer.model) == expected[last]
            await peer.run(rounds=last + 2)
            assert [line[0] for line in lines] == [peer.id] * last
            assert fingerprint(peer.model) == expected[last + 2]

    said = [event.what async for event in events if isinstance(event, Degraded)]
    assert [what for what in said if "damaged" in what] == []
