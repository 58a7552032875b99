"""When an elector gives up on a group's first leader and skips it.

Functions over the desk. An elector's patience is one half h(g), on the way up and again on the way
down, counted from the moment its leader could have answered; longer where the elector's own timing is
bad, and over at once for a leader that is taken for gone (`suspicion`). A skip is for good: the
elector refuses what the skipped leader says afterwards, even if too few others agree to depose it.
"""

from swarmdem.identifiers import Micros
from swarmdem.protocol import leading
from swarmdem.protocol.desk import STEP, Desk
from swarmdem.protocol.events import Publish
from swarmdem.protocol.views import View
from swarmdem.wire.messages import GroupSkip


def accuse_the_late(desk: Desk) -> bool:
    """Skip the first leaders that are late; return whether any was."""
    accused = False
    for view in desk.views.values():
        when = _late_at(desk, view)
        if when is None or desk.now >= view.times.down or not desk.reached(when):
            continue
        frame = desk.sealer.seal(GroupSkip(plan=desk.plan_id, step=STEP, group=view.group.id, term=0))
        view.skip = frame.id
        view.office.record(frame)
        desk.effects.append(Publish(frame))
        second = {view.office.ranks[1]} - {desk.me}
        desk.standing.add(frame, missing=second, now=desk.now, until=view.times.down)
        accused = True
    return accused


def _late_at(desk: Desk, view: View) -> Micros | None:
    """Return when this elector's patience with the group's first leader ends; None: not now."""
    if not view.elector or view.skip is not None or view.deposed or len(view.office.ranks) < 2:
        return None
    result = view.final(desk.stock.bad)
    if result is not None:  # announced is not enough: its leader may have died before anybody had it
        if result.model not in desk.stock.pending and result.model not in desk.missed:
            return None
        # Who has just taken office, or stands by in doubt, asks for it only now.
        return max(result.at, desk.crossings.began(result.model)) + desk.stretched(view.times.half)
    if desk.gone(view.office.ranks[0]):
        return desk.now
    above, patience = desk.parent_of(view.group), desk.stretched(view.times.half)
    if view.mean() is None and not (above and above.final()) and _input_announced(desk, view):
        return leading.up_start(desk, view) + patience
    return leading.down_start(view, above) + patience if above else None


def _input_announced(desk: Desk, view: View) -> bool:
    seats = (child for child in view.group.children if desk.me in desk.leaders[child])
    return desk.me in view.group.leaves or any(desk.views[child].mean() for child in seats)
