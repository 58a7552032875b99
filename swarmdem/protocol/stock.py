"""The models of one update at one peer: held, refused, under way.

What to fetch is not ordered step by step: the update says what is needed now, and the difference to
what was ordered becomes `Fetch` and `StopFetching`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from swarmdem.identifiers import ModelHash
from swarmdem.protocol.events import Effect, Fetch, StopFetching


class Stock:
    """What is here, what must not be used, and what was ordered."""

    def __init__(self, held: Iterable[ModelHash]) -> None:
        self.held: set[ModelHash] = set(held)
        self.bad: set[ModelHash] = set()
        """Models that must not be used: wrong schema, not finite."""
        self.pending: dict[ModelHash, Fetch] = {}

    @property
    def models(self) -> tuple[ModelHash, ...]:
        """What is held; sorted."""
        return tuple(sorted(self.held))

    def awaits(self, model: ModelHash) -> bool:
        """Return whether *model* is neither here nor refused: it may still come."""
        return model not in self.held and model not in self.bad

    def arrived(self, model: ModelHash) -> bool:
        """Take in a model that was ordered; return False when nobody waits for it."""
        if self.pending.pop(model, None) is None:
            return False
        self.held.add(model)
        return True

    def refused(self, model: ModelHash) -> bool:
        """Note that a model that was ordered must not be used; return False when nobody waits for it."""
        if self.pending.pop(model, None) is None:
            return False
        self.bad.add(model)
        return True

    def order(self, needed: Mapping[ModelHash, Fetch]) -> list[Effect]:
        """Return the orders by which exactly what is *needed* comes to be under way."""
        effects: list[Effect] = []
        for model in sorted(self.pending.keys() - needed.keys()):
            del self.pending[model]
            effects.append(StopFetching(model))
        for model, fetch in needed.items():
            ordered = self.pending.get(model)
            if ordered is fetch:
                continue
            if ordered is None or not set(fetch.sources) <= set(ordered.sources):
                self.pending[model] = fetch
                effects.append(fetch)
        return effects

    def stop(self) -> list[Effect]:
        """Return the orders that end all that is under way."""
        return [StopFetching(model) for model in sorted(self.pending)]


def together(fetches: Iterable[Fetch]) -> dict[ModelHash, Fetch]:
    """Return one order a model, with the sources of all that name it, in their order."""
    needed: dict[ModelHash, Fetch] = {}
    for fetch in fetches:
        known = needed.setdefault(fetch.model, fetch)
        if known is not fetch:
            sources = tuple(dict.fromkeys((*known.sources, *fetch.sources)))
            needed[fetch.model] = replace(known, sources=sources)
    return needed
