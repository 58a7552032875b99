"""No aggregators: each peer with a few neighbours, or alone."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from swarmdem.learning.strategy import Strategy


class Gossip(Strategy):
    """Averaging with neighbours (D-PSGD, Lian et al., arXiv 1705.09056, Algorithm 1).

    x_i <- sum_j W_ij x_j over peer i and its neighbours, all with the same weight, on a random regular
    graph of degree `neighbours` that changes each round.

    Deviations: the paper subtracts one gradient, taken at x_i, from the neighbours' average; here a
    whole round of local training comes first and the trained models are averaged. The graph changes
    from round to round; W is doubly stochastic in every round in which nobody is missing.
    """

    name: ClassVar[str] = "gossip"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"update": "gossip", "levels": 0, "mixing": 1.0, "pull": 0.0, "weights": "agents"}
    )


class Local(Strategy):
    """Every peer learns alone: the yardstick of what taking part is worth."""

    name: ClassVar[str] = "local"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"update": "gossip", "neighbours": 0, "levels": 0, "mixing": 0.0, "pull": 0.0, "weights": "agents"}
    )
