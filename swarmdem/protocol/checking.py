"""What makes an announced result of a group unacceptable, before anything is fetched."""

from collections.abc import Iterator
from itertools import pairwise

from swarmdem.protocol.desk import STEP, Desk
from swarmdem.protocol.remarks import summed_of
from swarmdem.protocol.views import View
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Final, GroupSkip, Mean

WEIGHT_MAX = 0xFFFFFFFF
"""Most that a digest may claim."""
SKIPPED = "this peer skipped its term"


def flaw(desk: Desk, view: View, frame: Frame, message: Mean | Final) -> str:
    """Return why a result of the viewed group is refused; empty when it is acceptable.

    The right to answer comes first and the proof of a second leader's right last: it costs
    signature checks, and only that leader can make us pay for them.
    """
    ranks = view.office.ranks
    if message.term >= len(ranks) or ranks[message.term] != frame.sender:
        return "not the leader of this term"
    if message.term == 0 and view.skip is not None:
        return SKIPPED
    if len(message.model) not in {0, 32}:
        return "the name of its model is malformed"
    if message.model_bytes > desk.charter.blob_max:
        return "its model is too large"
    wrong = _size_flaw(desk, view, message)
    if wrong:
        return wrong
    wrong = _mean_flaw(desk, view, message) if isinstance(message, Mean) else _final_flaw(view)
    if wrong:
        return wrong
    expected = GroupSkip(plan=desk.plan_id, step=STEP, group=view.group.id, term=0)
    if message.term == 1 and not view.office.verify(message.skips, expected, desk.sealer.open):
        return "its skips do not give it the office"
    return ""


def _size_flaw(desk: Desk, view: View, message: Mean | Final) -> str:
    """A model is of the schema's size, or of twice that: a result that sums up several groups' models."""
    summed = summed_of(message)
    if summed and (isinstance(message, Mean) or message.cut or desk.charter.pull_to != "all"):
        return "it sums up models where none are asked for"
    way = _numbers_above(desk, view)
    if not all(agents in way for agents in summed):  # `in` goes on where the last one was found
        return "it sums up other groups than those above"
    size = desk.charter.model_bytes * (2 if len(summed) > 1 else 1)
    good = message.model_bytes == size or (len(summed) < 2 and desk.charter.fits(message.model_bytes))
    if message.model and desk.charter.schema and not good:
        return f"its model has {message.model_bytes} bytes instead of {size}"
    return ""


def _numbers_above(desk: Desk, view: View) -> Iterator[int]:
    """Yield N of the viewed group and of all above it."""
    group = view.group
    yield len(group.members)
    while group.parent is not None:
        group = desk.hierarchy.group(group.parent)
        yield len(group.members)


def _mean_flaw(desk: Desk, view: View, mean: Mean) -> str:
    if not bool(mean.weight) == bool(mean.model) == bool(mean.included):
        return "weight, model and peers included contradict each other"
    if not all(a < b for a, b in pairwise(mean.included)) or not set(mean.included) <= set(
        view.group.members
    ):
        return "peers included are not a sorted part of the group"
    if not desk.start.apart.isdisjoint(mean.included):
        return "it includes a peer that is set apart"
    digests = [desk.digests.get(peer) for peer in mean.included]
    known = sum(digest.weight for digest in digests if digest)
    if not known <= mean.weight <= known + digests.count(None) * WEIGHT_MAX:
        return "its weight is not that of the peers included"
    return ""


def _final_flaw(view: View) -> str:
    return "the root's result is its mean" if view.group.parent is None else ""
