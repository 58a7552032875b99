"""What an experiment does: a TOML file of variants, each run under every seed.

    [experiment]
    name = "alpha"                       # names the folder
    about = "One line for --list."
    seeds = [0, 1, 2]
    curves = "mnist"                     # data set in the file given with --curves
    peers = 50                           # any setting of `swarm`, for all variants
    data = "mnist-50.npz"

    [[variant]]
    name = "DemLearn {mixing}"           # one variant for each value of the grid
    grid = { mixing = [0.6, 0.8] }
    published = "DemLearn a={mixing}"    # algorithm in the file given with --curves
    shown = "update"                     # what table and figures show; training: needs evaluate = "both"
    strategy = "demlearn"                # any setting of `swarm`

Settings have the names of `run.toml`. `seed` follows from `seeds`. A data file is looked for beside
the TOML file, in the working directory, in --data-dir and in the folders directly below that.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from swarmdem.apps.charter import check_update
from swarmdem.apps.settings import SwarmSettings, from_mapping
from swarmdem.config import read_toml
from swarmdem.errors import ConfigError, DataError
from swarmdem.learning.datasets import DIGITS

SHOWN = {"update": "after_update", "training": "after_training"}
_EXPERIMENT_KEYS = {"name", "about", "seeds", "curves"}
_VARIANT_KEYS = {"name", "grid", "published", "shown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to learn, run once per seed."""

    name: str
    settings: SwarmSettings
    published: str | None = None
    """Whose published curve is drawn along."""
    shown: str = "after_update"
    point: Mapping[str, Any] = field(default_factory=dict)
    """Its place in the grid it comes from."""

    @property
    def folder(self) -> str:
        """Beginning of the names of its run folders."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.") or "variant"

    def run_name(self, seed: int) -> str:
        """Return the name of the run folder under one seed."""
        return f"{self.folder}-s{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Variants and seeds, checked."""

    name: str
    about: str
    seeds: tuple[int, ...]
    curves: str | None
    variants: tuple[Variant, ...]

    def chosen(
        self, *, only: Sequence[str] = (), seeds: Sequence[int] | None = None, rounds: int | None = None
    ) -> "Experiment":
        """Return the experiment with fewer variants, other seeds or another length.

        Raises:
            ConfigError: There is no such variant, or nothing is left to do.
        """
        names = [variant.name for variant in self.variants]
        for name in only:
            if name not in names:
                raise ConfigError(f"--only {name}: variants are {', '.join(names)}")
        chosen_seeds = self.seeds if seeds is None else tuple(seeds)
        _check_seeds("--seeds", chosen_seeds)
        variants = tuple(
            variant if rounds is None else replace(variant, settings=replace(variant.settings, rounds=rounds))
            for variant in self.variants
            if not only or variant.name in only
        )
        return replace(self, variants=variants, seeds=chosen_seeds)


def presets() -> dict[str, str]:
    """Return the packaged experiments: name -> what they are about."""
    folder = resources.files("swarmdem.apps").joinpath("presets")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): str(_tables(Path(str(folder / name)))[0].get("about", ""))
        for name in names
    }


def load(source: str, data_dir: Path | None, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Return the experiment of a TOML file, or of a preset by name.

    Args:
        source: A path that ends in `.toml`, or the name of a preset.
        data_dir: Where data files are that are not found otherwise.
        changes: Settings of every variant, instead of the file's.

    Raises:
        ConfigError: There is no such file or preset, or it does not fit; the message names the place.
        DataError: A data file is nowhere.
    """
    if source.endswith(".toml"):
        path = Path(source)
    else:
        if source not in (known := presets()):
            raise ConfigError(f"experiment {source!r}: presets are {', '.join(known)}, or a .toml file")
        path = Path(str(resources.files("swarmdem.apps").joinpath("presets", f"{source}.toml")))
    common, variants = _tables(path)
    name = _text(common.get("name", path.stem), f"{path}: experiment.name")
    if not re.fullmatch(r"[\w][\w .+-]*", name):
        raise ConfigError(f"{path}: experiment.name {name!r}: letters, digits, spaces and . + - only")
    seeds = common.get("seeds", [0])
    if not isinstance(seeds, list):
        raise ConfigError(f"{path}: experiment.seeds: a list of numbers is expected")
    _check_seeds(f"{path}: experiment.seeds", seeds)
    shared = {key: value for key, value in common.items() if key not in _EXPERIMENT_KEYS}
    _check_changes(changes or {}, variants)
    tables = [{**table, **(changes or {})} for table in variants]
    expanded = [made for table in tables for made in _variants(path, shared, table, data_dir)]
    folders = [variant.folder for variant in expanded]
    for variant in expanded:
        if folders.count(variant.folder) > 1:
            raise ConfigError(f"{path}: variant {variant.name!r}: another one has the same name")
    curves = common.get("curves")
    return Experiment(
        name=name,
        about=_text(common.get("about", ""), f"{path}: experiment.about"),
        seeds=tuple(seeds),
        curves=None if curves is None else _text(curves, f"{path}: experiment.curves"),
        variants=tuple(expanded),
    )


def _check_changes(changes: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> None:
    """Refuse changes that would not be what they say for every variant."""
    for name in changes:
        if name in _EXPERIMENT_KEYS | _VARIANT_KEYS:
            raise ConfigError(f"--set {name}: not a setting of `swarm`")
        for table in variants:
            if isinstance(grid := table.get("grid"), dict) and name in grid:
                raise ConfigError(f"--set {name}: variant {table.get('name')!r} has a grid of it")


def _tables(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = read_toml(path)
    common, variants = content.pop("experiment", {}), content.pop("variant", [])
    if content:
        raise ConfigError(f"{path}: {min(content)}: unknown; tables are [experiment] and [[variant]]")
    if not isinstance(common, dict):
        raise ConfigError(f"{path}: experiment: a table is expected")
    if not isinstance(variants, list) or not all(isinstance(table, dict) for table in variants):
        raise ConfigError(f"{path}: variant: tables [[variant]] are expected")
    if not variants:
        raise ConfigError(f"{path}: no [[variant]]: there is nothing to run")
    return common, variants


def _variants(
    path: Path, shared: Mapping[str, Any], table: Mapping[str, Any], data_dir: Path | None
) -> list[Variant]:
    """Return one variant per point of a table's grid."""
    name = _text(table.get("name", ""), f"{path}: variant.name")
    where = f"{path}: variant {name!r}: "
    if not name:
        raise ConfigError(f"{path}: a [[variant]] has no name")
    grid, shown = table.get("grid", {}), table.get("shown", "update")
    if not isinstance(grid, dict) or not all(isinstance(v, list) and v for v in grid.values()):
        raise ConfigError(f"{where}grid: settings with lists of values are expected")
    if shown not in SHOWN:
        raise ConfigError(f"{where}shown = {shown!r}: must be one of {', '.join(SHOWN)}")
    own = {key: value for key, value in table.items() if key not in _VARIANT_KEYS}
    made = []
    for values in product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        settings = {**shared, **own, **point}
        if "seed" in settings:
            raise ConfigError(f"{where}seed: follows from experiment.seeds")
        checked = from_mapping(settings, where)
        if shown == "training" and checked.evaluate != "both":
            raise ConfigError(f'{where}shown = "training": needs evaluate = "both"')
        checked = replace(checked, data=_found(checked.data, path.parent, data_dir))
        try:
            check_update(checked)
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from error
        published = table.get("published")
        made.append(
            Variant(
                name=_filled(f"{where}name", name, point, extend=True),
                settings=checked,
                published=published and _filled(f"{where}published", str(published), point),
                shown=SHOWN[shown],
                point=point,
            )
        )
    return made


def _filled(where: str, text: str, point: Mapping[str, Any], *, extend: bool = False) -> str:
    """Return *text* with `{setting}` replaced; settings that it does not name are added with *extend*.

    Raises:
        ConfigError: It names something that the grid does not hold.
    """
    for unknown in sorted(set(re.findall(r"\{([^{}]*)\}", text)) - point.keys()):
        grid = f"the grid has {', '.join(point)}" if point else "there is no grid"
        raise ConfigError(f"{where}: {{{unknown}}} stands for nothing, {grid}")
    added = [f"{key}={value}" for key, value in point.items() if f"{{{key}}}" not in text]
    for key, value in point.items():
        text = text.replace(f"{{{key}}}", str(value))
    return " ".join([text, *added]) if extend else text


def _found(data: str, beside: Path, data_dir: Path | None) -> str:
    """Return where the data are."""
    if data == DIGITS or Path(data).is_absolute():
        places = [Path(data)]
    else:
        places = [beside / data, Path(data)]
        if data_dir is not None:
            places += [data_dir / data, *sorted(data_dir.glob(f"*/{data}"))]
    for place in places:
        if data == DIGITS or place.exists():
            return str(place)
    looked = f"not in {data_dir} either" if data_dir else "--data-dir says where it is"
    raise DataError(f"{data}: no such file; {looked}")


def changed(texts: Sequence[str]) -> dict[str, Any]:
    """Return `holdout=0.2` and the like as settings: TOML values, and whatever is no TOML as a text.

    Raises:
        ConfigError: One is not SETTING=VALUE.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise ConfigError(f"--set {text}: SETTING=VALUE is expected")
        try:
            found[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = value
    return found


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: a text is expected")
    return value


def _check_seeds(where: str, seeds: Sequence[Any]) -> None:
    if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(f"{where}: whole numbers from 0 are expected")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: a seed is there twice")
