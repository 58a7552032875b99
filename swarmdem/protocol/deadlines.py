"""When each group of a tree must have answered: deadlines nested over the levels.

Every group gets two halves of h(g) on the way up and two on the way down: one for each of its two
leaders. A group's window opens at the latest when its children's closes, so a dead group delays
its ancestors by its own window and no more:

    h(g)   = patience / 4 + inputs(g) x model bytes / min_rate
    up(g)  = max up(children) + 2 h(g),  up(peer) = 0
    down(root) = up(root) + 2 h(root),   down(g) = down(parent) + 2 h(g)

The group's own mean of the round before is one more input where group models are moving averages
(eq. 3), and all counts twice where results carry the sum over the groups above (`pull_to = all`).

All follows from the plan and the charter; the model's size is that of the charter's schema, so that
no digest can stretch a deadline. Where models cross more slowly than at `min_rate`, the plan says how
long one takes, as most peers have seen it (`conduct.py`). Times are on the clock `began` is on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.identifiers import GroupId, Micros
from swarmdem.protocol.hierarchy import Hierarchy
from swarmdem.protocol.starting import moving
from swarmdem.wire.charter import Charter


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The times of one group."""

    half: Micros
    """h(g): how long one leader has."""
    transfer: Micros
    """The part of it in which all inputs cross, or the result reaches as many, at the slowest rate."""
    up_start: Micros
    """The way up starts at the latest now: no child's mean is due later."""
    up: Micros
    """The mean is due."""
    down_start: Micros
    """The way down starts at the latest now: the parent's result is due (at the root: the mean)."""
    down: Micros
    """The group's result is due."""

    @property
    def end(self) -> Micros:
        """Results that come later are ignored: half a window is left to fetch one that was in time."""
        return self.down + self.half

    def close(self, start: Micros) -> Micros:
        """Return when a leader whose half began at *start* answers with what it has.

        A third of the half is left for its answer to travel, so that a missing input does not cost
        the leader its office.
        """
        return start + self.half - self.half // 3


def deadlines(
    hierarchy: Hierarchy, charter: Charter, *, began: Micros, model_us: Micros | None = None
) -> Mapping[GroupId, Deadlines]:
    """Return the times of every group of an update.

    Args:
        hierarchy: Tree of the plan.
        charter: The swarm's settings.
        began: When the update began.
        model_us: How long one model takes to cross, as the plan says; None: as the charter says.
    """
    model_us = charter.transfer_us if model_us is None else model_us
    more = int(moving(charter))
    inputs = {group.id: len(group.leaves) + len(group.children) + more for group in hierarchy.groups}
    transfers = {group: count * model_us for group, count in inputs.items()}
    halves = {group: charter.patience_us // 4 + transfer for group, transfer in transfers.items()}
    starts: dict[GroupId, Micros] = {}
    ups: dict[GroupId, Micros] = {}
    for group in reversed(hierarchy.groups):
        starts[group.id] = max((ups[child] for child in group.children), default=began)
        ups[group.id] = starts[group.id] + 2 * halves[group.id]
    times: dict[GroupId, Deadlines] = {}
    for group in hierarchy.groups:
        down_start = ups[group.id] if group.parent is None else times[group.parent].down
        times[group.id] = Deadlines(
            half=halves[group.id],
            transfer=transfers[group.id],
            up_start=starts[group.id],
            up=ups[group.id],
            down_start=down_start,
            down=down_start + 2 * halves[group.id],
        )
    return times
