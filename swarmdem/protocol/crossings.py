"""How long models took to cross in one update, as one peer saw it: what its next digest reports.

A download shares its link with the others of its group, which deadlines allow for (`deadlines.py`), so
its time is divided by their number; what any message takes is no transfer and is left out.
"""

from swarmdem.identifiers import MILLISECOND, Micros, ModelHash


class Crossings:
    """The downloads of one update.

    Args:
        expected: How long one model may take, as the plan says.
        usual: How long it may take as the charter says.
        grace: Time that is left out of each download.
    """

    def __init__(self, *, expected: Micros, usual: Micros, grace: Micros) -> None:
        self._expected = expected
        self._usual = usual
        self._grace = grace
        self._slowest: Micros = 0
        self._begun: dict[ModelHash, tuple[Micros, int]] = {}

    def ordered(self, model: ModelHash, shares: int, now: Micros) -> None:
        """Note that a download began that shares its link with others, *shares* in all."""
        self._begun.setdefault(model, (now, max(1, shares)))

    def began(self, model: ModelHash | None) -> Micros:
        """Return when the download of *model* began; 0 when none is under way."""
        return self._begun[model][0] if model in self._begun else 0

    def arrived(self, model: ModelHash, now: Micros) -> None:
        """Note that it is here."""
        began, shares = self._begun.pop(model, (now, 1))
        self._slowest = max(self._slowest, (now - began - self._grace) // shares)

    def stuck(self) -> None:
        """Note that a model that was on its way is waited for no longer: how long it takes is not known."""
        self._slowest = max(self._slowest, 2 * max(self._expected, MILLISECOND))

    @property
    def slow_ms(self) -> int:
        """What the digest reports: milliseconds per model, 0 when not above the charter's."""
        return -(-self._slowest // MILLISECOND) if self._slowest > self._usual else 0
