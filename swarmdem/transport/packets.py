"""Takes the bytes of a connection apart into MQTT packets (MQTT 3.1.1, chapter 2): few reads, few copies.

A library that reads a packet's first byte, then its length byte by byte, then its body in pieces, calls
the socket half a dozen times for each, and moves a long one three times. Here many short packets come with
one read, and a long one is read to where it stays.

Limits: nothing here knows a socket or what a packet says; a body may have the 256 MB that MQTT allows, and
memory is touched only as far as bytes have come. A connection keeps the memory of up to `SPARE` long packets
of up to `SPARE_BYTES`: to give it back and ask for it anew costs as much as filling it.
"""

import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SHORT_BYTES = 16 * 1024
"""A packet up to this, its header included, is read together with others and copied out."""
SPARE = 4
SPARE_BYTES = 2**20 + SHORT_BYTES
LENGTH_BYTES_MAX = 4
"""Of a packet's length (2.2.3)."""

Take = Callable[[int, memoryview, bool], bool]
"""Called with a packet's first byte, its body, and whether the body is the taker's to keep.

A body that is not is overwritten when this returns. False: read nothing more.
"""


class BadLengthError(ValueError):
    """A packet's length does not end: this is not MQTT."""


class _Memory:
    """Memory for the bodies of long packets, used again when nothing refers to a body any more."""

    def __init__(self) -> None:
        self._blocks: deque[tuple[memoryview, weakref.ref[NDArray[np.uint8]]]] = deque(maxlen=SPARE)

    def take(self, length: int) -> memoryview:
        """Return memory of this length, whatever is in it."""
        block = self._free(length)
        if block is None:
            block = np.empty(length, np.uint8).data  # unlike a bytearray it is not filled with zeros first
        if length > SPARE_BYTES:
            return block
        # Whatever is made of it keeps this one object alive.
        lent: NDArray[np.uint8] = np.frombuffer(block, np.uint8, length)
        self._blocks.append((block, weakref.ref(lent)))
        return lent.data

    def _free(self, length: int) -> memoryview | None:
        for index, (block, lent) in enumerate(self._blocks):
            if lent() is None and length <= len(block) <= 2 * length:
                del self._blocks[index]
                return block
        return None


class PacketReader:
    """Where to read the next bytes to, and what packets they make.

    Args:
        take: Takes each packet.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._short = memoryview(bytearray(SHORT_BYTES))
        self._held = 0
        """Bytes in it: the beginning of a packet."""
        self._memory = _Memory()
        self._command = 0
        self._long: memoryview | None = None
        self._filled = 0

    @property
    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._short[self._held :] if self._long is None else self._long[self._filled :]

    def came(self, count: int) -> bool:
        """Note that *count* bytes were written to the beginning of `room`, and hand on what is whole.

        Returns:
            False: whoever takes packets wants no more.

        Raises:
            BadLengthError: See there.
        """
        if self._long is None:
            self._held += count
            return self._sort()
        self._filled += count
        if self._filled < len(self._long):
            return True
        body, self._long = self._long, None
        return self._take(self._command, body, True)

    def _sort(self) -> bool:
        """Hand on the short packets that are whole; begin a long one."""
        at, going = 0, True
        while going and (found := _body(self._short, at, self._held)) is not None:
            start, stop = found
            if stop - at > SHORT_BYTES:
                self._begin(self._short[at], start, stop - start)
                return True
            if stop > self._held:
                break
            going = self._take(self._short[at], self._short[start:stop], False)
            at = stop
        if at:
            rest = bytes(self._short[at : self._held])
            self._short[: len(rest)] = rest
            self._held = len(rest)
        return going

    def _begin(self, command: int, start: int, length: int) -> None:
        """Go on reading at the place of a long packet, of which the beginning is here."""
        self._long = self._memory.take(length)
        self._command, self._filled = command, self._held - start
        self._long[: self._filled] = self._short[start : self._held]
        self._held = 0


def _body(read: memoryview, at: int, stop: int) -> tuple[int, int] | None:
    """Return where the body of the packet at *at* begins and ends; None: its length is not here yet."""
    length = 0
    for place in range(LENGTH_BYTES_MAX):
        index = at + 1 + place
        if index >= stop:
            return None
        length |= (read[index] & 0x7F) << 7 * place
        if not read[index] & 0x80:
            return index + 1, index + 1 + length
    raise BadLengthError("a packet's length has more than four bytes")


def length_bytes(length: int) -> bytes:
    """Return a packet's length as MQTT writes it."""
    written = bytearray()
    while length > 0x7F:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    written.append(length)
    return bytes(written)
