"""The settings of one peer: a TOML file, the environment, and what the caller says, in one frozen tree.

    [peer]                                  [learner]                     [tls]
    brokers = ["mqtts://gateway.local"]     data = "sensors.npz"          cafile = "ca.pem"
    charter = "charter.toml"                part = 3
    state = "state"                         model = "softmax"

Later sources win: file, then `SWARMDEM_PEER_STATE` and the like (table and key in capitals, lists
separated by commas), then the caller. Paths in a file are relative to that file. The charter is
shared by a whole swarm and therefore a file of its own, or a `[charter]` table in this one; the
environment cannot change it. Whatever is unknown or does not fit is refused by its path.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from swarmdem.errors import ConfigError
from swarmdem.learning.building import TrainingSettings
from swarmdem.learning.datasets import DIGITS
from swarmdem.protocol.conduct import HIGHEST, ORDINARY
from swarmdem.transport.settings import TlsFiles
from swarmdem.wire import charter_toml
from swarmdem.wire.charter import Charter

PREFIX = "SWARMDEM_"
"""Beginning of the environment variables that are settings."""
ELSEWHERE = {"SWARMDEM_DATA_DIR"}
"""Those that are no settings of a peer: `swarmdem experiment` looks for data there."""

PAUSE_MOST_S = 86_400.0
"""Longest rest of a peer between rounds."""

Tables = Mapping[str, Mapping[str, Any]]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """`[peer]`: where this peer lives."""

    brokers: tuple[str, ...] = ()
    """URLs, as `mqtt://user:password@host:port` or `mqtts://...`; the peer talks over all that it reaches."""
    host_broker: str | None = None
    """Run a broker for the swarm and announce it under this URL, `mqtt://192.168.1.7:1883`; `auto`: under
    this machine's address."""
    discover: bool = False
    """Look for brokers on the local network by mDNS."""
    charter: Path | None = None
    """File with the charter; None: the `[charter]` table."""
    state: Path | None = None
    """Directory for key, checkpoints and records; None: a fresh identity, nothing is kept."""
    journal: Path | None = None
    """File for the JSON lines of what happened."""
    journal_mb: int = 64
    """Where that file becomes the older part and a new one is begun: twice that is kept; 0: never."""
    rounds: int | None = None
    """Stop after this round; None: never."""
    pause: float = 0.0
    """Seconds of rest after every round it applied, before it trains again; to others it is slow training."""
    durable: bool = True
    """Wait for the disk itself on every write."""
    capability: int = ORDINARY
    """What this device can do for others: 0 asks to be spared (a battery), 1 is ordinary, 2 or 3 is more."""
    site: str = ""
    """Of a swarm in cells: where this peer is; it shares cells with peers of the same site alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings(TrainingSettings):
    """`[learner]`: what this peer trains, on what."""

    model: str = "mlp"
    """`mlp`, `cnn`, `softmax` or `module:function`."""
    data: str = "digits"
    """`digits`, an `.npz` file with `x`, `y`, `device`, `train`, or a folder of IDX files."""
    devices: int | None = None
    """Over how many devices digits and IDX files are split; None: 10."""
    labels_per_device: int | None = None
    """Labels a device holds of IDX files; None: 2."""
    split_seed: int | None = None
    """Seed of the split of IDX files; None: 0."""
    holdout: float | None = None
    """Tune: share of the training part to test on; the real test part is not read."""
    holdout_seed: int | None = None
    """Of `holdout`; None: 7."""
    part: int = 0
    """Number of the device in the data whose samples this peer holds."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything one peer is told."""

    peer: PeerSettings = field(default_factory=PeerSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    tls: TlsFiles = field(default_factory=TlsFiles)
    charter: Charter | None = None
    """None when neither a file nor a table gives it."""


_TABLES = {"peer": PeerSettings, "learner": LearnerSettings, "tls": TlsFiles}


def load_settings(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    chosen: Tables | None = None,
) -> Settings:
    """Return the settings of a peer.

    Args:
        path: The TOML file, if any.
        environment: Variables; those that begin with `SWARMDEM_` are settings.
        chosen: What the caller says, by table and key; values that are None say nothing.

    Raises:
        ConfigError: A file is missing or malformed, a setting is unknown or does not fit.
    """
    tables = read_toml(path) if path is not None else {}
    inline = tables.pop("charter", None)
    unknown = sorted(set(tables) - set(_TABLES))
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown setting; tables are {', '.join([*_TABLES, 'charter'])}")
    from_environment = _environment(environment or {})
    parts: dict[str, Any] = {}
    for name, kind in _TABLES.items():
        table = tables.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{name}: a table is expected")
        said = {key: value for key, value in (chosen or {}).get(name, {}).items() if value is not None}
        base = path.parent if path is not None else Path()
        own = {key: _beside(base, kind, key, value) for key, value in table.items()}
        parts[name] = _read_table(name, kind, {**own, **from_environment.get(name, {}), **said})
    learner = parts["learner"]
    if learner.holdout_seed is not None and learner.holdout is None:
        raise ConfigError(f"learner.holdout_seed = {learner.holdout_seed}: changes nothing without holdout")
    if not 0.0 <= (pause := parts["peer"].pause) <= PAUSE_MOST_S:
        raise ConfigError(f"peer.pause = {pause:g}: 0 to {PAUSE_MOST_S:g} seconds")
    if not 0 <= (claim := parts["peer"].capability) <= HIGHEST:
        raise ConfigError(f"peer.capability = {claim}: 0 (asks to be spared), 1 (ordinary), 2 or 3")
    if parts["peer"].journal_mb < 0:
        raise ConfigError(f"peer.journal_mb = {parts['peer'].journal_mb}: must not be negative")
    return Settings(**parts, charter=_charter(parts["peer"].charter, inline))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: It cannot be read or is not TOML; the message names line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_charter(path: Path) -> Charter:
    """Return the charter in a TOML file, at its top or in a table `[charter]`.

    Raises:
        ConfigError: It cannot be read, or a setting is unknown or out of range.
    """
    content = read_toml(path)
    try:
        return charter_toml.from_mapping(content.get("charter", content))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _charter(path: Path | None, inline: Mapping[str, Any] | None) -> Charter | None:
    if path is not None and inline is not None:
        raise ConfigError("peer.charter names a file, but there is a [charter] table too")
    if path is not None:
        return read_charter(path)
    return charter_toml.from_mapping(inline) if inline is not None else None


def _read_table(name: str, kind: type[_T], table: Mapping[str, Any]) -> _T:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise ConfigError(f"{name}.{key}: unknown setting")
        try:
            # Not strict: what comes from the environment is text.
            plain = str(value) if isinstance(value, Path) else value
            values[key] = msgspec.convert(
                plain, hints[key], strict=not isinstance(value, str), dec_hook=_decode
            )
        except msgspec.ValidationError as error:
            raise ConfigError(f"{name}.{key} = {value!r}: {error}") from error
    return kind(**values)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}")


def _beside(base: Path, kind: type, key: str, value: Any) -> Any:
    """Return a path as seen from the file that names it; anything else as it is."""
    is_path = Path in getattr(get_type_hints(kind).get(key), "__args__", ())
    is_file = is_path or (kind is LearnerSettings and key == "data" and value != DIGITS)
    return str(base / value) if is_file and isinstance(value, str) else value


def _environment(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    for variable, text in sorted(variables.items()):
        if not variable.startswith(PREFIX) or variable in ELSEWHERE:
            continue
        name, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if name not in _TABLES or key not in {entry.name for entry in fields(_TABLES[name])}:
            raise ConfigError(f"environment variable {variable}: unknown setting")
        is_list = "tuple" in str(get_type_hints(_TABLES[name])[key])
        tables[name][key] = [part.strip() for part in text.split(",")] if is_list else text
    return tables
