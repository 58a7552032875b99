"""The memory of models that are gone serves models that come."""

import asyncio
import threading

import numpy as np

from swarmdem.node import blocks
from swarmdem.node.blocks import FREE_BYTES, LEAST_BYTES, Blocks

SIZE = 3 * 2**20


def place(memory):
    return np.frombuffer(memory, np.uint8).ctypes.data


async def test_memory_comes_back_when_nothing_made_of_it_is_left():
    store = Blocks()
    memory = store.reserve(SIZE)
    where = place(memory)
    part = np.frombuffer(memory.toreadonly()[8:], np.float32)[5:].reshape(-1, 1)
    del memory
    assert store.free_bytes == 0

    del part

    assert store.free_bytes == SIZE
    assert place(store.reserve(SIZE)) == where


async def test_memory_in_use_is_never_given_to_another():
    store = Blocks()
    memories = [store.reserve(SIZE) for _ in range(3)]

    assert len({place(memory) for memory in memories}) == 3


async def test_what_is_of_another_length_or_too_much_is_not_kept():
    store = Blocks()
    memories = [store.reserve(FREE_BYTES // 3) for _ in range(5)]
    del memories
    assert store.free_bytes == 3 * (FREE_BYTES // 3)

    large = store.reserve(2 * FREE_BYTES)

    assert store.free_bytes == 0
    del large
    assert store.free_bytes == 2 * FREE_BYTES
    small = store.reserve(LEAST_BYTES - 1)
    del small
    assert store.free_bytes == 2 * FREE_BYTES


async def test_what_nobody_wants_is_given_up_after_a_while(monkeypatch):
    monkeypatch.setattr(blocks, "KEEP_S", 0.01)
    store = Blocks()
    memory = [store.reserve(SIZE)]
    dropping = threading.Thread(target=memory.clear)  # the last use of a model may end in any thread
    dropping.start()
    dropping.join()
    assert store.free_bytes == SIZE

    async with asyncio.timeout(10):
        while store.free_bytes:  # noqa: ASYNC110 - memory tells nobody that it was freed
            await asyncio.sleep(0.01)


async def test_what_waits_is_given_up_though_others_are_taken_meanwhile(monkeypatch):
    monkeypatch.setattr(blocks, "KEEP_S", 0.01)
    store = Blocks()
    memories = [store.reserve(SIZE) for _ in range(3)]
    del memories
    held = store.reserve(SIZE)
    assert store.free_bytes == 2 * SIZE

    async with asyncio.timeout(10):
        while store.free_bytes:  # noqa: ASYNC110 - memory tells nobody that it was freed
            await asyncio.sleep(0.01)
    assert len(held) == SIZE


def test_memory_that_outlives_its_event_loop_comes_back_too():
    store = Blocks()

    async def reserve():
        return store.reserve(SIZE)

    memory = asyncio.run(reserve())
    del memory

    assert store.free_bytes == SIZE
