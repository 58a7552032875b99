"""What the leaders of a cell's root do with the region's result: fetch it, mix it into the next root mean.

A result counts for the plan its leaders were told it in, and for the next one, and goes into one root mean:
the announcement names it (`remarks.above_of`), so that the peer that told it stops. Where it does not arrive
in time the root mean goes without it, as any group is cut from a parent that is late.
"""

from collections.abc import Collection

from swarmdem.identifiers import GroupId, ModelHash, PeerId
from swarmdem.protocol.events import Averaged, Effect, Fetch, GroupAveraged
from swarmdem.protocol.remarks import above_ext, above_of
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import Final, Mean


class Rooting:
    """One peer's part in it, while it is in one cell."""

    def __init__(self) -> None:
        self.at_hand: set[ModelHash] = set()
        """Of the region's results and root means known here, those that this peer holds."""
        self.ext: Extensions = ()
        """What the last mean made here says beside it; nothing unless a result went into it."""
        self._above: ModelHash | None = None
        self._spent: ModelHash | None = None
        """The result that went into a root mean last."""
        self._told_on: bytes = b""
        self._below: ModelHash | None = None
        self._mixed: tuple[GroupId, ModelHash] | None = None
        self._awaited: set[ModelHash] = set()

    def keep(self, others: Collection[ModelHash]) -> frozenset[ModelHash]:
        """Return the models still needed for this, or among *others*; all else is not at hand any more."""
        self.at_hand &= {*others, *filter(None, (self._above, self._below))}
        return frozenset(self.at_hand)

    def told(self, final: Final, sender: PeerId, base: bytes) -> list[Effect]:
        """Take note of the region's result; fetch it from who told it."""
        if not final.model or final.model == self._spent:
            return []
        self._above, self._told_on = ModelHash(final.model), base
        return (
            []
            if self._above in self.at_hand
            else [self.want(Fetch(self._above, final.model_bytes, (sender,)))]
        )

    def heard(self, mean: Mean) -> None:
        """Take note of a root mean: what went into it goes into no other."""
        self._spend(above_of(mean))

    def _spend(self, above: ModelHash | None) -> None:
        self._spent = above or self._spent
        if self._above == self._spent:
            self._above = None

    def want(self, fetch: Fetch) -> Fetch:
        """Return *fetch*, whose model will count as at hand once it is here."""
        self._awaited.add(fetch.model)
        return fetch

    def fetched(self, model: ModelHash) -> None:
        """Take note that *model* is here."""
        if model in self._awaited:
            self._awaited.discard(model)
            self.at_hand.add(model)

    def goes_into(self, group: GroupId, bases: Collection[bytes]) -> ModelHash | None:
        """Return what goes into the mean of the root *group*: it was told on one of *bases* and is here."""
        above = self._above
        if above is None or self._told_on not in bases or above not in self.at_hand:
            return None
        self._spend(above)
        self._mixed = (group, above)
        return above

    def averaged(self, event: Averaged) -> Extensions:
        """Take note of a mean made here; return what its announcement says beside it."""
        self.ext = ()
        if event.below is None or self._mixed is None or self._mixed[0] != event.group:
            return ()
        above, self._mixed = self._mixed[1], None
        self._below = event.below
        self.at_hand.add(event.below)
        self.ext = above_ext(above, event.below)
        return self.ext


def mean_alone(made: GroupAveraged, model_bytes: int, ext: Extensions) -> Mean:
    """Return what a peer that is alone in its cell would announce of the root mean *made* there."""
    model = made.model or b""
    return Mean(made.plan, 0, made.group, made.term, made.weight, made.included, model, model_bytes, (), ext)
