"""The inputs of one group's mean (eq. 9): each direct leaf once, each child group once.

Pure book-keeping for the leader that averages: what is still awaited, what went in, and what may be
fetched. An input that went in never changes; one that is awaited may be replaced (a child group's
second leader answers for the first).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.protocol.events import Fetch


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that may go into a mean."""

    fetch: Fetch
    """Its name and who holds it."""
    weight: int
    """What it counts for; 0 takes no part."""
    included: tuple[PeerId, ...]
    """Peers whose models are in it."""


class Gathering:
    """What one leader has of its group's inputs.

    A handful of dictionaries rather than a list to search: a root leader may have a thousand inputs
    and is asked after each.
    """

    def __init__(self, sources: Iterable[bytes]) -> None:
        self.silent: dict[bytes, None] = dict.fromkeys(sources)
        """Leaves and child groups that offered nothing yet, in order."""
        self.fetches: dict[ModelHash, Fetch] = {}
        """How to get the models that are awaited."""
        self.inputs: list[tuple[ModelHash, int]] = []
        """Every model that went in with its weight, in the order of arrival."""
        self.weight = 0
        self.closed = False
        self._offers: dict[bytes, Offer] = {}
        self._waiting: dict[ModelHash, list[bytes]] = {}
        self._included: list[PeerId] = []

    @property
    def complete(self) -> bool:
        """Nothing is awaited any more."""
        return not self.silent and not self._offers

    @property
    def awaited(self) -> tuple[bytes, ...]:
        """Leaves and child groups of which something may still come."""
        return (*self.silent, *self._offers)

    @property
    def included(self) -> tuple[PeerId, ...]:
        """Peers whose models went in; sorted."""
        return tuple(sorted(self._included))

    def awaits(self, source: bytes) -> bool:
        """Return whether nothing of *source* went in so far and something still may."""
        return source in self.silent or source in self._offers

    def offer(self, source: bytes, offer: Offer) -> None:
        """Await this model of *source*, in place of an earlier one; with no weight there is none."""
        assert self.awaits(source)
        if self._offers.get(source) == offer:
            return
        self._forget(source)
        if offer.weight:
            self._offers[source] = offer
            self._waiting.setdefault(offer.fetch.model, []).append(source)
            known = self.fetches.get(offer.fetch.model)
            sources = tuple(dict.fromkeys((*(known.sources if known else ()), *offer.fetch.sources)))
            self.fetches[offer.fetch.model] = replace(offer.fetch, sources=sources)

    def take(self, held: Iterable[ModelHash]) -> list[tuple[ModelHash, int]]:
        """Count in, once each, the awaited inputs whose models are *held*; return model and weight."""
        taken = []
        for model in sorted(self._waiting.keys() & held):
            for source in tuple(self._waiting[model]):
                offer = self._offers[source]
                self._forget(source)
                self._included.extend(offer.included)
                taken.append((model, offer.weight))
        self.inputs += taken
        self.weight += sum(weight for _, weight in taken)
        return taken

    def refuse(self, bad: Iterable[ModelHash]) -> None:
        """Stop awaiting models that must not be used."""
        for model in self._waiting.keys() & bad:
            for source in tuple(self._waiting[model]):
                self._forget(source)

    def _forget(self, source: bytes) -> None:
        self.silent.pop(source, None)
        offer = self._offers.pop(source, None)
        if offer is not None:
            model = offer.fetch.model
            self._waiting[model].remove(source)
            if not self._waiting[model]:
                del self._waiting[model], self.fetches[model]
