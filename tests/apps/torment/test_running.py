"""When a run ends before its time."""

import asyncio
from types import SimpleNamespace

import pytest

from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.torment.crew import Seat
from swarmdem.apps.torment.history import History
from swarmdem.apps.torment.running import _Run
from swarmdem.apps.torment.settings import TormentSettings
from swarmdem.errors import TransportError


async def test_a_swarm_whose_processes_all_end_before_a_round_is_not_waited_for(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "anna.txt").write_text("the charter is of no use\n")
    crew = SimpleNamespace(seats=[Seat(0, "anna"), Seat(1, "bert"), Seat(2, "carl")])
    nemesis = SimpleNamespace(check=lambda: None)
    history = History(tmp_path)
    run = _Run(TormentSettings(swarm=SwarmSettings(peers=3)), tmp_path, lambda _: None, history)
    with pytest.raises(TransportError, match=r"no round began: .* the charter is of no use"):
        await asyncio.wait_for(run._faults(crew, nemesis), 10)
    history.close()
