"""A whole swarm in cells on this machine, through the command line, over a real broker."""

import json
import tomllib

import pytest


def test_eight_peers_in_cells_of_four_certify_every_round(printed_by, tmp_path):
    out = tmp_path / "run"
    told = printed_by(
        "swarm", "--cells", 4, "--peers", 8, "--rounds", 6, "--model", "softmax", "--patience", 2,
        "--workers", 2, "--broker", "mosquitto", "--out", out,
    )  # fmt: skip

    summary = json.loads((out / "summary.json").read_text())
    assert summary["certified_rounds"] == summary["rounds"] == 6
    assert sum(summary["cells"]["peers"].values()) == 8
    assert len(summary["cells"]["peers"]) >= 2
    rows = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert all(row["in_cells"] for row in rows)
    assert f"cells {len(summary['cells']['peers'])}, of" in told
    written = tomllib.loads((out / "run.toml").read_text())
    assert written["charter"]["cells"] == written["settings"]["cells"] == 4
    assert len(written["charter"]["genesis"]) == 64


def test_a_charter_in_cells_names_the_first_model_and_what_crosses_between_sites(printed_by, tmp_path):
    path = tmp_path / "charter.toml"
    told = printed_by(
        "charter", path, "--swarm", "plant", "--cells", 16, "--model", "softmax", "--founders", 40
    )

    written = tomllib.loads(path.read_text())["charter"]
    assert (written["cells"], written["founders"], len(written["genesis"])) == (16, 40, 64)
    assert len([line for line in told.splitlines() if line.startswith("topic swarmdem/1/")]) == 4


def test_no_peers_to_a_cell_is_a_flat_swarm(printed_by, tmp_path):
    path = tmp_path / "charter.toml"
    printed_by("charter", path, "--swarm", "plant", "--cells", 0, "--model", "softmax")

    assert "cells" not in tomllib.loads(path.read_text())["charter"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--cells", 3], "--cells 3: 4 to 256 peers"),
        (["--cells", 8, "--codec", "int8"], "charter.codec: does not go with cells, which need raw"),
        (["--cells", 8, "--record"], "record: does not go with cells"),
    ],
)
def test_what_does_not_go_with_cells_is_one_line(printed_by, tmp_path, flags, complaint):
    told = printed_by("swarm", "--out", tmp_path / "run", *flags, code=2)

    assert complaint in told
    assert len(told.strip().splitlines()) == 1
