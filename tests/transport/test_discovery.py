"""Brokers are found on the loopback interface by mDNS; what is for another swarm is passed over."""

import asyncio
import contextlib
import sys

import pytest

from swarmdem.errors import ConfigError
from swarmdem.transport.discovery import announced, check_installed, discovered

pytest.importorskip("zeroconf")

PATIENCE_S = 20.0
LOOPBACK = ["127.0.0.1"]
CHARTER = "0123456789abcdef" * 2


class Heard:
    def __init__(self) -> None:
        self.news: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    def __call__(self, url: str, there: bool) -> None:
        self.news.put_nowait((url, there))

    async def next(self) -> tuple[str, bool]:
        return await asyncio.wait_for(self.news.get(), PATIENCE_S)


async def test_a_broker_of_the_swarm_is_found_and_its_end_is_told() -> None:
    heard = Heard()
    async with discovered("plant-7", CHARTER, heard, interfaces=LOOPBACK):
        async with announced("127.0.0.1", 1883, "plant-7", CHARTER, interfaces=LOOPBACK):
            assert await heard.next() == ("mqtt://127.0.0.1:1883", True)

        assert await heard.next() == ("mqtt://127.0.0.1:1883", False)


async def test_only_brokers_of_this_swarm_and_charter_are_found() -> None:
    heard = Heard()
    async with (
        announced("127.0.0.1", 1, "plant-8", CHARTER, interfaces=LOOPBACK),
        announced("127.0.0.1", 2, "plant-7", "f" * 32, interfaces=LOOPBACK),
        discovered("plant-7", CHARTER, heard, interfaces=LOOPBACK),
        announced("127.0.0.1", 3, "plant-7", interfaces=LOOPBACK),
    ):
        assert await heard.next() == ("mqtt://127.0.0.1:3", True)
        assert heard.news.empty()


async def test_a_broker_announced_twice_is_found_once_and_gone_with_the_last_announcement() -> None:
    """As one is that was started again, while its first announcement has not run out."""
    heard = Heard()
    async with discovered("plant-7", CHARTER, heard, interfaces=LOOPBACK):
        async with announced("127.0.0.1", 4, "plant-7", CHARTER, interfaces=LOOPBACK):
            assert await heard.next() == ("mqtt://127.0.0.1:4", True)
            first = contextlib.AsyncExitStack()
            await first.enter_async_context(
                announced("127.0.0.1", 4, "plant-7", CHARTER, interfaces=LOOPBACK)
            )
            async with announced("127.0.0.1", 5, "plant-7", CHARTER, interfaces=LOOPBACK):
                assert await heard.next() == ("mqtt://127.0.0.1:5", True)  # so the one before it was heard
            assert await heard.next() == ("mqtt://127.0.0.1:5", False)

        async with announced("127.0.0.1", 6, "plant-7", CHARTER, interfaces=LOOPBACK):
            assert await heard.next() == ("mqtt://127.0.0.1:6", True)  # so the first goodbye was heard
        assert await heard.next() == ("mqtt://127.0.0.1:6", False)
        await first.aclose()

        assert await heard.next() == ("mqtt://127.0.0.1:4", False)


async def test_a_name_is_no_address_to_announce() -> None:
    with pytest.raises(ConfigError, match="'gateway' is not an address in digits"):
        async with announced("gateway", 1883, "plant-7", interfaces=LOOPBACK):
            pass


async def test_a_name_that_fits_no_announcement_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 240 bytes"):
        async with announced("127.0.0.1", 1883, 250 * "s", interfaces=LOOPBACK):
            pass


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)

    with pytest.raises(ConfigError, match=r"pip install 'swarmdem\[discovery\]'"):
        check_installed()
