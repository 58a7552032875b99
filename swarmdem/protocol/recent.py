"""What co-hosted peers would each compute again: the last few outcomes of a pure function.

The peers of one process stand on the same certificates and list the same digests, so each of them asks for
the same plan, the same tree and the same aggregators. With a thousand peers in a process that is a thousand
times the work of one. What is asked is compared in full; nothing is taken on trust from another peer.
Peers of one process may live in threads of their own (`BlockingPeer`): any of them may ask at any time.

Bound: `KEPT` outcomes for each function, or as many as it says; the oldest goes. Where the peers of a process
are in several cells, that many for each: two hundred cells that agree at the same time would otherwise drive
each other's outcomes out before the second peer of a cell asks.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

KEPT = 4

Asked = TypeVar("Asked")
Given = TypeVar("Given")

_cells: WeakValueDictionary[bytes, object] = WeakValueDictionary()
"""The cells that peers of this process are in, each with one of its cores here."""


def keep_for(cell: bytes, core: object) -> None:
    """Keep outcomes for this *cell* as well, as long as *core*, one of those in it here, lives."""
    _cells[cell] = core


class Recent(Generic[Asked, Given]):
    """The last few outcomes of one function."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: deque[tuple[Asked, Given]] = deque()

    def get(self, asked: Asked, compute: Callable[[], Given]) -> Given:
        """Return what *compute* gave for an equal *asked*, or gives now.

        Args:
            asked: All that the outcome depends on; compared by `==`, cheap parts first.
            compute: Called when it was not asked lately.
        """
        for known, given in reversed(tuple(self._known)):  # another thread may add to it meanwhile
            if known is asked or known == asked:
                return given
        given = compute()
        self._known.append((asked, given))
        while len(self._known) > self._kept * max(1, len(_cells)):
            self._known.popleft()
        return given
