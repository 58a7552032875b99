"""Tiny files in the formats of the data sets that examples 6 and 7 read."""

import gzip
import json
from datetime import datetime, timedelta

import numpy as np

COLUMNS = (
    '"No","year","month","day","hour","PM2.5","PM10","SO2","NO2","CO","O3","TEMP","PRES","DEWP","RAIN","wd",'
    '"WSPM","station"'
)


def write_sensors(folder, sensors=3, samples=16):
    """Write sensors that tell the vehicles apart by their first feature; the first has half the samples."""
    chance = np.random.default_rng(1)
    held = {}
    for number in range(sensors):
        y = np.arange(samples // 2 if number == 0 else samples) % 2 * 2 - 1
        x = chance.normal(size=(len(y), 4)) + 3 * y[:, None]
        held[f"f_{number:05}"] = {"x": x.tolist(), "y": [[int(label)] for label in y]}
    folder.mkdir()
    content = {"users": list(held), "user_data": held, "num_samples": [len(h["y"]) for h in held.values()]}
    (folder / "mytrain.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    return folder


def row(when, dust, *, wind="E", temperature="1.5"):
    """Return a station's line of an hour."""
    hour = f"{when.year},{when.month},{when.day},{when.hour}"
    return f'1,{hour},{dust},9,8,7,300,50,{temperature},1010,-9,0,"{wind}",2,"A"'


def write_stations(folder):
    """Write two stations whose PM2.5 rises by 1 and by 2 an hour, in days of the first and fourth year."""
    folder.mkdir()
    for name, slope in (("Tiantan", 2), ("Dongsi", 1)):
        lines = [COLUMNS]
        for begin in (datetime(2013, 3, 1), datetime(2016, 3, 3)):
            lines += [row(begin + timedelta(hours=hour), slope * hour) for hour in range(96)]
        path = folder / f"PRSA_Data_{name}_20130301-20170228.csv.gz"
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder
