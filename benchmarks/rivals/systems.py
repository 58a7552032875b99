"""The systems that are compared: what to install for each, and how to run it on the workload.

Each rival gets a virtual environment of its own, with the versions given here and in `pins`; torch has
the version of `constraints.txt`. None is ever a dependency of ours. What a system needs beyond `pip
install NAME` to run at all is in `shims`, in words; the code is in its program.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from swarmdem.errors import ConfigError

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
PINS = Path(__file__).parent / "pins"
"""For each environment the versions of everything in it, as `pip freeze` told them."""
STAMP = "installed.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One of those compared."""

    title: str
    environment: str
    """Name of its virtual environment; systems that differ in settings share one."""
    packages: tuple[str, ...] = ()
    program: str = ""
    options: tuple[str, ...] = ()
    shims: str = ""
    """What it needed to run at all, and what of its settings is not the default."""
    own: tuple[str, ...] | None = None
    """Of swarmdem: flags of `swarmdem swarm`. None: a rival."""


P2PFL = ("p2pfl[dp]==0.4.4", "pyarrow==17.0.0", "huggingface-hub==0.25.2")
P2PFL_SHIMS = (
    "does not import without its extra `dp` and older versions of two packages it needs; a plain torch loop "
    "of ours trains, because its Lightning one pins another torch; Ray, which importing it starts, is off; "
    "its own settings for nodes on one machine"
)
SYSTEMS = {
    "swarmdem": System(title="swarmdem", environment="", own=()),
    "swarmdem-1": System(title="swarmdem, one worker", environment="", own=("--workers", "1")),
    "swarmdem-fedavg": System(
        title="swarmdem, FedAvg", environment="", own=("--strategy", "fedavg", "--workers", "1")
    ),
    "flower": System(
        title="Flower 1.41 simulation",
        environment="flower",
        packages=("flwr[simulation]==1.41.0",),
        program="run_flower.py",
    ),
    "gossipy": System(
        title="gossipy 0.0.1",
        environment="gossipy",
        packages=("gossipy-dfl==0.0.1",),
        program="run_gossipy.py",
        shims="an empty module stands in for torchvision, which it imports and does not declare",
    ),
    "p2pfl": System(
        title="p2pfl 0.4.4, 4 train",
        environment="p2pfl",
        packages=P2PFL,
        program="run_p2pfl.py",
        options=("train=4",),
        shims=P2PFL_SHIMS,
    ),
    "p2pfl-all": System(
        title="p2pfl 0.4.4, all train",
        environment="p2pfl",
        packages=P2PFL,
        program="run_p2pfl.py",
        options=("train=all",),
        shims=P2PFL_SHIMS,
    ),
    "p2pfl-fast": System(
        title="p2pfl 0.4.4, 4 train, fast",
        environment="p2pfl",
        packages=P2PFL,
        program="run_p2pfl.py",
        options=("train=4", "pace=fast"),
        shims="models are sent every 50 ms to everybody, messages every 10 ms (our tuning)",
    ),
    "p2pfl-all-fast": System(
        title="p2pfl 0.4.4, all train, fast",
        environment="p2pfl",
        packages=P2PFL,
        program="run_p2pfl.py",
        options=("train=all", "pace=fast"),
        shims="models are sent every 50 ms to everybody, messages every 10 ms (our tuning)",
    ),
    "sdflmq": System(
        title="SDFLMQ 0.1.0.6",
        environment="sdflmq",
        packages=("sdflmq==0.1.0.6", "matplotlib"),
        program="run_sdflmq.py",
        shims="matplotlib is installed beside it, which its coordinator imports and it does not declare; "
        "clients are forked from one process and share memory",
    ),
}


class InstallationError(Exception):
    """A rival could not be installed; the message is one line."""


def chosen(names: str) -> list[str]:
    """Return the systems of a list with commas.

    Raises:
        ConfigError: One is unknown.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found:
        if name not in SYSTEMS:
            raise ConfigError(f"--systems {name}: unknown; there are {', '.join(SYSTEMS)}")
    return found


def python_of(system: System, cache: Path, log: Path) -> Path:
    """Return the interpreter of a system, after making its environment where there is none.

    Args:
        system: Whose.
        cache: Folder of all environments.
        log: What pip says is appended here.

    Raises:
        InstallationError: pip failed.
    """
    if system.own is not None:
        return Path(sys.executable)
    folder = cache / system.environment
    wanted = "\n".join((*torch_pin(), *system.packages))
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder / "bin" / "python"
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {system.title} into {folder} (some minutes)", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    with log.open("a", encoding="utf-8") as written:
        # torch first, by itself: with it in place no range of a rival's pulls another build of it
        for packages in (torch_pin(), (*torch_pin(), *system.packages)):
            command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
            command += ["-c", str(PINS / f"{system.environment}.txt"), *packages]
            if subprocess.run(command, stdout=written, stderr=subprocess.STDOUT, check=False).returncode:
                raise InstallationError(f"pip install {' '.join(packages)} failed: see {log}")
    stamp.write_text(wanted)
    return python


def torch_pin() -> tuple[str, ...]:
    """Return the torch that all systems use, as `constraints.txt` names it."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return tuple(line for line in lines if line.startswith("torch=="))


def fingerprint(data: Path) -> str:
    """Return a short name of a data file's content."""
    return hashlib.sha256(data.read_bytes()).hexdigest()[:12]
