"""The work that every system is given: data, network, training. For the programs beside it.

Each node has the samples of one device; the MLP is 784-128-64-10 (109,386 parameters); Adam .001 anew
each round, batches of 10, 2 epochs; one thread. Imports torch and numpy alone, because every program runs
in the environment of the system it measures.
"""

import argparse
import functools
import json
import random

import numpy as np
import torch

EPOCHS = 2
BATCH = 10
RATE = 0.001
MODEL_BYTES = 4 * 109_386


def arguments():
    """Return what the measuring program asks for: peers, rounds, data, and options of the system."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--node", type=int, default=0, help="of a program that is started once a node")
    parser.add_argument("--port", type=int, default=0, help="of a broker")
    parser.add_argument("--option", action="append", default=[])
    return parser.parse_args()


def mark(**told):
    """Tell the measuring program something."""
    print("@@ " + json.dumps(told), flush=True)


def seed_all(seed):
    """Seed every generator that a system may use."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)


class Data:
    """The arrays of a workload file, standardised with one mean and deviation."""

    def __init__(self, path):
        with np.load(path) as file:
            x, self.y = file["x"].astype(np.float32) / 255, file["y"].astype(np.int64)
            self.device, self.train = file["device"], file["train"]
        self.x = (x - x[self.train].mean()) / x[self.train].std()
        self.devices = int(self.device.max()) + 1

    def of(self, node, *, train=True):
        """Return inputs (n, 784) and labels (n,) of one node; beyond the last device from 0 again."""
        chosen = (self.device == node % self.devices) & (self.train == train)
        return torch.from_numpy(self.x[chosen]).flatten(1), torch.from_numpy(self.y[chosen])

    def tests(self, peers):
        """Return the test samples of all devices that take part."""
        parts = [self.of(node, train=False) for node in range(min(peers, self.devices))]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


@functools.cache
def data(path):
    """Return the data of a file, read once a process."""
    return Data(path)


def network():
    """Return the MLP with weights drawn from torch's generator."""
    return torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, 64), torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )  # fmt: skip


def train(model, x, y):
    """Train for one round; return the loss of the last batch."""
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
    return float(loss.detach())


def accuracy(model, x, y):
    """Return the share of right answers."""
    model.eval()
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())
