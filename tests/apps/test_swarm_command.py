"""What `swarmdem swarm` says around a run."""

import io

import pytest

from swarmdem.apps import swarm_command
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.table import LiveTable
from tests.apps.run_folders import row, write_run


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_how_to_go_on_after_ctrl_c_stands_below_the_table(tmp_path, monkeypatch):
    """The live table is drawn once more when a run ends, below all that was said until then."""
    terminal, folder = Terminal(), write_run(tmp_path / "run", [row(1)])

    async def interrupted(settings, out, view):
        view.row(row(1), 2, 0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(swarm_command, "open_view", lambda: LiveTable(terminal))
    monkeypatch.setattr(swarm_command, "run_swarm", interrupted)

    with pytest.raises(KeyboardInterrupt):
        swarm_command.start_run(SwarmSettings(), folder)

    shown = terminal.getvalue().replace("\n", "")
    assert shown.rindex("C-SPE") < shown.index("stopped; swarmdem swarm --resume")
