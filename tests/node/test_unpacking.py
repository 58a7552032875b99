"""Models that wait for their base: it is fetched once, from whoever has them, while they are wanted."""

import asyncio

import numpy as np
import pytest

from swarmdem.identifiers import PeerId
from swarmdem.learning.parameters import schema_of
from swarmdem.node.models import ModelShelf, model_of
from swarmdem.node.packing import Packing
from swarmdem.node.trainer import Trainer
from swarmdem.node.unpacking import Unpacking
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed
from swarmdem.wire.blobs import describe
from swarmdem.wire.charter import Charter

ANNA, BERT = (PeerId(b"a" * 16),), (PeerId(b"b" * 16),)
ZERO = {"w": np.zeros(2000, np.float32)}
CHARTER = Charter(swarm="s", schema=schema_of(ZERO), codec="topk")
PACKING = Packing(CHARTER, (CHARTER.schema,))
BASE = model_of({"w": np.ones(2000, np.float32)}, CHARTER.schema)


def upload(step):
    trained = model_of(
        {"w": BASE.parameters["w"] + np.linspace(0, step, 2000, dtype=np.float32)}, CHARTER.schema
    )
    return PACKING.upload(trained, reference=BASE, base=BASE, kept=None).model


SENT, SECOND = upload(1), upload(2)
SEALED, ALSO = (PACKING.opened(bytes(each.data), describe(bytes(each.data)), {}) for each in (SENT, SECOND))


class Getting:
    """An `Unpacking` whose downloads are kept and whose answers wait to be looked at."""

    def __init__(self):
        self.trainer = Trainer()
        self.shelf = ModelShelf(self.trainer.pool)
        self.fetched, self.stopped, self.answers = [], [], asyncio.Queue()
        self.unpacking = Unpacking(
            charter=CHARTER, packing=PACKING, shelf=self.shelf, trainer=self.trainer,
            fetch=self.fetched.append, stop=self.stopped.append,
            deliver=lambda answer, model=None: self.answers.put_nowait((answer, model)),
        )  # fmt: skip

    def want(self, model, sources=ANNA):
        order = Fetch(model.name, model.info.total_bytes, sources)
        self.unpacking.fetch(order)
        return order

    def arrives(self, model):
        self.unpacking.arrived(Fetched(model.name), model)

    async def answer(self):
        async with asyncio.timeout(10):
            return await self.answers.get()


@pytest.fixture
async def getting():
    getting = Getting()
    yield getting
    getting.trainer.close()


ORDER = Fetch(BASE.name, 8000, ANNA)


async def test_a_model_that_needs_no_base_passes_at_once(getting):
    order = getting.want(BASE)
    getting.arrives(BASE)

    assert getting.fetched == [order]
    assert await getting.answer() == (Fetched(BASE.name), BASE)


async def test_the_base_is_fetched_once_for_all_that_wait_for_it(getting):
    orders = [getting.want(SENT), getting.want(SECOND, BERT)]
    getting.arrives(SEALED)
    getting.arrives(ALSO)
    assert getting.fetched == [*orders, ORDER]
    assert getting.answers.empty()

    getting.arrives(BASE)
    answers = [await getting.answer(), await getting.answer()]
    assert [answer for answer, _ in answers] == [Fetched(SENT.name), Fetched(SECOND.name)]
    for (_, model), sent in zip(answers, (SENT, SECOND), strict=True):
        assert model.parameters["w"].tobytes() == sent.parameters["w"].tobytes()
    assert set(getting.shelf.bases) == {BASE.name}
    third = getting.want(upload(3))
    getting.arrives(upload(3))
    assert (await getting.answer())[0] == Fetched(third.model)
    assert len(getting.fetched) == 4, "the base is here now"


async def test_what_a_neighbour_had_opened_costs_its_base_all_the_same(getting):
    getting.want(SENT)
    getting.arrives(SENT)
    assert getting.fetched[-1] == ORDER

    getting.arrives(BASE)
    assert await getting.answer() == (Fetched(SENT.name), SENT)


async def test_new_sources_of_a_waiting_model_are_sources_of_its_base(getting):
    getting.want(SENT)
    getting.arrives(SEALED)
    getting.want(SENT, BERT)

    assert getting.fetched[-1] == Fetch(BASE.name, 8000, BERT)


async def test_a_base_that_cannot_be_had_fails_what_waits_for_it(getting):
    getting.want(SENT)
    getting.arrives(SEALED)
    getting.unpacking.arrived(FetchFailed(BASE.name, "too large"))

    assert await getting.answer() == (FetchFailed(SENT.name, "its base: too large"), None)


async def test_a_failed_download_is_passed_on(getting):
    getting.want(SENT)
    getting.unpacking.arrived(FetchFailed(SENT.name, "NaN"))

    assert await getting.answer() == (FetchFailed(SENT.name, "NaN"), None)


async def test_what_is_stopped_waits_for_nothing_and_its_base_goes_when_nobody_else_needs_it(getting):
    getting.want(SENT)
    getting.want(SECOND)
    getting.arrives(SEALED)
    getting.arrives(ALSO)
    getting.unpacking.stop(SENT.name)
    assert getting.stopped == [SENT.name]

    getting.unpacking.stop(SECOND.name)
    assert getting.stopped == [SENT.name, BASE.name, SECOND.name]
    getting.arrives(BASE)
    getting.arrives(SEALED)
    await asyncio.sleep(0)
    assert getting.answers.empty()


async def test_a_blob_that_its_base_shows_to_be_wrong_is_refused(getting):
    data = bytearray(SENT.data)
    data[-1] ^= 255
    bad = PACKING.opened(bytes(data), describe(bytes(data)), {})
    getting.want(bad)
    getting.arrives(bad)
    getting.arrives(BASE)

    answer, model = await getting.answer()
    assert isinstance(answer, FetchFailed)
    assert answer.model == bad.name
    assert model is None
