"""What a second leader fetches before it is called on: nothing in calm, all it would need on suspicion.

To fetch every input in every round would make members upload twice for the rare case. So the second
leader stays cold while the first is on time, and warms up as soon as there is cause: the first leader
is taken for gone, an elector has skipped it, or it is late by a sixth of the time it had. Then
the electors' patience is used to fetch what the office needs, by name: the first leader's mean where it
was announced (its parent's leaders have it), the inputs where it was not. What is here when the office
changes hands need not cross again, and what the first leader announces after all ends the fetching.
"""

from collections.abc import Iterator

from swarmdem.identifiers import PeerId
from swarmdem.protocol import leading
from swarmdem.protocol.desk import Desk
from swarmdem.protocol.events import Fetch
from swarmdem.protocol.views import View


def prefetches(desk: Desk, view: View) -> Iterator[Fetch]:
    """Yield what this peer, standing by for a group, should have at hand by now."""
    if view.rank != 1 or view.acting or desk.now >= view.times.down:
        return
    mean = view.means.get(0)
    if mean is None:
        if _in_doubt(desk, view, leading.up_start(desk, view)):
            yield from _inputs(desk, view)
        return
    above = desk.parent_of(view.group)
    if above is None or 0 in view.finals or not _in_doubt(desk, view, leading.down_start(view, above)):
        return
    yield from leading.fallen_mean(desk, view)
    result = above.final(desk.stock.bad)
    if result is not None and result.model is not None:
        yield Fetch(result.model, result.message.model_bytes, desk.holders(above, result))


def _in_doubt(desk: Desk, view: View, start: int) -> bool:
    """Return whether there is cause to think that the first leader, whose half began at *start*, fails."""
    late = view.times.close(start) + view.times.half // 6
    return view.office.accused or desk.gone(view.office.ranks[0]) or desk.reached(late)


def _inputs(desk: Desk, view: View) -> Iterator[Fetch]:
    offers = [leading.child_offer(desk, desk.views[child]) for child in view.group.children]
    for leaf in view.group.leaves:
        digest = desk.digests.get(PeerId(leaf))
        if digest is not None and leaf not in desk.start.apart:
            offers.append(leading.leaf_offer(desk, leaf, digest))
    yield from (offer.fetch for offer in offers if offer is not None and offer.weight)
