"""What examples 6 and 7 make of files from real devices."""

import re
import runpy
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from swarmdem.errors import DataError
from swarmdem.learning.data_files import read_npz
from tests.examples.device_data import COLUMNS, row, write_sensors

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def vehicles():
    return runpy.run_path(str(EXAMPLES / "06_vehicle_sensors.py"))


@pytest.fixture(scope="module")
def air():
    return runpy.run_path(str(EXAMPLES / "07_beijing_air.py"))


def station(air, tmp_path, rows):
    path = tmp_path / "PRSA_Data_Dongsi_20130301-20170228.csv"
    path.write_text("\n".join([COLUMNS, *rows]))
    return air["read_station"](path)


def hours(begin, count, **how):
    return [row(begin + timedelta(hours=hour), 100 + hour, **how) for hour in range(count)]


def test_a_quarter_of_each_sensor_is_for_testing(vehicles, tmp_path):
    sensors = vehicles["read_sensors"](write_sensors(tmp_path / "v"))

    vehicles["write_split"](sensors, tmp_path / "a.npz", seed=1)
    vehicles["write_split"](sensors, tmp_path / "b.npz", seed=2)

    one, other = read_npz(tmp_path / "a.npz"), read_npz(tmp_path / "b.npz")
    assert np.bincount(one.device).tolist() == [8, 16, 16]
    assert np.bincount(one.device[~one.train]).tolist() == [2, 4, 4]
    assert one.y[:4].tolist() == [0, 1, 0, 1]
    assert one.train.tolist() != other.train.tolist()


def test_tuning_tests_on_a_share_of_the_training_part_of_one_split(vehicles, tmp_path, monkeypatch, capsys):
    asked = []

    def run(sensors, chosen, rounds, seed):
        asked.append((chosen["mixing"], chosen["weights"], chosen["holdout"], chosen["holdout_seed"], seed))
        return 0.9, 0.8, 0.7

    folder = write_sensors(tmp_path / "v")
    monkeypatch.setitem(vehicles["main"].__globals__, "_run", run)
    monkeypatch.setattr("sys.argv", ["06", str(folder), "--tune"])

    vehicles["main"]()

    assert asked == [(a, w, 0.2, 7, 0) for a in (0.6, 0.8) for w in ("agents", "samples")]
    assert re.findall(r"^alpha 0.8, weights samples +0.900 +0.800 +0.700$", capsys.readouterr().out, re.M)


def test_what_is_shown_is_one_of_the_settings_that_were_tried(vehicles):
    assert vehicles["STRATEGIES"]["DemLearn"] in vehicles["TRIED"].values()


@pytest.mark.parametrize("content", ["{", '{"users": []}', '{"user_data": {"a": {"x": [[1]], "y": [[1]]}}}'])
def test_other_files_than_sensors_are_refused(vehicles, tmp_path, content):
    (tmp_path / "mytrain.json").write_text(content)

    with pytest.raises(DataError, match=r"mytrain\.json: "):
        vehicles["read_sensors"](tmp_path)


def test_missing_sensors_are_refused(vehicles, tmp_path):
    with pytest.raises(DataError, match=r"neither mytrain\.json nor mytrain\.json\.gz is there"):
        vehicles["read_sensors"](tmp_path)


def test_a_station_is_read_by_the_hour_and_what_is_not_there_is_a_gap(air, tmp_path):
    begin = datetime(2013, 3, 1, 2)

    read = station(
        air,
        tmp_path,
        [row(begin, 5, wind="E"), row(begin + timedelta(hours=2), "NA", wind="NA", temperature="NA")],
    )

    assert read.name == "Dongsi"
    assert read.readings.shape == (5, 13)
    assert np.isnan(read.readings[[0, 1, 3]]).all(), "hours without a row"
    assert read.readings[2] == pytest.approx([5, 9, 8, 7, 300, 50, 1.5, 1010, -9, 0, 2, 1, 0])
    assert np.isnan(read.readings[4]).tolist() == [n in (0, 6, 11, 12) for n in range(13)]


def test_a_gap_is_filled_from_before_for_so_many_hours(air):
    gap = np.array([[np.nan], [1], [np.nan], [np.nan], [np.nan], [2]])

    filled = air["carried_forward"](gap, 2)[:, 0]

    np.testing.assert_array_equal(filled, [np.nan, 1, 1, 1, np.nan, 2])


def test_a_sample_knows_nothing_after_its_hour(air, tmp_path):
    """Change every reading after hour 40: samples up to it keep their features."""
    begin = datetime(2013, 3, 1)
    one = air["forecasts"](station(air, tmp_path, hours(begin, 60)), every=1, test_year=0)
    changed = [*hours(begin, 41), *[row(begin + timedelta(hours=h), 999) for h in range(41, 60)]]

    other = air["forecasts"](station(air, tmp_path, changed), every=1, test_year=0)

    np.testing.assert_array_equal(one.features[:17], other.features[:17])  # hours 24 to 40
    assert one.target[0] == 130
    assert one.now[0] == 124
    assert one.features[0, 13:20].tolist() == [123, 122, 121, 118, 112, 106, 100]
    assert not np.array_equal(one.features[17], other.features[17])


def test_no_training_target_lies_in_the_test_year(air, tmp_path):
    border = datetime(2014, 3, 1)
    read = station(air, tmp_path, hours(border - timedelta(hours=48), 96))

    got = air["forecasts"](read, every=1, test_year=1)

    assert got.target[got.train].max() == 147, "the last hour before the border"
    assert got.now[~got.train].min() == 148
    assert len(got.target) == (48 - 6) + (48 - 6)


def test_hours_after_the_test_year_are_not_read(air, tmp_path):
    border = datetime(2014, 3, 1)
    read = station(air, tmp_path, hours(border - timedelta(hours=48), 96))

    got = air["forecasts"](read, every=1, test_year=0)

    assert got.target.max() == 147


def test_hours_without_dust_are_no_samples(air, tmp_path):
    begin = datetime(2013, 3, 1)
    rows = hours(begin, 60)
    rows[35:50] = [row(begin + timedelta(hours=h), "NA") for h in range(35, 50)]

    got = air["forecasts"](station(air, tmp_path, rows), every=1, test_year=0)

    hours_left = [24, 25, 26, 27, 28, 50, 51, 52, 53]  # targets are read; the present is at most 6 h old
    assert got.target.tolist() == [100 + hour + 6 for hour in hours_left]


def test_targets_stay_in_their_unit_and_gaps_become_means_of_the_training_years(air, tmp_path):
    parts = [
        air["Forecasts"](
            np.array([[1.0, np.nan], [3.0, 4.0], [100.0, np.nan]]),
            np.zeros(3),
            np.array([10.0, 30.0, 1000.0]),
            np.array([True, True, False]),
        )
    ]

    air["write_data"](tmp_path / "air.npz", parts)

    samples = read_npz(tmp_path / "air.npz")
    assert samples.task == "regression"
    assert samples.y.tolist() == [10, 30, 1000]
    assert samples.x.tolist() == [[1, 4], [3, 4], [100, 4]]


@pytest.mark.parametrize(
    "content", ["year,month\n2013,3\n", "", COLUMNS + "\n" + row(datetime(2012, 1, 1), 5)]
)
def test_other_files_than_stations_are_refused(air, tmp_path, content):
    path = tmp_path / "PRSA_Data_A_1.csv"
    path.write_text(content)

    with pytest.raises(DataError, match=r"PRSA_Data_A_1\.csv: "):
        air["read_station"](path)
