"""How a connection ends whose broker does not acknowledge what was published last."""

import asyncio

import pytest

from swarmdem.transport.client import Client
from swarmdem.transport.connection import _opened
from swarmdem.transport.window import SendWindow

CONNACK, DISCONNECT = b"\x20\x02\x00\x00", b"\xe0\x00"
PATIENCE_S = 20.0


class WatchedWindow(SendWindow):
    """Tells when the farewell begins to wait."""

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        super().__init__(messages_max=messages_max, bytes_max=bytes_max)
        self.waited_for = asyncio.Event()

    async def empty(self) -> None:
        self.waited_for.set()
        await super().empty()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "again while it waits"])
async def test_who_cancels_leaves_no_connection_behind(times: int) -> None:
    heard, published, gone = bytearray(), asyncio.Event(), asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while packet := await reader.read(65_536):
            heard.extend(packet)
            if packet[0] == CONNACK[0] - 0x10:
                writer.write(CONNACK)
            else:
                published.set()
        writer.close()
        gone.set()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        window = WatchedWindow(messages_max=4, bytes_max=1000)
        port = server.sockets[0].getsockname()[1]
        client = Client("127.0.0.1", port, deliver=lambda *_: None, window=window)

        async def use() -> None:
            async with _opened(client):
                await window.take(2)
                client.hand_over("a", b"x", 2, retain=False)
                await asyncio.Event().wait()

        using = asyncio.create_task(use())
        await asyncio.wait_for(published.wait(), PATIENCE_S)
        using.cancel()
        await asyncio.wait_for(window.waited_for.wait(), PATIENCE_S)
        if times == 2:
            using.cancel()
        await asyncio.wait([using], timeout=PATIENCE_S)
        await asyncio.wait_for(gone.wait(), PATIENCE_S)

    assert using.cancelled()
    assert heard.endswith(DISCONNECT)
