"""`swarmdem charter`: what all peers of a swarm must agree on, written to a file for all of them."""

from pathlib import Path

from swarmdem.apps import toml
from swarmdem.apps.peer import DEVICES
from swarmdem.apps.settings import SwarmSettings
from swarmdem.errors import ConfigError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load_for
from swarmdem.learning.learner import Learner
from swarmdem.learning.scaling import standardization
from swarmdem.learning.strategies import settings_of, strategy_of
from swarmdem.node.cells_start import refuse_in_cells
from swarmdem.node.layout import Layout
from swarmdem.wire import charter_toml
from swarmdem.wire.charter import Charter, TensorSpec

_OF_GROUPS = (
    "cut", "cuts", "linkage", "grouping", "min_size", "newcomers", "tau", "hysteresis", "schedules.tau",
)  # fmt: skip
"""Settings that say how groups form."""


def make_charter(
    settings: SwarmSettings,
    schema: tuple[TensorSpec, ...],
    inputs: tuple[tuple[str, bytes], ...],
    *,
    founders: int,
    gather: float = 30.0,
    chunk: int = 2**16,
    genesis: bytes = b"",
) -> Charter:
    """Return a charter: what the strategy fixes, what was asked for, and what data and model say.

    Args:
        settings: The swarm's; flags left alone take the charter's defaults.
        schema: Of what travels.
        inputs: Input constants.
        founders: Peers whose presence starts the founding.
        gather: Seconds after which whoever is there begins.
        chunk: Bytes per chunk message.
        genesis: Name of the first model, which cells must share; empty: the founding names one.

    Raises:
        ConfigError: Settings contradict the strategy.
    """
    cells = {} if settings.cells is None else {"cells": settings.cells, "genesis": genesis.hex()}
    return charter_toml.from_mapping(
        charter_toml.to_mapping(Charter(swarm=settings.swarm, schema=schema, inputs=inputs))
        | {
            "digest": settings.digest_size,
            "patience": settings.patience_s,
            "founders": founders,
            "gather": gather,
            "chunk": chunk,
            **cells,
        }
        | settings_of(settings.strategy, settings.charter_choices(settings.rounds))
    )


def check_update(settings: SwarmSettings) -> None:
    """Refuse settings of the update that contradict each other, before data or model are there.

    Raises:
        ConfigError: One contradicts the strategy or another, or would change nothing; the message names it.
    """
    charter = make_charter(settings, (), (), founders=settings.peers, genesis=bytes(32))
    refuse_in_cells(charter, record=settings.record)
    strategy_of(charter)  # which knows the ranges of its options
    for setting, idle, why in _idle(settings, charter):
        if idle:
            raise ConfigError(f"{setting}: changes nothing, {why}")


def _given(settings: SwarmSettings, name: str) -> bool:
    """Tell whether a setting was chosen: `tau`, or `schedules.tau` for a table."""
    table, _, entry = name.partition(".")
    value = getattr(settings, table)
    return value is not None and (not entry or entry in value)


def _idle(settings: SwarmSettings, charter: Charter) -> tuple[tuple[str, bool, str], ...]:
    """Return (setting, whether it was chosen in vain, why) for what a charter itself may well hold."""
    schedules, gossip = settings.schedules or {}, charter.update == "gossip"
    flat, why = charter.levels == 0, "there are no groups (levels = 0)"
    return (
        *((name, flat and _given(settings, name), why) for name in _OF_GROUPS),
        ("mixing", settings.mixing is not None and "mixing" in schedules, "schedules has a table of it"),
        ("neighbours", settings.neighbours is not None and not gossip, 'it is for strategy = "gossip"'),
        ("pull_to", settings.pull_to == "all" and charter.pull == 0, "there is no pull"),
        ("schedules.pull", "pull" in schedules and charter.pull == 0, "there is no pull"),
        ("schedules.gamma", "gamma" in schedules and gossip, "neighbours have no model of the last round"),
    )


def wire_schema(settings: SwarmSettings, learner: Learner) -> tuple[TensorSpec, ...]:
    """Return what travels between peers: the learner's arrays that do not stay, and the strategy's extras.

    Raises:
        ConfigError: Settings contradict the strategy, or it cannot work with the learner.
    """
    charter = make_charter(settings, (), (), founders=settings.peers)
    strategy = strategy_of(charter)
    strategy.check(learner)
    return Layout(charter, strategy, learner.parameters()).wire


def first_model(settings: SwarmSettings, learner: Learner) -> ModelHash:
    """Return the name of the learner's first model, as a founder offers it.

    Raises:
        ConfigError: Settings contradict the strategy, or it cannot work with the learner.
    """
    charter = make_charter(settings, (), (), founders=settings.peers)
    initial = learner.parameters()
    return Layout(charter, strategy_of(charter), initial).offered(initial).name


def write_charter(settings: SwarmSettings, path: Path, *, founders: int) -> Charter:
    """Write the charter of a new swarm; the data gives the input constants, the model its schema.

    Raises:
        ConfigError: *path* exists already or cannot be written, or a setting is wrong.
        DataError: The data file is missing or malformed.
    """
    if path.exists():
        raise ConfigError(f"{path}: exists already; a charter that peers may hold is not overwritten")
    check_update(settings)
    samples = load_for(settings, devices=DEVICES)
    constants = standardization(samples, settings.standardize)
    data = DeviceData(samples, constants)
    learner = build_learners(
        settings.model,
        [data.device(0)],
        shape=data.shape,
        classes=data.outputs,
        settings=TrainingSettings(device="cpu"),
        seed=settings.seed,
    )[0]
    charter = make_charter(
        settings, wire_schema(settings, learner), constants.to_inputs(), founders=founders,
        genesis=first_model(settings, learner),
    )  # fmt: skip
    try:
        path.write_text(toml.table("charter", charter_toml.to_mapping(charter)), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return charter
