"""Inputs from inputs: bytes are flipped, cut, doubled and spliced; MessagePack is also changed as a tree.

Most random bytes die at the first check of a decoder. A tree that is changed and encoded again in its
shortest form reaches what lies behind: ranges, orders, counts, nested frames.
"""

import random
from typing import Any

import msgspec

INTERESTING = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31,
    2**32 - 1,
    2**32,
    2**63,
    2**64 - 1,
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 5e-324, 2.0**-127, 1e300, float("inf"), float("nan"), 3.5e38)
DEPTH_MAX = 6


class Mutator:
    """A source of inputs under one seed.

    Args:
        seed: Decides all chance.
        corpus: What to begin with; never empty.
        tree: The inputs are MessagePack behind so many bytes; None: they are plain bytes.
        limit: Longest input.
    """

    def __init__(self, seed: int, corpus: list[bytes], *, tree: int | None = None, limit: int = 4096) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus
        self._tree = tree
        self._limit = limit
        self._parsed: dict[bytes, Any] = {}

    def next(self) -> bytes:
        """Return another input."""
        random = self._random
        data = random.choice(self._corpus)
        if self._tree is not None and random.random() < 0.75:
            parsed = self._parse(data)
            if parsed is not None:
                return (self._head(data) + self._regrown(parsed))[: self._limit]
        for _ in range(1 + int(random.expovariate(0.7))):
            data = self._changed(data)
        return data[: self._limit]

    def _head(self, data: bytes) -> bytes:
        head = bytearray(data[: self._tree])
        if head and self._random.random() < 0.3:
            head[self._random.randrange(len(head))] = self._random.randrange(256)
        return bytes(head)

    def _parse(self, data: bytes) -> Any:
        if data not in self._parsed:
            try:
                self._parsed[data] = msgspec.msgpack.decode(data[self._tree :])
            except (msgspec.MsgspecError, ValueError, RecursionError):
                self._parsed[data] = None
        return self._parsed[data]

    def _regrown(self, tree: Any) -> bytes:
        for _ in range(1 + int(self._random.expovariate(1.0))):
            tree = self._changed_tree(tree, 0)
        try:
            return msgspec.msgpack.encode(tree)
        except (msgspec.MsgspecError, OverflowError, ValueError, TypeError):
            return b""

    def _changed_tree(self, node: Any, depth: int) -> Any:
        """Return *node* with one place of it changed."""
        random = self._random
        if isinstance(node, list) and node and depth < DEPTH_MAX and random.random() < 0.8:
            return self._changed_list(node, depth)
        if isinstance(node, bool):
            return random.choice((not node, 1, None))
        if isinstance(node, int):
            return random.choice(
                (node + 1, node - 1, -node, random.choice(INTERESTING), random.getrandbits(16))
            )
        if isinstance(node, float):
            return random.choice((*FLOATS, node * 2, 1))
        if isinstance(node, bytes):
            return self._changed_bytes(node)
        if isinstance(node, str):
            return random.choice((node + "x", "", node[:-1], node[:20] * 100, "\0", b"x"))
        return random.choice((None, 0, b"", [], {}, "", node))

    def _changed_list(self, node: list[Any], depth: int) -> list[Any]:
        random, at = self._random, self._random.randrange(len(node))
        changed = list(node)
        match random.randrange(12):
            case 0:
                del changed[at]
            case 1:
                changed.insert(at, changed[random.randrange(len(node))])
            case 2:
                other = random.randrange(len(node))
                changed[at], changed[other] = changed[other], changed[at]
            case 3 if len(node) < 16 >> depth:
                changed = changed * random.choice((2, 3, 40))
            case 4:
                changed[at] = random.choice((None, 0, b"", [], {}, "", 1.5, True))
            case _:
                changed[at] = self._changed_tree(changed[at], depth + 1)
        return changed

    def _changed_bytes(self, node: bytes) -> Any:
        random = self._random
        match random.randrange(6):
            case 0:
                return self._changed(node)
            case 1:
                return bytes(len(node))
            case 2:
                return b"\xff" * len(node)
            case 3:
                return random.randbytes(len(node))
            case 4 if len(node) > 40:  # a frame or a body within a frame
                return self._nested(node)
            case _:
                return random.choice((b"", node[:-1], node + b"\0", node * 2, random.randbytes(16)))

    def _nested(self, node: bytes) -> bytes:
        try:
            inner = msgspec.msgpack.decode(node)
            return msgspec.msgpack.encode(self._changed_tree(inner, 1))
        except (msgspec.MsgspecError, ValueError, OverflowError, TypeError, RecursionError):
            return self._changed(node)

    def _changed(self, data: bytes) -> bytes:
        random = self._random
        if not data:
            return random.randbytes(random.randrange(64))
        at, end = random.randrange(len(data)), random.randrange(len(data) + 1)
        start, stop = min(at, end), max(at, end)
        match random.randrange(8):
            case 0:
                return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
            case 1:
                return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
            case 2:
                return data[:start] + data[stop:]
            case 3:
                return data[:at] + random.randbytes(1 + random.randrange(8)) + data[at:]
            case 4:
                return data[:stop] + data[start:stop] + data[stop:]
            case 5:
                value = random.choice(INTERESTING)
                size = max(1, (value.bit_length() + 7) // 8)
                size = random.choice((size, 4, 8)) if size <= 4 else 8
                return data[:at] + value.to_bytes(size, random.choice(("big", "little"))) + data[at + size :]
            case 6:
                return data[:at]
            case _:
                other = random.choice(self._corpus)
                cut = random.randrange(len(other) + 1)
                return data[:at] + other[cut:]
