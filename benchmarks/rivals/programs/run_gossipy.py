"""The workload on gossipy: its simulator, gossip learning by push on a full graph, no network.

In a round every node sends its model to a random other one, which averages it with its own and trains: as
many trainings and uploads a round as elsewhere. Nothing is evaluated on the way. Each node keeps one Adam
optimizer, as gossipy has it.

What it needed: it imports torchvision, undeclared, to fetch data sets; an empty module stands in for it.
"""

import sys
from types import ModuleType

import numpy as np
import task
import torch

sys.modules["torchvision"] = ModuleType("torchvision")

from gossipy.core import AntiEntropyProtocol, CreateModelMode, StaticP2PNetwork  # noqa: E402
from gossipy.data import DataDispatcher  # noqa: E402
from gossipy.data.handler import ClassificationDataHandler  # noqa: E402
from gossipy.model import TorchModel  # noqa: E402
from gossipy.model.handler import TorchModelHandler  # noqa: E402
from gossipy.node import GossipNode  # noqa: E402
from gossipy.simul import GossipSimulator, SimulationEventReceiver  # noqa: E402

STEPS = 100
"""Of virtual time in a round."""


class Mlp(TorchModel):
    """The network, as gossipy wants it."""

    def __init__(self):
        super().__init__()
        self.layers = task.network()

    def init_weights(self):
        """Leave the weights as they were drawn: all nodes begin with the same."""

    def forward(self, x):
        """Return scores."""
        return self.layers(x)


class Watcher(SimulationEventReceiver):
    """Tells of rounds, and counts what is sent."""

    def __init__(self):
        self.numbers = 0

    def update_message(self, failed, msg=None):
        """Count a message; gossipy gives sizes in numbers."""
        if not failed and msg is not None:
            self.numbers += msg.get_size()

    def update_timestep(self, t):
        """Tell of the end of a round."""
        if (t + 1) % STEPS == 0:
            task.mark(event="round", round=(t + 1) // STEPS)

    def update_end(self):
        """Nothing is left to do."""


def dispatcher(data, peers):
    """Return the data, each node with that of its device."""
    parts = [data.of(node) for node in range(peers)]
    ends = np.cumsum([0, *(len(y) for _, y in parts)])
    x, y = (torch.cat([part[place] for part in parts]) for place in (0, 1))
    handler = ClassificationDataHandler(x, y, test_size=0.0)
    found = DataDispatcher(handler, n=peers, eval_on_user=False, auto_assign=False)
    found.set_assignments([list(range(ends[node], ends[node + 1])) for node in range(peers)], None)
    return found


def main():
    """Run the rounds."""
    options = task.arguments()
    task.seed_all(0)
    data = task.Data(options.data)
    found = dispatcher(data, options.peers)
    nodes = GossipNode.generate(
        data_dispatcher=found,
        p2p_net=StaticP2PNetwork(options.peers),
        model_proto=TorchModelHandler(
            net=Mlp(), optimizer=torch.optim.Adam, optimizer_params={"lr": task.RATE},
            criterion=torch.nn.functional.cross_entropy, local_epochs=task.EPOCHS, batch_size=task.BATCH,
            create_model_mode=CreateModelMode.MERGE_UPDATE,
        ),
        round_len=STEPS,
        sync=True,
    )  # fmt: skip
    simulator = GossipSimulator(
        nodes=nodes, data_dispatcher=found, delta=STEPS, protocol=AntiEntropyProtocol.PUSH
    )
    watcher = Watcher()
    simulator.add_receiver(watcher)
    simulator.init_nodes()
    task.mark(event="start")
    simulator.start(n_rounds=options.rounds)
    tests = data.tests(options.peers)
    right = [task.accuracy(node.model_handler.model, *tests) for node in nodes.values()]
    sent = 4 * watcher.numbers / options.rounds
    task.mark(event="done", bytes_per_round=sent, accuracy=float(np.mean(right)))


if __name__ == "__main__":
    main()
