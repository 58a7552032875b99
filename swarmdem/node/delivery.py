"""How the parts of a peer hand their answers to its core."""

from typing import Protocol

from swarmdem.node.models import Model
from swarmdem.protocol.events import Input


class Deliver(Protocol):
    """Hands an input to the core."""

    def __call__(self, answer: Input, model: Model | None, /) -> None:
        """Queue *answer*; the shelf takes *model* in the moment the core hears of it.

        Not earlier: until then a `Keep` of the core could not name it.
        """


class DeliverSeveral(Protocol):
    """Hands an input to the core, with every model that came of the order."""

    def __call__(self, answer: Input, model: Model | None, /, *beside: Model) -> None:
        """Queue *answer*; the shelf takes *model* and those *beside* it as in `Deliver`."""
