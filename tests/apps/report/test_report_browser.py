"""The page in a real browser: its script runs, nothing complains, nothing is asked of the network."""

import os
import re
import shutil
import subprocess

import pytest

from swarmdem.apps.report.command import experiment_page, run_page
from tests.apps.report.journals import troubled_run
from tests.apps.run_folders import row, write_experiment

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome installed"
)


def rendered(page, tmp_path):
    """Return (the document after the page's script has run, the lines of the browser's console)."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"]
    flags += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
    ]
    done = subprocess.run(
        [BROWSER, *flags, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=90, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_run_renders_without_a_complaint(tmp_path):
    document, console = rendered(run_page(troubled_run(tmp_path / "run")), tmp_path)

    assert console == []
    assert re.search(r"<output>round 5</output>", document)
    assert '<svg class="tree"' in document


def test_an_experiment_and_its_runs_render_without_a_complaint(tmp_path):
    folder = write_experiment(tmp_path / "tiny", [("plain", {0: [row(1, 0.3), row(2, 0.4)]}, {})])
    shutil.rmtree(folder / "runs" / "plain-s0")
    troubled_run(folder / "runs" / "plain-s0")

    document, console = rendered(experiment_page(folder), tmp_path)

    assert console == []
    assert re.search(r"<output>round 5</output>", document)
    assert '<svg class="tree"' in document
    assert "A: 3 peers, cut off" in document


def test_a_page_that_would_load_something_is_stopped_and_complains(tmp_path):
    page = run_page(troubled_run(tmp_path / "run"))
    page = page.replace(
        "</main>", '<img src="http://127.0.0.1:9/x.png"><script>document.title = "y"</script></main>'
    )

    document, console = rendered(page, tmp_path)

    assert len([line for line in console if "Content Security Policy" in line]) == 2
    assert "<title>y</title>" not in document
