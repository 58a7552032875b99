"""The settings of `swarmdem swarm`: one frozen value per run, checked once, written to `run.toml`.

The command line's flags, the fields below and the keys under `[settings]` in `run.toml` have the
same names (flags with hyphens). What all peers must agree on goes from here into the charter.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec

from swarmdem.apps import choices
from swarmdem.apps.choices import UpdateChoices
from swarmdem.errors import ConfigError, SettingError
from swarmdem.learning.defaults import HOLDOUT_SEED, LEARNING_RATES

BROKERS = ("auto", "embedded", "memory", "mosquitto", "nats")
"""Brokers that `swarm` starts itself; anything else is a URL."""
MANY = 100
"""Peers from which on a run says what it is doing before its first round: that may take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSettings(UpdateChoices):
    """What one swarm run does."""

    swarm: str = "swarm"
    """Name of the swarm; the run's charter adds nothing to it, so one broker can serve several."""
    peers: int = 12
    """N; peer i trains on device i of the data, modulo the number of devices."""
    data: str = "digits"
    """`digits` (packaged), an .npz with `x`, `y`, `device`, `train`, or a folder of IDX files."""
    devices: int | None = None
    """Over how many devices digits and IDX files are split; None: as many as peers."""
    labels_per_device: int | None = None
    """Labels a device holds of IDX files; None: 2."""
    split_seed: int | None = None
    """Seed of the split of IDX files; None: 0."""
    holdout: float | None = None
    """Tune: share of each device's training part to test on; the real test part is not read."""
    holdout_seed: int | None = None
    """Of `holdout`; None: 7."""
    model: str = "mlp"
    """`mlp`, `cnn`, `softmax` (numpy, no torch) or `module:function`."""
    optimizer: str = "sgd"
    lr: float | None = None
    epochs: int = 2
    batch_size: int = 10
    rounds: int = 20
    evaluate_every: int = 5
    evaluate_last: int = 1
    """The last rounds are evaluated each."""
    evaluate: str = "update"
    """`update`, or `both`: also after training."""
    standardize: str = "global"
    digest_size: int = 1024
    seed: int = 0
    broker: str | tuple[str, ...] = "auto"
    """A kind of `BROKERS`, which the run starts, or the URLs of one broker or more."""
    device: str = "auto"
    vectorise: str = "auto"
    """Peers of one process train in one pass: `on`, `off`, or where a trial says that it is faster."""
    workers: int | None = None
    """Worker processes; None: one per core."""
    cells: int | None = None
    """Most peers of a cell; None: a flat swarm."""
    patience: float | None = None
    """Seconds of silence before others act; None: sized for N peers on one machine."""
    record: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work, each by the name of its flag."""
        for name, good, wanted in _rules(self):
            if not good:
                value = ", ".join(self.all_brokers) if name == "broker" else getattr(self, name)
                raise SettingError(name, value, wanted)

    @property
    def step_size(self) -> float:
        """`lr`, or the optimizer's default."""
        return LEARNING_RATES[self.optimizer] if self.lr is None else self.lr

    @property
    def tuning_seed(self) -> int:
        """`holdout_seed`, or its default."""
        return HOLDOUT_SEED if self.holdout_seed is None else self.holdout_seed

    @property
    def all_brokers(self) -> tuple[str, ...]:
        """`broker` as a tuple: one kind, or the URLs."""
        return (self.broker,) if isinstance(self.broker, str) else self.broker

    @property
    def patience_s(self) -> float:
        """`patience`, or a default that does not take a busy machine for a dead peer.

        10 s and half a second for each peer of the swarm, or of a cell; a fifth of a second for each beyond
        `MANY`, because founding takes an eighth of it.
        """
        if self.patience is not None:
            return self.patience
        together = self.peers if self.cells is None else min(self.peers, self.cells)
        return 10.0 + 0.5 * min(together, MANY) + 0.2 * max(0, together - MANY)

    def evaluated(self, round: int) -> bool:
        """Tell whether *round* is evaluated: every `evaluate_every` rounds and each of the last."""
        return round > self.rounds - self.evaluate_last or round % self.evaluate_every == 0

    def as_mapping(self) -> dict[str, Any]:
        """Return the settings by name, those left to their default as None."""
        return asdict(self)


def _rules(s: SwarmSettings) -> tuple[tuple[str, bool, str], ...]:
    def at_least(name: str, least: int) -> tuple[str, bool, str]:
        value = getattr(s, name)
        return (name, value is None or value >= least, f"must be at least {least}")

    def one_of(name: str, known: tuple[str, ...]) -> tuple[str, bool, str]:
        return (name, getattr(s, name) in known, choices.one_of(known))

    return (
        at_least("peers", 1),
        ("peers", s.peers <= 1024, "at most 1024 in this version"),
        at_least("epochs", 1),
        at_least("batch_size", 1),
        at_least("rounds", 1),
        at_least("evaluate_every", 1),
        at_least("evaluate_last", 1),
        at_least("workers", 1),
        at_least("seed", 0),
        at_least("devices", 1),
        at_least("labels_per_device", 1),
        at_least("split_seed", 0),
        at_least("holdout_seed", 0),
        ("holdout_seed", s.holdout_seed is None or s.holdout is not None, "changes nothing without holdout"),
        ("holdout", s.holdout is None or 0.0 < s.holdout < 1.0, "a share above 0 and below 1"),
        *choices.rules(s),
        ("lr", s.lr is None or (math.isfinite(s.lr) and s.lr > 0.0), "finite and above 0"),
        ("patience", s.patience is None or 0.05 <= s.patience <= 86_400, "0.05 to 86400 seconds"),
        ("cells", s.cells is None or 4 <= s.cells <= 256, "4 to 256 peers"),
        ("digest_size", 16 <= s.digest_size <= 8192, "16 to 8192"),
        one_of("optimizer", tuple(LEARNING_RATES)),
        one_of("evaluate", ("update", "both")),
        one_of("standardize", ("global", "pixel", "none")),
        one_of("device", ("auto", "cpu", "cuda")),
        one_of("vectorise", ("auto", "on", "off")),
        (
            "broker",
            s.broker in BROKERS or (s.all_brokers != () and all("://" in each for each in s.all_brokers)),
            f"a URL or one of {', '.join(BROKERS)}; several must be URLs",
        ),
        (
            "workers",
            s.broker != "memory" or (s.workers or 1) == 1,
            "contradicts the broker memory, which is one process",
        ),
    )


def from_mapping(values: Mapping[str, Any], where: str) -> SwarmSettings:
    """Return the settings of a mapping, such as `[settings]` of a `run.toml`.

    Args:
        values: By name; what is absent takes its default.
        where: What comes before a key or a value that is wrong, `settings.` for example.

    Raises:
        ConfigError: A key is unknown or a value does not fit; the message shows its path.
    """
    hints = {field.name: field.type for field in fields(SwarmSettings)}
    for name in values:
        if name not in hints:
            raise ConfigError(f"{where}{name}: unknown setting")
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}{name}: {error}") from error
    checked |= {"cells": checked["cells"] or None} if "cells" in checked else {}  # 0: flat, as in charters
    try:
        return SwarmSettings(**checked)
    except SettingError as error:
        raise ConfigError(f"{where}{error.setting} = {error.value!r}: {error.wanted}") from error
