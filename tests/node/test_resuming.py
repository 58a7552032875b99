"""What an earlier process received of a large blob is not asked for again, whatever happened to the file."""

import asyncio

import numpy as np
import pytest

from swarmdem.identifiers import PeerId
from swarmdem.learning.parameters import schema_of
from swarmdem.node import files, resuming
from swarmdem.node.models import ModelShelf, model_of
from swarmdem.node.resuming import FILES_MAX, Parts
from swarmdem.node.trainer import Trainer
from swarmdem.node.transfer import Downloads
from swarmdem.protocol.events import Fetch, Fetched
from swarmdem.wire.blobs import LEAF_BYTES, decode_chunk, describe, encode_chunk
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import BlobOffer

ME, ANNA = PeerId(b"m" * 16), PeerId(b"a" * 16)
ARRAYS = {"w": np.arange(200_000, dtype=np.float32)}
MODEL = model_of(ARRAYS, schema_of(ARRAYS))
LEAVES = 13
CHARTER = Charter(swarm="s", schema=MODEL.schema, patience=2.0)


@pytest.fixture(autouse=True)
def every_blob_is_large(monkeypatch):
    monkeypatch.setattr(resuming, "LEAST_BYTES", 1)


class Process:
    """One life of a peer that fetches."""

    def __init__(self, folder):
        self.trainer = Trainer()
        self.wants = []
        self.news = asyncio.Event()
        self.heard = []
        self.downloads = Downloads(
            charter=CHARTER, schemas=(MODEL.schema,), me=ME, shelf=ModelShelf(self.trainer.pool),
            trainer=self.trainer, send=lambda _, want: self.wants.append(want) or self.news.set(),
            deliver=lambda answer, model=None: self.heard.append(answer) or self.news.set(),
            exchanged=lambda **_: None, parts=Parts(folder),
        )  # fmt: skip

    def fetch(self):
        self.downloads.fetch(Fetch(MODEL.name, MODEL.info.total_bytes, (ANNA,)))
        self.downloads.on_offer(ANNA, BlobOffer(MODEL.name, MODEL.info.total_bytes, MODEL.info.leaves))

    def receive(self, leaves):
        for leaf in leaves:
            self.downloads.on_chunk(ANNA, decode_chunk(encode_chunk(MODEL.name, MODEL.data, leaf, 1)))

    async def until(self, done):
        async with asyncio.timeout(10):
            while not done():
                self.news.clear()
                await self.news.wait()

    def die(self):
        """End as a killed process would, but for the files, which are closed."""
        self.downloads.close()
        self.trainer.hashing.submit(lambda: None).result()
        self.trainer.close()


async def left_behind(folder, leaves):
    """Let a process receive some leaves and die."""
    process = Process(folder)
    process.fetch()
    process.receive(leaves)
    [download] = process.downloads._downloads.values()
    async with asyncio.timeout(10):
        while download.held_bytes:  # noqa: ASYNC110 - nobody else wants to know
            await asyncio.sleep(0)
    process.die()
    return next(folder.glob("*.part"))


async def test_after_a_restart_only_the_rest_is_asked_for(tmp_path):
    await left_behind(tmp_path, range(6))
    second = Process(tmp_path)
    second.fetch()
    await second.until(lambda: len(second.wants) == 2)

    assert [(want.offer, want.ranges) for want in second.wants] == [(True, ()), (False, ((6, LEAVES),))]
    second.receive(range(6, LEAVES))
    await second.until(lambda: second.heard)
    second.die()
    assert second.heard == [Fetched(MODEL.name)]
    assert list(tmp_path.glob("*.part")) == []


async def test_leaves_that_were_damaged_on_disk_are_asked_for_again(tmp_path):
    path = await left_behind(tmp_path, range(12))
    with path.open("r+b") as file:
        file.seek(5 * LEAF_BYTES + 17)
        file.write(b"?")
        file.truncate(11 * LEAF_BYTES + 100)
    second = Process(tmp_path)
    second.fetch()
    await second.until(lambda: len(second.wants) == 2)

    assert second.wants[1].ranges == ((5, 6), (11, LEAVES))
    second.die()


async def test_a_blob_that_lay_whole_on_disk_is_not_asked_for(tmp_path):
    path = await left_behind(tmp_path, range(LEAVES - 1))
    path.write_bytes(MODEL.data)
    second = Process(tmp_path)
    second.fetch()
    await second.until(lambda: second.heard)

    assert [want.ranges for want in second.wants] == [()]
    second.die()


async def test_on_a_full_disk_the_blob_arrives_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "pwrite", full)
    process = Process(tmp_path)
    process.fetch()
    process.receive(range(LEAVES))
    await process.until(lambda: process.heard)
    process.die()

    assert (process.heard, list(tmp_path.glob("*.part"))) == ([Fetched(MODEL.name)], [])


async def test_a_stopped_fetch_leaves_no_file(tmp_path):
    process = Process(tmp_path)
    process.fetch()
    process.receive(range(3))
    process.downloads.stop(MODEL.name)
    process.die()

    assert list(tmp_path.glob("*.part")) == []


def test_only_so_many_files_are_kept(tmp_path):
    parts = Parts(tmp_path)
    for number in range(FILES_MAX + 2):
        data = bytes([number]) * 100
        info = describe(data)
        part = parts.of(info.name, len(data))
        part.write(decode_chunk(encode_chunk(info.name, data, 0, 1)), [0])
        part.close()

    assert len(list(tmp_path.glob("*.part"))) == FILES_MAX


def test_small_blobs_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "LEAST_BYTES", 1001)

    assert Parts(tmp_path).of(MODEL.name, 1000) is None
