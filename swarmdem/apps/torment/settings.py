"""What `swarmdem torment` is told: a swarm as `swarmdem swarm` takes it, and which faults it meets."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from swarmdem.apps.settings import SwarmSettings, from_mapping
from swarmdem.errors import ConfigError
from swarmdem.transport.brokers import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class TormentSettings:
    """One run."""

    swarm: SwarmSettings
    """Peers, rounds, seed, data, model, strategy, patience; `broker` is the kind of all brokers."""
    brokers: int = 3
    kills: bool = True
    """Every round an aggregator is killed (SIGKILL) and restarted."""
    stops: bool = True
    """Every fourth round a peer is stopped (SIGSTOP) for a while."""
    links: bool = True
    """Every third round a link is slow, broken, half-open, damaged or swallowed, or a whole broker slow."""
    broker_every: int = 5
    """Rounds between two brokers killed and restarted empty, or stopped; 0: never."""
    partitions: int = 2
    replace: float = 0.3
    """Share of the peers that go for good; a newcomer takes over the device's data."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, each by the name of its flag."""
        kinds = ("auto", *KINDS)
        rules = (
            ("peers", self.swarm.peers >= 3, "at least 3: of fewer none may go"),
            ("brokers", 1 <= self.brokers <= 16, "1 to 16"),
            ("broker-every", self.broker_every >= 0, "at least 0"),
            ("partitions", 0 <= self.partitions <= self.swarm.rounds, "0 to the number of rounds"),
            ("replace", 0.0 <= self.replace <= 1.0, "a share from 0 to 1"),
            ("broker", self.swarm.broker in kinds, f"one of {', '.join(kinds)}"),
        )
        for name, good, wanted in rules:
            if not good:
                value = getattr(self, name.replace("-", "_"), None)
                raise ConfigError(f"--{name} {getattr(self.swarm, name, value)}: must be {wanted}")

    @property
    def patience_s(self) -> float:
        """The charter's patience: all durations of faults are counted in it."""
        return self.swarm.patience_s

    def as_mapping(self) -> dict[str, Any]:
        """Return all settings by name, as the history's first line holds them."""
        return asdict(self)


def from_history(values: dict[str, Any]) -> TormentSettings:
    """Return what `as_mapping` gave.

    Raises:
        ConfigError: A setting is unknown or does not fit.
    """
    names = {field.name for field in fields(TormentSettings)}
    if unknown := sorted(values.keys() - names):
        raise ConfigError(f"history: {unknown[0]}: unknown setting")
    swarm = from_mapping(values.get("swarm", {}), "history: swarm")
    return TormentSettings(**(values | {"swarm": swarm}))
