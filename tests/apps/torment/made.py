"""Histories made by hand: a sound one, line by line, to be broken in one place by a test."""

import json
from pathlib import Path
from typing import Any

from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.torment.history import FILE, Line
from swarmdem.apps.torment.settings import TormentSettings
from swarmdem.wire.messages import NORMAL

PEERS = ("aa" * 16, "bb" * 16, "cc" * 16)
PATIENCE_S = 2.0


def settings(**changes: Any) -> TormentSettings:
    return TormentSettings(
        swarm=SwarmSettings(peers=3, rounds=4, patience=PATIENCE_S, model="softmax", evaluate_every=1),
        brokers=2,
        **changes,
    )


class MadeHistory:
    """Grows a history; every method adds lines and returns the number of the last."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.t = 0.0
        self.round_s = 0.0
        """Spent at the beginning of each round."""
        self.add("begin", settings=settings().as_mapping(), schedule=[])
        for device, peer in enumerate(PEERS):
            self.add("start", device=device, peer=peer, pid=100 + device)
            self.add("ready", device=device, peer=peer, pid=100 + device)

    def add(self, what: str, *, after_s: float = 0.1, **more: Any) -> int:
        self.t = round(self.t + after_s, 3)
        self.lines.append(Line(len(self.lines) + 1, {"t": self.t, "what": what, **more}))
        return len(self.lines)

    def saw(self, device: int, event: str, **fields: Any) -> int:
        return self.add("saw", peer=PEERS[device], event={"event": event, **fields})

    def certified(self, device: int, round: int, **changes: Any) -> int:
        fields = {
            "plan": f"plan-{round}", "base": f"plan-{round - 1}", "round": round, "mode": NORMAL, "term": 0,
            "peers": list(PEERS), "tree": f"tree-{round}",
        }  # fmt: skip
        return self.saw(device, "certified", **(fields | changes))

    def finished(self, device: int, round: int, **changes: Any) -> int:
        fields = {"plan": f"plan-{round}", "round": round, "certified": True, "applied": True, "reason": ""}
        return self.saw(device, "round_finished", **(fields | changes))

    def averaged(self, device: int, round: int, group: str, **changes: Any) -> int:
        inputs = [[f"model-{round}-{peer}", 1] for peer in PEERS]
        fields = {
            "plan": f"plan-{round}", "round": round, "group": group, "level": 1, "term": 0, "weight": 3,
            "model": f"mean-{round}-{group}", "included": list(PEERS), "inputs": inputs,
        }  # fmt: skip
        return self.saw(device, "group_averaged", **(fields | changes))

    def rounds(self, first: int, last: int, devices: tuple[int, ...] = (0, 1, 2)) -> int:
        for round in range(first, last + 1):
            self.t += self.round_s
            for device in devices:
                self.certified(device, round)
            self.averaged(devices[0], round, "root")
            for device in devices:
                self.finished(device, round)
        return len(self.lines)

    def calm_and_end(self, first: int) -> int:
        self.add("calm", round=first - 1)
        self.rounds(first, first)
        return self.add("end", done=True)

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(line.entry) + "\n" for line in self.lines)
        (folder / FILE).write_text(text)
