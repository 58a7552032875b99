"""Real devices I: 23 sensors along a road tell two kinds of vehicles apart, from sound and tremor.

    python examples/06_vehicle_sensors.py FOLDER [--rounds 30] [--splits 3] [--tune]

FOLDER holds `mytrain.json` or `mytrain.json.gz`: the data of Duarte and Hu (Vehicle classification in
distributed sensor networks, 2004) as prepared for Ditto (github.com/litian96/ditto), JSON in the
manner of LEAF with 100 features a sample. Sensors hold 7 to 534 samples. Nothing says when a sample
was taken, so a random quarter of each sensor's is for testing; because many sensors then test on a
few samples only, the table is over several such splits.

Every sensor is a peer over a broker. Local only, FedAvg and DemLearn train the same network for the
same number of steps; features are standardised by constants of the training parts.
"""

import argparse
import gzip
import json
import tempfile
from pathlib import Path

import numpy as np

from swarmdem.apps.reading import read_run
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm_command import start_run
from swarmdem.errors import DataError, SwarmError

STRATEGIES = {
    "local only": {"strategy": "local"},
    "FedAvg": {"strategy": "fedavg"},
    "DemLearn": {"strategy": "demlearn", "mixing": 0.8, "weights": "samples"},
}
TRIED = {
    f"alpha {mixing}, weights {weights}": {"strategy": "demlearn", "mixing": mixing, "weights": weights}
    for mixing in (0.6, 0.8)
    for weights in ("agents", "samples")
}
HOLDOUT = {"holdout": 0.2, "holdout_seed": 7}
"""What `--tune` tests on: a share of each sensor's training part."""
TESTED = 4
"""One of so many samples of a sensor is for testing."""


def read_sensors(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return features (n, d) and classes (n,) of each sensor, in the order of their names."""
    path = next((p for p in (folder / "mytrain.json", folder / "mytrain.json.gz") if p.exists()), None)
    if path is None:
        raise DataError(f"{folder}: neither mytrain.json nor mytrain.json.gz is there")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        held = json.loads(content)["user_data"]
        sensors = [
            (np.array(held[name]["x"], np.float32), np.array(held[name]["y"]).reshape(-1) > 0)
            for name in sorted(held)
        ]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the samples of sensors as LEAF writes them ({error})") from error
    for name, (x, y) in zip(sorted(held), sensors, strict=True):
        if x.ndim != 2 or len(x) != len(y) or len(x) < 2:
            raise DataError(f"{path}: sensor {name} has features {list(x.shape)}, {len(y)} labels")
    return sensors


def write_split(sensors: list[tuple[np.ndarray, np.ndarray]], path: Path, *, seed: int) -> None:
    """Write a data file in which a random quarter of each sensor's samples is for testing."""
    chance = np.random.default_rng(seed)
    train = [chance.permutation(len(y)) >= max(1, round(len(y) / TESTED)) for _, y in sensors]
    np.savez(
        path,
        x=np.concatenate([x for x, _ in sensors]),
        y=np.concatenate([y for _, y in sensors]).astype(np.uint8),
        device=np.repeat(np.arange(len(sensors)), [len(y) for _, y in sensors]),
        train=np.concatenate(train),
    )


def main() -> None:
    """Run every strategy on every split and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--tune", action="store_true", help="test on training samples of split 0")
    asked = parser.parse_args()
    compared = {name: {**chosen, **HOLDOUT} for name, chosen in TRIED.items()} if asked.tune else STRATEGIES
    splits = 1 if asked.tune else asked.splits
    try:
        sensors = read_sensors(asked.folder)
        results = {
            title: [_run(sensors, chosen, asked.rounds, seed) for seed in range(splits)]
            for title, chosen in compared.items()
        }
    except SwarmError as error:
        parser.exit(2, f"{error}\n")
    print(f"\naccuracy on own {'held out samples' if asked.tune else 'tests'}, mean of {splits} splits")
    width = max(map(len, results))
    print(f"{'':{width}} all samples   mean sensor   worst quarter of sensors")
    for title, runs in results.items():
        pooled, mean, worst = np.mean(runs, axis=0)
        print(f"{title:{width}} {pooled:11.3f}   {mean:11.3f}   {worst:24.3f}")


def _run(sensors, chosen, rounds: int, seed: int) -> tuple[float, float, float]:
    """Return accuracy over all test samples, over sensors, and over the worst quarter of them."""
    with tempfile.TemporaryDirectory() as temporary:
        data, folder = Path(temporary) / "split.npz", Path(temporary) / "run"
        write_split(sensors, data, seed=seed)
        settings = SwarmSettings(
            swarm="vehicles", peers=len(sensors), data=str(data), model="mlp", standardize="pixel", lr=0.05,
            rounds=rounds, evaluate_every=rounds, seed=seed, patience=5.0, **chosen,
        )  # fmt: skip
        start_run(settings, folder, closing=False)
        last = read_run(folder).evaluated[-1]
    own = np.sort([score.c_spe for score in last.per_peer.values() if score.c_spe is not None])
    return last.value("c_spe"), own.mean(), own[: max(1, len(own) // 4)].mean()


if __name__ == "__main__":
    main()
