"""`swarmdem swarm` between the command line and the coordinator: views, folders, the closing lines."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarmdem.apps.cell_summary import cell_line
from swarmdem.apps.ledger import ledger_lines
from swarmdem.apps.reading import is_run
from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm import default_out, run_swarm
from swarmdem.apps.table import ERROR, MEASURES, counted, duration, megabytes, open_view, score


def start_run(settings: SwarmSettings, out: Path | None, *, closing: bool = True) -> dict[str, Any]:
    """Run a swarm from its first round, show it, and return its summary.

    Args:
        settings: What to run.
        out: The run folder; None: a new one under `runs/`.
        closing: Name the run folder at the end.
    """
    return _shown(settings, out or default_out(settings), closing=closing)


def resume_run(out: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Go on with the run in *out* under some changed settings, show it, and return its summary.

    Raises:
        ConfigError: *out* is no run folder, or has its rounds already.
    """
    settings, _ = RunFolder(out).load()
    return _shown(replace(settings, **changes), out, resume=True, changes=dict(changes))


def _shown(settings: SwarmSettings, out: Path, *, closing: bool = True, **how: Any) -> dict[str, Any]:
    view = open_view()
    try:
        try:
            summary = asyncio.run(run_swarm(settings, out, view, **how))
        finally:
            view.close()  # before the last words: a table is drawn once more, below what was said
    except KeyboardInterrupt:
        if closing and is_run(out):
            view.say(f"stopped; swarmdem swarm --resume {out} goes on")
        raise
    for line in closing_lines(summary):
        view.say(line)
    if closing:
        if "cells" in summary:
            view.say(cell_line(summary["cells"]))
        for line in ledger_lines(summary["traffic"]):
            view.say(line)
        view.say("  without a peer's first round, where it has others")
        view.say(f"run folder {out}")
    return summary


def closing_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return what a person wants to know at the end of a run."""
    final = summary["final"]
    lines = [
        f"{counted(summary['rounds'], 'round')}, {summary['certified_rounds']} certified, in "
        f"{duration(summary['wall_s'])}; CPU {summary['cpu_s']:.1f} s, "
        f"in rounds {summary['rounds_cpu_s']:.1f} "
        f"(training {summary['train_cpu_s']:.1f}, evaluation {summary['evaluate_cpu_s']:.1f}), "
        f"peak memory {summary['peak_pss_mb']:.0f} MB, sent {megabytes(summary['bytes_sent'])}"
    ]
    if final:
        metric = summary["metric"]
        shown = (
            f"{title} {score(final[name]['after_update'], metric)}"
            for name, title in MEASURES
            if final[name]["after_update"] is not None
        )
        unit = f" ({ERROR})" if metric == "mae" else ""
        lines.append(f"after the update of round {final['round']}: {', '.join(shown)}{unit}")
    return lines
