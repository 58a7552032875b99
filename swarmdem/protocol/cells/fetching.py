"""Downloads of several cores of one peer: each may want a model, the shell is asked for it once.

Sizes of the last models are remembered, because who announces one must say how long it is.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from swarmdem.identifiers import ModelHash
from swarmdem.protocol.events import Effect, Fetch, StopFetching

SIZES_MAX = 64
"""Models whose sizes are remembered."""


class Fetching:
    """Who waits for which model."""

    def __init__(self) -> None:
        self._waiting: dict[ModelHash, set[str]] = {}
        self._sizes: OrderedDict[ModelHash, int] = OrderedDict()

    def order(self, who: str, effects: Iterable[Effect], scope: bytes) -> list[Effect]:
        """Return the *effects* of one core without stops of what another still waits for.

        Args:
            who: Which core.
            effects: Its own.
            scope: Hash of the charter under which the holders are asked.
        """
        passed: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Fetch):
                self._waiting.setdefault(effect.model, set()).add(who)
                self.note(effect.model, effect.model_bytes)
                passed.append(replace(effect, scope=scope))
                continue
            if isinstance(effect, StopFetching):
                waiting = self._waiting.get(effect.model, set())
                waiting.discard(who)
                if waiting:
                    continue
                self._waiting.pop(effect.model, None)
            passed.append(effect)
        return passed

    def awaits(self, who: str, model: ModelHash) -> bool:
        """Return whether *who* waits for *model*."""
        return who in self._waiting.get(model, ())

    def ended(self, model: ModelHash) -> None:
        """Take note that *model* is here, or must not be used."""
        self._waiting.pop(model, None)

    def note(self, model: ModelHash, size: int) -> None:
        """Remember the length of *model* in bytes, if it is known."""
        if size:
            self._sizes[model] = size
            while len(self._sizes) > SIZES_MAX:
                self._sizes.popitem(last=False)

    def size(self, model: ModelHash | None) -> int:
        """Return the length of *model* in bytes; 0 when it is not known."""
        return self._sizes.get(model, 0) if model is not None else 0
