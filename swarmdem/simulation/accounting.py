"""Exact accounts of the hierarchical update: who is in which mean, and who applied what.

Means and mixtures are recomputed from the uploads that the certificate names, in fractions. Since
no two uploads are equal, a mean that counts one twice, misses one it claims, or takes one from
another plan cannot come out right. Where gain or gamma make of a mean something else (Dem-AI eq. 3),
each is recomputed from its own inputs. Under gossip every peer's mean is that of its neighbours.
"""

from fractions import Fraction

from swarmdem.identifiers import GroupId, ModelHash, PeerId, PlanId, Round, brief
from swarmdem.protocol.events import Apply, GroupAveraged, GroupFinished, NeighboursAveraged, RoundFinished
from swarmdem.protocol.gossip import neighbours
from swarmdem.protocol.hierarchy import Group, Hierarchy
from swarmdem.protocol.plans import plan_time
from swarmdem.protocol.remarks import above_ext, above_of
from swarmdem.simulation import models
from swarmdem.simulation.evidence import Broken, Evidence, KnownPlan
from swarmdem.simulation.models import MODEL_BYTES
from swarmdem.wire.messages import Final, Mean


class Accounting:
    """The checks of the update; raises `Broken`."""

    def __init__(self, evidence: Evidence) -> None:
        self._said = evidence
        tables = dict(evidence.charter.schedules)
        self._plain = not tables.keys() & {"gamma", "gain"}
        """A mean is the mean of the uploads below it, whatever the level."""
        self._installed: set[tuple[PeerId, PlanId]] = set()
        self._written: set[tuple[PeerId, bytes]] = set()
        """Whose results are on record as applied."""
        self._gossiped: dict[tuple[PeerId, PlanId], ModelHash] = {}
        """Each peer's mean with its neighbours."""
        self._rounds: dict[PeerId, Round] = {}
        self._spoiled: set[PlanId] = set()
        """Plans in which a liar gave a group two results: nothing is promised about their models."""

    def on_mean(self, peer: PeerId, mean: Mean) -> None:
        """Check an announced MEAN: by the right peer, of the peers it names, exact (eq. 9)."""
        known, group = self._group(mean.plan, mean.group, "MEAN")
        self._must_lead(known, mean.group, mean.term, peer)
        key = (mean.plan, mean.group, mean.term)
        earlier = self._said.means.setdefault(key, mean)
        if (earlier.model, earlier.included) != (mean.model, mean.included) and not self._spoils(peer, known):
            raise Broken(
                "one result per group and term", f"two MEANs of {brief(mean.group)}, term {mean.term}"
            )
        if mean.plan in self._spoiled:
            return
        apart = {peer for peer, standing in known.base.state.standing.items() if standing.apart}
        stray = set(mean.included) - (set(group.members) - apart)
        if stray or len(set(mean.included)) != len(mean.included):
            raise Broken(
                "each input counts once", f"MEAN of {brief(mean.group)} includes strangers or doubles"
            )
        uploads = [self._uploaded(known, member) for member in mean.included]
        total = sum(weight for _, weight in uploads)
        if total != mean.weight or (not total) != (not mean.model):
            raise Broken("weights add up", f"MEAN of {brief(mean.group)} says {mean.weight}, is {total}")
        if not self._plain or not total:
            return
        vector, above = models.mean(uploads), above_of(mean)
        if above is not None:
            vector = models.mixed(self._said.book[above], vector, self._share(known, "mixing"))
        if self._said.book[ModelHash(mean.model)] != vector:
            raise Broken("a mean is the mean of what it includes (eq. 9)", f"group {brief(mean.group)}")

    def on_averaged(self, peer: PeerId, event: GroupAveraged) -> None:
        """Check the inputs of a mean: direct leaves' uploads and children's means, each once.

        The second leader may announce the first's mean, whole, as its own. A leader that needs no
        message to be understood (a group of one) announces nothing: its report stands for that.
        """
        known, group = self._group(event.plan, event.group, "mean")
        model = event.model or ModelHash(b"")
        ext = () if event.above is None else above_ext(event.above, model)
        self.on_mean(
            peer,
            Mean(
                event.plan,
                0,
                event.group,
                event.term,
                event.weight,
                event.included,
                model,
                MODEL_BYTES,
                (),
                ext,
            ),
        )
        if event.plan in self._spoiled:
            return
        self._must_average(known, event)
        leaves = [self._said.upload(known, leaf) for leaf in group.leaves]
        open_inputs = [{ModelHash(digest.model)} for digest in leaves if digest is not None]
        open_inputs += [self._means_of(event.plan, child) for child in group.children]
        if event.term == 1 and len(event.inputs) == 1:
            first = self._said.means.get((event.plan, event.group, 0))
            open_inputs += [{ModelHash(first.model)}] if first is not None else []
        for model, _ in event.inputs:
            slot = next((slot for slot in open_inputs if model in slot), None)
            if slot is None:
                raise Broken(
                    "each input counts once in a MEAN, each child once in its parent's",
                    f"peer {brief(peer)}, group {brief(event.group)}, model {brief(model)}",
                )
            open_inputs.remove(slot)

    def _must_average(self, known: KnownPlan, event: GroupAveraged) -> None:
        """Check eq. 9, the gain and Dem-AI eq. 3 from the inputs, which hold at every level."""
        if not event.weight or event.model is None:
            return
        first = self._said.means.get((event.plan, event.group, 0))
        # A lone upload may be the first leader's mean and still be moved by the second: the outcome tells.
        repeated = (
            first is not None
            and (event.term, event.model) == (1, first.model)
            and event.inputs == ((first.model, first.weight),)
        )
        vector = models.mean([(self._said.book[model], weight) for model, weight in event.inputs])
        if not repeated:
            vector = models.amplified(vector, self._share(known, "gain"))
            if event.previous is not None:
                self._must_be_last(known, event.group, event.previous)
                vector = models.moved(self._said.book[event.previous], vector, self._share(known, "gamma"))
            if event.above is not None:
                vector = models.mixed(self._said.book[event.above], vector, self._share(known, "mixing"))
        if self._said.book[event.model] != vector:
            raise Broken(
                "a mean follows from its inputs (eq. 9, Dem-AI eq. 3)", f"group {brief(event.group)}"
            )

    def _must_be_last(self, known: KnownPlan, group: GroupId, previous: ModelHash) -> None:
        if previous not in self._means_of(PlanId(known.plan.base), group):
            raise Broken("a group's model moves on from its last mean", f"group {brief(group)}")

    def on_finished(self, peer: PeerId, event: GroupFinished) -> None:
        """Check the result of a group; the root's was its mean."""
        _, group = self._group(event.plan, event.group, "result")
        if group.parent is not None:
            final = Final(event.plan, 0, event.group, event.term, event.cut, event.model, MODEL_BYTES, ())
            self.on_final(peer, final)

    def on_final(self, peer: PeerId, final: Final) -> None:
        """Check an announced FINAL: the root's mean, a cut group's mean, or eq. 10."""
        known, group = self._group(final.plan, final.group, "FINAL")
        self._must_lead(known, final.group, final.term, peer)
        key = (final.plan, final.group, final.term)
        earlier = self._said.finals.setdefault(key, final)
        if (earlier.model, earlier.cut) != (final.model, final.cut) and not self._spoils(peer, known):
            raise Broken(
                "one result per group and term", f"two FINALs of {brief(final.group)}, term {final.term}"
            )
        if final.plan in self._spoiled:
            return
        means = self._announced_means(final.plan, final.group)
        own = {ModelHash(mean.model) for mean in means if mean.weight}
        empty = any(not mean.weight for mean in means)
        model = ModelHash(final.model)
        if not model and empty:
            return
        if group.parent is None or final.cut:
            if model not in own:
                raise Broken("a root's or cut group's FINAL is its MEAN", f"group {brief(final.group)}")
            return
        above = [model for _, model in self._said.results(known, group.parent)]
        book = self._said.book
        fits = {book[a] for a in above} if empty else set()
        fits |= {
            models.mixed(book[a], book[mine], self._share(known, "mixing")) for a in above for mine in own
        }
        if model not in book or book[model] not in fits:
            raise Broken(
                "a FINAL mixes the parent's FINAL with the MEAN (eq. 10)", f"group {brief(final.group)}"
            )

    def on_apply(self, peer: PeerId, order: Apply) -> None:
        """Check that what is about to be applied is this plan's, for this peer, and not skipped."""
        known, group = self._group(order.plan, order.group, "APPLY")
        assert isinstance(known.tree, Hierarchy)
        if known.tree.parent_of(peer) != order.group:
            raise Broken(
                "a peer applies its parent's result", f"peer {brief(peer)}, group {brief(order.group)}"
            )
        if self._said.charter.update == "gossip":
            self._must_be_gossiped(peer, order)
        else:
            self._must_be_announced(peer, order, known, group)
        digest = self._said.upload(known, peer)
        if digest is None or order.upload != ModelHash(digest.model):
            raise Broken("a peer mixes into the upload its certified digest names", f"peer {brief(peer)}")

    def _must_be_announced(self, peer: PeerId, order: Apply, known: KnownPlan, group: Group) -> None:
        if order.plan in self._spoiled:
            return
        skipped = (peer, order.plan, order.group) in self._said.skipped
        results = [
            model for term, model in self._said.results(known, group.id) if not (skipped and term == 0)
        ]
        if order.parent not in results or order.alone:
            why = (
                "a result of a term one has skipped" if skipped else "a result nobody announced for this plan"
            )
            raise Broken(
                "no message crosses a plan, no skipped result is applied", f"peer {brief(peer)}: {why}"
            )

    def _must_be_gossiped(self, peer: PeerId, order: Apply) -> None:
        mean = order.upload if order.alone else self._gossiped.get((peer, order.plan))
        if order.parent != mean:
            raise Broken("a peer applies its neighbours' mean, or stays alone", f"peer {brief(peer)}")

    def on_gossiped(self, peer: PeerId, event: NeighboursAveraged) -> None:
        """Check a mean of neighbours: all whose models came, each once with weight 1, nobody else."""
        known = self._said.plans.get(event.plan)
        if known is None or known.tree is None or self._said.charter.update != "gossip":
            raise Broken("no message crosses a plan", f"neighbours of plan {brief(event.plan)}")
        apart = {p for p, standing in known.base.state.standing.items() if standing.apart}
        degree = self._said.charter.neighbours
        near = neighbours(peer, known.tree.root.members, base=known.plan.base, degree=degree)
        if any(
            peer not in neighbours(other, known.tree.root.members, base=known.plan.base, degree=degree)
            for other in near
        ):
            raise Broken("neighbours are neighbours of each other", f"peer {brief(peer)}")
        if {*event.included} | {*event.silent} != {*near} | ({peer} & {*event.included}):
            raise Broken("a peer averages with its neighbours", f"peer {brief(peer)}")
        if (apart - {peer}) & {*event.included} or {*event.included} & {*event.silent}:
            raise Broken("a peer averages with its neighbours, each once", f"peer {brief(peer)}")
        uploads = [(self._uploaded(known, member)[0], 1) for member in event.included]
        vector = models.amplified(models.mean(uploads), self._share(known, "gain"))
        if self._said.book[event.model] != vector or len(event.inputs) != len(uploads):
            raise Broken("a mean is the mean of what it includes (eq. 9)", f"peer {brief(peer)}")
        self._gossiped[peer, event.plan] = event.model

    def on_applied(self, peer: PeerId, order: Apply) -> None:
        """Check that *peer* installs at most one result per plan, of ever higher rounds.

        Of a liar's disk nothing is expected: it may lose that it did.
        """
        again = (peer, order.plan) in self._installed
        self._installed.add((peer, order.plan))
        if peer in self._said.liars:
            return
        if again:
            raise Broken(
                "no peer applies twice for one plan", f"peer {brief(peer)}, plan {brief(order.plan)}"
            )
        number = self._said.plans[order.plan].plan.round
        if number <= self._rounds.get(peer, 0):
            raise Broken("the round of applied plans rises strictly", f"peer {brief(peer)}, round {number}")
        self._rounds[peer] = number

    def on_written(self, peer: PeerId, record: bytes) -> None:
        """Take a record of what *peer* applied: a round and a plan (`round.Round`)."""
        self._written.add((peer, record[8:]))

    def on_round_finished(self, peer: PeerId, event: RoundFinished) -> None:
        """Check that a peer that says it applied a round's result has it installed, and has that on disk."""
        if event.applied and (peer, event.plan) not in self._installed:
            raise Broken("applied means installed", f"peer {brief(peer)}, plan {brief(event.plan)}")
        if event.applied and (peer, event.plan) not in self._written:
            raise Broken("what is told is on disk", f"peer {brief(peer)}, plan {brief(event.plan)}")

    def _spoils(self, peer: PeerId, known: KnownPlan) -> bool:
        """Return whether *peer*, which gives a group a second result, is a liar; then the plan is spoiled."""
        if peer in self._said.liars:
            self._spoiled.add(known.id)
        return peer in self._said.liars

    def _share(self, known: KnownPlan, name: str) -> Fraction:
        """Return a schedule's value for the update of *known* as the decimal fraction a person wrote."""
        charter = self._said.charter
        return Fraction(str(charter.scheduled(name, plan_time(charter, known.base))))

    def _group(self, plan: PlanId, group: GroupId, what: str) -> tuple[KnownPlan, Group]:
        known = self._said.plans.get(plan)
        if known is None or known.tree is None or group not in known.tree:
            raise Broken(
                "no message crosses a plan", f"{what} for group {brief(group)} of plan {brief(plan)}"
            )
        return known, known.tree.group(group)

    def _must_lead(self, known: KnownPlan, group: GroupId, term: int, peer: PeerId) -> None:
        ranked = known.leaders.get(group, ())
        if term >= len(ranked) or ranked[term] != peer:
            raise Broken("only a group's leaders announce its results", f"peer {brief(peer)}, term {term}")

    def _uploaded(self, known: KnownPlan, peer: PeerId) -> tuple[models.Vector, int]:
        digest = self._said.upload(known, peer)
        if digest is None:
            raise Broken("each input was certified", f"peer {brief(peer)} in plan {brief(known.id)}")
        return self._said.book[ModelHash(digest.model)], digest.weight

    def _announced_means(self, plan: PlanId, group: GroupId) -> list[Mean]:
        keys = ((plan, group, term) for term in (0, 1))
        return [self._said.means[key] for key in keys if key in self._said.means]

    def _means_of(self, plan: PlanId, group: GroupId) -> set[ModelHash]:
        return {ModelHash(mean.model) for mean in self._announced_means(plan, group) if mean.weight}
