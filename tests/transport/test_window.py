import asyncio

import pytest

from swarmdem.errors import TransportError
from swarmdem.transport.window import SendWindow


async def turn() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_messages_beyond_the_limit_wait_in_line() -> None:
    window = SendWindow(messages_max=2, bytes_max=1000)
    order: list[int] = []

    async def send(number: int) -> None:
        await window.take(1)
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(send(number))
        await turn()
        assert order == [0, 1]
        for expected in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]):
            window.give(1)
            await turn()
            assert order == expected


async def test_bytes_beyond_the_limit_wait() -> None:
    window = SendWindow(messages_max=10, bytes_max=100)
    await window.take(60)
    second = asyncio.create_task(window.take(60))
    await turn()
    assert not second.done()

    window.give(60)
    await second

    assert (window.messages, window.size_bytes) == (1, 60)


async def test_a_message_above_the_limit_goes_alone() -> None:
    window = SendWindow(messages_max=10, bytes_max=100)

    await asyncio.wait_for(window.take(1000), 1)

    assert window.size_bytes == 1000


async def test_nobody_overtakes_a_large_message_that_waits() -> None:
    window = SendWindow(messages_max=10, bytes_max=100)
    await window.take(60)
    large = asyncio.create_task(window.take(90))
    await turn()
    small = asyncio.create_task(window.take(10))
    await turn()
    assert not small.done()

    window.give(60)
    await asyncio.wait_for(asyncio.gather(large, small), 1)

    assert window.size_bytes == 100


async def test_a_waiter_that_gives_up_lets_the_next_one_pass() -> None:
    window = SendWindow(messages_max=1, bytes_max=100)
    await window.take(1)
    first, second = asyncio.create_task(window.take(1)), asyncio.create_task(window.take(1))
    await turn()
    window.give(1)
    first.cancel()
    await turn()

    assert first.cancelled()
    assert second.done()


async def test_losing_the_connection_fails_everybody_in_line() -> None:
    window = SendWindow(messages_max=1, bytes_max=100)
    await window.take(1)
    waiting = [asyncio.create_task(window.take(1)) for _ in range(3)]
    await turn()

    window.close("gone")
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [(type(each), str(each)) for each in results] == [(TransportError, "gone")] * 3
    with pytest.raises(TransportError):
        await window.take(1)
