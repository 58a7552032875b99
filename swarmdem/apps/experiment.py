"""`swarmdem experiment`: variants under seeds, one swarm run after the other, then a table and figures.

    DIR/experiment.json      what is run, and in which folder
    DIR/runs/VARIANT-sSEED/  a run folder each
    DIR/table.md table.csv   one row a variant
    DIR/figures/*.svg *.png

The same command goes on: finished runs are left alone, an interrupted one is resumed after its last
whole round. A run whose settings are no longer those of the experiment is never touched.
"""

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmdem.apps import results
from swarmdem.apps.experiment_file import Experiment, Variant, load
from swarmdem.apps.experiment_view import Progress, open_progress
from swarmdem.apps.reading import is_run, read_experiment
from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm import run_swarm
from swarmdem.errors import ConfigError, DataError, MissingExtraError, NoTrainingError
from swarmdem.node.files import write_atomic

_MAY_DIFFER = {"rounds", "broker", "workers", "device", "vectorise", "data", "lr", "holdout_seed"}
"""Settings a run may have been begun with otherwise; the last three are compared as resolved."""
_BEFORE_RUN_TOML = {"peers", "models", "state", ".lock"}
"""What a run folder may hold when its run was killed before it wrote down its settings."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One run to do."""

    variant: Variant
    settings: SwarmSettings
    path: Path
    done: int
    """Rounds it has already."""

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.variant.name}, seed {self.settings.seed}"


def run_experiment(
    source: str,
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    curves: Path | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    rounds: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Run what is missing of an experiment, write table and figures, and return its folder.

    Args:
        source: A `.toml` file or a preset's name.
        out: The experiment's folder; None: `experiments/NAME`.
        data_dir: Where data files are.
        curves: File of published curves to draw along.
        only: Names of variants; none: all.
        seeds: Instead of the file's.
        rounds: Instead of the variants'.
        changes: Other settings of every variant, instead of the file's.

    Raises:
        ConfigError: The file does not fit, or a run of *out* has other settings.
        DataError: A data file is nowhere, or the published curves are not there.
        MissingExtraError: matplotlib or scipy is not installed.
        NoTrainingError: Training failed in some runs; the others are done.
    """
    whole = load(source, data_dir, changes).chosen(seeds=seeds, rounds=rounds)
    folder = out or Path("experiments") / whole.name
    if curves and not whole.curves:
        raise ConfigError(f"--curves: {whole.name} does not say which data set's (experiment.curves)")
    published = results.read_published(curves, whole.curves) if curves and whole.curves else None
    _need_figures()
    work = [
        _work(folder, variant, seed) for variant in whole.chosen(only=only).variants for seed in whole.seeds
    ]
    _describe(folder, whole)
    open_ = [entry for entry in work if entry.done < entry.settings.rounds]
    failed = []
    with open_progress(sum(entry.settings.rounds - entry.done for entry in open_)) as progress:
        if len(open_) < len(work):
            progress.say(f"{len(work) - len(open_)} of {len(work)} runs are finished already")
        for number, entry in enumerate(open_, 1):
            progress.begin(f"{number}/{len(open_)} {entry.title}", entry.done)
            if not _ran(entry, progress):
                failed.append(entry.title)
            _write_table(folder, published)
    for path in write_findings(folder, published):
        progress.say(str(path))
    progress.say((folder / "table.md").read_text(encoding="utf-8"))
    if failed:
        raise NoTrainingError(f"{len(failed)} of {len(work)} runs failed: {'; '.join(failed)}")
    return folder


def write_findings(folder: Path, published: results.Published | None = None) -> list[Path]:
    """Write an experiment's table and figures anew and return their paths."""
    from swarmdem.apps import drawing, figures

    written = _write_table(folder, published)
    (folder / "figures").mkdir(exist_ok=True)
    for name, figure in drawing.draw(read_experiment(folder), published):
        written += figures.save(figure, folder / "figures" / name)
    return written


def _need_figures() -> None:
    """Tell at once that figures cannot be drawn, not after hours of runs."""
    try:
        from swarmdem.apps import drawing  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("figures", "experiments") from error


def _work(folder: Path, variant: Variant, seed: int) -> _Work:
    """Return a run and how far it is.

    Raises:
        ConfigError: It exists with other settings, or is longer than asked for.
    """
    path = folder / "runs" / variant.run_name(seed)
    values = variant.settings.as_mapping() | {"seed": seed, "swarm": variant.run_name(seed)[:64]}
    settings = SwarmSettings(**values)
    if not is_run(path):
        _clear_stillborn(path)
        return _Work(variant, settings, path, 0)
    run = RunFolder(path)
    begun = run.load()[0]
    theirs, ours = begun.as_mapping(), settings.as_mapping()
    for name in sorted(ours.keys() - _MAY_DIFFER):
        if ours[name] != theirs[name]:
            raise ConfigError(f"{path}: was begun with {name} = {theirs[name]!r}, not {ours[name]!r}")
    if Path(begun.data).name != Path(settings.data).name:
        raise ConfigError(f"{path}: was begun with data = {begun.data!r}, not {settings.data!r}")
    if begun.step_size != settings.step_size:
        raise ConfigError(f"{path}: was begun with lr = {begun.step_size}, not {settings.step_size}")
    if begun.holdout is not None and begun.tuning_seed != settings.tuning_seed:
        raise ConfigError(
            f"{path}: was begun with holdout_seed = {begun.tuning_seed}, not {settings.tuning_seed}"
        )
    if begun.rounds > settings.rounds:
        raise ConfigError(f"{path}: was begun with rounds = {begun.rounds}, not {settings.rounds}")
    # A run that was killed at its end may have a round more than asked for: its peers were ahead of its rows.
    done = max((row["round"] for row in run.rows()), default=0)
    return _Work(variant, settings, path, done)


def _clear_stillborn(path: Path) -> None:
    """Remove what a run left that was killed before it wrote down its settings.

    Raises:
        ConfigError: There is something else in the folder.
    """
    if not path.exists():
        return
    names = (entry.name for entry in path.iterdir() if not entry.name.startswith(".run.toml."))
    strange = sorted(name for name in names if name not in _BEFORE_RUN_TOML)
    if strange:
        raise ConfigError(f"{path}: not a run folder (it holds {strange[0]!r})")
    shutil.rmtree(path)


def _ran(entry: _Work, progress: Progress) -> bool:
    """Run to the last round; False when its training fails, which ends no other run.

    Raises:
        ConfigError: A setting, file or model of the variant is wrong.
    """
    try:
        _run(entry, progress)
    except (ConfigError, DataError) as error:
        raise ConfigError(f"{entry.title}: {error}") from error
    except NoTrainingError as error:
        progress.say(f"{entry.title}: {error}")
        rows = RunFolder(entry.path).rows()
        progress.drop(entry.settings.rounds - max((row["round"] for row in rows), default=0))
        return False
    return True


def _run(entry: _Work, progress: Progress) -> None:
    path, settings = entry.path, entry.settings
    if not is_run(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        asyncio.run(run_swarm(settings, path, progress))
        return
    begun = RunFolder(path).load()[0]
    changes: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("rounds", "broker", "device", "data")
        if getattr(settings, name) != getattr(begun, name)
    }
    asyncio.run(run_swarm(settings, path, progress, resume=True, changes=changes))


def _describe(folder: Path, experiment: Experiment) -> None:
    """Write experiment.json; runs of seeds asked for earlier stay in it."""
    path = folder / "experiment.json"
    earlier = (
        {row.variant.name: dict(row.variant.runs) for row in read_experiment(folder).results}
        if path.exists()
        else {}
    )
    variants = [
        {
            "name": variant.name,
            "shown": variant.shown,
            "published": variant.published,
            "point": variant.point,
            "runs": earlier.get(variant.name, {})
            | {str(seed): f"runs/{variant.run_name(seed)}" for seed in experiment.seeds},
        }
        for variant in experiment.variants
    ]
    content = {
        "name": experiment.name, "about": experiment.about, "curves": experiment.curves, "variants": variants,
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(content, indent=2).encode() + b"\n", durable=False)
    except OSError as error:
        raise ConfigError(f"--out {folder}: {error.strerror}") from error


def _write_table(folder: Path, published: results.Published | None) -> list[Path]:
    found = read_experiment(folder)
    texts = {
        "table.md": results.markdown(found, published),
        "table.csv": results.comma_separated(found, published),
    }
    for name, content in texts.items():
        write_atomic(folder / name, content.encode(), durable=False)
    return [folder / name for name in texts]
