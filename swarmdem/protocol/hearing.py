"""What a peer makes of the frames of others in one update: results, skips and second answers.

Functions over the desk; each records what was said or refuses it, and decides nothing.
"""

from swarmdem.identifiers import FrameId, PeerId
from swarmdem.protocol.checking import SKIPPED, flaw
from swarmdem.protocol.desk import Desk
from swarmdem.protocol.events import Equivocated, Send
from swarmdem.protocol.views import Announced, View
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Ack, Final, Mean


def hear_skip(desk: Desk, view: View, frame: Frame) -> None:
    """Count an elector's skip of the group's first leader."""
    if not view.office.elects(frame.sender):
        desk.reject(frame, "not an elector of this group")
        return
    view.office.record(frame)
    if view.rank == 1:
        _acknowledge(desk, frame.id, frame.sender)


def hear_result(desk: Desk, view: View, frame: Frame, message: Mean | Final) -> None:
    """Accept a result of the viewed group, or refuse it."""
    results = view.results(type(message))
    known = results.get(message.term)
    mine = desk.me in desk.receivers(view.group, message)
    if known is not None and known.frame.id == frame.id:
        if mine and not known.owed:
            _acknowledge(desk, frame.id, frame.sender)
        return
    wrong = flaw(desk, view, frame, message)
    if wrong:
        desk.reject(frame, wrong)
        if wrong is SKIPPED and mine:
            _acknowledge(desk, frame.id, frame.sender)  # no use in repeating it to me
    elif known is not None:
        _second_answer(desk, view, known, frame)
    elif (message.term == 0 and view.deposed) or desk.now >= view.times.end:
        if mine:
            _acknowledge(desk, frame.id, frame.sender)  # overtaken or too late: no need to repeat it
    else:
        results[message.term] = Announced(frame, message, desk.now, owed=mine)
        if message.term == 1 and view.skip is not None:
            desk.standing.overtake(view.skip)


def acknowledge_held(desk: Desk) -> None:
    """Acknowledge the results whose models are here, or not needed here."""
    for view in desk.views.values():
        for result in (*view.means.values(), *view.finals.values()):
            if result.owed and result.model not in desk.stock.pending:
                result.owed = False
                _acknowledge(desk, result.frame.id, result.frame.sender)


def _second_answer(desk: Desk, view: View, known: Announced, frame: Frame) -> None:
    """Refuse a second result of one leader for one term; within one session it is a crime."""
    desk.reject(frame, "a second result for one term")
    accused = (frame.sender, view.group.id)
    if known.frame.session == frame.session and known.message != frame.message:
        if accused not in desk.convicted:
            desk.report(Equivocated(frame.sender, known.frame.id, frame.id))
        desk.convicted.add(accused)


def _acknowledge(desk: Desk, frame: FrameId, sender: PeerId) -> None:
    desk.effects.append(Send(sender, desk.sealer.seal(Ack(frame=frame))))
