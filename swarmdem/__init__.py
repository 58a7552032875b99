"""Devices that hold private data learn together over MQTT, with no central server.

The public names are resolved when first used (PEP 562): `import swarmdem` loads neither numpy nor
torch nor a broker client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmdem.errors import (
        CharterMismatchError as CharterMismatchError,
        ConfigError as ConfigError,
        DataError as DataError,
        KeyInUseError as KeyInUseError,
        LearningError as LearningError,
        MissingExtraError as MissingExtraError,
        MisuseError as MisuseError,
        StoreError as StoreError,
        SwarmError as SwarmError,
        TransportError as TransportError,
        WireError as WireError,
    )
    from swarmdem.learning.learner import (
        Dataset as Dataset,
        Evaluation as Evaluation,
        Learner as Learner,
        Objective as Objective,
    )
    from swarmdem.learning.softmax import SoftmaxRegression as SoftmaxRegression
    from swarmdem.learning.strategies import settings_of as settings_of
    from swarmdem.learning.strategy import (
        Deployment as Deployment,
        Outcome as Outcome,
        Strategy as Strategy,
        Task as Task,
    )
    from swarmdem.learning.training import TorchLearner as TorchLearner
    from swarmdem.node.blocking import BlockingPeer as BlockingPeer
    from swarmdem.node.cells import (
        CellEntered as CellEntered,
        InRegion as InRegion,
        SpeakingChanged as SpeakingChanged,
    )
    from swarmdem.node.counters import PeerCounters as PeerCounters
    from swarmdem.node.explaining import Explained as Explained
    from swarmdem.node.peer import Peer as Peer
    from swarmdem.node.trainer import Hooks as Hooks, TrainingFinished as TrainingFinished
    from swarmdem.node.troubles import PeerStatus as PeerStatus, Trouble as Trouble
    from swarmdem.protocol.events import (
        Certified as Certified,
        CharterRefused as CharterRefused,
        Degraded as Degraded,
        Elected as Elected,
        Equivocated as Equivocated,
        GroupAveraged as GroupAveraged,
        GroupChanged as GroupChanged,
        GroupFinished as GroupFinished,
        HandedDown as HandedDown,
        KeyRefused as KeyRefused,
        NeighboursAveraged as NeighboursAveraged,
        PeerSeen as PeerSeen,
        PlasticityRaised as PlasticityRaised,
        Recovered as Recovered,
        RoundFinished as RoundFinished,
    )
    from swarmdem.protocol.status import Phase as Phase, Status as Status
    from swarmdem.wire.charter import Charter as Charter
    from swarmdem.wire.signing import Identity as Identity

__version__ = "0.1.0"

_HOMES = {
    "swarmdem.errors": (
        "CharterMismatchError", "ConfigError", "DataError", "KeyInUseError", "LearningError", "MisuseError",
        "MissingExtraError", "StoreError", "SwarmError", "TransportError", "WireError",
    ),
    "swarmdem.learning.learner": ("Dataset", "Evaluation", "Learner", "Objective"),
    "swarmdem.learning.softmax": ("SoftmaxRegression",),
    "swarmdem.learning.strategies": ("settings_of",),
    "swarmdem.learning.strategy": ("Deployment", "Outcome", "Strategy", "Task"),
    "swarmdem.learning.training": ("TorchLearner",),
    "swarmdem.node.blocking": ("BlockingPeer",),
    "swarmdem.node.cells": ("CellEntered", "InRegion", "SpeakingChanged"),
    "swarmdem.node.counters": ("PeerCounters",),
    "swarmdem.node.explaining": ("Explained",),
    "swarmdem.node.peer": ("Peer",),
    "swarmdem.node.trainer": ("Hooks", "TrainingFinished"),
    "swarmdem.node.troubles": ("PeerStatus", "Trouble"),
    "swarmdem.protocol.events": (
        "Certified", "CharterRefused", "Degraded", "Elected", "Equivocated", "GroupAveraged", "GroupChanged",
        "GroupFinished", "HandedDown", "KeyRefused", "NeighboursAveraged", "PeerSeen", "PlasticityRaised",
        "Recovered", "RoundFinished",
    ),
    "swarmdem.protocol.status": ("Phase", "Status"),
    "swarmdem.wire.charter": ("Charter",),
    "swarmdem.wire.signing": ("Identity",),
}  # fmt: skip

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - one list of names, not two


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'swarmdem' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
