"""Writes the page of a run or an experiment."""

import webbrowser
from pathlib import Path

from swarmdem.apps import results
from swarmdem.apps.reading import is_experiment, is_run, read_experiment, read_run
from swarmdem.apps.report import html, trees
from swarmdem.apps.report.experiment import experiment_sections, progress
from swarmdem.apps.report.html import Html, element
from swarmdem.apps.report.run import overview, sections, status, tell
from swarmdem.errors import ConfigError, DataError


def write_report(
    folder: Path, out: Path | None = None, *, curves: Path | None = None, show: bool = False
) -> Path:
    """Write the report of a run or experiment folder and return its path.

    Args:
        folder: Of a run, or of an experiment.
        out: The file to write; None: `report.html` in *folder*.
        curves: Published curves to draw along with those of an experiment.
        show: Open it in a browser.

    Raises:
        DataError: It is neither, or one of its files is damaged.
        ConfigError: The file cannot be written.
        MissingExtraError: matplotlib or scipy is not installed.
    """
    if is_experiment(folder):
        text = experiment_page(folder, curves)
    elif is_run(folder):
        text = run_page(folder)
    elif not folder.is_dir():
        raise DataError(f"{folder}: {'not a' if folder.exists() else 'no such'} folder")
    else:
        raise DataError(
            f"{folder}: neither a run folder (no run.toml) nor an experiment's (no experiment.json)"
        )
    path = out or folder / "report.html"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {path}: {error.strerror}") from error
    if show:
        webbrowser.open(path.resolve().as_uri())
    return path


def run_page(folder: Path) -> str:
    """Return the page of a run.

    Raises:
        DataError: One of its files is damaged.
    """
    run = read_run(folder)
    name = folder.resolve().name
    found = sections(tell(run))
    head = html.joined(
        [
            element("h1", f"Run {name}"),
            element("p", status(run)),
            html.contents((id_, title) for id_, title, _ in found),
        ]
    )
    return html.page(f"{name} - swarmdem run", head, _body(overview(run), found))


def experiment_page(folder: Path, curves: Path | None = None) -> str:
    """Return the page of an experiment, with the sections of its runs.

    Raises:
        DataError: A file of it, or of published curves, is damaged.
    """
    found = read_experiment(folder)
    about = found.about
    published = results.read_published(curves, about.curves) if curves and about.curves else None
    parts = experiment_sections(found, published)
    head = html.joined(
        [
            element("h1", f"Experiment {about.name}"),
            element("p", about.about) if about.about else None,
            element("p", progress(found)),
            html.contents((id_, title) for id_, title, _ in parts),
        ]
    )
    return html.page(f"{about.name} - swarmdem experiment", head, _body(None, parts))


def _body(first: Html | None, found: list[tuple[str, str, Html]]) -> Html:
    return html.joined([trees.patterns(), first, *(section for _, _, section in found)])
