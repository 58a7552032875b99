import asyncio

from swarmdem.transport.arrivals import ArrivalQueue, QueueLimits
from swarmdem.transport.base import Arrival, Counters, LinkState

UP, DOWN = LinkState(up=True), LinkState(up=False)


async def test_a_reader_begins_with_the_state_as_it_is_when_it_begins() -> None:
    queue = ArrivalQueue(Counters(), QueueLimits(), DOWN)
    queue.put_state(UP)
    queue.put(Arrival("t", b""))

    stream = queue.items()

    assert [await anext(stream), await anext(stream)] == [UP, Arrival("t", b"")]


async def test_of_many_unread_states_a_change_and_the_last_one_remain() -> None:
    queue = ArrivalQueue(Counters(), QueueLimits(), UP)
    stream = queue.items()
    assert await anext(stream) == UP

    for state in (DOWN, UP, DOWN, UP):
        queue.put_state(state)
    queue.put(Arrival("t", b""))

    assert [await anext(stream) for _ in range(3)] == [DOWN, UP, Arrival("t", b"")]


async def test_states_are_never_dropped_for_arrivals() -> None:
    queue = ArrivalQueue(Counters(), QueueLimits(messages=1), UP)
    stream = queue.items()
    await anext(stream)
    queue.put_state(DOWN)
    for number in range(3):
        queue.put(Arrival("t", bytes([number])))

    assert [await anext(stream), await anext(stream)] == [DOWN, Arrival("t", b"\2")]


async def test_a_reader_of_a_full_queue_lets_others_have_their_turn() -> None:
    queue = ArrivalQueue(Counters(), QueueLimits(), UP)
    for _ in range(200):
        queue.put(Arrival("t", b""))
    read = 0
    seen = []

    async def look() -> None:
        seen.append(read)

    looking = asyncio.create_task(look())
    async for _ in queue.items():
        read += 1
        if read == 200:
            break

    assert looking.done()
    assert seen[0] < 200


async def test_nothing_is_queued_or_counted_after_closing() -> None:
    counters = Counters()
    queue = ArrivalQueue(counters, QueueLimits(), UP)
    queue.close()

    queue.put(Arrival("t", b"x"))

    assert [item async for item in queue.items()] == [UP]
    assert counters.messages_received == 0
