"""The workload on Flower: its simulation, FedAvg, every node trains every round.

As many clients at a time as there are cores, each in a Ray actor with one core, as its documentation
advises for clients that need no more. Bytes are those of the arrays in all messages; no network lies between.
"""

import os

import task
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

options = task.arguments()
client, server = ClientApp(), ServerApp()


@client.train()
def train(message, context):
    """Train the model that came, on the data of this node."""
    torch.set_num_threads(1)
    x, y = task.data(options.data).of(context.node_config["partition-id"])
    model = task.network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loss = task.train(model, x, y)
    metrics = MetricRecord({"num-examples": len(x), "loss": loss})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


class Counted(FedAvg):
    """FedAvg that says when a round has ended, and counts."""

    bytes = 0

    def configure_train(self, server_round, arrays, config, grid):
        """Count what goes out; see `Strategy`."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self.bytes += sum(size(message) for message in messages)
        return messages

    def aggregate_train(self, server_round, replies):
        """Count what came back; see `Strategy`."""
        replies = list(replies)
        self.bytes += sum(size(reply) for reply in replies if reply.has_content())
        result = super().aggregate_train(server_round, replies)
        task.mark(event="round", round=server_round, nodes=len(replies))
        return result


def size(message):
    """Return the bytes of a message's arrays."""
    return sum(len(array.data) for array in message.content["arrays"].values())


@server.main()
def serve(grid, context):
    """Run the rounds."""
    task.seed_all(0)
    strategy = Counted(
        fraction_evaluate=0.0, min_train_nodes=options.peers, min_available_nodes=options.peers
    )
    model = task.network()
    task.mark(event="start")
    result = strategy.start(
        grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=options.rounds
    )
    model.load_state_dict(result.arrays.to_torch_state_dict())
    task.mark(
        event="done",
        bytes_per_round=strategy.bytes / options.rounds,
        accuracy=task.accuracy(model, *task.data(options.data).tests(options.peers)),
    )


if __name__ == "__main__":
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=options.peers,
        backend_config={
            "init_args": {"num_cpus": os.cpu_count()},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
