"""A peer in an application without asyncio: `Peer.blocking` runs it in a thread of its own.

Three peers in three threads, as three programs would be; a broker is started for them.
"""

import subprocess
import sys
import threading

import numpy as np

from swarmdem import Charter, Dataset, Peer, SoftmaxRegression

CHARTER = Charter(swarm="blocking", levels=1, founders=3, patience=1.0)
ROUNDS = 5


def readings(seed: int) -> Dataset:
    """Return made-up readings in two classes."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, 100)
    return Dataset((random.normal(0, 1, (100, 2)) + 2 * classes[:, None]).astype(np.float32), classes)


def device(broker: str, seed: int) -> None:
    """What one program does."""
    learner = SoftmaxRegression(2, readings(seed), readings(seed + 100))
    with Peer.blocking(CHARTER, learner, brokers=[broker]) as peer:
        peer.run(rounds=ROUNDS)
        learner.load(peer.model)
        print(f"peer {peer.id[:8]}: {learner.evaluate().score:.0%} right on its own test data")


def main() -> None:
    """Start a broker and three devices."""
    broker = subprocess.Popen(
        [sys.executable, "-m", "swarmdem", "broker", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert broker.stdout is not None
    broker.stdout.readline()
    url = broker.stdout.readline().split()[-1]
    devices = [threading.Thread(target=device, args=(url, seed)) for seed in range(3)]
    for thread in devices:
        thread.start()
    for thread in devices:
        thread.join()
    broker.terminate()
    broker.wait()
    broker.stdout.close()


if __name__ == "__main__":
    main()
