import json
import math

import pytest

from benchmarks import cells


def test_the_exponent_of_a_power_is_found():
    rows = [{"peers": peers, "sent": 3 * peers**0.5} for peers in (10, 100, 1000)]

    assert cells.exponent(rows, "sent") == pytest.approx(0.5)
    assert math.isnan(cells.exponent(rows[:1], "sent"))


def test_a_row_for_each_size_and_the_exponents_are_written(tmp_path, capsys):
    cells.main(
        ["--cells", "8", "--peers", "12", "24", "--rounds", "2", "--json", str(tmp_path / "rows.json")]
    )

    told = json.loads((tmp_path / "rows.json").read_text())
    assert [row["peers"] for row in told["rows"]] == [12, 24]
    assert all(row["region_rounds"] >= 2 for row in told["rows"])
    assert all(0 < row["sent"] < row["received"] <= row["received_most"] for row in told["rows"])
    assert set(told["exponents"]) == set(cells.COSTS)
    assert "exponents: first_in_common_s" in capsys.readouterr().out
