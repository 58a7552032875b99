"""The blocking twin: the same peer for a program without asyncio."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from swarmdem import BlockingPeer, Charter, ConfigError, MisuseError, Peer, RoundFinished, SoftmaxRegression
from swarmdem.errors import SchemaError
from swarmdem.transport.memory import MemoryBus


def learner(features=3):
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 30)
    return SoftmaxRegression(3, (np.eye(3, features, dtype=np.float32)[y], y), lr=0.5)


def peer(**settings):
    return Peer.blocking(Charter(swarm="alone", founders=1, patience=1.0), learner(), link=MemoryBus().link())


def test_it_learns_in_a_thread_of_its_own_and_leaves_none_behind():
    threads = set(threading.enumerate())
    with peer() as alone:
        events = alone.events()
        before = alone.model
        alone.run(rounds=2)
        finished = next(event for event in events if isinstance(event, RoundFinished))

        assert (finished.round, alone.status().round, len(alone.id)) == (1, 2, 32)
        assert not np.array_equal(alone.model["weight"], before["weight"])
        assert alone.counters.train_cpu_s > 0

    assert set(threading.enumerate()) <= threads


def test_events_end_when_it_leaves():
    with peer() as alone:
        events = alone.events()
        alone.run(rounds=1)
        leaving = threading.Timer(0.1, alone.leave)
        leaving.start()
        kinds = [type(event).__name__ for event in events]
        leaving.join()

    assert "RoundFinished" in kinds


def test_events_that_nobody_has_read_outlive_the_peer():
    with peer() as alone:
        events = alone.events()
        alone.run(rounds=1)
        alone.leave()

        assert "RoundFinished" in [type(event).__name__ for event in events]


def test_between_the_end_of_its_loop_and_the_word_of_it_a_peer_has_stopped(monkeypatch):
    with peer() as alone, monkeypatch.context() as patch:
        alone.leave()
        patch.setattr(alone, "_ended", Future())

        with pytest.raises(MisuseError, match="has stopped"):
            alone.status()
        alone.leave()


def test_what_keeps_it_from_starting_is_raised():
    trained = Peer.blocking(
        Charter(swarm="alone", founders=1, schema=_schema()), learner(features=4), link=MemoryBus().link()
    )

    with pytest.raises(SchemaError, match="weight"), trained:
        pass


def test_a_wrong_setting_is_raised_where_it_was_given():
    with pytest.raises(ConfigError, match="brokers: at least one is needed"):
        BlockingPeer(Charter(swarm="alone"), learner())


def test_it_cannot_be_used_outside_with():
    with pytest.raises(MisuseError, match="inside `with`"):
        peer().run(rounds=1)


def _schema():
    from swarmdem.learning.parameters import schema_of

    return schema_of(learner().parameters())
