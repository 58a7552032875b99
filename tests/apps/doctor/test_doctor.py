"""The doctor on deployments that are well, and on each that is not: what it names, and what it says to do."""

import asyncio
import json
import os
import shutil

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from swarmdem.apps.cli import app
from swarmdem.apps.doctor import broker as broker_check, local
from swarmdem.apps.doctor.broker import Patient, broker_lines
from swarmdem.apps.doctor.report import Line, Verdict, as_json
from swarmdem.config import LearnerSettings
from swarmdem.errors import ConfigError
from swarmdem.identifiers import PeerId
from swarmdem.node.keys import write_key
from swarmdem.node.store import DirectoryStore
from swarmdem.transport import brokers
from swarmdem.transport.brokers import start_broker
from swarmdem.transport.settings import TlsFiles
from swarmdem.wire import topics
from swarmdem.wire.charter import Charter, TensorSpec, charter_hash, swarm_hash
from swarmdem.wire.signing import Identity

ME = PeerId(bytes(range(16)))
CHARTER = Charter(swarm="plant-7")
SOFTMAX = LearnerSettings(model="softmax")
MOSQUITTO = brokers._program("mosquitto")


def patient(url, *, wait_s=10.0, charter=CHARTER):
    return Patient(url, TlsFiles(), ME, charter, True, wait_s)


def verdicts(lines):
    return {line.verdict for line in lines}


def the_failure(lines):
    [failure] = [line for line in lines if line.verdict is Verdict.FAIL]
    return failure


async def test_a_broker_that_is_well_is_found_so():
    charter = Charter(swarm="plant-7", chunk=262_144, patience=60.0)
    async with start_broker("embedded") as broker:
        lines = await broker_lines(patient(broker.url, charter=charter))

    assert verdicts(lines) == {Verdict.OK}, lines
    told = " ".join(line.what for line in lines)
    assert "speaks MQTT 3.1.1" in told
    assert "may read and write the swarm's topics" in told
    assert "carried 65536 bytes" in told
    assert "carried 262144 bytes" in told
    assert "lost none of 300 messages" in told


async def test_a_wrong_port_is_named_with_the_way_to_start_a_broker(unused_tcp_port):
    [line] = await broker_lines(patient(f"mqtt://127.0.0.1:{unused_tcp_port}"))

    assert line.verdict is Verdict.FAIL
    assert line.what == "cannot be reached: Connection refused"
    assert f"on port {unused_tcp_port}? `swarmdem broker` starts one" in line.fix


async def test_a_cluster_of_which_one_door_is_closed_is_a_warning(unused_tcp_port):
    async with start_broker("embedded") as broker:
        url = f"mqtt://127.0.0.1:{unused_tcp_port},127.0.0.1:{broker.port}"
        lines = await broker_lines(patient(url))

    [closed] = [line for line in lines if line.verdict is Verdict.WARN]
    assert closed.name.endswith(f", 127.0.0.1:{unused_tcp_port}")
    assert closed.what == "cannot be reached: Connection refused"
    assert Verdict.FAIL not in verdicts(lines)


async def test_something_that_is_no_broker_is_told_from_one():
    async def serve(reader, writer):
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        failure = the_failure(await broker_lines(patient(f"mqtt://127.0.0.1:{port}", wait_s=1.0)))

    assert "does an MQTT broker listen on port" in failure.fix


async def test_an_address_that_is_none_says_how_to_write_one():
    [line] = await broker_lines(patient("http://gateway"))

    assert line.fix == "write it as mqtt://[user:password@]host[:port]"


async def test_a_missing_authority_file_is_no_fault_of_the_address(tmp_path):
    tls = TlsFiles(cafile=tmp_path / "ca.pem")

    [line] = await broker_lines(Patient("mqtts://gateway", tls, ME, CHARTER, True, 1.0))

    assert "ca.pem" in line.what
    assert line.fix == "mend the [tls] settings or the file they name"


async def test_what_a_url_says_about_tls_is_not_blamed_on_the_settings(tmp_path):
    [line] = await broker_lines(patient(f"mqtts://gateway?cafile={tmp_path / 'ca.pem'}"))
    assert "ca.pem: No such file" in line.what
    assert line.fix == "mend what the URL says about TLS, or the file it names"

    [line] = await broker_lines(patient("mqtts://gateway?cafil=ca.pem"))
    assert line.fix == "correct what follows the question mark"


async def test_an_open_network_without_encryption_is_a_warning():
    lines = await broker_lines(patient("mqtt://192.0.2.1:1", wait_s=0.1))

    assert lines[0].verdict is Verdict.WARN
    assert "not encrypted" in lines[0].what


@pytest.fixture
def mosquitto(tmp_path, monkeypatch):
    """Return a function that starts mosquitto with more lines in its configuration."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")

    def started(*more, files=()):
        for name, text in files:
            (tmp_path / name).write_text(text)

        def command(kind, host, port, folder):
            user = "root" if os.geteuid() == 0 else "mosquitto"
            lines = [
                f"listener {port} {host}",
                f"user {user}",
                *(line.format(folder=tmp_path) for line in more),
            ]
            (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
            return [MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")]

        monkeypatch.setattr(brokers, "_command", command)
        return start_broker("mosquitto")

    return started


async def test_missing_topic_rights_are_named_with_the_topics_to_allow(mosquitto):
    every = topics.everyone_all(charter_hash(CHARTER)).rpartition("/all/")[0]
    named = topics.everyone_all(swarm_hash("plant-7")).rpartition("/all/")[0]
    acl = f"topic readwrite {every}/all/#\ntopic readwrite {every}/to/#\ntopic readwrite {named}/#\n"
    async with mosquitto("allow_anonymous true", "acl_file {folder}/acl", files=[("acl", acl)]) as broker:
        failure = the_failure(await broker_lines(patient(broker.url, wait_s=1.0)))

    assert failure.what.startswith("models: ")
    assert topics.bulk_all(charter_hash(CHARTER), ME) in failure.fix


async def test_a_broker_that_asks_for_a_password_says_so(mosquitto):
    async with mosquitto("allow_anonymous false") as broker:
        failure = the_failure(await broker_lines(patient(broker.url, wait_s=3.0)))

    assert "user and password" in failure.fix


async def test_a_broker_that_passes_no_chunk_is_told_which_limit_to_raise(mosquitto):
    async with mosquitto("allow_anonymous true", "message_size_limit 2000") as broker:
        failure = the_failure(await broker_lines(patient(broker.url, wait_s=1.0)))

    assert failure.what == "did not carry a message of 65536 bytes"
    assert "message_size_limit" in failure.fix


async def test_a_broker_that_loses_a_message_on_the_way_is_a_failure(monkeypatch):
    until, calls = broker_check._until, []

    async def losing(*args):
        calls.append(args)
        if len(calls) > 5:  # the topic rights are five
            raise TimeoutError
        await until(*args)

    monkeypatch.setattr(broker_check, "_until", losing)
    async with start_broker("embedded") as broker:
        failure = the_failure(await broker_lines(patient(broker.url)))

    assert failure.what == "a message did not come back within 10 s"


def test_a_key_that_others_may_read_is_named_with_the_command(tmp_path):
    write_key(tmp_path / "key.pem", Identity.generate())
    (tmp_path / "key.pem").chmod(0o644)

    failure = the_failure(local.state_lines(tmp_path, ()))

    assert (failure.name, failure.fix) == ("key", f"chmod 600 {tmp_path / 'key.pem'}")
    assert "mode 0644" in failure.what


def test_a_damaged_key_points_to_its_copy(tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    (tmp_path / "key.pem").chmod(0o600)

    assert "key.copy.pem" in the_failure(local.state_lines(tmp_path, ())).fix


def test_a_state_folder_that_is_a_file_or_cannot_be_written_is_a_failure(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert the_failure(local.state_lines(tmp_path / "file", ())).what.endswith("is not a folder")

    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(local.tempfile, "NamedTemporaryFile", refuse)
    failure = the_failure(local.state_lines(tmp_path / "new", ()))
    assert failure.what == f"{tmp_path} cannot be written: Read-only file system"


def test_a_journal_that_cannot_be_written_is_a_failure(tmp_path):
    old = tmp_path / "journal.jsonl"
    old.write_text("a line")

    assert local.journal_lines(None) == []
    for good in (old, tmp_path, tmp_path / "new" / "journal.jsonl"):
        assert verdicts(local.journal_lines(good)) == {"ok"}
    assert old.read_text() == "a line"
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]
    failure = the_failure(local.journal_lines(old / "below"))
    assert failure.what == f"{old / 'below'} cannot be written: Not a directory"


def test_a_state_folder_of_another_user_is_a_failure(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as other:
        other.setattr(local.Path, "exists", refuse)
        failure = the_failure(local.state_lines(tmp_path / "state", ()))

    assert failure.what == f"{tmp_path / 'state'}: Permission denied"


def test_a_disk_without_room_for_the_models_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(
        local.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 60, 40 * 2**20)
    )

    failure = the_failure(local.state_lines(tmp_path, (TensorSpec("w", (2**20, 8), "float32"),)))

    assert failure.what == "40 MiB free, 272 MiB are needed"


def test_a_slow_disk_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "SYNC_SLOW_S", 0.0)

    lines = local.state_lines(tmp_path, ())

    assert "every round waits for several" in lines[-1].what
    assert lines[-1].verdict is Verdict.WARN


def test_a_folder_that_a_peer_runs_with_is_told_and_not_disturbed(tmp_path):
    store = DirectoryStore(tmp_path)

    lines = local.state_lines(tmp_path, ())

    assert lines[-1].what == "a peer is running with it at this moment"
    assert lines[0].what == f"peer {store.identity.peer.hex()}, readable by its owner alone"
    store.close()


def test_without_a_state_folder_a_peer_forgets_itself():
    [line] = local.state_lines(None, ())

    assert (line.verdict, line.fix) == (Verdict.WARN, "give --state FOLDER")


def test_data_that_does_not_fit_the_charters_model_is_a_failure():
    lines, _ = local.data_lines(SOFTMAX, Charter(swarm="s", schema=(TensorSpec("w", (2, 2), "float32"),)))
    assert "check --data digits --part 0 --model softmax" in the_failure(lines).fix

    lines, schema = local.data_lines(SOFTMAX, Charter(swarm="s"))
    assert verdicts(lines) == {Verdict.OK}
    assert len(schema) == 2


def test_a_clock_that_was_never_set_is_a_warning(monkeypatch):
    assert verdicts(local.clock_lines()) == {Verdict.OK}
    monkeypatch.setattr(local.time, "time", lambda: 1000.0)

    assert "never set" in local.clock_lines()[0].what


def test_a_model_that_does_not_fit_into_memory_is_a_warning():
    lines = local.machine_lines(SOFTMAX, (TensorSpec("w", (2**40,), "float32"),))

    assert [line.name for line in lines] == ["torch", "memory"]
    assert lines[1].verdict is Verdict.WARN


def test_the_report_reads_as_lines_and_as_json():
    lines = [Line("key", Verdict.OK, "fine"), Line("state", Verdict.FAIL, "full", "make room")]

    assert str(lines[1]) == "fail state: full\n     -> make room"
    assert json.loads(as_json(lines)) == {
        "ok": False,
        "complete": True,
        "checks": [
            {"name": "key", "verdict": "ok", "what": "fine", "fix": ""},
            {"name": "state", "verdict": "fail", "what": "full", "fix": "make room"},
        ],
    }


def test_a_charter_that_cannot_be_read_is_one_line_and_the_rest_is_still_looked_at(tmp_path):
    (tmp_path / "charter.toml").write_text('[charter]\nswarm = "s"\nlevles = 3\n')
    result = CliRunner().invoke(
        app,
        ["doctor", "--charter", str(tmp_path / "charter.toml"), "--state", str(tmp_path / "state"),
         "--model", "softmax", "--json"],
        standalone_mode=False,
    )  # fmt: skip

    told = json.loads(result.stdout)
    assert result.return_value == 1
    assert told["ok"] is False
    assert [check["verdict"] for check in told["checks"][:1]] == ["fail"]
    assert "charter.levles: unknown setting" in told["checks"][0]["what"]
    assert {check["name"] for check in told["checks"]} >= {
        "settings",
        "key",
        "state",
        "clock",
        "data",
        "memory",
    }


def doctor(*arguments):
    return CliRunner().invoke(app, ["doctor", "--model", "softmax", *arguments], standalone_mode=False)


async def test_a_deployment_looked_at_without_failures_exits_with_zero(tmp_path):
    (tmp_path / "charter.toml").write_text('[charter]\nswarm = "plant-7"\npatience = 60.0\n')
    whole = ["--charter", str(tmp_path / "charter.toml"), "--state", str(tmp_path)]
    async with start_broker("embedded") as broker:
        result = await asyncio.to_thread(doctor, *whole, "--broker", broker.url)

    assert result.return_value == 0, result.stdout
    assert charter_hash(Charter(swarm="plant-7", patience=60.0)).hex() in result.stdout
    assert result.stdout.splitlines()[-1] == "nothing found that stops a peer"


def test_what_was_not_looked_at_is_named_and_exits_with_three(tmp_path):
    (tmp_path / "charter.toml").write_text('[charter]\nswarm = "plant-7"\n')
    bare = doctor()
    told = doctor("--charter", str(tmp_path / "charter.toml"), "--json")

    assert bare.return_value == 3
    assert "skip charter: none is given" in bare.stdout
    assert bare.stdout.splitlines()[-1] == ("nothing found that stops a peer; not looked at: charter, broker")
    assert told.return_value == 3
    assert (json.loads(told.stdout)["ok"], json.loads(told.stdout)["complete"]) == (True, False)


def test_brokers_that_are_hosted_or_found_nearby_are_not_looked_at(tmp_path):
    (tmp_path / "peer.toml").write_text('[peer]\nhost_broker = "auto"\ndiscover = true\n')
    result = doctor(str(tmp_path / "peer.toml"))

    assert result.return_value == 3
    assert result.stdout.splitlines()[-1].endswith("; not looked at: charter, hosted broker, broker mdns")


@pytest.mark.parametrize(
    ("cells", "flags", "complaint"),
    [
        (False, ["--site", "x"], "site = 'x': changes nothing, the charter has no cells"),
        (True, ["--discover"], "discover: does not go with cells"),
        (True, ["--host-broker", "auto"], "host_broker: does not go with cells"),
    ],
)
def test_what_the_peer_refuses_about_cells_is_a_failure(tmp_path, cells, flags, complaint):
    charter, genesis = tmp_path / "charter.toml", "0" * 64
    more = f'cells = 8\ngenesis = "{genesis}"\n' if cells else ""
    charter.write_text(f'[charter]\nswarm = "plant-7"\n{more}')
    result = doctor("--charter", str(charter), "--wait", "0.1", *flags)

    assert result.return_value == 1
    assert f"cells: {complaint}" in result.stdout


async def test_looking_nearby_without_its_package_is_a_failure(monkeypatch):
    def refuse():
        raise ConfigError("finding brokers by mDNS needs the package zeroconf")

    monkeypatch.setattr(broker_check, "check_installed", refuse)

    assert the_failure(await broker_lines(patient("mdns"))).what.endswith("needs the package zeroconf")


def test_a_failure_counts_more_than_what_was_not_looked_at(tmp_path):
    (tmp_path / "file").write_text("")
    result = doctor("--state", str(tmp_path / "file"))

    assert result.return_value == 1
    assert result.stdout.splitlines()[-1] == ("a peer would not work: state; not looked at: charter, broker")


def test_a_quiet_doctor_leaves_out_what_is_well(tmp_path):
    (tmp_path / "file").write_text("")
    told = doctor("--state", str(tmp_path / "file"), "--quiet").stdout.splitlines()

    assert not [line for line in told if line.startswith("ok ")]
    assert [line.split()[0] for line in told if not line.startswith(" ")] == ["skip", "fail", "skip", "a"]


def test_the_doctor_takes_every_flag_of_a_peer():
    commands = get_command(app).commands
    of_peer, of_doctor = (
        {flag for p in commands[name].params for flag in p.opts} for name in ("peer", "doctor")
    )
    assert of_peer <= of_doctor
    assert "--journal" in of_peer
