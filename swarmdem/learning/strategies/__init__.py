"""The packaged strategies by name, and any other as `module:Class`.

What a strategy is: `swarmdem.learning.strategy`. Each of these is one class that says what differs
from DemLearn; the machinery (agreement, groups, aggregators, transfer) is the same for all. Sources
and equations are in their docstrings. None of them needs torch.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from swarmdem.errors import ConfigError
from swarmdem.learning.loading import imported
from swarmdem.learning.strategies.averaging import FedAvg, FedProx
from swarmdem.learning.strategies.gossiping import Gossip, Local
from swarmdem.learning.strategies.personal import FedBn, FedPer
from swarmdem.learning.strategies.pfedme import PFedMe
from swarmdem.learning.strategies.plus import DemLearnPlus
from swarmdem.learning.strategies.scaffold import Scaffold
from swarmdem.learning.strategy import Strategy
from swarmdem.wire.charter import Charter

STRATEGIES: Mapping[str, type[Strategy]] = MappingProxyType(
    {
        strategy.name: strategy
        for strategy in (
            Strategy,
            DemLearnPlus,
            FedAvg,
            FedProx,
            PFedMe,
            Local,
            Gossip,
            FedBn,
            FedPer,
            Scaffold,
        )
    }
)
"""Packaged strategies by name; `demlearn` is `Strategy` itself."""


def strategy_class(name: str) -> type[Strategy]:
    """Return the strategy called *name*: one of `STRATEGIES`, or `module:Class`.

    Raises:
        ConfigError: There is none.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    found = imported("strategy", name, STRATEGIES)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ConfigError(f"strategy = {name!r}: not a subclass of swarmdem.Strategy")
    return found


def strategy_of(charter: Charter) -> Strategy:
    """Return the strategy of *charter*, ready for one peer.

    Raises:
        ConfigError: It is unknown, or the charter contradicts it.
    """
    return strategy_class(charter.strategy)(charter)


def settings_of(strategy: str | type[Strategy], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return charter settings: the strategy's defaults, the *chosen* ones and those it fixes.

    Args:
        strategy: A name as `strategy_class` takes it, or a class that an application hands to `Peer`.
        chosen: Charter settings by name, as a charter or its TOML table takes them.

    Raises:
        ConfigError: The strategy is unknown, or a chosen setting contradicts it.
    """
    if isinstance(strategy, str):
        return strategy_class(strategy).settings(chosen) | {"strategy": strategy}
    return strategy.settings(chosen) | {"strategy": strategy.name}
