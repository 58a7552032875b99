"""Start a broker on this machine: mosquitto, nats-server or the embedded one (amqtt).

The broker is a child process with a configuration of its own in a temporary folder. It ends with
the `async with` block, and with this process when that is killed (Linux: the kernel's parent-death
signal). Anybody who reaches the address may use it: bind it to loopback, or to a network
that is trusted; `broker/README.md` says how to run one that asks for a password.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from swarmdem.errors import ConfigError

KINDS = ("mosquitto", "nats", "embedded")
"""Brokers we can start; `auto` takes the first that is installed."""
LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0
POLL_S = 0.02
PORT_ATTEMPTS = 3
"""A free port may be taken by another program before the broker binds it; then try another one."""

MESSAGE_MAX_BYTES = 17 * 2**20
"""Above the largest chunk a charter allows (16 MiB)."""

MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
persistence false
log_dest stderr
log_type error
log_type warning
set_tcp_nodelay true
max_inflight_messages 100
max_queued_messages 100000
max_queued_bytes 536870912
message_size_limit {message_max_bytes}
user {user}
"""
"""Limits hold for each client. The default queue of 1000 messages loses the rest and tells nobody."""

NATS_CONF = """\
server_name: swarmdem
listen: "127.0.0.1:-1"
max_payload: {message_max_bytes}
max_pending: 268435456
jetstream {{ store_dir: "{folder}" }}
mqtt {{ host: "{host}", port: {port}, max_ack_pending: 1000 }}
"""

LAUNCHER = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks to be killed with the parent (PR_SET_PDEATHSIG = 1), then becomes the broker."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that accepts connections."""

    kind: str
    host: str
    port: int
    process: asyncio.subprocess.Process = field(repr=False)

    @property
    def pid(self) -> int:
        """The broker's process id."""
        return self.process.pid

    def running(self) -> bool:
        """Return whether its process is alive."""
        return self.process.returncode is None

    @property
    def url(self) -> str:
        """Where this machine's peers reach it."""
        reachable = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"mqtt://[{reachable}]:{self.port}" if ":" in reachable else f"mqtt://{reachable}:{self.port}"


def available(kind: str = "auto") -> str:
    """Return the kind of broker that `start_broker(kind)` would start.

    Raises:
        ConfigError: No such kind, or its program is not installed.
    """
    if kind == "auto":
        return next(each for each in KINDS if each == "embedded" or _program(each) is not None)
    if kind not in KINDS:
        raise ConfigError(f"broker {kind!r} is none of auto, {', '.join(KINDS)}")
    if kind != "embedded" and _program(kind) is None:
        package = "mosquitto" if kind == "mosquitto" else "nats-server"
        raise ConfigError(f"broker {kind!r}: {package} is not installed (or not on the PATH)")
    return kind


@contextlib.asynccontextmanager
async def start_broker(kind: str = "auto", *, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[Broker]:
    """Run a broker for as long as the block lasts.

    Args:
        kind: `mosquitto`, `nats`, `embedded`; `auto`: the first of them that is installed.
        host: Address to listen on.
        port: TCP port to listen on; 0 takes a free one.

    Raises:
        ConfigError: Unknown kind, not installed, port taken, or the broker ended at once.
    """
    kind = available(kind)
    with tempfile.TemporaryDirectory(prefix="swarmdem-broker-", ignore_cleanup_errors=True) as folder:
        for attempt in range(PORT_ATTEMPTS):
            chosen = port if port else _free_port(host)
            _check_free(host, chosen)
            process = await _spawn(_command(kind, host, chosen, Path(folder)), Path(folder) / "stderr.txt")
            broker = Broker(kind, host, chosen, process)
            try:
                if await _accepts(broker):
                    yield broker
                    return
            finally:
                await _stop(process)
            if port or attempt == PORT_ATTEMPTS - 1:
                raise ConfigError(
                    f"broker {kind!r} did not start: {_last_words(Path(folder) / 'stderr.txt')}"
                )


def _program(kind: str) -> str | None:
    """Return the path of a broker's program: PATH, Debian's sbin, and beside this interpreter."""
    name = {"mosquitto": "mosquitto", "nats": "nats-server"}[kind]
    places = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(Path(sys.executable).parent))
    return shutil.which(name, path=os.pathsep.join(places))


def _command(kind: str, host: str, port: int, folder: Path) -> list[str]:
    """Write a broker's configuration into *folder*; return its command line."""
    if kind == "embedded":
        return [sys.executable, "-P", str(Path(__file__).with_name("embedded.py")), host, str(port)]
    program = _program(kind)
    assert program is not None, "checked by available()"
    conf = folder / f"{kind}.conf"
    if kind == "mosquitto":
        # As root it would change user, and the kernel then forgets whom to die with.
        user = "root" if os.geteuid() == 0 else "mosquitto"
        text = MOSQUITTO_CONF.format(host=host, port=port, user=user, message_max_bytes=MESSAGE_MAX_BYTES)
    else:
        text = NATS_CONF.format(host=host, port=port, folder=folder, message_max_bytes=MESSAGE_MAX_BYTES)
    conf.write_text(text)
    return [program, "-c", str(conf)]


async def _spawn(command: list[str], stderr: Path) -> asyncio.subprocess.Process:
    with stderr.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-P", "-c", LAUNCHER, str(os.getpid()), *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,  # Ctrl-C is ours: peers say goodbye before the broker goes
        )  # fmt: skip


async def _accepts(broker: Broker) -> bool:
    """Wait until connections are accepted; False when the broker ended or kept silent."""
    host = broker.url.removeprefix("mqtt://").rpartition(":")[0].strip("[]")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            while broker.running():
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(host, broker.port)
                    writer.close()
                    await writer.wait_closed()
                    return True
                await asyncio.sleep(POLL_S)
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    await process.wait()


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_free(host: str, port: int) -> None:
    """Raise ConfigError when *port* of *host* cannot be listened on."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            reason = "taken" if error.errno == errno.EADDRINUSE else f"not usable: {error.strerror or error}"
            raise ConfigError(f"port {port} on {host} is {reason}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _last_words(stderr: Path) -> str:
    lines = [line.strip() for line in stderr.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:]) if lines else "it ended without a word"
