"""Strategies are settings of one update: what each says about the charter.

`demlearn` is the update itself: every setting may be chosen (house defaults are the charter's).
`fedavg` (McMahan et al., arXiv 1602.05629): one group, its mean replaces every model, no pull,
peers count by their training samples.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from swarmdem.errors import ConfigError

STRATEGIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "demlearn": {},
        "fedavg": {"levels": 0, "mixing": 1.0, "pull": 0.0, "weights": "samples"},
    }
)
"""Charter settings that a strategy fixes."""


def settings_of(strategy: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return charter settings: the *chosen* ones and those that *strategy* fixes.

    Raises:
        ConfigError: The strategy is unknown, or a chosen setting contradicts it.
    """
    fixed = STRATEGIES.get(strategy)
    if fixed is None:
        raise ConfigError(f"strategy = {strategy!r}: known are {', '.join(STRATEGIES)}")
    for setting, value in fixed.items():
        if setting in chosen and chosen[setting] != value:
            raise ConfigError(
                f"{setting} = {chosen[setting]!r} contradicts strategy = {strategy!r}, "
                f"which means {setting} = {value!r}"
            )
    return {**chosen, **fixed, "strategy": strategy}
