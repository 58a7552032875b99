"""Real devices II: twelve stations predict fine dust (PM2.5) six hours ahead.

    python examples/07_beijing_air.py FOLDER [--rounds 15] [--every 3] [--tune]

FOLDER holds the hourly files of the UCI data set "Beijing Multi-Site Air Quality" (PRSA_Data_*.csv or
.csv.gz, March 2013 to February 2017, S. Chen, CC BY 4.0). Every station is a peer over a broker. Local
only, FedAvg and DemLearn train the same network for the same number of steps.

What keeps it honest. The first three years train, the fourth is for testing, and no training sample's
target lies in it. What a sample knows, it knows at its hour: readings then, PM2.5 of the day before,
and the calendar. Gaps: a missing reading is the last one of at most six hours before; if there is
none, it is the mean of the training years, and a feature counts such readings. Hours without a PM2.5
reading (as old as six hours) now, or in six hours (exactly then), are no samples. Features are
standardised, and targets scaled, by constants of the training years of all stations that the swarm's
charter carries; errors are in the targets' own unit all the same.

Printed: the mean absolute error on the test year in micrograms per cubic metre, station by station.
The baseline says that PM2.5 will be what it is. `--tune` never reads the test year: it trains on two
years and tests on the third.
"""

import argparse
import csv
import gzip
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from swarmdem.apps.keygen import describe_key
from swarmdem.apps.reading import read_run
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.swarm_command import start_run
from swarmdem.errors import DataError, SwarmError

STRATEGIES = {
    "local only": {"strategy": "local"},
    "FedAvg": {"strategy": "fedavg"},
    "DemLearn": {"strategy": "demlearn", "mixing": 0.6},
}
BEGIN = datetime(2013, 3, 1)
YEAR_HOURS = 365.25 * 24
AHEAD = 6
"""Hours from what is known to what is predicted."""
OLDEST = 6
"""Hours for which a reading stands in for missing ones after it."""
LAGS = (1, 2, 3, 6, 12, 18, 24)
"""Hours before the present whose PM2.5 is a feature."""
READINGS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM")
WINDS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")


@dataclass
class Station:
    """One station's hours from `BEGIN` on; NaN where nothing was read."""

    name: str
    readings: np.ndarray
    """(hours, readings and both components of the wind)."""


@dataclass
class Forecasts:
    """One station's samples."""

    features: np.ndarray
    """(n, d); NaN where nothing is known."""
    now: np.ndarray
    """PM2.5 at the time of the forecast, (n,)."""
    target: np.ndarray
    """PM2.5 six hours later, (n,)."""
    train: np.ndarray
    """(n,): false for testing."""


def read_station(path: Path) -> Station:
    """Return the hours of one file; a row that is not there is an hour without readings."""
    hours: dict[int, list[float]] = {}
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            for row in csv.DictReader(file):
                when = datetime(*(int(row[part]) for part in ("year", "month", "day", "hour")))
                hours[_hour(when)] = _row(row)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the hours of a station ({type(error).__name__}: {error})") from error
    if not hours or min(hours) < 0:
        raise DataError(f"{path}: no hours, or some before {BEGIN:%Y-%m-%d}")
    readings = np.full((max(hours) + 1, len(READINGS) + 2), np.nan)
    readings[list(hours)] = list(hours.values())
    return Station(path.name.removeprefix("PRSA_Data_").partition("_")[0], readings)


def _row(row: dict[str, str]) -> list[float]:
    values = [float("nan") if row[name] == "NA" else float(row[name]) for name in READINGS]
    if row["wd"] == "NA":
        return [*values, float("nan"), float("nan")]
    angle = 2 * np.pi * WINDS.index(row["wd"]) / len(WINDS)
    return [*values, np.sin(angle), np.cos(angle)]


def _hour(when: datetime) -> int:
    return int((when - BEGIN) / timedelta(hours=1))


def carried_forward(readings: np.ndarray, oldest: int) -> np.ndarray:
    """Return readings (hours, d) with gaps filled by the last one of at most *oldest* hours before."""
    filled = readings.copy()
    for age in range(1, oldest + 1):
        earlier = np.vstack([np.full((age, readings.shape[1]), np.nan), readings[:-age]])[: len(readings)]
        filled = np.where(np.isnan(filled), earlier, filled)
    return filled


def forecasts(station: Station, *, every: int, test_year: int) -> Forecasts:
    """Return one sample every few hours up to the end of *test_year* (counted from 0), which is tested."""
    known = carried_forward(station.readings, OLDEST)
    dust = station.readings[:, 0]  # targets are read, never filled
    begin, end = (_hour(BEGIN.replace(year=BEGIN.year + test_year + after)) for after in (0, 1))
    hours = np.arange(max(LAGS), min(end, len(dust)) - AHEAD, every)
    hours = hours[np.isfinite(known[hours, 0]) & np.isfinite(dust[hours + AHEAD])]
    hours = hours[(hours >= begin) | (hours + AHEAD < begin)]
    of_day = 2 * np.pi * ((hours + AHEAD) % 24) / 24
    of_year = 2 * np.pi * (hours % YEAR_HOURS) / YEAR_HOURS
    features = np.column_stack(
        [
            known[hours],
            *(known[hours - lag, 0] for lag in LAGS),
            np.isnan(known[hours]).sum(1),
            np.sin(of_day), np.cos(of_day), np.sin(of_year), np.cos(of_year),
        ]
    )  # fmt: skip
    return Forecasts(features, known[hours, 0], dust[hours + AHEAD], hours < begin)


def write_data(path: Path, stations: list[Forecasts]) -> None:
    """Write the data file; a feature nothing is known of becomes its mean over the training years."""
    features, target, train = (
        np.concatenate([getattr(station, name) for station in stations])
        for name in ("features", "target", "train")
    )
    means = np.nanmean(features[train], axis=0)
    np.savez(
        path,
        x=np.where(np.isnan(features), means, features).astype(np.float32),
        y=target.astype(np.float32),
        device=np.repeat(np.arange(len(stations)), [len(station.target) for station in stations]),
        train=train,
    )


def main() -> None:
    """Prepare the data, run every strategy and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--every", type=int, default=3, help="hours between samples")
    parser.add_argument("--tune", action="store_true", help="test on the third year, never read the fourth")
    asked = parser.parse_args()
    try:
        stations = [read_station(path) for path in sorted(asked.folder.glob("PRSA_Data_*.csv*"))]
        if not stations:
            raise DataError(f"{asked.folder}: no PRSA_Data_*.csv or .csv.gz")
        samples = [forecasts(s, every=asked.every, test_year=2 if asked.tune else 3) for s in stations]
        columns = {"persistence": [float(np.abs(s.now - s.target)[~s.train].mean()) for s in samples]}
        with tempfile.TemporaryDirectory() as temporary:
            data = Path(temporary) / "air.npz"
            write_data(data, samples)
            for title, chosen in STRATEGIES.items():
                columns[title] = _run(data, Path(temporary), len(stations), chosen, asked.rounds)
    except SwarmError as error:
        parser.exit(2, f"{error}\n")
    print(f"\nmean absolute error of PM2.5 {AHEAD} hours ahead, micrograms per cubic metre")
    print(f"{'':14}" + "".join(f"{title:>13}" for title in columns))
    rows = zip(*columns.values(), strict=True)
    for station, row in zip([s.name for s in stations], rows, strict=True):
        print(f"{station:14}" + "".join(f"{error:13.2f}" for error in row))
    weights = [np.count_nonzero(~s.train) for s in samples]
    pooled = [np.average(errors, weights=weights) for errors in columns.values()]
    print(f"{'all samples':14}" + "".join(f"{error:13.2f}" for error in pooled))


def _run(data: Path, temporary: Path, peers: int, chosen, rounds: int) -> list[float]:
    """Return the mean absolute error of each station's model on its own test, micrograms per cubic metre."""
    settings = SwarmSettings(
        swarm="air", peers=peers, data=str(data), model="mlp", standardize="pixel", lr=0.02,
        batch_size=32, epochs=1, rounds=rounds, evaluate_every=rounds, patience=5.0, **chosen,
    )  # fmt: skip
    folder = temporary / chosen["strategy"]
    start_run(settings, folder, closing=False)
    scores = read_run(folder).evaluated[-1].per_peer
    return [scores[describe_key(folder / "state" / str(number))].c_spe for number in range(peers)]


if __name__ == "__main__":
    main()
