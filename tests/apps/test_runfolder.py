"""Run folders."""

import errno
import json
import os
import shlex
import tomllib
from dataclasses import replace

import pytest

from swarmdem.apps.runfolder import RunFolder, summarise
from swarmdem.apps.settings import SwarmSettings
from swarmdem.errors import ConfigError
from swarmdem.identifiers import text
from swarmdem.wire.charter import Charter, TensorSpec, charter_hash

SETTINGS = SwarmSettings(peers=3, levels=2, data='odd "name" é')
CHARTER = Charter(
    swarm="s", levels=2, schema=(TensorSpec("w", (2, 3), "float32"),), inputs=(("mean", b"\x00\x01\xff"),)
)


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.create(SETTINGS, CHARTER, "swarmdem swarm --levels 2", "2026-11-21T10:00:00+00:00")
    yield made
    made.close()


def test_run_toml_holds_settings_charter_hash_versions_and_command(folder):
    tables = tomllib.loads((folder.path / "run.toml").read_text())

    assert tables["run"]["command"] == "swarmdem swarm --levels 2"
    assert tables["run"]["charter_hash"] == text(charter_hash(CHARTER))
    assert tables["settings"]["peers"] == 3
    assert tables["settings"]["lr"] == 0.05
    assert tables["charter"]["mixing"] == 0.6
    assert "numpy" in tables["versions"]


def test_settings_and_charter_are_read_back_as_they_were(folder):
    settings, charter = folder.load()

    assert (settings.data, settings.levels) == ('odd "name" é', 2)
    assert charter == CHARTER


def test_what_was_chosen_stands_beside_what_was_asked_for(folder):
    folder.note_choice("broker", "mosquitto")
    folder.note_choice("vectorise", "off", why="peers train one by one", worker=1)

    tables = tomllib.loads((folder.path / "run.toml").read_text())

    assert tables["settings"]["broker"] == "auto"
    assert tables["chosen"] == [
        {"setting": "broker", "value": "mosquitto"},
        {"setting": "vectorise", "value": "off", "why": "peers train one by one", "worker": 1},
    ]
    assert folder.load()[0] == replace(SETTINGS, lr=0.05)


def test_what_a_full_disk_does_not_take_leaves_the_run_as_it_was(folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = (folder.path / "run.toml").read_bytes()
    monkeypatch.setattr(os, "write", full)

    with pytest.raises(ConfigError, match=r"run\.toml: No space left on device"):
        folder.note_choice("broker", "mosquitto")

    assert (folder.path / "run.toml").read_bytes() == before
    assert sorted(path.name for path in folder.path.iterdir() if path.name.startswith(".run")) == []


def test_a_run_folder_holds_no_password(tmp_path):
    url = "mqtts://me:secret@broker.local:1234"
    made = RunFolder(tmp_path / "run")
    made.create(SwarmSettings(broker=url), CHARTER, f"swarmdem swarm --broker {url}", "")
    made.close()

    assert "secret" not in (made.path / "run.toml").read_text()
    assert made.load()[0].broker == "mqtts://broker.local:1234"


def test_a_resumed_run_writes_no_password_either(folder):
    url = "mqtts://me:secret@broker.local:1234"
    folder.close()
    again = RunFolder(folder.path)
    again.reopen(f"swarmdem swarm --resume {folder.path} --broker {url}", "", {"broker": url, "rounds": 9})
    again.close()

    assert "secret" not in (again.path / "run.toml").read_text()
    assert again.load()[0].broker == "mqtts://broker.local:1234"


@pytest.mark.parametrize("flag", [["--broker"], []])
def test_a_password_with_quotes_is_not_kept_in_the_command_line(tmp_path, flag):
    url = "mqtt://me:it's secret@broker.local"
    given = [*flag, url] if flag else [f"--broker={url}"]
    made = RunFolder(tmp_path / "run")
    made.create(SwarmSettings(broker=url), CHARTER, shlex.join(["swarmdem", "swarm", *given]), "")
    made.close()

    written = tomllib.loads((made.path / "run.toml").read_text())
    assert "secret" not in str(written)
    assert shlex.split(written["run"]["command"])[-1].endswith("mqtt://broker.local:1883")


def test_several_brokers_are_a_list_and_hold_no_password_either(tmp_path):
    urls = ("mqtt://me:secret@one.local", "mqtt://me:secret@two.local")
    made = RunFolder(tmp_path / "run")
    made.create(SwarmSettings(broker=urls), CHARTER, f"swarmdem swarm --broker {' --broker '.join(urls)}", "")
    made.close()

    written = (made.path / "run.toml").read_text()
    assert 'broker = ["mqtt://one.local:1883", "mqtt://two.local:1883"]' in written
    assert "secret" not in written
    assert made.load()[0].all_brokers == ("mqtt://one.local:1883", "mqtt://two.local:1883")


def test_a_round_whose_row_was_lost_is_told_from_the_journals(folder):
    for number, applied in enumerate(("true", "true", "false")):
        line = (
            f'{{"event": "round_finished", "round": 1, "plan": "p", "certified": true, "applied": {applied}}}'
        )
        (folder.path / "peers" / f"{number}.jsonl").write_text(
            f'{line}\n{{"event": "elected", "round": 2}}\n'
        )

    folder.append_round({"round": 2})

    first, second = folder.rows()
    assert (first["round"], first["peers"], first["applied"], first["certified"]) == (1, 3, 2, True)
    assert first["certified_by"] == [3]
    assert first["interrupted"]
    assert second == {"round": 2}


def test_a_folder_in_use_or_not_empty_is_refused(folder):
    with pytest.raises(ConfigError, match="not empty; use --resume"):
        RunFolder(folder.path).create(SETTINGS, CHARTER, "", "")
    with pytest.raises(ConfigError, match="another run is writing"):
        RunFolder(folder.path).reopen("", "", {})


def test_a_resumed_run_keeps_what_was_written_and_drops_half_a_line(folder):
    folder.append_round({"round": 1})
    folder.append_round({"round": 2})
    before = (folder.path / "rounds.jsonl").read_text()
    (folder.path / "rounds.jsonl").write_text(before + '{"round": 3, "cert')
    folder.close()

    again = RunFolder(folder.path)
    again.reopen("swarmdem swarm --resume run --rounds 40", "2026-11-21T11:00:00+00:00", {"rounds": 40})
    again.append_round({"round": 3})
    again.close()

    assert (folder.path / "rounds.jsonl").read_text() == before + '{"round":3}\n'
    assert again.load()[0].rounds == 40


@pytest.mark.parametrize(
    "text", ["", "[settings]\npeers = 3\n", "not toml", '[settings]\npears = 3\n[charter]\nswarm = "s"\n']
)
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path, text):
    (tmp_path / "run.toml").write_text(text)

    with pytest.raises(ConfigError, match=r"run\.toml"):
        RunFolder(tmp_path).load()


def test_the_summary_adds_up_the_rows_and_shows_the_last_evaluation(folder):
    counters = {
        "wall_s": 1.5, "cpu_s": 2.0, "train_cpu_s": 1.0, "evaluate_cpu_s": 0.5, "bytes_sent": 10,
        "bytes_received": 9, "messages_sent": 3, "messages_received": 2, "socket_bytes_sent": 11,
        "socket_bytes_received": 12,
    }  # fmt: skip
    metrics = {name: {"after_update": 0.5} for name in ("c_spe", "c_gen", "global", "g_spe", "g_gen")}
    rows = [
        {"round": 1, "certified": True, **counters, **metrics},
        {"round": 2, "certified": False, **counters},
    ]

    summary = summarise(rows, peers=3, broker="mosquitto", peak_pss_bytes=12_340_000)
    folder.write_summary(summary)

    assert summary["final"] == {"round": 1, **metrics}
    assert (summary["rounds"], summary["certified_rounds"], summary["bytes_sent"]) == (2, 1, 20)
    assert (summary["wall_s"], summary["peak_pss_mb"]) == (3.0, 12.3)
    assert json.loads((folder.path / "summary.json").read_text()) == summary
