"""How a plan's update ends at one peer: one result is applied at most, and one report says so."""

from swarmdem.identifiers import GroupId, ModelHash
from swarmdem.protocol.events import Applied, Apply, Effect, Report, RoundFinished
from swarmdem.protocol.starting import Start
from swarmdem.wire.messages import PROVISIONAL


class Installation:
    """The end of an update.

    Args:
        start: What the update began with.
        group: The group this peer is attached to; None when it is not listed.
    """

    def __init__(self, start: Start, group: GroupId | None) -> None:
        self._start = start
        self.group = group
        self._under_way = False
        self.applied: bool | None = None
        """None while open, True after the result was applied, False when the round was given up."""

    @property
    def open(self) -> bool:
        """Whether the update still waits for a result to apply."""
        return self.applied is None and not self._under_way

    def apply(self, result: ModelHash, *, agents: tuple[int, ...], alone: bool = False) -> list[Effect]:
        """Have *result* applied (eq. 10 at the peer); see `events.Apply` for what goes with it."""
        assert self.open
        assert self.group is not None
        self._under_way = True
        start = self._start
        return [
            Apply(
                plan=start.plan_id,
                round=start.plan.round,
                group=self.group,
                parent=result,
                upload=start.upload,
                time=start.time,
                agents=agents,
                alone=alone,
            )
        ]

    def done(self, answer: Applied) -> list[Effect]:
        """Close the round, if *answer* is the one waited for: the model after eq. 10 is in place."""
        if answer.plan != self._start.plan_id or not self._under_way:
            return []
        self._under_way = False
        return self._finish("", answer.model)

    def give_up(self, reason: str) -> list[Effect]:
        """Close the round without a result, for a *reason* in plain words."""
        return self._finish(reason, None)

    def _finish(self, reason: str, model: ModelHash | None) -> list[Effect]:
        self.applied = not reason
        plan = self._start.plan
        return [
            Report(
                RoundFinished(
                    plan=self._start.plan_id,
                    round=plan.round,
                    certified=plan.mode != PROVISIONAL,
                    applied=self.applied,
                    model=model,
                    group=self.group,
                    reason=reason,
                )
            )
        ]
