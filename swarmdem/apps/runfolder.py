"""A run folder: what one swarm run leaves behind for people and programs.

    run.toml        every setting as resolved, the charter and its hash, versions, the command line
    rounds.jsonl    one object a round
    trees.jsonl     one object per distinct certificate in force at a round's end
    peers/ID.jsonl  that peer's journal (written by `node/journal.py`)
    models/         root.safetensors and PEER.safetensors, at the end
    summary.json    totals and the last evaluated metrics, at the end
    record/         with --record: every model of every round
    state/N/        peer N's key, checkpoints and records: what --resume goes on from

Lines are only ever appended; a resumed run adds a `[[resumed]]` table to run.toml and goes on
after the last whole line of rounds.jsonl. A run that cannot go on adds a `[[failed]]` table that says why.
What stood for `auto`, and for a codec that is a number of bytes, is told by `[[chosen]]` tables.
"""

import fcntl
import json
import os
import platform
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from swarmdem import __version__
from swarmdem.apps import toml
from swarmdem.apps.gather import certified_by
from swarmdem.apps.settings import SwarmSettings, from_mapping
from swarmdem.errors import ConfigError, MalformedFrameError, SwarmError
from swarmdem.identifiers import text
from swarmdem.node.files import write_atomic
from swarmdem.transport.settings import BrokerAddress
from swarmdem.wire import charter as charters, charter_toml
from swarmdem.wire.charter import Charter

TOTALS = (
    "wall_s", "cpu_s", "train_cpu_s", "evaluate_cpu_s", "bytes_sent", "bytes_received", "messages_sent",
    "messages_received", "bytes_shared", "socket_bytes_sent", "socket_bytes_received",
)  # fmt: skip
"""What rows hold for their round and the summary for the run."""


class RunFolder:
    """One run folder, locked while a run writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None
        self._last_round = 0

    @property
    def models(self) -> Path:
        """Folder of the models at the end."""
        return self.path / "models"

    @property
    def state(self) -> Path:
        """Folder of the peers' state folders."""
        return self.path / "state"

    def require_empty(self) -> None:
        """Refuse to begin a new run where something is already.

        Raises:
            ConfigError: There is.
        """
        try:
            if self.path.exists() and any(self.path.iterdir()):
                raise ConfigError(f"--out {self.path}: not empty; use --resume to go on with a run")
        except OSError as error:
            raise ConfigError(f"--out {self.path}: {error.strerror}") from error

    def create(self, settings: SwarmSettings, charter: Charter, command: str, started: str) -> None:
        """Begin a new run.

        Raises:
            ConfigError: The folder holds something already, or cannot be written.
        """
        self.require_empty()
        try:
            for folder in (self.path, self.path / "peers", self.models, self.state):
                folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            described = describe(settings, charter, command, started)
            write_atomic(self.path / "run.toml", described.encode(), durable=False)
        except OSError as error:
            raise ConfigError(f"--out {self.path}: {error.strerror}") from error

    def reopen(self, command: str, started: str, changes: Mapping[str, Any]) -> None:
        """Go on with a run: note it in run.toml, and cut off a line that was never finished.

        Raises:
            ConfigError: Another run is writing to the folder.
        """
        try:
            self._take_lock()
            for name in ("rounds.jsonl", "trees.jsonl"):
                _drop_unfinished_line(self.path / name)
            self._last_round = max((row["round"] for row in self.rows()), default=0)
            shown, command = _without_passwords(changes, command)
        except OSError as error:
            raise ConfigError(f"--resume {self.path}: {error.strerror}") from error
        self._note("resumed", {"command": command, "started": started, **shown})

    def note_choice(self, setting: str, value: str, **more: str | int) -> None:
        """Write down what stands for a setting that leaves the choice to the run.

        Args:
            setting: Its name.
            value: What was chosen.
            more: Why, and by which worker, where each chooses for itself.

        Raises:
            ConfigError: The folder cannot be written.
        """
        self._note("chosen", {"setting": setting, "value": value, **more})

    def note_failure(self, why: str, ended: str) -> None:
        """Write down why the run ended before its last round.

        Raises:
            ConfigError: The folder cannot be written.
        """
        self._note("failed", {"why": why, "ended": ended})

    def _note(self, name: str, values: Mapping[str, Any]) -> None:
        """Add a table to the list *name* of run.toml, which is whole whatever happens meanwhile."""
        where, table = self.path / "run.toml", toml.table("x", values).split("\n", 1)[1]
        try:
            write_atomic(where, where.read_bytes(), f"\n[[{name}]]\n{table}".encode(), durable=False)
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}") from error

    def close(self) -> None:
        """Let another run write here."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self) -> tuple[SwarmSettings, Charter]:
        """Return the settings and the charter of an earlier run, its resumptions' changes included.

        Raises:
            ConfigError: It is not a run folder, or run.toml does not fit.
        """
        where = self.path / "run.toml"
        try:
            tables = tomllib.loads(where.read_text(encoding="utf-8"))
            values = dict(tables["settings"])
            for resumed in tables.get("resumed", []):
                values |= {key: value for key, value in resumed.items() if key not in {"command", "started"}}
            if "holdout" not in values:
                values.pop("holdout_seed", None)  # earlier versions wrote it down always
            charter = charter_toml.from_mapping(tables["charter"])
            settings = from_mapping(values, "settings.")
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(f"{self.path}: not a run folder (no run.toml)") from None
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError, MalformedFrameError) as error:
            raise ConfigError(f"{where}: not a run's settings ({error})") from error
        except SwarmError as error:
            raise ConfigError(f"{where}: {error}") from error
        return settings, charter

    def rows(self) -> list[dict[str, Any]]:
        """Return the rounds written so far."""
        return list(_whole_lines(self.path / "rounds.jsonl"))

    def append_round(self, row: Mapping[str, Any]) -> None:
        """Add a round; rounds whose row was lost when an earlier part was killed come first."""
        for lost in range(self._last_round + 1, row["round"]):
            _append(self.path / "rounds.jsonl", self._lost_row(lost))
        self._last_round = row["round"]
        _append(self.path / "rounds.jsonl", row)

    def _lost_row(self, round: int) -> dict[str, Any]:
        """Return what the peers' journals tell of a round that ended, but not before its coordinator did."""
        ends = [
            line
            for journal in sorted((self.path / "peers").glob("*.jsonl*"))
            for line in _whole_lines(journal)
            if line["event"] == "round_finished" and line["round"] == round
        ]
        return {
            "round": round,
            "certified": bool(ends) and all(end["certified"] for end in ends),
            "certified_by": certified_by((end["plan"], end["certified"]) for end in ends),
            "peers": len(ends),
            "applied": sum(end["applied"] for end in ends),
            "skipped_groups": None,
            "failovers": None,
            "loss": None,
            **dict.fromkeys(TOTALS, 0),
            "interrupted": True,
        }

    def append_tree(self, row: Mapping[str, Any]) -> None:
        """Add a tree."""
        _append(self.path / "trees.jsonl", row)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, whole or not at all."""
        temporary = self.path / ".summary.json"
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.path / "summary.json")

    def _take_lock(self) -> None:
        lock = (self.path / ".lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(f"{self.path}: another run is writing to this folder") from None
        self._lock = lock


def summarise(rows: list[dict[str, Any]], *, peers: int, broker: str, peak_pss_bytes: int) -> dict[str, Any]:
    """Return the content of summary.json for the rounds of a run, resumed parts included."""
    evaluated = [row for row in rows if "c_gen" in row]
    metrics = ("c_spe", "c_gen", "global", "g_spe", "g_gen")
    final = {name: evaluated[-1][name] for name in ("round", *metrics)} if evaluated else None
    return {
        "rounds": len(rows),
        "certified_rounds": sum(row["certified"] for row in rows),
        "peers": peers,
        "broker": broker,
        "final": final,
        "metric": evaluated[-1].get("metric", "accuracy") if evaluated else None,
        **{name: round(sum(row.get(name, 0) for row in rows), 4) for name in TOTALS},
        "peak_pss_mb": round(peak_pss_bytes / 1e6, 1),
    }


def describe(settings: SwarmSettings, charter: Charter, command: str, started: str) -> str:
    """Return the text of run.toml."""
    shown, command = _without_passwords(settings.as_mapping() | {"lr": settings.step_size}, command)
    run = {"command": command, "started": started, "charter_hash": text(charters.charter_hash(charter))}
    return "\n".join(
        [
            toml.table("run", run),
            toml.table("versions", _versions()),
            toml.table("settings", shown),
            toml.table("charter", charter_toml.to_mapping(charter)),
        ]
    )


def _without_passwords(values: Mapping[str, Any], command: str) -> tuple[dict[str, Any], str]:
    """Return settings and the command line (of `shlex.join`) as a run folder may hold them."""
    broker = values.get("broker", ())
    urls = (broker,) if isinstance(broker, str) else broker
    bare = [str(BrokerAddress.parse(url)) if "://" in url else url for url in urls]
    for url, address in zip(urls, bare, strict=True):
        # Word by word: a quote in a password reads otherwise in a command line.
        command = shlex.join(word.replace(url, address) for word in shlex.split(command))
    if not bare:
        return dict(values), command
    return {**values, "broker": bare[0] if isinstance(broker, str) else bare}, command


def _versions() -> dict[str, str]:
    found = {"swarmdem": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("torch", "numpy", "aiomqtt", "paho-mqtt", "msgspec", "cryptography"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, separators=(",", ":")) + "\n")


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _drop_unfinished_line(path: Path) -> None:
    """Cut off what a killed run left without a line end: it was never a line."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
