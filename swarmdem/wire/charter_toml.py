"""A charter as a TOML table: how people write it down and how files keep it.

`to_mapping` writes every setting, `from_mapping` takes any of them but the swarm's name as left to
its default. What a value may be is the charter's own business.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swarmdem.errors import ConfigError
from swarmdem.wire.cells import LIMIT_MAX, LIMIT_MIN, SWARM, CellSettings, cell_settings
from swarmdem.wire.charter import Charter, TensorSpec, typed
from swarmdem.wire.fields import Extensions

_CELLS = "cells"
"""The key of what is an entry of `ext` on the wire."""


def from_mapping(settings: Mapping[str, Any]) -> Charter:
    """Return the charter of a TOML table, as `to_mapping` writes it.

    Tables stand for tables (`inputs`, `schedules`, the entries of `schema`), base64 for the input
    constants, hex digits for `genesis`. `cells` is the most peers of a cell; 0 or nothing: a flat swarm.

    Raises:
        ConfigError: A key is unknown or a value does not fit; the message shows its path.
    """
    unknown = sorted(set(settings) - {*Charter.__struct_fields__, _CELLS})
    if unknown:
        raise ConfigError(f"charter.{unknown[0]}: unknown setting")
    if "swarm" not in settings:
        raise ConfigError("charter.swarm: missing")
    values = {name: _READERS[name](value) if name in _READERS else value for name, value in settings.items()}
    if (limit := values.pop(_CELLS, 0)) != 0:
        values["ext"] = _read_cells(limit)
    return Charter(**values)


def to_mapping(charter: Charter) -> dict[str, Any]:
    """Return every setting in the types of TOML: `from_mapping` gives the same charter."""
    values: dict[str, Any] = msgspec.structs.asdict(charter)
    values["schema"] = [
        {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype} for spec in charter.schema
    ]
    values["hysteresis"] = list(charter.hysteresis)
    values["schedules"] = {name: list(table) for name, table in charter.schedules}
    values["options"] = dict(charter.options)
    values["cuts"], values["private"] = list(charter.cuts), list(charter.private)
    values["inputs"] = {name: b64encode(constant).decode() for name, constant in charter.inputs}
    values["genesis"] = charter.genesis.hex()
    values["ext"] = [[number, content.hex()] for number, content in charter.ext]
    settings = cell_settings(charter.ext)
    if settings is not None and settings.kind == SWARM:
        values |= {"ext": [], _CELLS: settings.limit}
    return values


def _read_schema(value: Any) -> list[TensorSpec]:
    specs: list[TensorSpec] = []
    for index, entry in enumerate(typed("charter.schema", value, list[Any])):
        path = f"charter.schema[{index}]"
        fields = typed(path, entry, dict[str, Any])
        if fields.keys() != set(TensorSpec.__struct_fields__):
            raise ConfigError(f"{path}: has {', '.join(sorted(fields)) or 'nothing'}, not name, shape, dtype")
        specs.append(TensorSpec(**fields))
    return specs


def _read_inputs(value: Any) -> list[tuple[str, bytes]]:
    table = typed("charter.inputs", value, dict[str, Any])
    return [(name, typed(f"charter.inputs.{name}", constant, bytes)) for name, constant in table.items()]


def _read_schedules(value: Any) -> list[tuple[str, Any]]:
    tables = typed("charter.schedules", value, dict[str, Any])
    return [(name, typed(f"charter.schedules.{name}", table, list[float])) for name, table in tables.items()]


def _read_options(value: Any) -> list[tuple[str, Any]]:
    table = typed("charter.options", value, dict[str, Any])
    return [(name, typed(f"charter.options.{name}", option, float)) for name, option in table.items()]


def _read_hex(path: str, value: Any) -> bytes:
    try:
        return bytes.fromhex(typed(path, value, str))
    except ValueError as error:
        raise ConfigError(f"{path}: not hex digits") from error


def _read_ext(value: Any) -> list[tuple[Any, bytes]]:
    pairs = typed("charter.ext", value, list[tuple[int, str]])
    return [(number, _read_hex("charter.ext", content)) for number, content in pairs]


def _read_cells(value: Any) -> Extensions:
    limit = typed("charter.cells", value, int)
    if not LIMIT_MIN <= limit <= LIMIT_MAX:
        raise ConfigError(f"charter.cells: {limit} is not possible: {LIMIT_MIN} to {LIMIT_MAX}, or 0: none")
    return CellSettings(SWARM, limit).ext()


_READERS: dict[str, Callable[[Any], Any]] = {
    "schema": _read_schema,
    "inputs": _read_inputs,
    "schedules": _read_schedules,
    "options": _read_options,
    "genesis": lambda value: _read_hex("charter.genesis", value),
    "ext": _read_ext,
}
