"""Whole peers on a bus in memory, with the numpy learner: what an application sees."""

import asyncio
import json
import shutil
import signal
import threading
from contextlib import AsyncExitStack

import numpy as np
import pytest

from swarmdem import (
    Charter,
    CharterMismatchError,
    ConfigError,
    Degraded,
    KeyInUseError,
    MisuseError,
    Peer,
    Recovered,
    RoundFinished,
    SoftmaxRegression,
    TrainingFinished,
)
from swarmdem.errors import SchemaError
from swarmdem.learning.parameters import from_safetensors
from swarmdem.transport.memory import MemoryBus
from swarmdem.wire import topics
from swarmdem.wire.charter import charter_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Ping
from swarmdem.wire.signing import Identity

CENTRES = np.random.default_rng(7).normal(0, 1, (4, 6))


def learner(number, *, features=6):
    """Return softmax regression on 40 noisy points of four classes, two of which this peer sees often."""
    random = np.random.default_rng(number)
    y = random.choice(4, 60, p=np.roll([0.45, 0.45, 0.05, 0.05], number))
    x = (CENTRES[y] + random.normal(0, 0.3, (60, 6))).astype(np.float32)
    x = np.pad(x, ((0, 0), (0, features - 6)))
    return SoftmaxRegression(4, (x[:40], y[:40]), (x[40:], y[40:]), lr=0.2, seed=number)


def charter(founders, **settings):
    return Charter(
        swarm="test", **{"founders": founders, "levels": 1, "patience": 2.0, "gather": 60.0} | settings
    )


class Swarm:
    """Peers that enter together and leave with the test."""

    def __init__(self, stack):
        self.bus = MemoryBus()
        self._stack = stack

    async def enter(self, *peers):
        for peer in peers:
            await self._stack.enter_async_context(peer)

    async def start(self, count, **settings):
        peers = [Peer(charter(count), learner(n), link=self.bus.link(), **settings) for n in range(count)]
        await self.enter(*peers)
        return peers


@pytest.fixture
async def swarm():
    async with AsyncExitStack() as stack:
        yield Swarm(stack)


async def rounds(peers, last):
    async with asyncio.timeout(30):
        await asyncio.gather(*(peer.run(rounds=last) for peer in peers))


async def first(stream, kind):
    async with asyncio.timeout(20):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the peer stopped without a {kind.__name__}")


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


async def test_three_peers_learn_for_three_rounds(swarm, tmp_path):
    peers = await swarm.start(3, journal=tmp_path)
    streams = [peer.events() for peer in peers]
    untrained = peers[0].model
    await rounds(peers, 3)

    finished = [(await first(stream, RoundFinished)) for stream in streams]
    assert [(event.round, event.applied, event.certified) for event in finished] == [(1, True, True)] * 3
    judge = learner(0)
    judge.load(untrained)
    before = judge.evaluate().score
    judge.load(peers[0].model)
    assert judge.evaluate().score > max(before, 0.6)
    journals = [(tmp_path / f"{peer.id}.jsonl").read_text().splitlines() for peer in peers]
    lines = [[row for row in map(json.loads, journal) if row["event"] == "round"] for journal in journals]
    assert [row["round"] for row in lines[0]] == [1, 2, 3]
    assert lines[0] == lines[1] == lines[2]
    assert all(peer.counters.refused == {} for peer in peers)
    assert all(peer.counters.train_cpu_s > 0 for peer in peers)


async def test_a_peer_alone_founds_its_swarm_and_keeps_its_model(swarm):
    [peer] = await swarm.start(1)
    await rounds([peer], 2)

    assert peer.status().certified
    assert peer.status().peers == (bytes.fromhex(peer.id),)


async def test_training_beyond_the_last_round_is_held_back_until_asked(swarm):
    peers = await swarm.start(2)
    await rounds(peers, 1)
    trained = [peer.events() for peer in peers]
    await rounds(peers, 2)

    assert [(await first(stream, TrainingFinished)).round for stream in trained] == [2, 2]


async def test_garbage_is_counted_and_stops_nobody(swarm):
    """Give peers noise, frames of others, unsigned and oversize ones while they work."""
    peers = await swarm.start(2)
    scope, me = charter_hash(peers[0].charter), bytes.fromhex(peers[0].id)
    port = await swarm.bus.link().open_port()
    stranger = FrameSealer(Identity.generate(), peers[0].charter, 1)
    ping = stranger.seal(Ping(b"\x01" * 32)).raw
    other = FrameSealer(Identity.generate(), charter(2, pull=0.5), 1).seal(Ping(b"\x01" * 32)).raw
    forged = ping[:-1] + bytes([ping[-1] ^ 1])
    inbox, bulk = topics.inbox(scope, me, stranger.peer), topics.bulk(scope, me, stranger.peer)
    junk = [b"x", b"SD" + b"\x00" * 200, ping + b"\x00", other, forged, ping, ping, ping[:100]]
    for payload in [*junk, ping[:3] + b"\x05" + bytes(2**20)]:
        await port.publish(inbox, payload)
    await port.publish(bulk, b"SD\x01\x40" + bytes(100))
    for _ in range(2000):
        await port.publish(inbox, b"flood")
    await rounds(peers, 2)

    refused = peers[0].counters.refused
    assert refused["SignatureError"] == 1
    assert refused["OversizeFrameError"] == 1
    assert refused["replayed"] == 1
    assert refused["MalformedFrameError"] >= 2000


class Moody(SoftmaxRegression):
    """A learner that fails in its first training."""

    failures = 1

    def train(self, *, round, objective):
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the camera is covered")
        return super().train(round=round, objective=objective)


async def test_a_failing_training_is_said_and_the_peer_goes_on(swarm):
    moody = learner(0)
    moody.__class__ = Moody
    peer = Peer(charter(1), moody, link=swarm.bus.link())
    events = peer.events()
    await swarm.enter(peer)
    await rounds([peer], 1)

    assert "the camera is covered" in (await first(events, Degraded)).what


async def test_leaving_ends_every_task_and_thread():
    threads = set(threading.enumerate())
    async with AsyncExitStack() as stack:
        peers = await Swarm(stack).start(2)
        await rounds(peers, 1)

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert set(threading.enumerate()) <= threads


async def test_leaving_clears_what_the_peer_left_with_the_broker():
    async with AsyncExitStack() as stack:
        swarm = Swarm(stack)
        await rounds(await swarm.start(2), 1)

    assert swarm.bus._retained == {}


async def test_a_peer_that_is_gone_keeps_its_name_its_model_and_its_counters(swarm):
    [peer] = await swarm.start(1)
    await rounds([peer], 1)
    model, name = peer.model, peer.id
    await peer.leave()

    assert same(peer.model, model)
    assert (peer.id, peer.counters.refused) == (name, {})
    with pytest.raises(MisuseError, match="does not run"):
        peer.status()


async def test_a_restarted_peer_is_the_same_with_its_model(tmp_path):
    bus = MemoryBus()
    ids, models = [], []
    for last in (2, 3):
        async with Peer(charter(1), learner(0), link=bus.link(), state=tmp_path) as peer:
            ids.append(peer.id)
            models.append(peer.model)
            await rounds([peer], last)
            assert peer.status().round == last
            models.append(peer.model)

    assert ids[0] == ids[1]
    assert same(models[1], models[2])
    assert not same(models[2], models[3])


async def test_a_corrupted_checkpoint_gives_way_to_the_one_before(tmp_path):
    bus = MemoryBus()
    async with Peer(charter(1), learner(0), link=bus.link(), state=tmp_path) as peer:
        await rounds([peer], 1)
        first_model = peer.model
        await rounds([peer], 2)
        own = peer._running.shelf.slot("own").name.hex()
    (tmp_path / "models" / f"own-{own}.safetensors").write_bytes(b"bits have rotted")
    peer = Peer(charter(1), learner(0), link=bus.link(), state=tmp_path)
    events = peer.events()

    async with peer:
        assert "damaged" in (await first(events, Degraded)).what
        assert same(peer.model, first_model)
        await rounds([peer], 3)


@pytest.mark.parametrize("slot", ["reference", "upload"])
async def test_without_its_reference_or_upload_a_peer_still_finds_its_way(tmp_path, slot, swarm):
    def peer(number):
        return Peer(charter(2), learner(number), link=swarm.bus.link(), state=tmp_path / str(number))

    await swarm.enter(peer(0))
    async with peer(1) as lost, asyncio.timeout(20):
        await lost.run(1)
    for path in (tmp_path / "1" / "models").glob(f"{slot}-*"):
        path.unlink()

    async with peer(1) as back:
        events = back.events()
        while not (await first(events, RoundFinished)).applied:
            pass  # a round that lists the digest of the lost upload ends without a result


async def test_a_key_that_runs_already_is_refused(swarm, tmp_path):
    await swarm.enter(Peer(charter(2), learner(0), link=swarm.bus.link(), state=tmp_path))

    with pytest.raises(KeyInUseError):
        await swarm.enter(Peer(charter(2), learner(1), link=swarm.bus.link(), state=tmp_path))


async def test_another_charter_is_refused_with_the_settings_that_differ(swarm):
    peers = await swarm.start(2)
    await rounds(peers, 1)
    stranger = Peer(charter(2, pull=0.5, mixing=0.1), learner(3), link=swarm.bus.link())
    await swarm.enter(stranger)

    with pytest.raises(CharterMismatchError, match="mixing, pull") as refusal:
        await asyncio.wait_for(stranger.run(rounds=1), 20)
    assert refusal.value.settings == ("mixing", "pull")


async def test_a_learner_of_another_schema_is_refused_before_it_connects(swarm):
    [peer] = await swarm.start(1)
    stranger = Peer(peer.charter, learner(1, features=9), link=swarm.bus.link())

    with pytest.raises(SchemaError, match="weight"):
        await swarm.enter(stranger)


async def test_an_outage_of_the_broker_is_said_and_survived(swarm):
    peers = await swarm.start(2)
    await rounds(peers, 1)
    events = peers[0].events()
    assert peers[0].status().troubles == ()
    swarm.bus.stop()
    down = await first(events, Degraded)
    troubles = {trouble.what: trouble.round for trouble in peers[0].status().troubles}
    swarm.bus.start()
    await first(events, Recovered)
    await rounds(peers, 3)
    assert peers[0].status().troubles == ()

    assert down.what == "no connection to the broker: the bus is stopped"
    assert troubles[down.what] >= 1, "the last round it had finished"
    assert peers[0].status().round == 3


async def test_why_a_peer_left_is_its_last_word(swarm, tmp_path):
    [peer] = await swarm.start(1, journal=tmp_path)
    events = peer.events()
    await peer.leave()

    assert [getattr(event, "why", "") async for event in events][-1:] == [
        "the application asked this peer to leave"
    ]
    line = json.loads((tmp_path / f"{peer.id}.jsonl").read_text().splitlines()[-1])
    assert (line["event"], line["about"]) == ("explained", "left")


async def test_a_reader_of_events_that_falls_behind_is_told_so(swarm):
    [peer] = await swarm.start(1)
    events = peer.events()
    for _ in range(1100):
        peer._on_event(Recovered("nothing"))

    assert (await anext(events)).what.endswith("events were dropped because nobody read them in time")


async def test_events_end_when_the_peer_leaves(swarm):
    [peer] = await swarm.start(1)
    events = peer.events()
    await peer.leave()

    async with asyncio.timeout(10):
        assert all([event is not None async for event in events])


async def test_everything_of_a_round_can_be_recomputed_from_the_record(swarm, tmp_path):
    peers = await swarm.start(3, record=tmp_path)
    await rounds(peers, 1)
    for peer in peers:
        await peer.leave()
    folder = tmp_path / "round-0001"
    evidence = json.loads((folder / "certificate.json").read_text())
    root = evidence["groups"][0]

    def read(name):
        return from_safetensors((folder / f"{name}.safetensors").read_bytes())["weight"].astype(float)

    def mean(group):
        leaves = [
            (read(f"upload-{peer}"), 1) for peer, parent in evidence["parents"].items() if parent == group
        ]
        below = [mean(g["id"]) for g in evidence["groups"] if g["parent"] == group]
        total = sum(weight for _, weight in leaves + below)
        return sum(w * weight for w, weight in leaves + below) / total, total

    assert len(evidence["digests"]) == 3
    assert len(evidence["votes"]) >= 2
    assert np.allclose(read(f"mean-{root['level']}-{root['id']}"), mean(root["id"])[0], atol=1e-6)
    for peer, parent in evidence["parents"].items():
        level = next(g["level"] for g in evidence["groups"] if g["id"] == parent)
        group = read(f"group-{level}-{parent}")
        assert np.allclose(read(f"applied-{peer}"), 0.6 * group + 0.4 * read(f"upload-{peer}"), atol=1e-6)


def test_a_peer_needs_one_way_to_the_others():
    with pytest.raises(ConfigError, match="brokers: at least one is needed"):
        Peer(charter(1), learner(0))


async def test_nothing_is_printed_and_signal_handlers_stay(swarm, capfd):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await rounds(await swarm.start(2), 1)

    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_folder_of_models_that_was_removed_is_made_again(tmp_path):
    async with Peer(charter(1), learner(0), link=MemoryBus().link(), state=tmp_path) as peer:
        await rounds([peer], 1)
        shutil.rmtree(tmp_path / "models")
        await rounds([peer], 2)
        own = peer.model
    async with Peer(charter(1), learner(0), link=MemoryBus().link(), state=tmp_path) as back:
        assert same(back.model, own)
