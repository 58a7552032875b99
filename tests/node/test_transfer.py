"""Moving blobs: two ends joined by a loop of lists, so that every message can be lost or forged."""

import asyncio

import numpy as np
import pytest

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.learning.parameters import schema_of
from swarmdem.node.download import chunk_leaves, window_leaves
from swarmdem.node.models import ModelPool, ModelShelf, model_of, model_of_bytes
from swarmdem.node.serving import LEAVES_MAX, Uploads
from swarmdem.node.trainer import Trainer
from swarmdem.node.transfer import ACTIVE_MAX, Downloads
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed
from swarmdem.wire.blobs import LEAF_BYTES, Chunk, decode_chunk, describe, encode_chunk
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import BlobOffer, BlobWant

ME, ANNA, BERT = PeerId(b"m" * 16), PeerId(b"a" * 16), PeerId(b"b" * 16)
ARRAYS = {"w": np.arange(200_000, dtype=np.float32)}
MODEL = model_of(ARRAYS, schema_of(ARRAYS))
LEAVES = 13
CHARTER = Charter(swarm="s", schema=MODEL.schema, patience=2.0)


class Served:
    """What an `Uploads` sends, as (receiver, message or chunk)."""

    def __init__(self, *models):
        shelf = ModelShelf(ModelPool())
        for model in models:
            shelf.put(model)
        self.sent = []
        self.uploads = Uploads(shelf, self, chunk_leaves=1)

    async def message(self, receiver, message):
        self.sent.append((receiver, message))
        await asyncio.sleep(0)

    async def chunk(self, receiver, blob, parts):
        self.sent.append((receiver, decode_chunk(b"".join(parts))))
        await asyncio.sleep(0)

    async def answer(self, *wants, receiver=ME):
        """Return what the wants make it send."""
        self.sent.clear()
        for want in wants:
            self.uploads.on_want(receiver, want)
        await self.uploads.send_all()
        return [message for _, message in self.sent]


class Getting:
    """A `Downloads` whose wants are kept and whose answers wait to be looked at."""

    def __init__(self, charter=CHARTER, schema=MODEL.schema):
        self.trainer = Trainer()
        self.wants = []
        self.asked = asyncio.Event()
        self.answers = asyncio.Queue()
        self.shelf = ModelShelf(self.trainer.pool)
        self.downloads = Downloads(
            charter=charter, schemas=(schema,), me=ME, shelf=self.shelf, trainer=self.trainer,
            send=self.want,
            deliver=lambda answer, model=None: self.answers.put_nowait((answer, model)),
            exchanged=lambda **_: None,
        )  # fmt: skip
        self.downloads.link_changed(up=True)

    def want(self, receiver, want):
        self.wants.append((receiver, want))
        self.asked.set()

    async def next_want(self):
        self.asked.clear()
        async with asyncio.timeout(5):
            await self.asked.wait()
        return self.wants[-1]

    def take(self, sender, messages):
        for message in messages:
            if isinstance(message, Chunk):
                self.downloads.on_chunk(sender, message)
            else:
                self.downloads.on_offer(sender, message)

    async def answer(self):
        async with asyncio.timeout(10):
            return await self.answers.get()


@pytest.fixture
async def getting():
    getting = Getting()
    yield getting
    getting.downloads.close()
    getting.trainer.close()


def order(*sources, model=MODEL.name, size=MODEL.info.total_bytes):
    return Fetch(model, size, sources)


async def test_a_blob_arrives_whole_in_one_round_trip(getting):
    getting.downloads.fetch(order(ANNA))
    [(receiver, want)] = getting.wants
    getting.take(ANNA, await Served(MODEL).answer(want))
    answer, model = await getting.answer()

    assert (receiver, answer) == (ANNA, Fetched(MODEL.name))
    assert np.array_equal(model.parameters["w"], ARRAYS["w"])


async def test_the_transfer_costs_hardly_more_than_the_blob(getting):
    getting.downloads.fetch(order(ANNA))
    served = Served(MODEL)
    await served.answer(getting.wants[0][1])

    sent = sum(len(m.data) + 44 if isinstance(m, Chunk) else 300 + len(m.leaves) for _, m in served.sent)
    assert sent < 1.05 * MODEL.info.total_bytes


async def test_what_is_held_is_not_fetched(getting):
    getting.shelf.put(MODEL)
    getting.downloads.fetch(order(ANNA))

    assert (await getting.answer())[0] == Fetched(MODEL.name)
    assert getting.wants == []


async def test_a_small_credit_is_renewed_until_all_is_here(monkeypatch):
    monkeypatch.setattr("swarmdem.node.transfer.CREDIT_BYTES", 4 * LEAF_BYTES)
    getting, served = Getting(), Served(MODEL)
    getting.downloads.fetch(order(ANNA))
    largest = 0
    while getting.wants:
        _, want = getting.wants.pop(0)
        largest = max(largest, sum(stop - start for start, stop in want.ranges))
        getting.take(ANNA, await served.answer(want))

    assert (await getting.answer())[0] == Fetched(MODEL.name)
    assert largest == 4
    getting.downloads.close()
    getting.trainer.close()


async def test_after_silence_only_the_missing_leaves_are_asked_of_the_next_source(getting):
    getting.downloads.fetch(order(ANNA, BERT))
    messages = await Served(MODEL).answer(getting.wants.pop()[1])
    getting.take(ANNA, [m for m in messages if not (isinstance(m, Chunk) and m.first in {3, 4, 9})])
    receiver, want = await getting.next_want()

    assert (receiver, want.offer, want.ranges) == (BERT, False, ((3, 5), (9, 10)))
    getting.take(BERT, await Served(MODEL).answer(want))
    assert (await getting.answer())[0] == Fetched(MODEL.name)


async def test_a_reconnect_asks_again_at_once(getting):
    getting.downloads.fetch(order(ANNA))
    messages = await Served(MODEL).answer(getting.wants.pop()[1])
    getting.take(ANNA, messages[:5])
    getting.downloads.link_changed(up=False)
    getting.downloads.link_changed(up=True)

    assert getting.wants[0][1].ranges == ((4, LEAVES),)


async def test_a_source_without_the_blob_sends_us_to_the_next(getting):
    getting.downloads.fetch(order(ANNA, BERT))
    getting.take(ANNA, await Served().answer(getting.wants.pop()[1]))

    assert getting.wants[0][0] == BERT


async def test_a_leaf_with_another_content_is_refused_and_not_kept(getting):
    getting.downloads.fetch(order(ANNA))
    offer, *chunks = await Served(MODEL).answer(getting.wants.pop()[1])
    forged = decode_chunk(encode_chunk(MODEL.name, bytes(MODEL.info.total_bytes), 0, 1))
    getting.take(ANNA, [offer])

    with pytest.raises(MalformedFrameError, match="wrong hash"):
        getting.downloads.on_chunk(ANNA, forged)
    getting.take(ANNA, chunks)
    assert np.array_equal((await getting.answer())[1].parameters["w"], ARRAYS["w"])


async def test_an_offer_that_is_not_the_named_blob_is_refused(getting):
    getting.downloads.fetch(order(ANNA))

    with pytest.raises(MalformedFrameError):
        getting.downloads.on_offer(
            ANNA, BlobOffer(MODEL.name, MODEL.info.total_bytes, bytes(len(MODEL.info.leaves)))
        )


async def test_a_blob_of_another_size_fails_before_anything_is_reserved(getting):
    huge = describe(bytes(3 * LEAF_BYTES))
    getting.downloads.fetch(order(ANNA, model=huge.name, size=0))
    getting.downloads.on_offer(ANNA, BlobOffer(huge.name, huge.total_bytes, huge.leaves))
    answer, _ = await getting.answer()

    assert answer == FetchFailed(huge.name, "blob of 196608 bytes, expected are 800000")


async def test_an_order_for_an_absurd_size_fails_at_once(getting):
    getting.downloads.fetch(order(ANNA, size=2**40))

    assert isinstance((await getting.answer())[0], FetchFailed)
    assert getting.wants == []


async def test_a_model_with_nan_is_refused_whole(getting):
    bad = np.array(ARRAYS["w"])
    bad[77] = np.nan
    info = describe(bad.tobytes())
    getting.downloads.fetch(order(ANNA, model=info.name))
    getting.downloads.on_offer(ANNA, BlobOffer(info.name, info.total_bytes, info.leaves))
    for leaf in range(LEAVES):
        getting.downloads.on_chunk(ANNA, decode_chunk(encode_chunk(info.name, bad.tobytes(), leaf, 1)))
    answer, model = await getting.answer()

    assert isinstance(answer, FetchFailed)
    assert "'w'" in answer.reason
    assert model is None


async def test_a_stopped_fetch_is_never_answered(getting):
    getting.downloads.fetch(order(ANNA))
    messages = await Served(MODEL).answer(getting.wants.pop()[1])
    getting.downloads.stop(MODEL.name)
    getting.take(ANNA, messages)

    assert getting.answers.empty()


async def test_chunks_from_strangers_are_not_even_hashed(getting):
    getting.downloads.fetch(order(ANNA))
    messages = await Served(MODEL).answer(getting.wants.pop()[1])
    getting.take(BERT, messages)
    getting.take(ANNA, messages)

    assert (await getting.answer())[0] == Fetched(MODEL.name)


async def test_only_so_many_downloads_receive_at_once(getting):
    for number in range(ACTIVE_MAX + 3):
        getting.downloads.fetch(order(ANNA, model=ModelHash(bytes([number]) * 32)))

    assert len(getting.wants) == ACTIVE_MAX
    getting.downloads.stop(ModelHash(bytes(32)))
    assert len(getting.wants) == ACTIVE_MAX + 1


async def test_a_silent_source_gives_up_its_turn_to_those_who_wait(getting):
    for number in range(ACTIVE_MAX + 1):
        getting.downloads.fetch(order(ANNA, model=ModelHash(bytes([number]) * 32)))
    await getting.next_want()

    assert getting.wants[ACTIVE_MAX][1].blob == bytes([ACTIVE_MAX]) * 32


async def test_a_repeated_want_adds_nothing_that_is_still_queued():
    want = BlobWant(MODEL.name, True, ((0, LEAVES),), 1)
    messages = await Served(MODEL).answer(want, want)

    assert [m.first for m in messages if isinstance(m, Chunk)] == list(range(LEAVES))


async def test_chunks_are_as_large_as_both_ends_take():
    served = Served(MODEL)
    served.uploads._chunk_leaves = 8
    messages = await served.answer(BlobWant(MODEL.name, False, ((0, 7), (9, 13)), 4))

    assert [(m.first, len(m.data) // LEAF_BYTES) for m in messages[:3]] == [(0, 4), (4, 3), (9, 3)]


async def test_leaves_beyond_the_blob_and_beyond_the_credit_are_not_sent():
    big = np.zeros(LEAF_BYTES // 4 * (LEAVES_MAX + 20), np.float32)
    model = model_of_bytes(big.tobytes(), schema_of({"w": big}))
    messages = await Served(model).answer(BlobWant(model.name, False, ((0, 2**32 - 1),), 1))

    assert len(messages) == LEAVES_MAX


async def test_who_does_not_hold_a_blob_says_so():
    messages = await Served().answer(BlobWant(MODEL.name, True, ((0, 1),), 1))

    assert messages == [BlobOffer(MODEL.name, 0, b"")]


LARGE = {"w": np.arange(40 * LEAF_BYTES // 4, dtype=np.float32)}
LARGE_MODEL = model_of(LARGE, schema_of(LARGE))
LARGE_CHARTER = Charter(swarm="s", schema=LARGE_MODEL.schema, patience=2.0, chunk=16 * LEAF_BYTES)


@pytest.fixture
async def large():
    getting = Getting(LARGE_CHARTER, LARGE_MODEL.schema)
    getting.downloads._verifier._at_once_bytes = LEAF_BYTES  # on a machine that hashes slowly
    yield getting
    getting.downloads.close()
    getting.trainer.close()


def large_chunk(first, count, data=LARGE_MODEL.data):
    return decode_chunk(encode_chunk(LARGE_MODEL.name, data, first, count))


def large_order(*sources):
    return order(*sources, model=LARGE_MODEL.name, size=LARGE_MODEL.info.total_bytes)


LARGE_OFFER = BlobOffer(LARGE_MODEL.name, LARGE_MODEL.info.total_bytes, LARGE_MODEL.info.leaves)


async def test_chunks_that_take_long_to_hash_are_hashed_in_another_thread(large):
    large.downloads.fetch(large_order(ANNA))
    large.take(ANNA, [LARGE_OFFER, *(large_chunk(first, 8) for first in range(0, 40, 8))])
    assert large.answers.empty()

    assert (await large.answer())[0] == Fetched(LARGE_MODEL.name)


async def test_a_model_of_a_few_megabytes_is_here_with_its_last_chunk():
    """On a machine that hashes fast: nothing is handed to another thread."""
    getting = Getting(LARGE_CHARTER, LARGE_MODEL.schema)
    getting.downloads._verifier._at_once_bytes = 8 * LEAF_BYTES
    getting.downloads.fetch(large_order(ANNA))
    getting.take(ANNA, [LARGE_OFFER, *(large_chunk(first, 8) for first in range(0, 40, 8))])

    assert getting.answers.get_nowait()[0] == Fetched(LARGE_MODEL.name)
    getting.downloads.close()
    getting.trainer.close()


async def test_a_wrong_leaf_found_in_the_thread_is_counted_and_asked_for_again(large):
    refused = []
    large.downloads._verifier._refused = lambda error: refused.append(str(error))
    large.downloads.fetch(large_order(ANNA, BERT))
    forged = bytearray(LARGE_MODEL.data)
    forged[10 * LEAF_BYTES] ^= 1
    large.take(ANNA, [LARGE_OFFER, *(large_chunk(first, 8, bytes(forged)) for first in range(0, 40, 8))])
    receiver, want = await large.next_want()

    assert (receiver, want.ranges, refused) == (BERT, ((10, 16),), ["leaf 10 has the wrong hash"])


async def test_what_nobody_asked_for_is_not_held(large, monkeypatch):
    monkeypatch.setattr("swarmdem.node.verifying.HELD_MOST_BYTES", 17 * LEAF_BYTES)
    large.downloads.fetch(large_order(ANNA))
    large.take(ANNA, [LARGE_OFFER, *(large_chunk(first, 8) for first in range(0, 40, 8))])
    [download] = large.downloads._downloads.values()

    assert download.held_bytes == 16 * LEAF_BYTES


async def test_when_the_offer_comes_and_no_chunk_smaller_ones_are_asked_for(large):
    large.downloads.fetch(large_order(ANNA, BERT))
    large.take(ANNA, [LARGE_OFFER])
    sizes = [large.wants[0][1].chunk_leaves]
    for _ in range(1):
        receiver, want = await large.next_want()
        sizes.append(want.chunk_leaves)
        assert (receiver, want.ranges) == (ANNA, ((0, 40),))
    large.take(ANNA, [large_chunk(0, 1)])

    assert sizes == [5, 1]
    other = order(ANNA, model=ModelHash(bytes(32)), size=LARGE_MODEL.info.total_bytes)
    large.downloads.fetch(other)
    assert large.wants[-1][1].chunk_leaves == 1


async def test_when_the_smallest_chunks_do_not_come_either_the_next_source_is_asked_for_large_ones(large):
    large.downloads.fetch(large_order(ANNA, BERT))
    large.take(ANNA, [LARGE_OFFER])
    for _ in range(2):
        receiver, want = await large.next_want()

    assert (receiver, want.chunk_leaves) == (BERT, 5)


@pytest.mark.parametrize(
    ("size", "window", "chunk"),
    [(10**5, 2, 8), (3_300_000, 51, 6), (50 * 10**6, 38, 4), (500 * 10**6, 128, 16), (10**10, 128, 16)],
)
def test_credit_is_a_twentieth_of_a_blob_within_bounds(size, window, chunk):
    assert (window_leaves(size), chunk_leaves(size, 256)) == (window, chunk)
    assert chunk_leaves(size, 1) == 1
