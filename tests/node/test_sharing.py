"""Peers of one process: a blob that one of them holds or receives crosses the connection once."""

import asyncio

import numpy as np
import pytest

from swarmdem.identifiers import PeerId
from swarmdem.learning.parameters import schema_of
from swarmdem.node.counters import NodeCounters
from swarmdem.node.models import ModelShelf, model_of
from swarmdem.node.sharing import frames_of
from swarmdem.node.trainer import Trainer
from swarmdem.node.transfer import Downloads
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed
from swarmdem.transport.base import Counters
from swarmdem.wire import topics
from swarmdem.wire.blobs import (
    CHUNK_HEADER_BYTES,
    LEAF_BYTES,
    decode_chunk,
    describe,
    encode_chunk,
    leaf_count,
)
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import BlobOffer, BlobWant
from swarmdem.wire.signing import Identity

FAR, FARTHER = PeerId(b"a" * 16), PeerId(b"b" * 16)
ARRAYS = {"w": np.arange(200_000, dtype=np.float32)}
MODEL = model_of(ARRAYS, schema_of(ARRAYS))
CHARTER = Charter(swarm="s", schema=MODEL.schema, patience=2.0)
BULK_TOPIC = len(topics.bulk(charter_hash(CHARTER), FAR, FARTHER))
CHUNKS = 13


class Neighbour:
    """A `Downloads` beside others, what it asks for and what its core hears."""

    def __init__(self, letter, trainer, charter=CHARTER):
        self.me = PeerId(letter.encode() * 16)
        self.shelf = ModelShelf(trainer.pool)
        self.counters = NodeCounters()
        self.asked, self.heard = [], []
        self.news = asyncio.Event()
        self.downloads = Downloads(
            charter=charter, schemas=(MODEL.schema,), me=self.me, shelf=self.shelf, trainer=trainer,
            send=self.ask, deliver=self.hear, exchanged=self.counters.exchanged,
        )  # fmt: skip

    def ask(self, receiver, want):
        self.asked.append(receiver)
        self.news.set()

    def hear(self, answer, model=None):
        if model is not None:
            self.shelf.put(model)
        self.heard.append((answer, model))
        self.news.set()

    def fetch(self, *sources, model=MODEL.name, size=MODEL.info.total_bytes):
        self.downloads.fetch(Fetch(model, size, sources))

    def receive(self, data=MODEL.data, *, of=MODEL.info, sender=FAR):
        """Let the blob come in."""
        self.downloads.on_offer(sender, BlobOffer(of.name, of.total_bytes, of.leaves))
        for leaf in range(leaf_count(of.total_bytes)):
            self.downloads.on_chunk(sender, decode_chunk(encode_chunk(of.name, data, leaf, 1)))

    async def until(self, *, asked=0, heard=0):
        async with asyncio.timeout(10):
            while len(self.asked) < asked or len(self.heard) < heard:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def trainer():
    trainer = Trainer()
    yield trainer
    trainer.close()


@pytest.fixture
async def three(trainer):
    three = [Neighbour(letter, trainer) for letter in "xyz"]
    yield three
    for each in three:
        each.downloads.close()


async def test_what_a_neighbour_holds_is_taken_without_asking_anybody(three):
    holder, taker, _ = three
    held = holder.shelf.put(MODEL)
    taker.fetch(FAR, holder.me)

    [(answer, model)] = taker.heard
    assert (answer, taker.asked) == (Fetched(MODEL.name), [])
    assert model is held


async def test_several_who_want_a_blob_receive_it_once(three):
    for each in three:
        each.fetch(FAR)
    first, second, third = three
    first.receive()
    await first.until(heard=1)

    assert [each.asked for each in three] == [[FAR], [], []]
    assert [each.heard[0][0] for each in three] == [Fetched(MODEL.name)] * 3
    assert second.heard[0][1] is third.heard[0][1] is first.heard[0][1]


async def test_traffic_counts_as_between_machines_and_says_what_was_shared(three):
    holder, taker, _ = three
    holder.shelf.put(MODEL)
    taker.fetch(holder.me)

    sealer = FrameSealer(Identity.generate(), CHARTER, 1)
    want, offer = (
        len(sealer.seal(message).raw) + BULK_TOPIC
        for message in (
            BlobWant(MODEL.name, True, ((0, CHUNKS),), 1),
            BlobOffer(MODEL.name, 800_000, MODEL.info.leaves),
        )
    )
    chunks = 800_000 + CHUNKS * (CHUNK_HEADER_BYTES + BULK_TOPIC)
    assert taker.counters.frames == {"blobwant": 1}
    assert holder.counters.frames == {"bloboffer": 1, "chunk": CHUNKS}
    assert holder.counters.frame_bytes["chunk"] == chunks
    assert taker.counters.shared == Counters(1, want, CHUNKS + 1, chunks + offer)
    assert holder.counters.shared == Counters(CHUNKS + 1, chunks + offer, 1, want)


async def test_the_first_source_that_is_a_neighbour_gives(three):
    first, second, taker = three
    for each in (first, second):
        each.shelf.put(MODEL)
    taker.fetch(FAR, second.me, first.me)

    assert (first.counters.shared.bytes_sent, second.counters.shared.bytes_sent > 800_000) == (0, True)


async def test_when_the_first_stops_the_next_goes_on_with_its_own_sources(three):
    first, second, third = three
    first.fetch(FAR)
    second.fetch(FARTHER, FAR)
    third.fetch(FAR)
    first.downloads.stop(MODEL.name)
    second.receive(sender=FARTHER)
    await second.until(heard=1)

    assert [each.asked for each in three] == [[FAR], [FARTHER], []]
    assert [len(each.heard) for each in three] == [0, 1, 1]


async def test_when_the_first_leaves_the_next_goes_on(three):
    first, second, _ = three
    first.fetch(FAR)
    second.fetch(FAR)
    first.downloads.close()

    assert second.asked == [FAR]


async def test_when_the_first_hears_nothing_the_next_goes_on(three):
    first, second, third = three
    for each in three:
        each.fetch(FAR, FARTHER)
    await third.until(asked=1)
    second.receive()
    await second.until(heard=1)

    assert all(each.heard[0][0] == Fetched(MODEL.name) for each in three)
    assert (first.asked[:2], second.asked[0]) == ([FAR, FARTHER], FAR)


async def test_one_that_stopped_while_waiting_hears_nothing(three):
    first, second, _ = three
    first.fetch(FAR)
    second.fetch(FAR)
    second.downloads.stop(MODEL.name)
    first.receive()
    await first.until(heard=1)

    assert (second.heard, second.asked) == ([], [])


async def test_a_blob_that_came_whole_reaches_those_who_wait_even_if_the_first_stopped(three, monkeypatch):
    monkeypatch.setattr("swarmdem.node.opening.AT_ONCE_BYTES", 0)
    first, second, _ = three
    first.fetch(FAR)
    second.fetch(FAR)
    first.receive()
    first.downloads.stop(MODEL.name)
    await second.until(heard=1)

    assert (first.heard, second.heard[0][0], second.asked) == ([], Fetched(MODEL.name), [])


async def test_a_model_with_nan_is_refused_for_all_who_wait_and_received_once(three):
    first, second, _ = three
    bad = np.array(ARRAYS["w"])
    bad[77] = np.nan
    info = describe(bad.tobytes())
    for each in (first, second):
        each.fetch(FAR, model=info.name)
    first.receive(bad.tobytes(), of=info)
    await first.until(heard=1)

    assert isinstance(first.heard[0][0], FetchFailed)
    assert (second.heard, second.asked) == (first.heard, [])


async def test_a_blob_of_another_size_fails_for_all_who_wait(three):
    first, second, _ = three
    other = describe(bytes(3 * LEAF_BYTES))
    for each in (first, second):
        each.fetch(FAR, model=other.name)
    first.downloads.on_offer(FAR, BlobOffer(other.name, other.total_bytes, other.leaves))

    failed = FetchFailed(other.name, "blob of 196608 bytes, expected are 800000")
    assert (first.heard, second.heard) == ([(failed, None)], [(failed, None)])


async def test_peers_of_another_charter_or_another_process_share_nothing(trainer):
    elsewhere = Trainer()
    holder = Neighbour("x", trainer)
    strangers = [Neighbour("y", trainer, Charter(swarm="t", schema=MODEL.schema)), Neighbour("z", elsewhere)]
    holder.shelf.put(MODEL)
    for each in strangers:
        each.fetch(FAR)

    assert [each.asked for each in strangers] == [[FAR], [FAR]]
    for each in (holder, *strangers):
        each.downloads.close()
    elsewhere.close()


def test_a_large_blob_takes_more_than_one_want():
    asked, given = frames_of(
        describe(bytes(10 * LEAF_BYTES)), topic_bytes=10, chunk_leaves=2, window_leaves=4
    )

    assert (asked["blobwant"][0], given["bloboffer"][0], given["chunk"][0]) == (4, 1, 5)
