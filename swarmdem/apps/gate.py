"""The gate in front of a run: no peer speaks before the peers of every worker are subscribed.

Peers that start while others speak already are told of each of those by itself: by the broker, which keeps
greetings, and by each peer that was there. Of a thousand peers that is a million messages before the first
round.

Limits: this holds for flat swarms. Peers in cells subscribe only once they begin, when their core says
to what; there the gate only lets all begin together.
"""

from swarmdem.apps.crew import Crew
from swarmdem.apps.pipes import Begin


class Gate:
    """Opens once every worker has said that its peers listen, or is lost; then it stays open.

    Args:
        crew: The workers.
        workers: How many there are.
    """

    def __init__(self, crew: Crew, workers: int) -> None:
        self._crew = crew
        self._awaited = set(range(workers))
        self._waiting: list[int] = []

    def opened(self, worker: int) -> None:
        """Let *worker* begin, as soon as the others can."""
        self._waiting.append(worker)
        self._gone(worker)

    def lost(self, worker: int) -> None:
        """Wait no longer for *worker*; when it is started again it finds the gate open or waits anew."""
        if worker in self._waiting:
            self._waiting.remove(worker)
        self._gone(worker)

    def _gone(self, worker: int) -> None:
        self._awaited.discard(worker)
        if not self._awaited:
            for each in self._waiting:
                self._crew.order(each, Begin())
            self._waiting.clear()
