"""A little of every fuzzing target on every run of the tests; docs/fuzzing.md tells how to run the rest."""

import sys
import tracemalloc

import pytest

from swarmdem.errors import WireError
from swarmdem.wire.messages import KINDS
from tests.fuzz import __main__ as command, corpus, running
from tests.fuzz.core import CoreUnderFire
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import TARGETS, Target

EXECUTIONS = 2_000
HELD_MAX = 2**20
"""Bytes that a decoder may hold at a time, beside 64 for every byte of its input."""


@pytest.mark.parametrize("name", running.names())
def test_a_decoder_takes_or_refuses_whatever_comes(name):
    share = TARGETS[name].share if name in TARGETS else 1.0
    told = running.run(name, max(60, int(EXECUTIONS * min(share, 1.0))), seed=2)

    assert told.accepted > 0, "the corpus gets through"
    assert told.slowest_s < 5


@pytest.mark.parametrize("name", [name for name in running.names() if name not in {"core", "state"}])
def test_no_input_makes_a_decoder_hold_much_more_than_its_size(name):
    target, seeds = running.target_of(name)
    mutator = Mutator(3, seeds, tree=target.tree, limit=target.limit)
    inputs = [*seeds, *(mutator.next() for _ in range(60))]
    running.execute(name, target, inputs[0])  # what is made once is not the input's doing
    tracemalloc.start()
    try:
        for data in inputs:
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            running.execute(name, target, data)
            assert tracemalloc.get_traced_memory()[1] - held < HELD_MAX + 64 * len(data), data.hex()
    finally:
        tracemalloc.stop()


def test_every_body_that_can_be_signed_is_a_target():
    assert {f"body-{kind.__name__.lower()}" for kind in KINDS.values()} <= set(running.names())
    assert len([name for name in running.names() if name.startswith("body-")]) == len(KINDS)


def test_the_corpus_is_small_and_its_bodies_are_what_peers_said():
    assert sum(path.stat().st_size for path in corpus.FOLDER.iterdir()) < 300_000
    assert {path.stem for path in corpus.FOLDER.iterdir()} == set(running.names())
    for name in running.names():
        target, seeds = running.target_of(name)
        if name.startswith("body-") or name == "plan":
            assert all(target.decode(data) for data in seeds), name


def test_a_swarm_that_heard_thousands_of_lies_still_finishes_rounds():
    fire = CoreUnderFire()
    mutator = Mutator(5, corpus.load("core"), tree=3)
    heard = sum(fire(mutator.next()) for _ in range(1_500))

    assert heard > 200, "well-formed and signed"
    assert fire.settle()


def test_what_a_decoder_must_not_raise_is_a_finding_with_its_input(monkeypatch):
    def broken(data):
        if data.startswith(b"bad"):
            raise KeyError("length")
        raise WireError("refused")

    monkeypatch.setitem(TARGETS, "broken", Target(broken, (WireError,)))
    monkeypatch.setattr(corpus, "load", lambda name: [b"good", b"bad!"])

    with pytest.raises(running.Finding, match="broken: input 62616421") as found:
        running.run("broken", 10)
    assert found.value.data == b"bad!"
    assert isinstance(found.value.__cause__, KeyError)


def test_what_does_not_come_back_is_a_finding(monkeypatch):
    def stuck(data):
        while True:
            pass

    monkeypatch.setattr(running, "HANG_S", 1)
    monkeypatch.setitem(TARGETS, "stuck", Target(stuck, (WireError,)))
    monkeypatch.setattr(corpus, "load", lambda name: [b"x"])

    with pytest.raises(running.Finding) as found:
        running.run("stuck", 1)
    assert isinstance(found.value.__cause__, TimeoutError)


def test_equal_seeds_give_equal_inputs():
    one, other = (Mutator(7, corpus.load("plan"), tree=0) for _ in range(2))

    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--target", "no-such"], "--target no-such: not one of all, below, envelope, "),
        (["--replay", "finding.bin"], "--target all: not one of envelope, "),
        (["--target", "core", "--replay", "no-such.bin"], "--replay no-such.bin: No such file or directory"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_that_names_it(words, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz", *words])

    with pytest.raises(SystemExit) as left:
        command.main()

    assert left.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(told)
