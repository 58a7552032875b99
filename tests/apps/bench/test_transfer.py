"""`swarmdem bench transfer`: what it measures, and what it refuses."""

import json
from types import SimpleNamespace

import pytest

from swarmdem.apps.bench.transfer import read_sizes, run, through
from swarmdem.errors import ConfigError
from swarmdem.transport.brokers import KINDS, available


def installed():
    try:
        available("mosquitto")
    except ConfigError:
        return False
    return True


@pytest.mark.skipif(not installed(), reason=f"needs {KINDS[0]}")
async def test_a_size_gives_one_row_with_every_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("swarmdem.apps.bench.transfer.PINGS_S", 0.3)
    monkeypatch.setattr("swarmdem.apps.bench.transfer.BARE_CHUNKS", (2**20,))
    out = tmp_path / "transfer.json"
    rows = await run("mosquitto", (3_300_000,), chunk=2**20, repeat=1, out=out)
    [row] = rows

    assert json.loads(out.read_text()) == {
        "broker": "mosquitto", "chunk_bytes": 2**20, "repeat": 1, "sizes": rows,
    }  # fmt: skip
    assert 0 <= row["cut_extra"] <= 1.05
    assert row["control_messages"] >= 10
    assert min(row["bare_mb_s"], row["transfer_mb_s"], row["ratio"], row["control_p50_ms"]) > 0
    assert row["receiver_peak_mb"] < 300
    title, _, line = capsys.readouterr().out.splitlines()
    assert title.startswith("broker mosquitto; medians of 1")
    assert line.split()[0] == "3.3"


def test_the_cut_goes_by_the_proxy_with_the_account_and_the_tls_files_of_the_broker():
    proxy = SimpleNamespace(url="mqtt://127.0.0.1:5")

    assert through("mqtt://broker", proxy) == "mqtt://127.0.0.1:5"
    given = "mqtts://me:word@one:8883,two?cafile=ca.pem&insecure=1"
    assert through(given, proxy) == "mqtts://me:word@127.0.0.1:5?cafile=ca.pem&insecure=1"


def test_sizes_are_megabytes_and_whole_values():
    assert read_sizes("3.3,50") == (3_300_000, 50_000_000)
    assert read_sizes("0.100001") == (100_000,)
    for wrong in ("", "a", "3,,4", "0", "-1", "nan", "1e9"):
        with pytest.raises(ConfigError, match="--sizes"):
            read_sizes(wrong)


async def test_what_cannot_be_measured_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="--chunk 70000"):
        await run("auto", (1000,), chunk=70_000, repeat=1, out=None)
    with pytest.raises(ConfigError, match="no folder"):
        await run("auto", (1000,), chunk=2**16, repeat=1, out=tmp_path / "missing" / "x.json")
    with pytest.raises(ConfigError, match=r"--broker mqtt://127.0.0.1:1: .*"):
        await run("mqtt://127.0.0.1:1", (1000,), chunk=2**16, repeat=1, out=None)
