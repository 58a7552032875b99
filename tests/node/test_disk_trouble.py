"""Whole peers whose disk dies, fills up or turns read-only: what they say, send and find again."""

import asyncio
import errno
import os
import shutil
import threading
from contextlib import AsyncExitStack

import numpy as np
import pytest

from swarmdem import Charter, Degraded, Peer, Recovered, RoundFinished, SoftmaxRegression, StoreError
from swarmdem.node import files, waiting
from swarmdem.node.store import DirectoryStore
from swarmdem.protocol.ballots import read_record
from swarmdem.protocol.restart import recall
from swarmdem.transport.memory import MemoryBus
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Digest, Ping, Proposal, Skip, Vote
from swarmdem.wire.shortened import ShortProposal
from tests.node.faulty_disk import FaultyDisk


def learner(number=0):
    y = (np.arange(30) + number) % 3
    return SoftmaxRegression(3, (np.eye(3, dtype=np.float32)[y], y), lr=0.01)


def new_peer(bus, state, *, founders=1, number=0, **settings):
    charter = Charter(swarm="s", founders=founders, patience=1.0, levels=1)
    return Peer(charter, learner(number), link=bus.link(), state=state, **settings)


class Snapshots(FaultyDisk):
    """Copies a state folder before every step, as a death at that moment would leave it."""

    def __init__(self, folder, copies, progress):
        super().__init__()
        self.folder, self.copies, self.progress, self.taken = folder, copies, progress, []

    def _step(self, name, *args, **kwargs):
        path = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else str(args[0])
        if path.startswith(str(self.folder)) and (name != "open" or args[1] & os.O_CREAT):
            self._copy()
            if name == "write" and len(args[1]) > 1:
                os.write(args[0], args[1][: len(args[1]) // 2])
                self._copy()
                os.write(args[0], args[1][len(args[1]) // 2 :])
                return len(args[1])
        return super()._step(name, *args, **kwargs)

    def _copy(self):
        target = self.copies / str(len(self.taken))
        self.taken.append((target, self.progress()))
        shutil.copytree(self.folder, target)


def finished(events):
    return max((event.round for event in events if isinstance(event, RoundFinished)), default=0)


async def run_observed(tmp_path, monkeypatch, founders, rounds):
    """Return the snapshots of one peer's folder, each with what it had told and finished by then."""
    bus, said, models, stack = MemoryBus(), [], {}, AsyncExitStack()
    (tmp_path / "0").mkdir()
    disk = Snapshots(tmp_path / "0", tmp_path / "copies", lambda: (len(said), max(models, default=0)))
    monkeypatch.setattr(files, "os", disk)
    async with stack, asyncio.timeout(60):
        peers = [new_peer(bus, tmp_path / str(n), founders=founders, number=n) for n in range(founders)]
        for peer in peers:
            await stack.enter_async_context(peer)
        running = peers[0]._running
        publish = running.port.publish

        async def noted(topic, payload, **settings):
            if not settings.get("bulk") and payload:
                said.append(running.driver._sealer.open(payload))
            await publish(topic, payload, **settings)

        running.port.publish = noted
        for number in range(1, rounds + 1):
            await asyncio.gather(*(peer.run(number) for peer in peers))
            models[number] = peers[0].model
        charter = peers[0].charter
    monkeypatch.setattr(files, "os", FaultyDisk())
    return disk.taken, said, models, charter


def check_promises(store, sealer, said):
    """Everything said before the death is known after it, or has been overtaken by a newer base."""
    memory = recall(store.records, sealer)
    ballots = read_record(memory.ballots)
    base = memory.base.id if memory.base is not None else None
    for frame in said:
        assert frame.session < store.session
        message = frame.message
        overtaken = getattr(message, "base", None) != base
        match message:
            case Digest() if not overtaken and message.model:
                assert memory.digest is not None
                assert memory.digest.raw == frame.raw
            case Vote() if ballots is not None and ballots.base == message.base:
                assert (message.mode, message.term, message.plan) in ballots.votes
            case Skip() if ballots is not None and ballots.base == message.base:
                assert dict(ballots.skipped)[message.mode] >= message.term
            case Vote() | Skip():
                assert overtaken or base is None, "a vote is on disk before it is told"
            case Proposal() if ballots is not None and not overtaken and ballots.base == base:
                assert frame.raw in ballots.proposals
            case ShortProposal() if ballots is not None and not overtaken and ballots.base == base:
                assert message.signature in {raw[-64:] for raw in ballots.proposals}


async def test_every_write_of_a_peer_among_three_leaves_what_it_promised(tmp_path, monkeypatch):
    taken, said, models, charter = await run_observed(tmp_path, monkeypatch, founders=3, rounds=2)
    kinds = {type(frame.message) for frame in said}
    assert {Digest, Vote} <= kinds
    names = {sum(float(a.sum()) for a in model.values()): number for number, model in models.items()}
    for folder, (told, done) in taken:
        store = DirectoryStore(folder)
        try:
            assert {frame.sender for frame in said[:told]} <= {store.identity.peer}
            loaded = store.load(lambda slot, schema: True)
            check_promises(store, FrameSealer(store.identity, charter, store.session), said[:told])
            own = loaded.get("own")
            if done:
                assert own is not None, folder
                total = sum(float(a.sum()) for a in own.parameters.values())
                assert names.get(total, done + 1) in {done, done + 1}, "no older than one round"
        finally:
            store.close()

    assert len(taken) > 60


async def test_a_peer_that_died_at_any_write_goes_on_and_its_old_messages_do_no_harm(tmp_path, monkeypatch):
    taken, said, *_ = await run_observed(tmp_path, monkeypatch, founders=1, rounds=2)
    for folder, (told, done) in taken[4::6]:
        bus = MemoryBus()
        peer = new_peer(bus, folder)
        port = await bus.link().open_port()
        async with asyncio.timeout(20), peer:
            events = peer.events()
            running = peer._running
            for frame in said[:told]:  # its own words of the life before, signed by its own key
                await port.publish(running.driver._topic(frame, frame.sender), frame.raw)
            await peer.run(max(done, 1) + 2)
            assert running.store.session > max((frame.session for frame in said[:told]), default=0)
        finals = [event async for event in events if isinstance(event, RoundFinished)]
        applied = [event.round for event in finals if event.applied]
        assert applied == sorted(set(applied)), "no round is applied twice"
        assert finals[-1].certified


async def first(stream, kind):
    """Return the first event of this kind about the disk."""
    async with asyncio.timeout(20):
        async for event in stream:
            if isinstance(event, kind) and "cannot be written" in event.what:
                return event
    raise AssertionError(f"the peer stopped without a {kind.__name__}")


async def until(peer, condition):
    moved = peer._running.driver.moved
    while not condition():
        moved.clear()
        await moved.wait()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
async def test_a_disk_that_refuses_is_said_survived_and_made_up_for(tmp_path, monkeypatch, error):
    monkeypatch.setattr(waiting, "RETRY_S", 0.05)
    disk = FaultyDisk(error=error)
    monkeypatch.setattr(files, "os", disk)
    bus = MemoryBus()
    async with asyncio.timeout(60), new_peer(bus, tmp_path) as peer:
        events = peer.events()
        await peer.run(1)
        disk.at = 0
        await peer.run(4)
        degraded = await first(events, Degraded)
        disk.at = None
        recovered = await first(events, Recovered)
        await peer.run(5)
        name = peer.id
    async with new_peer(bus, tmp_path) as back:
        assert (back.id, back.status().round) == (name, 5)
        assert all(np.array_equal(back.model[key], array) for key, array in peer.model.items())

    assert degraded.what.startswith("what this peer must keep cannot be written (")
    assert os.strerror(error) in degraded.what
    assert recovered.what == degraded.what
    assert disk.struck


async def test_nothing_that_must_be_kept_is_told_while_the_disk_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "RETRY_S", 0.05)
    bus, stack = MemoryBus(), AsyncExitStack()
    disk = FaultyDisk(error=errno.ENOSPC)
    async with asyncio.timeout(60), stack:
        well = await stack.enter_async_context(new_peer(bus, None, founders=2, number=1))
        sick = await stack.enter_async_context(new_peer(bus, tmp_path, founders=2))
        await asyncio.gather(well.run(1), sick.run(1))
        events, said = sick.events(), []
        monkeypatch.setattr(files, "os", disk)
        disk.at = 0
        well._running.driver.limit_rounds(None)
        sick._running.driver.limit_rounds(None)
        await first(events, Degraded)
        port, publish = sick._running.port, sick._running.port.publish
        opened = sick._running.driver._sealer.open

        async def noted(topic, payload, **settings):
            if payload and not settings.get("bulk"):
                said.append(type(opened(payload).message))
            await publish(topic, payload, **settings)

        port.publish = noted
        await until(sick, lambda: Ping in said)
        told = set(said)
        disk.at = None
        await first(events, Recovered)
        before = sick.status().round
        await until(sick, lambda: sick.status().round > before and sick.status().certified)

    assert told <= set(waiting.FREE)
    assert {Digest, Vote} & set(said), "afterwards it says what it held back"


async def test_a_peer_whose_disk_lost_a_vote_says_so_and_votes_only_once_the_doubt_is_gone(tmp_path):
    bus, stack = MemoryBus(), AsyncExitStack()
    async with asyncio.timeout(60), stack:
        for number in range(2):
            await stack.enter_async_context(new_peer(bus, None, founders=3, number=number))
        async with new_peer(bus, tmp_path, founders=3, number=2) as peer:
            await peer.run(2)
        log = tmp_path / "records.log"
        data = bytearray(log.read_bytes())
        data[data.rindex(b"ballots", 0, data.rindex(b"certificate"))] ^= 1
        log.write_bytes(data)

        back, said = new_peer(bus, tmp_path, founders=3, number=2), []
        events = back.events()
        await stack.enter_async_context(back)
        running = back._running
        publish, opened, store = running.port.publish, running.driver._sealer.open, running.store

        async def noted(topic, payload, **settings):
            if payload and not settings.get("bulk"):
                said.append((type(opened(payload).message), "doubt" in store.records))
            await publish(topic, payload, **settings)

        running.port.publish = noted
        told = await anext(event async for event in events if isinstance(event, Degraded))
        await until(back, lambda: (Vote, False) in said)

    assert (Digest, True) in said
    assert {(Vote, True), (Skip, True), (Proposal, True)}.isdisjoint(said)
    assert told.what.endswith("this peer does not vote until a certificate shows that it cannot vote twice")


class Watched(FaultyDisk):
    """A disk that notes which threads it keeps waiting."""

    def __init__(self):
        super().__init__()
        self.threads = set()

    def _step(self, name, *args, **kwargs):
        self.threads.add(threading.current_thread().name.rpartition("_")[0])
        return super()._step(name, *args, **kwargs)


async def test_nothing_of_a_peers_state_is_written_on_the_event_loop(tmp_path, monkeypatch):
    disk = Watched()
    monkeypatch.setattr(files, "os", disk)
    async with asyncio.timeout(60), new_peer(MemoryBus(), tmp_path) as peer:
        await peer.run(2)

    assert disk.count > 50
    assert disk.threads == {"swarmdem-disk"}


async def test_a_peer_that_cannot_count_its_start_says_so_and_connects_to_nobody(tmp_path, monkeypatch):
    async with new_peer(MemoryBus(), tmp_path) as peer:
        await peer.run(1)
    monkeypatch.setattr(files, "os", FaultyDisk(0, error=errno.ENOSPC))
    bus = MemoryBus()

    with pytest.raises(StoreError, match="No space left on device"):
        await new_peer(bus, tmp_path).__aenter__()

    assert bus._retained == {}, "not even its hello"
