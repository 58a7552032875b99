"""`swarmdem charter`: what all peers of a swarm must agree on, written to a file for all of them."""

from pathlib import Path
from typing import Any

from swarmdem.apps import toml
from swarmdem.apps.peer import DIGITS_PARTS
from swarmdem.apps.settings import SwarmSettings
from swarmdem.errors import ConfigError
from swarmdem.learning.building import TrainingSettings, build_learners
from swarmdem.learning.datasets import DeviceData, load, standardization
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.strategies import settings_of
from swarmdem.wire import charter_toml
from swarmdem.wire.charter import Charter, TensorSpec


def make_charter(
    settings: SwarmSettings,
    schema: tuple[TensorSpec, ...],
    inputs: tuple[tuple[str, bytes], ...],
    *,
    founders: int,
    gather: float = 30.0,
    chunk: int = 2**16,
) -> Charter:
    """Return a charter: what the strategy fixes, what was asked for, and what data and model say.

    Args:
        settings: The swarm's; flags left alone take the charter's defaults.
        schema: Of the model.
        inputs: Input constants.
        founders: Peers whose presence starts the founding.
        gather: Seconds after which whoever is there begins.
        chunk: Bytes per chunk message.

    Raises:
        ConfigError: Settings contradict the strategy.
    """
    return charter_toml.from_mapping(
        charter_toml.to_mapping(Charter(swarm=settings.swarm, schema=schema, inputs=inputs))
        | {
            "start": settings.start,
            "digest": settings.digest_size,
            "patience": settings.patience_s,
            "founders": founders,
            "gather": gather,
            "chunk": chunk,
        }
        | settings_of(settings.strategy, chosen_settings(settings))
    )


def chosen_settings(settings: SwarmSettings) -> dict[str, Any]:
    """Return the settings of the update that were not left to the strategy."""
    asked = {name: getattr(settings, name) for name in ("levels", "mixing", "pull")}
    return {name: value for name, value in asked.items() if value is not None}


def write_charter(settings: SwarmSettings, path: Path, *, founders: int) -> Charter:
    """Write the charter of a new swarm; the data gives the input constants, the model its schema.

    Raises:
        ConfigError: *path* exists already or cannot be written, or a setting is wrong.
        DataError: The data file is missing or malformed.
    """
    if path.exists():
        raise ConfigError(f"{path}: exists already; a charter that peers may hold is not overwritten")
    samples = load(settings.data, devices=DIGITS_PARTS)
    constants = standardization(samples, settings.standardize)
    data = DeviceData(samples, constants)
    learner = build_learners(
        settings.model,
        [data.device(0)],
        shape=data.shape,
        classes=data.classes,
        settings=TrainingSettings(device="cpu"),
        seed=settings.seed,
    )[0]
    charter = make_charter(
        settings, schema_of(learner.parameters()), constants.to_inputs(), founders=founders
    )
    try:
        path.write_text(toml.table("charter", charter_toml.to_mapping(charter)), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return charter
