"""What co-hosted peers would each compute again: the last few outcomes of a pure function.

The peers of one process stand on the same certificates and list the same digests, so each of them asks for
the same plan, the same tree and the same aggregators. With a thousand peers in a process that is a thousand
times the work of one. What is asked is compared in full; nothing is taken on trust from another peer.
Peers of one process may live in threads of their own (`BlockingPeer`): any of them may ask at any time.

Outcomes lie under a short name of what they are about, mostly the base, so that few must be compared.
Bound: `KEPT` names for each function, or as many as it says, with `KEPT` outcomes each; the oldest goes.
Where the peers of a process are in several cells, that many names for each: two hundred cells that agree at
the same time would otherwise drive each other's outcomes out before the second peer of a cell asks.
"""

from collections import OrderedDict
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
        self._known: OrderedDict[bytes, tuple[tuple[Asked, Given], ...]] = OrderedDict()
        """By name; tuples, because another thread may add to them while one is read."""

    def get(self, asked: Asked, compute: Callable[[], Given], *, about: bytes = b"") -> Given:
        """Return what *compute* gave for an equal *asked*, or gives now.

        Args:
            asked: All that the outcome depends on; compared by `==`, cheap parts first.
            compute: Called when it was not asked lately.
            about: Name of what is asked about; equal where *asked* is.
        """
        for known, given in self._known.get(about, ()):
            if known is asked or known == asked:
                return given
        given = compute()
        self._known[about] = ((asked, given), *self._known.get(about, ()))[:KEPT]
        while len(self._known) > self._kept * max(1, len(_cells)):
            self._known.popitem(last=False)
        return given
