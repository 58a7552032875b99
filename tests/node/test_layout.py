import numpy as np

from swarmdem.learning.strategy import Strategy
from swarmdem.node.layout import Layout
from swarmdem.wire.charter import Charter


class Keeping(Strategy):
    name = "keeping"

    def kept(self, initial):
        return frozenset({"head"})


def test_the_first_arrays_are_those_of_the_model_that_is_offered_and_the_private_ones():
    first = {"head": np.array([7.0], np.float32), "body": np.array([1.0, 2.0], np.float32)}
    layout = Layout(Charter(swarm="s"), Keeping(Charter(swarm="s")), first)
    offered = layout.offered(first)

    layout.begin_with(offered)

    assert {name: array.tolist() for name, array in layout.initial.items()} == {"head": [7], "body": [1, 2]}
    assert layout.initial["body"] is offered.parameters["body"]
    assert layout.initial["head"] is first["head"]
