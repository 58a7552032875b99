"""Part of the model stays with its peer: FedBN and FedPer.

Both average the rest as FedAvg does. To keep part of the model at home in a hierarchy, use `demlearn`
with patterns of names in the charter's `private`.
"""

from collections.abc import Collection
from types import MappingProxyType
from typing import ClassVar

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Parameters
from swarmdem.learning.strategies.averaging import FedAvg
from swarmdem.learning.strategy import layer_of
from swarmdem.wire.encodings import is_statistic


class FedBn(FedAvg):
    """Normalisation layers stay local (FedBN, Li et al., arXiv 2102.07623, Algorithm 1).

    A batch norm's statistics and its affine weights are those of one peer's inputs; everything else is
    averaged. Layers are found by their running statistics: normalisation without any (layer norm, group
    norm) is not; name its arrays in the charter's `private`.

    Deviation: peers count by their samples, as in FedAvg; the paper's Algorithm 1 counts each once.
    """

    name: ClassVar[str] = "fedbn"

    def private(self, model: Parameters) -> Collection[str]:
        """Return the arrays of every layer that keeps running statistics.

        Raises:
            ConfigError: The model has no such layer.
        """
        layers = {layer_of(name) for name in model if is_statistic(name)}
        if not layers:
            raise ConfigError(
                "strategy = 'fedbn': the model has no normalisation layer with running statistics"
            )
        return [name for name in model if layer_of(name) in layers]


class FedPer(FedAvg):
    """The last layers stay local (FedPer, Arivazhagan et al., arXiv 1912.00818, Algorithms 1 and 2).

    Base layers W_B are averaged, the personal head W_P of each peer is trained along with them and
    never leaves. `head_layers` layers are the head, counted from the last in the learner's own order.
    """

    name: ClassVar[str] = "fedper"
    options = MappingProxyType({"head_layers": 1.0})

    def private(self, model: Parameters) -> Collection[str]:
        """Return the arrays of the last layers.

        Raises:
            ConfigError: `head_layers` is not a whole number of layers that leaves one to share.
        """
        layers = list(dict.fromkeys(layer_of(name) for name in model))
        heads = self.option["head_layers"]
        if heads != int(heads) or not 1 <= heads < len(layers):
            raise ConfigError(
                f"options.head_layers = {heads:g}: the model has {len(layers)} layers; one at least is "
                "the head and one at least is shared"
            )
        kept = set(layers[-int(heads) :])
        return [name for name in model if layer_of(name) in kept]
