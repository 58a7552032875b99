"""What a leader does for its group: gather and average, then mix with the parent's result.

Functions over the desk, called whenever something happened; each does what has become possible and
nothing twice. A second leader in office does the same as the first, from the moment it took office:
if the first leader's mean is still to be had, from the parent's leaders most likely, it announces
that as its own; meanwhile it pulls the inputs by their hashes.

The second leader fetches no copy of every mean in advance: that would be a blob per group and round
for the rare case. It does so on suspicion (`standby`), inputs included.
"""

from collections.abc import Iterator

from msgspec import structs

from swarmdem.identifiers import GroupId, Micros, ModelHash, PeerId, Term
from swarmdem.protocol import events
from swarmdem.protocol.desk import STEP, Desk
from swarmdem.protocol.events import Accumulate, Fetch, FinishMean, Mix
from swarmdem.protocol.gathering import Gathering, Offer
from swarmdem.protocol.remarks import above_of, previous_ext, previous_of, summed_ext, summed_of
from swarmdem.protocol.views import Announced, View
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import Digest, Final, Mean


def up_start(desk: Desk, view: View) -> Micros:
    """Return when the group's first half on the way up began, or will begin at the latest."""
    seen = [
        child.at if (child := desk.views[group].mean()) else view.times.up_start
        for group in view.group.children
    ]
    return min(max(seen, default=view.times.up_start), view.times.up_start)


def down_start(view: View, above: View) -> Micros:
    """Return when the group's first half on the way down began, or will begin at the latest.

    A result announced is not a result at hand: the slowest link that deadlines allow for has the
    time to bring it. Who announced it may also have died before serving it. Then this group's leader
    cuts at the end of this half, before its electors lose patience: otherwise one death would depose
    the leaders of all groups below.
    """
    result = above.final()
    if result is None:
        return view.times.down_start
    return min(result.at + above.times.transfer, view.times.down_start)


def check_office(desk: Desk, view: View) -> None:
    """Take note that the first leader lost its office; step in as the second."""
    if view.deposed or not view.office.deposed():
        return
    view.deposed = True
    for result in (view.means.get(0), view.finals.get(0)):
        if result is not None:
            desk.standing.overtake(result.frame.id)
    if view.rank == 1:
        view.in_office = desk.now


def average(desk: Desk, view: View) -> None:
    """Gather the inputs of a group this peer answers for, and have them averaged when it is time."""
    if not view.acting or view.rank in view.means:
        return
    copy = view.means.get(0)
    if copy is not None and copy.model is not None and copy.model in desk.stock.held:
        _repeat_mean(desk, view, copy.model)
        return
    if view.gathering is None:
        counting = (leaf for leaf in view.group.leaves if leaf not in desk.start.apart)
        view.gathering = Gathering((*counting, *view.group.children))
    if view.gathering.closed:
        return
    _gather(desk, view, view.gathering)
    last = desk.last_mean(view)
    due = last is not None and view.gathering.weight > 0 and desk.stock.awaits(last.model)
    hoped = due or not all(_lost(desk, source) for source in view.gathering.awaited)
    if hoped and not desk.reached(_up_close(desk, view)):
        return
    view.gathering.closed = True
    if hoped and view.gathering.awaited:
        desk.crossings.stuck()  # of one that died this moment too; that is for the others to outvote
    if view.gathering.weight:
        view.previous = last.model if last is not None and last.model in desk.stock.held else None
        desk.effects.append(FinishMean(desk.plan_id, view.group.id, desk.start.time, view.previous))
    else:
        announce_mean(desk, view, None, 0)


def _lost(desk: Desk, source: bytes) -> bool:
    """Return whether nothing of a leaf or child group can come any more: who could send it is gone."""
    child = desk.views.get(GroupId(source))
    if child is None:
        return desk.gone(PeerId(source))
    mean = child.mean(desk.stock.bad)
    return desk.gone(*desk.holders(child, mean)) if mean is not None else headless(desk, child)


def headless(desk: Desk, view: View) -> bool:
    """Return whether nobody can answer for a group any more, as far as can be told.

    Its first leader is gone, and the second too, or too few electors are left to give it the office.
    """
    first, *second = view.office.ranks
    if not desk.gone(first):
        return False
    if view.deposed or view.in_office is not None or not second:
        return not second or desk.gone(*second)
    return desk.gone(*second) or not view.office.deposable(lambda elector: not desk.gone(elector))


def _up_close(desk: Desk, view: View) -> Micros:
    if view.in_office is None:
        return view.times.close(up_start(desk, view))
    above = desk.parent_of(view.group)
    if above is not None and (above.final() or view.in_office >= view.times.down_start):
        return view.in_office + view.times.half // 3  # the rest of the half is for mixing
    return view.times.close(view.in_office)


def _gather(desk: Desk, view: View, gathering: Gathering) -> None:
    for child in view.group.children:  # asked again: a second leader's mean replaces the first's
        offer = child_offer(desk, desk.views[child]) if gathering.awaits(child) else None
        if offer is not None:
            gathering.offer(child, offer)
    for source in tuple(gathering.silent):
        digest = desk.digests.get(PeerId(source))
        if digest is not None:
            gathering.offer(source, leaf_offer(desk, PeerId(source), digest))
    gathering.refuse(desk.stock.bad)
    for model, weight in gathering.take(desk.stock.held):
        desk.effects.append(Accumulate(desk.plan_id, view.group.id, model, weight))


def leaf_offer(desk: Desk, leaf: PeerId, digest: Digest) -> Offer:
    """Return what a leaf's *digest* offers; no weight where its model cannot be had."""
    model = ModelHash(digest.model)
    usable = len(model) == 32 and digest.model_bytes <= desk.charter.blob_max
    if leaf == desk.me and model not in desk.stock.held:
        usable = False  # it was lost with an earlier run of this peer; nobody else can have it
    return Offer(Fetch(model, digest.model_bytes, (leaf,)), digest.weight if usable else 0, (leaf,))


def child_offer(desk: Desk, child: View) -> Offer | None:
    """Return what a child group's mean offers; None before it is announced."""
    mean = child.mean(desk.stock.bad)
    if mean is None:
        return None
    message = mean.message
    assert isinstance(message, Mean)
    fetch = Fetch(ModelHash(message.model), message.model_bytes, desk.holders(child, mean))
    return Offer(fetch, message.weight, message.included)


def announce_mean(
    desk: Desk, view: View, model: ModelHash | None, model_bytes: int, ext: Extensions = ()
) -> None:
    """Announce the mean of what was gathered, and *ext* beside it; None when nothing came in."""
    gathering = view.gathering
    assert gathering is not None
    message = Mean(
        plan=desk.plan_id,
        step=STEP,
        group=view.group.id,
        term=_term(view),
        weight=gathering.weight,
        included=gathering.included,
        model=model or b"",
        model_bytes=model_bytes,
        skips=_proof(view),
        ext=(*previous_ext(view.previous), *ext),
    )
    _announce_mean(desk, view, message, tuple(gathering.inputs))


def _repeat_mean(desk: Desk, view: View, copy: ModelHash) -> None:
    """Announce the first leader's mean, of which this peer has a copy, for term 1."""
    first = view.means[0].message
    assert isinstance(first, Mean)
    message = structs.replace(first, term=_term(view), skips=_proof(view))
    _announce_mean(desk, view, message, ((copy, first.weight),))


def _announce_mean(desk: Desk, view: View, message: Mean, inputs: tuple[tuple[ModelHash, int], ...]) -> None:
    desk.announce(view, message)
    model = ModelHash(message.model) if message.model else None
    desk.report(
        events.GroupAveraged(
            plan=desk.plan_id,
            round=desk.plan.round,
            group=view.group.id,
            level=view.group.level,
            term=message.term,
            model=model,
            weight=message.weight,
            included=message.included,
            inputs=inputs,
            previous=previous_of(message),
            above=above_of(message),
            time=desk.start.time,
        )
    )
    if view.group.parent is None:
        _report_finished(desk, view, model, cut=False, summed=())


def mix(desk: Desk, view: View) -> None:
    """Make the result of a group this peer answers for, from its mean and the parent's result (eq. 10)."""
    if not view.acting:
        return
    above = desk.parent_of(view.group)
    mean = view.means.get(_term(view))
    if above is None or mean is None or view.mixing or _term(view) in view.finals:
        return
    result = above.final(desk.stock.bad)
    if result is not None and result.model is not None:
        if result.model in desk.stock.held:
            if mean.model is None:
                passed = _above(above, result) if desk.charter.pull_to == "all" else ()
                announce_final(desk, view, result.model, result.message.model_bytes, summed=passed)
            else:
                view.mixing = True
                if desk.charter.pull_to == "all":
                    view.summed = (len(view.group.members), *_above(above, result))
                desk.effects.append(_mix_order(desk, view, above, mean.model, result))
            return
        started = max(down_start(view, above), view.in_office or 0)
        if not desk.reached(view.times.close(started)):
            return
        desk.missed.add(result.model)
        desk.crossings.stuck()
    elif result is None and not headless(desk, above) and not desk.reached(view.times.down_start):
        return
    announce_final(desk, view, mean.model, mean.message.model_bytes, cut=True)


def _mix_order(desk: Desk, view: View, above: View, mean: ModelHash, result: Announced) -> Mix:
    assert result.model is not None
    return Mix(
        plan=desk.plan_id,
        group=view.group.id,
        mean=mean,
        parent=result.model,
        time=desk.start.time,
        agents=len(view.group.members),
        above=_above(above, result)[0],
    )


def _above(above: View, result: Announced) -> tuple[int, ...]:
    """Return N of the groups whose models the *result* of the parent carries, the nearest first."""
    return summed_of(result.message) or (len(above.group.members),)


def announce_final(
    desk: Desk,
    view: View,
    model: ModelHash | None,
    model_bytes: int,
    *,
    cut: bool = False,
    summed: tuple[int, ...] = (),
) -> None:
    """Announce the group's result; None when there is neither a mean nor a result of the parent."""
    mean = view.means[_term(view)]
    desk.standing.overtake(mean.frame.id)
    message = Final(
        plan=desk.plan_id,
        step=STEP,
        group=view.group.id,
        term=_term(view),
        cut=cut,
        model=model or b"",
        model_bytes=model_bytes if model else 0,
        skips=_proof(view),
        ext=summed_ext(summed),
    )
    desk.announce(view, message)
    _report_finished(desk, view, model, cut=cut, summed=summed)


def _report_finished(
    desk: Desk, view: View, model: ModelHash | None, *, cut: bool, summed: tuple[int, ...]
) -> None:
    if model is not None:
        desk.report(
            events.GroupFinished(
                plan=desk.plan_id,
                round=desk.plan.round,
                group=view.group.id,
                level=view.group.level,
                term=_term(view),
                cut=cut,
                model=model,
                summed=summed,
            )
        )


def inputs_needed(desk: Desk, view: View) -> Iterator[Fetch]:
    """Yield what this peer must fetch for the mean it is gathering."""
    gathering = view.gathering
    if gathering is None or gathering.closed or not view.acting or view.rank in view.means:
        return
    yield from gathering.fetches.values()
    last = desk.last_mean(view)
    if last is not None:
        yield Fetch(last.model, last.model_bytes, desk.sources(last.holders))


def results_needed(desk: Desk, view: View) -> Iterator[Fetch]:
    """Yield the results this peer must fetch as a leader: a fallen one's mean, and one to mix with."""
    if not view.acting:
        return
    above = desk.parent_of(view.group)
    if view.rank == 1 and 1 not in view.means:
        yield from fallen_mean(desk, view)
    result = above.final(desk.stock.bad) if above else None
    if above and result and result.model and not view.mixing and _term(view) not in view.finals:
        yield Fetch(result.model, result.message.model_bytes, desk.holders(above, result))


def fallen_mean(desk: Desk, view: View) -> Iterator[Fetch]:
    """Yield the first leader's mean: its parent's leaders have it, or other holders."""
    mean, above = view.means.get(0), desk.parent_of(view.group)
    if mean is not None and mean.model is not None:
        takers = above.office.ranks if above is not None else ()
        sources = dict.fromkeys((mean.frame.sender, *takers, *desk.holders(view, mean)))
        yield Fetch(mean.model, mean.message.model_bytes, tuple(p for p in sources if p != desk.me))


def unknown_sources(view: View) -> Iterator[bytes]:
    """Yield the direct leaves and child groups that offered nothing yet to this leader."""
    if view.gathering is not None and not view.gathering.closed:
        yield from view.gathering.silent


def owes_result(desk: Desk, view: View) -> bool:
    """Return whether this peer still has to announce the group's result."""
    results = view.means if view.group.parent is None else view.finals
    return view.acting and view.rank not in results and desk.now < view.times.end


def _term(view: View) -> Term:
    assert view.rank is not None
    return view.rank


def _proof(view: View) -> tuple[bytes, ...]:
    return view.office.proof() if view.rank == 1 else ()
