"""The inputs of one group's mean (eq. 9): each direct leaf once, each child group once.

Pure book-keeping for the leader that averages: what is still awaited, what went in, and what may be
fetched. An input that went in never changes; one that is awaited may be replaced (a child group's
second leader answers for the first).
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from swarmdem.identifiers import ModelHash, PeerId


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that may go into a mean."""

    model: ModelHash
    model_bytes: int
    weight: int
    """What it counts for; 0 takes no part."""
    included: tuple[PeerId, ...]
    """Peers whose models are in it."""
    sources: tuple[PeerId, ...]
    """Who holds it, best first."""


class Gathering:
    """What one leader has of its group's inputs."""

    def __init__(self, sources: tuple[bytes, ...]) -> None:
        self.awaited: dict[bytes, Offer | None] = dict.fromkeys(sources)
        """By leaf or child group: its offer, or None as long as it made none."""
        self.inputs: list[tuple[ModelHash, int]] = []
        """Every model that went in with its weight, in the order of arrival."""
        self.weight = 0
        self.closed = False
        self._included: list[PeerId] = []

    @property
    def complete(self) -> bool:
        """Nothing is awaited any more."""
        return not self.awaited

    @property
    def included(self) -> tuple[PeerId, ...]:
        """Peers whose models went in; sorted."""
        return tuple(sorted(self._included))

    def offer(self, source: bytes, offer: Offer) -> None:
        """Await this model of *source*; with no weight there is nothing to await."""
        assert source in self.awaited
        if offer.weight:
            self.awaited[source] = offer
        else:
            del self.awaited[source]

    def take(self, held: Container[ModelHash]) -> list[Offer]:
        """Count in, once each, the awaited models that are *held* and return them."""
        ready = [(source, offer) for source, offer in self.awaited.items() if offer and offer.model in held]
        for source, offer in ready:
            del self.awaited[source]
            self.inputs.append((offer.model, offer.weight))
            self.weight += offer.weight
            self._included.extend(offer.included)
        return [offer for _, offer in ready]

    def refuse(self, bad: Container[ModelHash]) -> None:
        """Stop awaiting models that must not be used."""
        for source in [key for key, offer in self.awaited.items() if offer and offer.model in bad]:
            del self.awaited[source]

    def offers(self) -> Iterator[Offer]:
        """Yield what should be fetched."""
        if not self.closed:
            yield from (offer for offer in self.awaited.values() if offer)
