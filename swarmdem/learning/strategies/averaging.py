"""One group whose mean replaces every model: FedAvg and FedProx."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from swarmdem.learning.strategy import Strategy


class FedAvg(Strategy):
    """Federated averaging (McMahan et al., arXiv 1602.05629, Algorithm 1).

    w(t+1) = sum_k n_k / n w_k(t+1), with every peer taking part in every round (C = 1).
    """

    name: ClassVar[str] = "fedavg"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"update": "tree", "levels": 0, "mixing": 1.0, "pull": 0.0, "weights": "samples"}
    )


class FedProx(Strategy):
    """FedAvg with a pull to the model of the last round (Li et al., arXiv 1812.06127, Algorithm 2).

    Each peer minimises h_k(w; w^t) = F_k(w) + mu/2 |w - w^t|^2 (eq. 2), mu being the charter's `pull`;
    with `pull = 0` this is FedAvg.

    Deviations: peers average by their samples, as in FedAvg and the DemLearn authors' comparison (the
    paper samples devices with that probability instead); the local problem is solved by a fixed number
    of epochs, the same at every peer, not to an inexactness gamma_k of its own.
    """

    name: ClassVar[str] = "fedprox"
    fixes: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"update": "tree", "levels": 0, "mixing": 1.0, "weights": "samples", "pull_to": "parent"}
    )
