"""What a peer needs on its own machine: charter, key, state folder, journal, clock, data, learner, memory."""

import errno
import fcntl
import importlib.metadata
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import psutil

from swarmdem.apps.doctor.report import Line, fail, ok, skip, warn
from swarmdem.config import LearnerSettings, Settings
from swarmdem.errors import ConfigError, StoreError, SwarmError
from swarmdem.identifiers import text
from swarmdem.learning.parameters import model_bytes
from swarmdem.node.cells_start import refuse_in_cells
from swarmdem.node.joining import Reach
from swarmdem.node.keys import read_key
from swarmdem.node.store import KEY_FILE
from swarmdem.wire.charter import Charter, TensorSpec, charter_hash

SYNC_SLOW_S = 0.5
"""An fsync above this makes rounds wait."""
FILES_OF_A_MODEL = 8
"""Checkpoints of a model that lie in a state folder, and one that is being written."""
COPIES_IN_MEMORY = 10
"""Models a peer may hold in memory at a time, as an aggregator."""
BORN = 1_700_000_000.0
"""A wall clock before this (November 2023) was never set."""

Schema = tuple[TensorSpec, ...]


def charter_lines(charter: Charter | None) -> list[Line]:
    """Return what there is to say about the charter; reading it has failed elsewhere."""
    if charter is None:
        what = "none is given: whether data, model and topic rights are those of a swarm is not known"
        return [skip("charter", what, "give --charter FILE; `swarmdem charter` writes one")]
    what = (
        f"swarm {charter.swarm!r}, {charter.founders} founders, strategy {charter.strategy}, "
        f"hash {text(charter_hash(charter))}: the same at every peer"
    )
    return [ok("charter", what)]


def cells_lines(settings: Settings) -> list[Line]:
    """Return what of a peer's settings does not go with the cells of its charter, or needs them."""
    if settings.charter is None:
        return []
    peer = settings.peer
    reach = Reach(brokers=peer.brokers, mqtt=None, host_broker=peer.host_broker, discover=peer.discover)
    try:
        refuse_in_cells(settings.charter, reach=reach, site=peer.site)
    except ConfigError as error:
        return [fail("cells", str(error), "correct the peer's setting, or the charter at every peer")]
    return []


def state_lines(state: Path | None, schema: Schema) -> list[Line]:
    """Return what there is to say about the state folder and the key in it."""
    if state is None:
        what = "no state folder: after every restart this is another peer without a model"
        return [warn("state", what, "give --state FOLDER")]
    try:
        folder = next(path for path in (state, *state.absolute().parents) if path.exists())
        if not folder.is_dir():
            return [fail("state", f"{folder} is not a folder", "choose another --state")]
        return [*_key_lines(state), *_disk_lines(state, folder, schema)]
    except PermissionError as error:
        fix = "let this user in (chown, chmod), or run as the user whose folder it is"
        return [fail("state", f"{error.filename or state}: {error.strerror}", fix)]


def _key_lines(state: Path) -> list[Line]:
    key = state / KEY_FILE
    if not key.exists():
        return [ok("key", f"none in {state} yet: the first start makes one")]
    try:
        identity = read_key(key)
    except StoreError as error:
        mode = stat.S_IMODE(key.stat().st_mode)
        open_to_others = mode & (stat.S_IRWXG | stat.S_IRWXO)
        fix = f"chmod 600 {key}" if open_to_others else "restore it from key.copy.pem beside it, or a backup"
        return [fail("key", f"{error} (mode {mode:04o})", fix)]
    return [ok("key", f"peer {text(identity.peer)}, readable by its owner alone")]


def _disk_lines(state: Path, folder: Path, schema: Schema) -> list[Line]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(os.urandom(2**20))
            file.flush()
            begun = time.monotonic()
            os.fsync(file.fileno())
            synced_s = time.monotonic() - begun
    except OSError as error:
        fix = (
            "make room on its disk"
            if error.errno == errno.ENOSPC
            else f"let this user write there: chown, or remount {folder}"
        )
        return [fail("state", f"{folder} cannot be written: {error.strerror}", fix)]
    free = shutil.disk_usage(folder).free
    needed = FILES_OF_A_MODEL * model_bytes(schema) + 16 * 2**20
    what = f"{folder} is writable, {_size(free)} free, one fsync takes {synced_s * 1000:.0f} ms"
    lines = [ok("state", what)]
    if free < needed:
        short = f"{_size(free)} free, {_size(needed)} are needed"
        lines.append(fail("state", short, "make room on its disk"))
    if synced_s > SYNC_SLOW_S:
        fix = "use a faster disk, or durable = false if a power cut may cost the last round"
        lines.append(warn("state", f"one fsync takes {synced_s:.1f} s; every round waits for several", fix))
    if _locked(state / "lock"):
        lines.append(ok("state", "a peer is running with it at this moment"))
    return lines


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def journal_lines(journal: Path | None) -> list[Line]:
    """Return what there is to say about the journal's file, or the folder it is to be made in."""
    if journal is None:
        return []
    try:
        if journal.exists() and not journal.is_dir():
            journal.open("ab").close()
        else:
            folder = next(path for path in (journal, *journal.absolute().parents) if path.exists())
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        fix = "choose another --journal, or let this user write there"
        return [fail("journal", f"{journal} cannot be written: {error.strerror}", fix)]
    return [ok("journal", f"{journal} can be written")]


def clock_lines() -> list[Line]:
    """Return what there is to say about the clocks."""
    first, second = time.monotonic_ns(), time.monotonic_ns()
    if second < first:
        return [fail("clock", "the monotonic clock runs backwards", "this machine cannot run a peer")]
    if time.time() < BORN:
        what = "the wall clock was never set: the journal tells wrong times and TLS certificates look invalid"
        return [warn("clock", what, "set it, or start an NTP client")]
    return [ok("clock", "the monotonic clock runs; the wall clock decides nothing, it may jump")]


def data_lines(settings: LearnerSettings, charter: Charter | None) -> tuple[list[Line], Schema]:
    """Return what there is to say about data and model, and the model's schema; empty when not known."""
    from swarmdem.apps.peer import build_learner
    from swarmdem.learning.strategies import strategy_of
    from swarmdem.node.layout import Layout

    known = charter if charter is not None else Charter(swarm="doctor")
    what = f"--data {settings.data} --part {settings.part} --model {settings.model}"
    try:
        learner, _ = build_learner(settings, known)
        layout = Layout(known, strategy_of(known), learner.parameters())
    except SwarmError as error:
        return [fail("data", str(error), f"check {what}, and that it is the charter's model")], known.schema
    size = _size(model_bytes(layout.wire))
    fits = "and fits the charter" if charter is not None and charter.schema else "with no schema to fit"
    return [ok("data", f"{what}: {learner.samples} samples; the model has {size} {fits}")], layout.wire


def machine_lines(settings: LearnerSettings, schema: Schema) -> list[Line]:
    """Return what there is to say about processors and memory."""
    cores = len(os.sched_getaffinity(0))
    try:
        torch = f"torch {importlib.metadata.version('torch')}"
    except importlib.metadata.PackageNotFoundError:
        torch = "torch is not installed (--model softmax does without)"
    lines = [ok("torch", f"{torch}; {cores} cores, one thread for training unless it runs on CUDA")]
    free, needed = psutil.virtual_memory().available, COPIES_IN_MEMORY * model_bytes(schema) + 300 * 2**20
    what = f"{_size(free)} available, about {_size(needed)} are needed"
    if free < needed:
        return [*lines, warn("memory", what, "stop something else, or choose a smaller model")]
    return [*lines, ok("memory", what)]


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 2**10:.0f} KiB" if count < 2**20 else f"{count / 2**20:,.0f} MiB"
