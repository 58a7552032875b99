"""Which receivers want a topic: MQTT patterns (`+` one level, `#` the rest) in a tree of levels.

Matching walks the topic once, two dictionary look-ups per level, and remembers the answer; it
never tries patterns one by one. A receiver whose patterns overlap is named once per topic.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from swarmdem.errors import MisuseError

T = TypeVar("T")
"""A receiver; hashable."""

REMEMBERED_MAX = 4096
"""Topics whose receivers are remembered; about one per peer and kind of message. Full: forget all."""


def check_topic(topic: str) -> None:
    """Raise MisuseError unless messages can be published to *topic*."""
    if not topic or "\0" in topic or "+" in topic or "#" in topic or len(topic.encode()) > 65_535:
        raise MisuseError(f"{topic!r} is not a topic that can be published to")


def check_pattern(pattern: str) -> None:
    """Raise MisuseError unless *pattern* is a valid MQTT topic filter."""
    levels = pattern.split("/")
    misplaced = "#" in levels[:-1] or any(len(level) > 1 and set(level) & set("+#") for level in levels)
    if not pattern or "\0" in pattern or misplaced or len(pattern.encode()) > 65_535:
        raise MisuseError(f"{pattern!r} is not a valid topic pattern")


@dataclass(slots=True)
class _Node(Generic[T]):
    """One level of the tree."""

    below: dict[str, "_Node[T]"] = field(default_factory=dict)
    here: dict[T, None] = field(default_factory=dict)
    """Receivers of patterns that end at this level, in order of subscription."""
    rest: dict[T, None] = field(default_factory=dict)
    """Receivers of patterns that go on with `#`."""


class Routes(Generic[T]):
    """Patterns and their receivers."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._receivers: dict[str, dict[T, None]] = {}
        self._remembered: dict[str, tuple[T, ...]] = {}

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every pattern somebody wants, in order of first subscription."""
        return tuple(self._receivers)

    def add(self, pattern: str, receiver: T) -> None:
        """Let *receiver* have what matches *pattern*; adding twice changes nothing."""
        self._receivers.setdefault(pattern, {})[receiver] = None
        node, ends_in_hash = self._walk(pattern)
        (node.rest if ends_in_hash else node.here)[receiver] = None
        self._remembered.clear()

    def remove(self, pattern: str, receiver: T) -> bool:
        """Undo `add`; True when *pattern* was wanted and nobody wants it any more."""
        receivers = self._receivers.get(pattern)
        if receivers is None or receiver not in receivers:
            return False
        del receivers[receiver]
        node, ends_in_hash = self._walk(pattern)
        del (node.rest if ends_in_hash else node.here)[receiver]
        self._remembered.clear()
        if receivers:
            return False
        del self._receivers[pattern]
        self._prune(pattern)
        return True

    def patterns_of(self, receiver: T) -> tuple[str, ...]:
        """Return the patterns that *receiver* wants."""
        return tuple(pattern for pattern, receivers in self._receivers.items() if receiver in receivers)

    def match(self, topic: str) -> tuple[T, ...]:
        """Return the receivers of *topic*, each once."""
        known = self._remembered.get(topic)
        if known is None:
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            known = self._remembered[topic] = self._search(topic)
        return known

    def _search(self, topic: str) -> tuple[T, ...]:
        found: dict[T, None] = {}
        nodes = [self._root]
        for depth, level in enumerate(topic.split("/")):
            # Topics that begin with $ are the broker's own: no leading wildcard matches (MQTT 3.1.1, 4.7.2).
            wildcards = depth > 0 or not level.startswith("$")
            following: list[_Node[T]] = []
            for node in nodes:
                if wildcards:
                    found |= node.rest
                keys = (level, "+") if wildcards else (level,)
                following += [node.below[key] for key in keys if key in node.below]
            nodes = following
        for node in nodes:  # `a/#` matches `a` as well (4.7.1.2)
            found |= node.here | node.rest
        return tuple(found)

    def _walk(self, pattern: str) -> tuple[_Node[T], bool]:
        levels = pattern.split("/")
        ends_in_hash = levels[-1] == "#"
        node = self._root
        for level in levels[:-1] if ends_in_hash else levels:
            node = node.below.setdefault(level, _Node())
        return node, ends_in_hash

    def _prune(self, pattern: str) -> None:
        """Drop the nodes that only *pattern* needed."""
        levels = [level for level in pattern.split("/") if level != "#"]
        path = [self._root]
        for level in levels:
            path.append(path[-1].below[level])
        for parent, level, node in reversed(list(zip(path, levels, path[1:], strict=False))):
            if node.below or node.here or node.rest:
                return
            del parent.below[level]
