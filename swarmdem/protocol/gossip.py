"""The update without aggregators: each peer averages with a few neighbours (`update = gossip`).

D-PSGD (Lian et al., arXiv 1705.09056): x_i <- sum_j W_ij x_j with W symmetric and doubly stochastic.
Here W is that of a circulant graph: the listed peers stand on a ring in an order drawn anew by each
plan, and each averages, all with weight 1, with those 1 to neighbours / 2 places to either side. The
graph is regular, undirected and connected, and changes each round; of no more than neighbours + 1
peers each has all others. Deviation: the paper averages while the gradient is computed; here local
training of some epochs is between two averages.

Everybody pulls its neighbours' models by the names in their certified digests; there is nothing to
announce. Who has a neighbour's model acknowledges its digest, so that a peer knows when it may leave.
A neighbour whose model is not here after

    patience / 4 + 2 x neighbours x model bytes / min_rate

is left out: that row of W is divided by what it still has, so it sums to 1 but its column no longer
does, and the mean over all peers moves a little. A peer set apart takes from its neighbours and gives
them nothing. A peer without a model of its own takes the mean of its neighbours. With no neighbours
(strategy `local`, or a swarm of one) each peer's trained model becomes its own.

The same doors as `update.Update`, towards the core.
"""

from collections.abc import Iterable
from hashlib import blake2b

from swarmdem.identifiers import SECOND, FrameId, GroupId, Micros, ModelHash, PeerId, PlanId, Term
from swarmdem.protocol import events
from swarmdem.protocol.conduct import Report
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Fetch
from swarmdem.protocol.gathering import Gathering, Offer
from swarmdem.protocol.installation import Installation
from swarmdem.protocol.starting import Legacy, Start
from swarmdem.protocol.stock import Stock, together
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Ack, Digest


def neighbours(me: PeerId, peers: Iterable[PeerId], *, base: bytes, degree: int) -> tuple[PeerId, ...]:
    """Return the neighbours of *me* among *peers* (itself included); sorted.

    Args:
        me: One of *peers*.
        peers: The listed.
        base: What their plan follows; seeds the ring.
        degree: Even number of neighbours.
    """
    ring = rank(peers, base + b"gossip")
    if len(ring) <= degree + 1:
        return tuple(sorted(peer for peer in ring if peer != me))
    place = ring.index(me)
    offsets = (sign * offset for offset in range(1, degree // 2 + 1) for sign in (-1, 1))
    return tuple(sorted(ring[(place + offset) % len(ring)] for offset in offsets))


def neighbourhood(plan: PlanId, me: PeerId) -> GroupId:
    """Return the name of a peer with its neighbours in one plan: that of its running sum."""
    return GroupId(blake2b(plan + me, digest_size=16, person=b"sd/gossip").digest())


class GossipUpdate:
    """One plan's update by gossip; one object per plan, dropped when the next certificate comes."""

    def __init__(self, start: Start) -> None:
        """Take part in the plan of *start*."""
        self._start = start
        self._me = start.sealer.peer
        self._name = neighbourhood(start.plan_id, self._me)
        self._digests = dict(start.digests)
        self._named = {entry.peer: FrameId(entry.digest) for entry in start.plan.entries if entry.listed}
        self._install = Installation(start, start.hierarchy.parent_of(self._me))
        self._neighbours = self._find_neighbours()
        own = (self._me,) if start.upload is not None and self._neighbours else ()
        self._gathering = Gathering((*own, *(p for p in self._neighbours if p not in start.apart)))
        self._stock = Stock([start.upload] if start.upload else [])
        gives = start.upload is not None and self._me not in start.apart
        self._unserved = set(self._neighbours) if gives else set()
        charter = start.charter
        transfer = 2 * len(self._neighbours) * charter.model_bytes * SECOND // charter.min_rate
        self._end = start.now + charter.patience_us // 4 + transfer
        self._given_up_at = self._end + charter.patience_us
        self._served_by = self._end + charter.patience_us // 4  # others may have begun later
        self._wake: Micros | None = None

    def _find_neighbours(self) -> tuple[PeerId, ...]:
        start = self._start
        if self._install.group is None:
            return ()
        members, degree = start.hierarchy.root.members, start.charter.neighbours
        return neighbours(self._me, members, base=start.plan.base, degree=degree)

    # What the core asks

    @property
    def applied(self) -> bool | None:
        """None while open, True after the result was applied, False when the round was given up."""
        return self._install.applied

    @property
    def duties(self) -> tuple[tuple[GroupId, Term], ...]:
        """Nobody leads."""
        return ()

    @property
    def idle(self) -> bool:
        """The round is over here, and every neighbour has this peer's model or gave up on it."""
        return self.applied is not None and not self._unserved

    @property
    def models(self) -> tuple[ModelHash, ...]:
        """The models this peer holds and may still need or serve; sorted."""
        return self._stock.models

    @property
    def legacy(self) -> Legacy | None:
        """Without groups nothing is left for the next update."""
        return None

    def report(self, capability: int) -> Report:
        """Return what the next digest of this peer says beside its *capability*: nobody leads here."""
        return Report(capability)

    def next_wakeup(self) -> Micros | None:
        """Return when `on_wake` is due; always later than the `now` of the last call."""
        return self._wake

    def missing_digests(self) -> tuple[FrameId, ...]:
        """Return the neighbours' digests that this peer does not hold."""
        if self._gathering.closed:
            return ()
        return tuple(self._named[PeerId(peer)] for peer in self._gathering.silent)

    # What happens

    def begin(self) -> list[Effect]:
        """Start: called once, first."""
        effects = self._install.give_up("not listed") if self._install.group is None else []
        return effects + self._advance(self._start.now)

    def on_frame(self, frame: Frame, now: Micros) -> list[Effect]:
        """Take the `Ack` of a neighbour that has this peer's model; there is nothing else to hear."""
        if isinstance(frame.message, Ack) and frame.message.frame == self._named.get(self._me):
            self._unserved.discard(frame.sender)
        return []

    def on_digest(self, peer: PeerId, digest: Digest, now: Micros) -> list[Effect]:
        """Take a listed digest that this peer lacked."""
        self._digests.setdefault(peer, digest)
        return self._advance(now)

    def on_fetched(self, model: ModelHash, now: Micros) -> list[Effect]:
        """Take note that *model* is here, whole and verified."""
        return self._advance(now) if self._stock.arrived(model) else []

    def on_fetch_failed(self, model: ModelHash, now: Micros) -> list[Effect]:
        """Take note that *model* must not be used."""
        return self._advance(now) if self._stock.refused(model) else []

    def on_averaged(self, averaged: events.Averaged, now: Micros) -> list[Effect]:
        """Apply the mean that `FinishMean` asked for."""
        if averaged.plan != self._start.plan_id or averaged.group != self._name or not self._install.open:
            return []
        self._stock.held.add(averaged.model)
        included = self._gathering.included
        report = events.NeighboursAveraged(
            plan=self._start.plan_id,
            round=self._start.plan.round,
            model=averaged.model,
            included=included,
            inputs=tuple(self._gathering.inputs),
            silent=tuple(peer for peer in self._neighbours if peer not in included),
            time=self._start.time,
        )
        applying = self._install.apply(averaged.model, agents=(len(included),))
        return [events.Report(report), *applying, *self._advance(now)]

    def on_mixed(self, mixed: events.Mixed, now: Micros) -> list[Effect]:
        """Nothing is mixed."""
        return []

    def on_applied(self, applied: events.Applied, now: Micros) -> list[Effect]:
        """Close the round: the own model is in place. The upload is served until the next certificate."""
        closed = self._install.done(applied)
        if not closed:
            return []
        self._stock.held &= {self._start.upload}
        return [*closed, events.Keep(self.models), *self._advance(now)]

    def on_wake(self, now: Micros) -> list[Effect]:
        """Do what time has made due."""
        return self._advance(now)

    def drop(self) -> list[Effect]:
        """End the update: a newer certificate is in force. Nothing may be asked of it afterwards."""
        return [*self._stock.stop(), events.EndUpdate(self._start.plan_id)]

    def _advance(self, now: Micros) -> list[Effect]:
        """Do all that has become possible at *now* and find out when to look again."""
        effects: list[Effect] = []
        fetches: Iterable[Fetch] = ()
        self._wake = None
        if self._install.open and not self._gathering.closed:
            effects += self._gather()
            if self._gathering.complete or now >= self._end:
                effects += self._conclude()
            else:
                fetches, self._wake = self._gathering.fetches.values(), self._end
        elif self._install.open and now >= self._given_up_at:
            effects += self._install.give_up("the mean did not come")
        effects += self._stock.order(together(fetch for fetch in fetches if self._stock.awaits(fetch.model)))
        if now >= self._served_by:
            self._unserved.clear()
        elif self._unserved and self._wake is None:
            self._wake = self._served_by
        if self._wake is None and self._install.open:
            self._wake = self._given_up_at
        return effects

    def _gather(self) -> list[Effect]:
        gathering = self._gathering
        for source in tuple(gathering.silent):
            digest = self._digests.get(PeerId(source))
            if digest is not None:
                gathering.offer(source, self._offer(PeerId(source), digest))
        gathering.refuse(self._stock.bad)
        known = set(gathering.included)
        taken = gathering.take(self._stock.held)
        plan, name, me = self._start.plan_id, self._name, self._me
        effects: list[Effect] = [events.Accumulate(plan, name, model, weight) for model, weight in taken]
        for peer in gathering.included:
            if peer not in known and peer != me:
                ack = self._start.sealer.seal(Ack(frame=self._named[peer]))
                effects.append(events.Send(peer, ack))
        spent = {model for model, _ in taken} - {self._start.upload}
        if spent:
            self._stock.held -= spent
            effects.append(events.Keep(self.models))
        return effects

    def _offer(self, peer: PeerId, digest: Digest) -> Offer:
        model = ModelHash(digest.model)
        usable = len(model) == 32 and digest.model_bytes <= self._start.charter.blob_max and digest.weight > 0
        return Offer(Fetch(model, digest.model_bytes, (peer,)), int(usable), (peer,))

    def _conclude(self) -> list[Effect]:
        """Have what came averaged; without any neighbour's model the own one stands."""
        gathering, upload = self._gathering, self._start.upload
        gathering.closed = True
        if set(gathering.included) - {self._me}:
            return [events.FinishMean(self._start.plan_id, self._name, self._start.time)]
        if upload is not None:
            return self._install.apply(upload, agents=(1,), alone=True)
        return self._install.give_up("nothing was averaged")
