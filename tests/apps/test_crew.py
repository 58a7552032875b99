"""Worker processes: which package they import, and how they leave."""

import asyncio
import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import swarmdem
from swarmdem.apps import crew
from swarmdem.apps.pipes import Begin, Failed, Go, Job, line
from swarmdem.apps.settings import SwarmSettings


def test_workers_and_broker_import_this_package_whatever_lies_in_the_folder(tmp_path, monkeypatch):
    for name in ("swarmdem", "amqtt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('an old checkout')")
    (tmp_path / "signal.py").write_text("raise SystemExit('not the one meant')")
    command = Path(sys.executable).with_name("swarmdem")

    done = subprocess.run(
        [command, "swarm", "--model", "softmax", "--peers", "2", "--rounds", "1", "--patience", "4",
         "--workers", "1", "--broker", "embedded", "--out", "run"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "1 round, 1 certified" in done.stdout


def test_the_package_of_the_coordinator_comes_before_the_users_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/home/me/lib")

    here = Path(swarmdem.__file__).parents[1]
    assert crew.worker_environment()["PYTHONPATH"] == f"{here}:/home/me/lib"


def test_workers_ask_for_large_pages_unless_the_c_library_is_tuned_already(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert crew.worker_environment()["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"

    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert crew.worker_environment()["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=2"


async def test_a_worker_that_cannot_be_started_again_is_told_of(monkeypatch):
    told = asyncio.Queue()
    job = Job(settings=SwarmSettings(model="softmax", peers=1).as_mapping(), devices=(0,), run="run")
    async with crew.Crew(lambda worker, report: told.put_nowait((worker, report))) as workers:
        await workers.start(job)

        async def no_process(*arguments, **options):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process)
        assert await workers.restart(0, job) is None

        reports = [await told.get()]
        while not isinstance(reports[-1][1], Failed) or "again" not in reports[-1][1].error:
            reports.append(await told.get())
    assert reports[-1][0] == 0
    assert reports[-1][1].error == ("worker 0 could not be started again: Resource temporarily unavailable")


def test_a_worker_whose_coordinator_is_gone_leaves_without_a_word(tmp_path):
    settings = SwarmSettings(model="softmax", peers=1, rounds=100_000, patience=1.0, broker="memory")
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "swarmdem.apps.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=crew.worker_environment(),
    )  # fmt: skip
    with worker:
        job = Job(settings=settings.as_mapping(), devices=(0,), run=str(tmp_path))
        worker.stdin.write(line(job))
        worker.stdin.flush()
        prepared = json.loads(worker.stdout.readline())
        worker.stdout.close()  # from here on nobody reads
        charter = charter_of(settings, prepared)
        worker.stdin.write(line(Go(charter=charter, brokers=("memory",), peers=("0" * 32,))) + line(Begin()))
        worker.stdin.flush()
        journal = tmp_path / "peers" / f"{'0' * 32}.jsonl"
        while worker.poll() is None and not (journal.exists() and b"round_finished" in journal.read_bytes()):
            time.sleep(0.01)
        worker.stdin.close()

        assert worker.wait(timeout=30) == 0
        assert worker.stderr.read() == b""


def charter_of(settings, prepared):
    """Return the body of the charter under which a lone peer founds at once."""
    from swarmdem.apps.charter import make_charter
    from swarmdem.wire import charter as charters
    from swarmdem.wire.charter import TensorSpec

    schema = tuple(TensorSpec(*spec) for spec in prepared["schema"])
    return charters.encode(make_charter(settings, schema, (), founders=1))
