"""`swarmdem peer` as its user sees it: lines, signals, mistakes (deaths: `test_peer_processes.py`)."""

import asyncio
import queue
import re
import signal
import subprocess
import sys
import threading

import pytest

from swarmdem import Charter
from swarmdem.apps.peer import _Listed, _Measurements, _tell, run_peer
from swarmdem.config import PeerSettings, Settings
from swarmdem.errors import ConfigError
from swarmdem.learning.learner import Evaluation
from swarmdem.protocol.events import Certified, Degraded, PeerSeen, Recovered, RoundFinished

SWARMDEM = [sys.executable, "-m", "swarmdem"]


class Program:
    """A command under test; a thread reads its lines as they come."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [*SWARMDEM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self._news = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def until(self, pattern):
        """Return the next line that matches; fails when the program ends first."""
        while (line := self._news.get(timeout=60)) is not None:
            if re.search(pattern, line):
                return line
        raise AssertionError(f"ended before {pattern!r}: {self.lines}")

    def end(self, sign=signal.SIGTERM):
        """Send a signal, read what is left, return the exit code."""
        self.process.send_signal(sign)
        code = self.process.wait(timeout=20)
        self._reader.join()
        return code

    def close(self):
        """Make sure that it is gone."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            self._news.put(line)
        self._news.put(None)


@pytest.fixture
def start():
    """Start commands that are ended with the test, whatever happens."""
    programs = []

    def program(*arguments):
        programs.append(Program(*arguments))
        return programs[-1]

    yield program
    for each in programs:
        each.close()


@pytest.fixture(scope="module")
def charter(tmp_path_factory):
    path = tmp_path_factory.mktemp("charter") / "charter.toml"
    subprocess.run(
        [*SWARMDEM, "charter", path, "--swarm", "plant-7", "--model", "softmax", "--founders", "3",
         "--patience", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_peers_tell_their_rounds_and_leave_when_told(start, charter, tmp_path):
    """Three found a swarm; one stops at its last round, one on SIGTERM and comes back as itself."""
    broker = start("broker", "--port", 0)
    url = broker.until("--broker").split()[-1]

    def peer(part, *more):
        return start("peer", "--charter", charter, "--broker", url, "--model", "softmax", "--part", part,
                     "--state", tmp_path / f"state{part}", *more)  # fmt: skip

    short, told, other = peer(0, "--rounds", 3, "--pause", 0.2), peer(1), peer(2)
    identity = told.until(r"^peer \w+ of swarm 'plant-7', \d+ training samples").split()[1]
    other.until("^founded with 3 peers")
    for each in (short, told, other):
        each.until(r"^round 2: certified, training loss \d\.\d+, own test [01]\.\d+")

    assert short.process.wait(timeout=30) == 0
    short.until("^left the swarm")
    assert not any(line.startswith("round 4") for line in short.lines)
    assert told.end(signal.SIGTERM) == 0
    assert told.lines[-1] == "left the swarm"

    back = peer(1)
    assert back.until("^peer ").split()[1] == identity
    back.until("^round [0-9]+: ")
    assert not any(line.startswith("founded") for line in back.lines)
    assert broker.end(signal.SIGINT) == 0


def test_a_peer_keeps_trying_when_there_is_no_broker(start, charter):
    """With --quiet that is all it says."""
    lonely = start(
        "peer", "--charter", charter, "--broker", "mqtt://127.0.0.1:1", "--model", "softmax", "--quiet",
        "--pause", "2.1",
    )  # fmt: skip

    lonely.until("! no connection to the broker: nobody listens at")
    assert lonely.lines[0].startswith("! --pause 2.1 is longer than the charter's patience, 2 s: the others")
    assert lonely.lines[1].startswith("! no connection")

    assert lonely.end(signal.SIGINT) == 130


def test_a_key_in_use_is_refused(start, charter, tmp_path):
    settings = (
        "peer",
        "--charter",
        charter,
        "--broker",
        "mqtt://127.0.0.1:1",
        "--model",
        "softmax",
        "--state",
        tmp_path / "s",
    )
    start(*settings).until("^peer ")
    second = start(*settings)

    second.until("swarmdem: .*(in use|running)")

    assert second.process.wait(timeout=20) == 2


@pytest.mark.parametrize("peer", [PeerSettings(discover=True), PeerSettings(brokers=("mdns",))])
async def test_looking_for_brokers_without_the_extra_is_refused(monkeypatch, peer):
    monkeypatch.setitem(sys.modules, "zeroconf", None)

    with pytest.raises(ConfigError, match="zeroconf: pip install"):
        await run_peer(Settings(peer=peer, charter=Charter(swarm="s")), print)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--broker", "mqtt://127.0.0.1:1"], "--charter: missing"),
        (["--charter", "CHARTER"], "--broker: missing"),
        (["--charter", "CHARTER", "--broker", "http://x"], "http://x"),
        (["--charter", "nowhere.toml", "--broker", "mqtt://127.0.0.1:1"], "nowhere.toml"),
        (
            ["--charter", "CHARTER", "--broker", "mqtt://127.0.0.1:1", "--model", "mlp"],
            "model has 6 arrays, not 2",
        ),
        (
            ["--charter", "CHARTER", "--broker", "mqtt://127.0.0.1:1", "--part", "99"],
            "--part 99: digits has parts 0 to 9; --devices deals them out to more",
        ),
        (["--holdout-seed", "3"], "learner.holdout_seed = 3: changes nothing without holdout"),
        (["CONFIG"], "learner.pert"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(call, charter, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "peer.toml"
    config.write_text("[learner]\npert = 3\n")
    names = {"CHARTER": str(charter), "CONFIG": str(config)}

    code, _, said = call("peer", *(names.get(argument, argument) for argument in arguments))

    assert code == 2
    assert words in said
    assert said.count("\n") == 1


async def test_a_peer_rests_after_a_round_until_it_leaves_but_not_after_its_last(monkeypatch):
    monkeypatch.setattr("swarmdem.apps.peer.evaluate", lambda *_: Evaluation(3, 4, 1.0))
    measured = _Measurements(None, None, pause_s=600.0, rounds=2)

    resting = asyncio.create_task(asyncio.to_thread(measured.after_update, 1, None))
    assert (await measured.of(1))[1].score == 0.75, "told before the rest"
    assert not resting.done()
    measured.end()
    await resting

    last = _Measurements(None, None, pause_s=600.0, rounds=2)
    await asyncio.to_thread(last.after_update, 2, None)


async def test_what_goes_wrong_is_told_apart_from_what_happens_anyway():
    async def events():
        yield PeerSeen(bytes(16), present=True)
        yield Degraded("no connection to the broker")
        yield RoundFinished(
            b"p", 3, certified=True, applied=False, reason="not listed", model=None, group=None
        )
        yield Recovered("no connection to the broker")

    usual, troubles = [], []
    measured = _Measurements(None, None, pause_s=0.0, rounds=None)
    await _tell(events(), measured, usual.append, troubles.append)

    assert usual == ["peer 00000000 is here", "round 3: certified, kept its own model (not listed)"]
    assert troubles == ["! no connection to the broker; going on", "over: no connection to the broker"]


def test_a_round_certified_by_a_part_of_the_swarm_says_by_how_many():
    listed = _Listed()
    listed.note(certified(b"a", 20))
    assert listed.told(b"a") == ""

    listed.note(certified(b"b", 1))

    assert listed.told(b"b") == " by 1 of 20 peers"
    assert listed.told(b"not seen") == ""


def certified(plan, peers):
    return Certified(plan, b"", 1, 0, 0, tuple(bytes([number]) * 16 for number in range(peers)), b"")
