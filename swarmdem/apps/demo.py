"""`swarmdem demo`: a dozen peers learn together on bundled data; nothing to set up."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm_command import start_run
from swarmdem.apps.table import counted, open_view

PATIENCE_S = 6.0
"""Half of it is waited for before founding: a demo should not begin with a pause."""
MIXING = 0.9
"""alpha of eq. 10: high, so that a short demo shows what peers learn from each other."""


def run_demo(*, peers: int, rounds: int, out: Path | None) -> None:
    """Run the demo swarm over real sockets and compare its models with the untrained one.

    Without *out* the run folder is thrown away.
    """
    settings = SwarmSettings(
        swarm="demo",
        peers=peers,
        rounds=rounds,
        mixing=MIXING,
        evaluate_every=1,
        broker="embedded",
        patience=PATIENCE_S,
    )
    with tempfile.TemporaryDirectory(prefix="swarmdem-demo-") as folder:
        summary = start_run(settings, out or Path(folder) / "run", closing=out is not None)
    view = open_view()
    view.say(_told(summary))
    view.close()


def _told(summary: Mapping[str, Any]) -> str:
    """Return what the demo showed, in words."""
    untrained, final = f"{summary['untrained_c_gen']:.3f}", summary["final"]
    rounds = counted(summary["rounds"], "round")
    if summary["peers"] == 1:
        return (
            f"The only peer saw two of the ten digits, with nobody to learn from. Of its own test digits an "
            f"untrained model gets {untrained} right; after {rounds} its model gets {_share(final['c_spe'])}."
        )
    return (
        f"Each of the {summary['peers']} peers saw two of the ten digits. Of everybody's test digits an "
        f"untrained model gets {untrained} right; after {rounds} a peer's model gets "
        f"{_share(final['c_gen'])}, and of its own {_share(final['c_spe'])}."
    )


def _share(value: dict[str, float | None]) -> str:
    share = value["after_update"]
    return "an unknown share" if share is None else f"{share:.3f}"
