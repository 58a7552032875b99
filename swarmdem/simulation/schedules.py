"""One run as data: who takes part, under which charter and weather, and what goes wrong.

A seed draws a schedule; from then on the seed only decides the chances of the world (delays, losses,
training). So a schedule can be printed, edited, replayed and shrunk. As JSON times are microseconds, as
everywhere; `invariant` is what the schedule is known to break, if anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from swarmdem.errors import ConfigError
from swarmdem.protocol.core import Core
from swarmdem.protocol.packing import COLLECTORS
from swarmdem.protocol.situation import CROWD
from swarmdem.simulation.faults import Fault
from swarmdem.simulation.peer import CoreFactory
from swarmdem.simulation.runs import (
    Outcome,
    Run,
    Settings,
    charter_of,
    crowds_of,
    drawn_settings,
    faults_of,
    weather_of,
)
from swarmdem.simulation.weather import Weather

PEERS_MAX = 200
"""More peers in one simulated world would take hours a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Everything about one run."""

    seed: int
    peers: int
    rounds: int
    patience: float = 8.0
    """The charter's, in seconds."""
    levels: int = 3
    charter: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the simulated charter's own."""
    weather: Weather = field(default_factory=Weather)
    faults: tuple[Fault, ...] = ()
    crowds: tuple[int, ...] = (CROWD,)
    """Above how many electors peers see a crowd: peer i as entry i says, modulo their number."""
    invariant: str = ""
    """What it breaks."""

    @property
    def settings(self) -> Settings:
        """The settings of the run, of which nothing is left to draw."""
        return Settings(
            seed=self.seed, peers=self.peers, rounds=self.rounds, patience=self.patience, levels=self.levels,
            faults=False,
        )  # fmt: skip

    def run(self, core_factory: CoreFactory = Core, *, whole_trace: bool = False) -> Run:
        """Return the run, not played yet."""
        return Run(
            self.settings, faults=self.faults, weather=self.weather, charter=self.charter, crowds=self.crowds,
            core_factory=core_factory, whole_trace=whole_trace,
        )  # fmt: skip

    def play(self, core_factory: CoreFactory = Core) -> Outcome:
        """Play it to its end."""
        return self.run(core_factory).play()


def schedule_of(settings: Settings) -> Schedule:
    """Return what a seed draws."""
    chosen = drawn_settings(settings)
    if settings.agreement != "available":
        chosen["agreement"] = settings.agreement
    return Schedule(
        seed=settings.seed, peers=settings.peers, rounds=settings.rounds, patience=settings.patience,
        levels=settings.levels, charter=chosen, weather=weather_of(settings), faults=faults_of(settings),
        crowds=crowds_of(settings),
    )  # fmt: skip


def to_json(schedule: Schedule) -> str:
    """Return *schedule* as people read it."""
    return msgspec.json.format(msgspec.json.encode(schedule), indent=2).decode()


def from_json(content: str) -> Schedule:
    """Return the schedule that *content* describes.

    Raises:
        ConfigError: It describes none; the message says which part.
    """
    try:
        schedule = msgspec.json.decode(content, type=Schedule)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"schedule: {error}") from error
    _check(schedule)
    try:
        charter_of(schedule.settings, schedule.peers, schedule.charter)
    except TypeError as error:
        raise ConfigError(f"schedule: charter: {error}") from error
    return schedule


def _check(schedule: Schedule) -> None:
    weather = schedule.weather
    rules = (
        ("peers", 1 <= schedule.peers <= PEERS_MAX, f"1 to {PEERS_MAX}"),
        ("rounds", 1 <= schedule.rounds <= 10_000, "1 to 10000"),
        ("patience", 0.05 <= schedule.patience <= 86_400, "0.05 to 86400 seconds"),
        (
            "crowds",
            schedule.crowds and min(schedule.crowds) >= COLLECTORS,
            f"one or more, {COLLECTORS} or above",
        ),
        ("weather", 1 <= weather.brokers <= 16 and weather.queue_frames >= 1, "1 to 16 brokers with queues"),
        ("weather", 0 <= weather.loss < 1 and 0 <= weather.duplication <= 1, "shares from 0 to 1"),
        ("weather", 0 <= weather.delay_min <= weather.delay_max, "delay_min at most delay_max"),
    )
    for name, good, wanted in rules:
        if not good:
            raise ConfigError(f"schedule: {name}: not {wanted}")
    for number, fault in enumerate(schedule.faults):
        inside = all(0 <= peer < schedule.peers for peer in fault.peers)
        there = all(0 <= broker < weather.brokers for broker in fault.brokers)
        if not (inside and there and 0 <= fault.at <= fault.until and fault.amount >= 0):
            raise ConfigError(f"schedule: faults[{number}]: {fault}: no such peer, broker, time or amount")


def without_peer(schedule: Schedule, peer: int) -> Schedule:
    """Return *schedule* for a swarm that lacks one peer; those after it move up."""
    faults = []
    for fault in schedule.faults:
        left = tuple(p - (p > peer) for p in fault.peers if p != peer)
        if left or not fault.peers:
            faults.append(replace(fault, peers=left))
    return replace(schedule, peers=schedule.peers - 1, faults=tuple(faults))
