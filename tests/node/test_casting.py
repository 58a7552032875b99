"""A blob for several receivers: published once, repaired where something was lost, paced by the slowest."""

import asyncio

import numpy as np
import pytest

from swarmdem.errors import TransportError
from swarmdem.identifiers import PeerId
from swarmdem.learning.parameters import schema_of
from swarmdem.node import casting, serving
from swarmdem.node.casting import Cast
from swarmdem.node.models import ModelPool, ModelShelf, model_of
from swarmdem.node.serving import Uploads
from swarmdem.node.trainer import Trainer
from swarmdem.node.transfer import Downloads
from swarmdem.protocol.events import Fetch, Fetched
from swarmdem.wire import extensions
from swarmdem.wire.blobs import LEAF_BYTES, decode_chunk
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import BlobOffer, BlobWant

SOURCE = PeerId(b"s" * 16)
ARRAYS = {"w": np.arange(20 * LEAF_BYTES // 4, dtype=np.float32)}
MODEL = model_of(ARRAYS, schema_of(ARRAYS))
LEAVES = 20
CHARTER = Charter(swarm="s", schema=MODEL.schema, patience=2.0, chunk=LEAF_BYTES)


class Bus:
    """One source and some receivers; chunks for all reach those who listen, unless *loses* says otherwise."""

    def __init__(self, receivers, *, loses=lambda peer, chunk: False, deaf=()):
        shelf = ModelShelf(ModelPool())
        shelf.put(MODEL)
        self.uploads = Uploads(shelf, self, chunk_leaves=1)
        self.published, self.alone, self.wants = [], [], []
        self.listening, self.deaf, self.loses = {}, set(deaf), loses
        self.heard = asyncio.Queue()
        self.trainers = [Trainer() for _ in range(receivers)]
        self.peers = [self._receiver(bytes([97 + n]) * 16, each) for n, each in enumerate(self.trainers)]
        self.task = asyncio.create_task(self.uploads.run())

    def _receiver(self, me, trainer):
        def send(receiver, want):
            self.wants.append((me, want))
            self.uploads.on_want(me, want)

        async def listen(blob, *, wanted):
            await asyncio.sleep(0)
            if me in self.deaf:
                raise TransportError("refused")
            self.listening[me] = wanted

        return Downloads(
            charter=CHARTER, schemas=(MODEL.schema,), me=PeerId(me), shelf=ModelShelf(trainer.pool),
            trainer=trainer, send=send, exchanged=lambda **_: None, listen=listen,
            deliver=lambda answer, model=None: self.heard.put_nowait((me, answer)),
        )  # fmt: skip

    async def message(self, receiver, message):
        self._of(receiver).on_offer(SOURCE, message)

    async def chunk(self, receiver, blob, parts):
        chunk = decode_chunk(b"".join(parts))
        (self.alone if receiver is not None else self.published).append((receiver, chunk.first))
        hearers = [receiver] if receiver is not None else [p for p, on in self.listening.items() if on]
        for each in hearers:
            if not self.loses(each, chunk):
                self._of(each).on_chunk(SOURCE, chunk)

    def _of(self, receiver):
        return next(each for each in self.peers if each.me == receiver)

    async def fetch(self):
        for each in self.peers:
            each.fetch(Fetch(MODEL.name, MODEL.info.total_bytes, (SOURCE,)))
        async with asyncio.timeout(20):
            return sorted([await self.heard.get() for _ in self.peers])

    async def close(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        for peer, trainer in zip(self.peers, self.trainers, strict=True):
            peer.close()
            trainer.close()


@pytest.fixture
def unhurried(monkeypatch):
    """The source waits for listeners long enough for a busy machine."""
    monkeypatch.setattr(casting, "GATHER_S", 0.3)
    monkeypatch.setattr(casting, "GATHER_MOST_S", 10.0)


@pytest.fixture
async def bus():
    made = []

    def make(*arguments, **named):
        made.append(Bus(*arguments, **named))
        return made[0]

    yield make
    await made[0].close()


async def test_a_blob_for_six_that_ask_at_once_is_published_once_and_sent_to_nobody_alone(bus, unhurried):
    six = bus(6)
    answers = await six.fetch()

    assert [answer for _, answer in answers] == [Fetched(MODEL.name)] * 6
    assert (sorted(leaf for _, leaf in six.published), six.alone) == (list(range(LEAVES)), [])
    async with asyncio.timeout(20):
        while any(six.listening.values()):  # noqa: ASYNC110 - nobody is told that it ended
            await asyncio.sleep(0)


async def test_the_first_is_sent_alone_only_what_left_before_the_others_asked(bus, unhurried):
    """It listens for the rest, and what it was sent alone is not sent to it again."""
    three = bus(3)
    chunk = three.chunk

    async def then_the_others_ask(receiver, blob, parts):
        if len(three.alone) == 4 and not three.published:
            for each in three.peers[1:]:
                each.fetch(Fetch(MODEL.name, MODEL.info.total_bytes, (SOURCE,)))
        await chunk(receiver, blob, parts)

    three.chunk = then_the_others_ask
    three.peers[0].fetch(Fetch(MODEL.name, MODEL.info.total_bytes, (SOURCE,)))
    async with asyncio.timeout(20):
        answers = [await three.heard.get() for _ in three.peers]

    assert [answer for _, answer in answers] == [Fetched(MODEL.name)] * 3
    assert three.alone == [(b"a" * 16, leaf) for leaf in range(5)]
    assert sorted(leaf for _, leaf in three.published) == list(range(LEAVES))


async def test_a_blob_for_one_needs_no_subscription(bus):
    one = bus(1)
    await one.fetch()

    assert (one.published, one.listening) == ([], {})


async def test_what_one_listener_lost_is_sent_to_it_alone(bus):
    lost = []

    def loses(peer, chunk):
        first = peer == b"b" * 16 and chunk.first in {3, 4} and (chunk.first not in lost)
        lost.extend([chunk.first] if first else [])
        return first

    three = bus(3, loses=loses)
    await three.fetch()

    assert [leaf for receiver, leaf in three.alone if receiver == b"b" * 16] == [3, 4]
    repairs = [want.ext for peer, want in three.wants if peer == b"b" * 16 and want.ranges == ((3, 5),)]
    assert repairs[-1] == ((extensions.LISTENING, b"\1"),)


async def test_what_three_listeners_lost_is_published_again(bus):
    seen = set()

    def loses(peer, chunk):
        first = chunk.first == 7 and peer != b"a" * 16 and peer not in seen
        seen.update([peer] if first else [])
        return first

    five = bus(5, loses=loses)
    await five.fetch()

    alone = [receiver for receiver, leaf in five.alone if leaf == 7 and receiver != b"a" * 16]
    assert ([leaf for _, leaf in five.published].count(7), len(alone) <= casting.REPAIR_ALL) == (2, True)


async def test_one_that_may_not_listen_is_served_alone(bus):
    three = bus(3, deaf=[b"c" * 16])
    answers = await three.fetch()

    assert [answer for _, answer in answers] == [Fetched(MODEL.name)] * 3
    assert sum(receiver == b"c" * 16 for receiver, _ in three.alone) == LEAVES


async def test_one_that_listens_and_hears_nothing_is_served_alone_in_the_end(bus):
    published = set()

    def loses(peer, chunk):
        return peer == b"c" * 16 and ("c", chunk.first) not in published

    three = bus(3, loses=loses)
    send = three.chunk

    async def alone(receiver, blob, parts):
        if receiver == b"c" * 16:
            published.add(("c", decode_chunk(b"".join(parts)).first))
        await send(receiver, blob, parts)

    three.chunk = alone
    answers = await three.fetch()

    assert [answer for _, answer in answers] == [Fetched(MODEL.name)] * 3


def test_a_late_listener_is_owed_what_went_before_and_not_what_is_on_its_way():
    cast = Cast(10)
    assert cast.wants(PeerId(b"a" * 16), ((0, 10),), 0.0, again=False) == list(range(10))
    cast.publish(0, 4)
    late = PeerId(b"b" * 16)
    assert cast.wants(late, ((0, 10),), 0.0, again=False) == list(range(10))
    cast.publish(4, 8)

    assert cast.wants(late, ((2, 10),), 0.0, again=False) == [2, 3, 8, 9]
    assert cast.wants(late, ((5, 6),), 0.0, again=True) == [5]
    assert (cast.is_new(7), cast.is_new(8)) == (False, True)


def test_the_pace_is_that_of_the_slowest_who_still_asks():
    cast = Cast(1000)
    cast.wants(PeerId(b"a" * 16), ((0, 500),), 0.0, again=False)
    cast.wants(PeerId(b"b" * 16), ((0, 10),), 0.0, again=False)
    far = 10 + casting.LEAD_LEAVES

    assert (cast.may_publish(far - 1, 1.0), cast.may_publish(far, 1.0)) == (True, False)
    cast.wants(PeerId(b"a" * 16), ((500, 501),), casting.LAG_S + 0.5, again=False)
    assert cast.may_publish(far, casting.LAG_S + 1.0)


async def test_only_so_many_casts_are_remembered():
    shelf = ModelShelf(ModelPool())
    uploads = Uploads(shelf, None, chunk_leaves=1)
    for number in range(serving.CASTS_MAX + 3):
        arrays = {"w": np.full(LEAF_BYTES * 4, number, np.float32)}
        model = model_of(arrays, schema_of(arrays))
        shelf.put(model)
        uploads.on_want(SOURCE, BlobWant(model.name, True, ((0, 1),), 1))

    assert len(uploads._casts) == serving.CASTS_MAX


async def test_an_invitation_is_an_offer_that_others_understand_too(bus):
    two = bus(2)
    offers = []
    message = two.message

    async def noted(receiver, offer):
        offers.append(offer)
        await message(receiver, offer)

    two.message = noted
    await two.fetch()

    invited = [offer for offer in offers if isinstance(offer, BlobOffer) and offer.ext]
    assert next((offer.total_bytes, offer.ext) for offer in invited) == (
        MODEL.info.total_bytes,
        serving.INVITED,
    )
