"""Peers as processes against a broker process: one joins late, one is killed and comes back."""

import queue
import re
import signal
import subprocess
import sys
import threading

import pytest

SWARMDEM = [sys.executable, "-m", "swarmdem"]


class Program:
    """A command under test; a thread reads its lines as they come."""

    def __init__(self, everything, *arguments):
        self.process = subprocess.Popen(
            [*SWARMDEM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self._everything = everything
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
            self._everything.put((self, line))
        self._news.put(None)


@pytest.fixture
def everything():
    """All lines of all programs as they come: (program, line)."""
    return queue.SimpleQueue()


@pytest.fixture
def start(everything):
    """Start commands that are ended with the test, whatever happens."""
    programs = []

    def program(*arguments):
        programs.append(Program(everything, *arguments))
        return programs[-1]

    yield program
    for each in programs:
        each.close()


@pytest.fixture
def charter(tmp_path):
    path = tmp_path / "charter.toml"
    subprocess.run(
        [*SWARMDEM, "charter", path, "--swarm", "plant-7", "--model", "softmax", "--founders", "3",
         "--patience", "1.5"],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_four_peers_one_late_one_killed_and_back(start, charter, tmp_path):
    """The fourth joins a running swarm; the killed one returns as the same peer; nobody else stops."""
    broker = start("broker", "--port", 0)
    url = broker.until("--broker").split()[-1]

    def peer(number):
        return start("peer", "--charter", charter, "--broker", url, "--model", "softmax", "--part", number,
                     "--state", tmp_path / f"state{number}")  # fmt: skip

    first, second, third = peer(0), peer(1), peer(2)
    third_id = third.until(r"^peer (\w+) of swarm").split()[1]
    for each in (first, second, third):
        each.until("^round 2: certified")
    late = peer(3)
    late.until("round [0-9]+: certified.*own test")
    third.end(signal.SIGKILL)
    reached = int(first.until("^round [0-9]+: ").split()[1].rstrip(":"))
    back = peer(2)

    assert back.until(r"^peer (\w+) of swarm").split()[1] == third_id
    assert int(back.until("^round [0-9]+: certified").split()[1].rstrip(":")) >= reached
    assert "founded" not in "".join(back.lines)
    for each in (first, second, late, back):
        each.until("^round [0-9]+: certified")
        assert each.end() == 0
        assert each.lines[-1] == "left the swarm"
    rounds = [
        int(line.split()[1].rstrip(":"))
        for line in first.lines
        if re.match("round [0-9]+: (not )?certi", line)
    ]
    assert rounds == sorted(set(rounds))


@pytest.mark.parametrize("level", [4, 3])
def test_an_aggregator_killed_in_the_middle_of_an_update(start, everything, charter, tmp_path, level):
    """The round ends at all others within its deadlines, and the next is certified without the dead."""
    broker = start("broker", "--port", 0)
    url = broker.until("--broker").split()[-1]
    peers = [
        start("peer", "--charter", charter, "--broker", url, "--model", "softmax", "--part", part,
              "--state", tmp_path / f"state{part}")
        for part in range(5)
    ]  # fmt: skip
    for each in peers:
        each.until("^round [3-9]: certified")
    while not everything.empty():
        everything.get()
    pattern = rf"^round (\d+): aggregates group \w+ of level {level}"
    while not (found := re.search(pattern, (said := everything.get(timeout=60))[1])):
        pass
    dead, round = said[0], int(found[1])

    dead.end(signal.SIGKILL)

    for each in set(peers) - {dead}:
        each.until(f"^round {round}: certified")
        each.until(rf"^round ({round + 1}|{round + 2}): certified, training loss")


def test_a_peer_keeps_trying_when_there_is_no_broker(start, charter):
    lonely = start("peer", "--charter", charter, "--broker", "mqtt://127.0.0.1:1", "--model", "softmax")

    lonely.until("^peer .* of swarm 'plant-7'.* broker mqtt://127.0.0.1:1")
    lonely.until("! no connection to the broker: .*refused")

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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--broker", "mqtt://127.0.0.1:1"], "--charter: missing"),
        (["--charter", "CHARTER"], "--broker: exactly one is needed"),
        (["--charter", "CHARTER", "--broker", "http://x"], "http://x"),
        (["--charter", "nowhere.toml", "--broker", "mqtt://127.0.0.1:1"], "nowhere.toml"),
        (
            ["--charter", "CHARTER", "--broker", "mqtt://127.0.0.1:1", "--model", "mlp"],
            "model has 6 arrays, not 2",
        ),
        (["CONFIG"], "learner.pert"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(charter, tmp_path, arguments, words):
    config = tmp_path / "peer.toml"
    config.write_text("[learner]\npert = 3\n")
    names = {"CHARTER": str(charter), "CONFIG": str(config)}
    done = subprocess.run(
        [*SWARMDEM, "peer", *(names.get(argument, argument) for argument in arguments)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
