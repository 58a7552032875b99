"""A swarm on a laptop: ten peers in worker processes over a real broker, and what the run folder says.

The same as `swarmdem swarm --peers 10 --model softmax --mixing 0.8 --rounds 15 --evaluate-every 5`; study
a swarm on your own data by naming an .npz with `x`, `y`, `device` and `train` instead of `digits`.
"""

import json
import sys
import tempfile
from pathlib import Path

from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm_command import start_run


def main(folder: Path) -> None:
    """Run the swarm, then read its rows."""
    settings = SwarmSettings(peers=10, model="softmax", mixing=0.8, rounds=15, evaluate_every=5, patience=3.0)
    start_run(settings, folder)
    for line in (folder / "rounds.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "c_gen" in row:
            print(
                f"round {row['round']}: a peer's model on everybody's data {row['c_gen']['after_update']:.3f}"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary) / "run")
