"""The workload on p2pfl: nodes of one process over its in-memory protocol, fully connected.

Options: `train=4` (its default: four nodes are voted to train in each round) or `train=all`;
`pace=fast` sends models every 50 ms to everybody instead of every 2 s to four, and messages every
10 ms instead of without a pause. Otherwise its settings for all nodes on one machine hold.

What it needed: the learner is a plain torch loop of ours, because the one it has is an extra
that pins torchvision below .18 and with it another torch; Ray, which importing it would start, is off;
progress is read off each node's state.
"""

import time
from types import SimpleNamespace

import numpy as np
import task
import torch
from p2pfl.settings import Settings

Settings.general.DISABLE_RAY = True  # before anything else of it is imported

from p2pfl.communication.protocols.protobuff import client as protobuff  # noqa: E402
from p2pfl.communication.protocols.protobuff.memory import MemoryCommunicationProtocol  # noqa: E402
from p2pfl.learning.frameworks.learner import Learner  # noqa: E402
from p2pfl.learning.frameworks.p2pfl_model import P2PFLModel  # noqa: E402
from p2pfl.management.logger import logger  # noqa: E402
from p2pfl.node import Node  # noqa: E402
from p2pfl.utils.utils import set_standalone_settings, wait_convergence  # noqa: E402

LOOK_S = 0.01
sent = {"bytes": 0, "messages": 0}


class Model(P2PFLModel):
    """The network, as p2pfl wants it."""

    def get_parameters(self):
        """Return the arrays in the order of the state dict."""
        return [value.numpy().copy() for value in self.model.state_dict().values()]

    def set_parameters(self, params):
        """Take arrays, or what `encode_parameters` made of them."""
        if isinstance(params, bytes):
            params, more = self.decode_parameters(params)
            self.additional_info.update(more)
        names = self.model.state_dict()
        self.model.load_state_dict(
            {name: torch.from_numpy(np.array(array)) for name, array in zip(names, params, strict=True)}
        )

    def get_framework(self):
        """Say which framework it is of."""
        return "pytorch"


class TorchLoop(Learner):
    """The training that all systems are given."""

    def fit(self):
        """Train for one round."""
        x, y = self.get_data().arrays
        model = self.get_model()
        task.train(model.get_model(), x, y)
        model.set_contribution([self.addr], len(x))
        return model

    def interrupt_fit(self):
        """Do nothing: a round of training is short."""

    def evaluate(self):
        """Measure nothing on the way."""
        return {}

    def get_framework(self):
        """Say which framework it is of."""
        return "pytorch"


def count(self, message):
    """Count a message that was sent, instead of keeping it in the log."""
    sent["bytes"] += message.ByteSize()
    sent["messages"] += 1


def settle(wanted, peers):
    """Choose the settings; return how many nodes train."""
    set_standalone_settings()
    logger.set_level("ERROR")
    if wanted.get("pace") == "fast":
        Settings.gossip.PERIOD = 0.01
        Settings.gossip.MODELS_PERIOD = 0.05
        Settings.gossip.MODELS_PER_ROUND = peers
    Settings.general.SEED = 0
    protobuff.ProtobuffClient.log_successful_send = count
    return peers if wanted.get("train") == "all" else int(wanted.get("train", 4))


def follow(nodes, rounds):
    """Tell when the last node has ended a round; return when all have ended."""
    told = 0
    while told < rounds:
        time.sleep(LOOK_S)
        reached = [rounds if node.state.round is None else node.state.round for node in nodes]
        for number in range(told + 1, min(reached) + 1):
            task.mark(event="round", round=number)
        told = max(told, min(reached))


def main():
    """Run the rounds."""
    options = task.arguments()
    task.seed_all(0)
    training = settle(dict(option.split("=") for option in options.option), options.peers)
    data = task.Data(options.data)
    nodes = []
    for number in range(options.peers):
        held = SimpleNamespace(arrays=data.of(number), dataset_name="workload", batch_size=task.BATCH)
        node = Node(
            Model(task.network()), held, addr=f"node-{number}", learner=TorchLoop(),
            protocol=MemoryCommunicationProtocol(),
        )  # fmt: skip
        node.start()
        for earlier in nodes:
            node.connect(earlier.addr)
        nodes.append(node)
    wait_convergence(nodes, options.peers - 1, wait=60)
    task.mark(event="start")
    nodes[0].set_start_learning(rounds=options.rounds, epochs=task.EPOCHS, trainset_size=training)
    while any(node.state.round is None for node in nodes):
        time.sleep(LOOK_S)
    follow(nodes, options.rounds)
    tests = data.tests(options.peers)
    right = [task.accuracy(node.get_model().get_model(), *tests) for node in nodes]
    task.mark(
        event="done", bytes_per_round=sent["bytes"] / options.rounds, accuracy=float(np.mean(right)),
        messages_per_round=sent["messages"] / options.rounds,
    )  # fmt: skip


if __name__ == "__main__":
    main()
