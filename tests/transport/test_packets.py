"""Bytes of a connection become packets, however they come."""

import numpy as np
import pytest

from swarmdem.transport.packets import SHORT_BYTES, BadLengthError, PacketReader, length_bytes


class Taken:
    """A reader and what it handed on."""

    def __init__(self, most: int = 1000) -> None:
        self.packets: list[tuple[int, bytes]] = []
        self.kept: list[memoryview] = []
        self._most = most
        self.reader = PacketReader(self._take)

    def _take(self, first: int, body: memoryview, ours: bool) -> bool:
        self.packets.append((first, bytes(body)))
        if ours:
            self.kept.append(body)
        return len(self.packets) < self._most

    def feed(self, data: bytes, step: int) -> bool:
        """Let *data* come, at most *step* bytes at a time; return whether more is wanted."""
        view, going = memoryview(data), True
        while view and going:
            room = self.reader.room
            count = min(step, len(view), len(room))
            room[:count] = view[:count]
            going = self.reader.came(count)
            view = view[count:]
        return going


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + length_bytes(len(body)) + body


@pytest.mark.parametrize("step", [1, 7, 4096, 2**20])
def test_packets_are_the_same_however_their_bytes_come(step: int) -> None:
    edge = SHORT_BYTES - 4  # the longest that is still short, header included
    bodies = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * edge, b"e" * (edge + 1), b"f" * 40_000, b"g"]
    taken = Taken()

    assert taken.feed(b"".join(packet(0x30 + n, body) for n, body in enumerate(bodies)), step)

    assert taken.packets == [(0x30 + n, body) for n, body in enumerate(bodies)]


def test_a_long_body_is_the_takers_and_not_overwritten_by_what_follows() -> None:
    taken = Taken()

    taken.feed(b"".join(packet(0x32, letter * 50_000) for letter in (b"a", b"b", b"c")), 30_000)

    assert [bytes(body[:3]) + bytes(body[-3:]) for body in taken.kept] == [b"aaaaaa", b"bbbbbb", b"cccccc"]


def test_the_memory_of_a_long_body_is_used_again_once_nothing_refers_to_it() -> None:
    taken = Taken()
    taken.feed(packet(0x32, b"a" * 50_000), 2**20)
    where = np.frombuffer(taken.kept[0], np.uint8).ctypes.data
    part = np.frombuffer(taken.kept.pop(), np.uint8)[5:10]
    taken.feed(packet(0x32, b"b" * 50_000), 2**20)
    assert bytes(part) == b"aaaaa"

    del part
    taken.feed(packet(0x32, b"c" * 50_000), 2**20)

    assert np.frombuffer(taken.kept[1], np.uint8).ctypes.data == where


def test_who_wants_no_more_gets_no_more() -> None:
    taken = Taken(most=2)

    assert not taken.feed(packet(1, b"x") * 5, 2**20)

    assert len(taken.packets) == 2


def test_a_length_that_does_not_end_is_refused() -> None:
    with pytest.raises(BadLengthError, match="more than four bytes"):
        Taken().feed(b"\x30\xff\xff\xff\xff\x01", 100)


@pytest.mark.parametrize(
    ("length", "written"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_384, b"\x80\x80\x01"),
        (268_435_455, b"\xff\xff\xff\x7f"),
    ],
)
def test_lengths_are_written_as_mqtt_does(length: int, written: bytes) -> None:
    assert length_bytes(length) == written
