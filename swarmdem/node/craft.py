"""One peer's arithmetic: what goes into training, means, mixes and results, without threads or files.

Between the core's orders (hashes, schedules' clock) and the strategy's hooks (named arrays). Everything
is a function of its arguments; `bench.py` says on which thread.
"""

import logging
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.errors import LearningError, MisuseError, NotFiniteError
from swarmdem.identifiers import ModelHash
from swarmdem.learning import digest
from swarmdem.learning.aggregation import amplified, mix
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.learning.strategy import Deployment, Outcome, Strategy, Task
from swarmdem.learning.sums import accumulated, pull_target
from swarmdem.node.layout import Layout, agents_above, belongs, memory_of
from swarmdem.node.models import Model, model_of, model_written
from swarmdem.node.packing import Bases, Packing, root_of
from swarmdem.protocol.events import Apply, FinishMean, Mix, Slot, Train
from swarmdem.protocol.plans import founding_base
from swarmdem.wire.charter import Charter

_log = logging.getLogger("swarmdem.node.craft")

LOSS_MILLI_MAX = 2**32 - 1

Slots = Mapping[Slot, Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What a training gave, ready to be named and published."""

    model: Model
    aside: Model | None
    """Private arrays and memory; never leaves the peer."""
    scale: float
    sketch: bytes
    loss_milli: int


@dataclass(frozen=True, slots=True)
class Against:
    """What a leader may take a mean's difference to."""

    reference: Model | None
    inputs: Counter[ModelHash]
    """Bases of the models in the mean."""
    bases: Bases
    """What the leader holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A peer's state after an update."""

    own: Model
    slots: Slots
    """What must be saved, all or nothing."""
    applied: Parameters
    """The whole model."""
    deployment: Deployment
    complaint: LearningError | None = None
    """What the strategy failed at; the peer went on without it."""


class Craft:
    """The arithmetic of one peer.

    Args:
        charter: With its schema.
        strategy: Its hooks must depend on their arguments alone: training and the rest are on two threads.
        layout: Which arrays travel.
        labels: Training samples by class, for what is deployed.
    """

    def __init__(
        self, charter: Charter, strategy: Strategy, layout: Layout, labels: Mapping[int, int]
    ) -> None:
        self.charter = charter
        self.strategy = strategy
        self._labels = labels
        self.mixes = type(strategy).apply is Strategy.apply
        """Whether eq. 10 says what a result does to the peer's model."""
        self._deploys = type(strategy).deploy is not Strategy.deploy
        self.plain = self.mixes and not self._deploys and charter.codec == "raw"
        """Whether all but training is sums and copies, without a strategy's own code or a codec."""
        self.layout = layout
        self.packing = Packing(charter, layout.schemas)

    def offered(self, initial: Parameters) -> tuple[Model, float, bytes]:
        """Return the learner's first model as a founder offers it, with its own sketch (metric `cosine`)."""
        offered = self.layout.offered(initial)
        if self.charter.metric != "cosine":
            return offered, 0.0, b""
        seed = founding_base(self.charter).seed
        scale, sketch = digest.sketch16(self.layout.shared(offered), seed=seed, size=self.charter.digest)
        return offered, scale, sketch

    def refusal(self, reference: Model, sketch: bytes) -> str:
        """Return why *reference* must not be used when the plan calls *sketch* its own; empty when it may.

        What is clustered by the metric `cosine` is w = reference + difference: a founder that lies about the
        sketch would bend everybody's distances.
        """
        claimed = struct.unpack_from("<f", sketch)[0], sketch[4:]
        try:
            shared, seed = self.layout.shared(reference), founding_base(self.charter).seed
            true = digest.is_sketch16(claimed, shared, seed=seed)
        except NotFiniteError as error:
            return str(error)
        return "" if true else "its founder gave a sketch that is not of this model"

    def task(self, order: Train, slots: Slots, reference: Model) -> Task:
        """Return a round's local work, from what the peer stands on."""
        genesis = slots.get(Slot.REFERENCE, reference)
        anchor, kept = slots.get(Slot.ANCHOR), slots.get(Slot.KEPT)
        start = slots.get(Slot.ANCHOR if self.charter.start == "group" else Slot.OWN, genesis)
        target, pull = None, 0.0
        if order.pull and anchor is not None:
            target, pull = self._target(anchor, slots.get(Slot.ABOVE))
            pull *= self.charter.pull * self.charter.scheduled("pull", order.time)
        return Task(
            round=order.round,
            start=self.layout.whole(start, kept),
            anchor=target,
            pull=pull,
            own=self.charter.scheduled("own", order.time),
            extras=self.layout.extras_of(anchor),
            memory=memory_of(kept),
        )

    def upload(self, order: Train, task: Task, outcome: Outcome, reference: Model, slots: Slots) -> Upload:
        """Check, sketch, encode and name what *task* gave.

        Args:
            order: The core's.
            task: What was to be done.
            outcome: What came of it.
            reference: Of the plan.
            slots: What the peer stood on.

        Raises:
            LearningError: The outcome is not of the schema, or not finite.
        """
        model = self.layout.uploaded(outcome.model, outcome.extras)
        trained = self.layout.shared(model)
        base = self.layout.shared(reference)
        if self.charter.basis == "updates":
            base = {name: task.start[name] for name in base}
        scale, sketch = digest.sketch(trained, base, seed=order.seed, size=self.charter.digest)
        packed = self.packing.upload(
            model, reference=reference, base=slots.get(Slot.BASE), kept=slots.get(Slot.KEPT)
        )
        name, forgets = packed.model.name, bool(task.memory)
        aside = self.layout.aside(outcome.model, outcome.memory, packed.beside, of=name, forgets=forgets)
        return Upload(
            model=packed.model,
            aside=aside,
            scale=scale,
            sketch=sketch,
            loss_milli=in_thousandths(outcome.loss),
        )

    def mean(
        self,
        mean: MutableParameters,
        order: FinishMean,
        against: Against,
        *,
        previous: Model | None,
    ) -> Model:
        """Return a group's model: the warm-up's gain, then Dem-AI eq. 3 with the group's last mean."""
        gain = self.charter.scheduled("gain", order.time) if order.amplified else 1.0
        reference = against.reference
        if gain != 1.0 and reference is not None:
            own = {spec.name: mean[spec.name] for spec in self.layout.travelling}
            mean |= amplified(own, gain, self.layout.shared(reference))[0]
        if previous is not None:
            mean = mix(mean, previous.parameters, 1.0 - self.charter.scheduled("gamma", order.time))
        made = model_of(mean, self.layout.wire)
        if reference is None:
            return made
        return self.packing.mean(made, against.inputs, reference=reference, bases=against.bases)

    def topped(self, order: FinishMean, mean: Model, above: Model | None, reference: Model | None) -> Model:
        """Return what is announced of a root's *mean*: where the order says so, mixed with what is *above*.

        Raises:
            MisuseError: The order names a model that is not here.
        """
        if order.above is None:
            return mean
        if above is None:
            raise MisuseError(f"a mean with a result that is not here: {order.above.hex()}")
        mixing = Mix(order.plan, order.group, mean.name, order.above, order.time)
        return self.mixed(mixing, mean, above, reference)

    def mixed(self, order: Mix, mean: Model, parent: Model, reference: Model | None) -> Model:
        """Return a group's result: eq. 10, and under `pull_to = all` the sum over the groups above."""
        above = self.layout.plain(parent)
        mixing = self.charter.scheduled("mixing", order.time)
        if self.layout.doubled is None:
            made = self._blend(mean.parameters, above, mixing)
            return made if reference is None else self.packing.result(made, parent, reference=reference)
        mixed = mix(mean.parameters, above, mixing)
        sums = self.layout.sums(parent)
        if sums is None:  # the root's result is plain
            sums = accumulated(None, above, order.above)
        return self.layout.with_sums(mixed, accumulated(sums, mixed, order.agents))

    def applied(self, order: Apply, parent: Model | None, upload: Model | None, slots: Slots) -> Installed:
        """Return the peer's state after an update: eq. 10 at the peer, or what the strategy says.

        Args:
            order: The core's.
            parent: The result of its group; None when the peer is alone: its upload is its model.
            upload: Its trained model; None when it takes the result as it is, or has nothing new.
            slots: What it stood on.
        """
        layout, kept, complaint = self.layout, slots.get(Slot.KEPT), None
        left = kept if upload is None else None  # of the last encoding
        if upload is not None and belongs(slots.get(Slot.TRAINED), upload.name):
            kept = left = slots[Slot.TRAINED]
            upload = self.packing.exact(upload, kept)
        if self.packing.sparse:
            kept = layout.settled(kept, self.packing.left(left, slots.get(Slot.KEPT), order.group))
        if parent is None:
            own = upload or slots.get(Slot.OWN) or slots[Slot.REFERENCE]
        elif upload is None:
            own = parent if parent.schema == layout.wire else model_of(layout.plain(parent), layout.wire)
        else:
            try:
                own = self._mixed_at_peer(order, upload, parent)
            except Exception as error:
                own, complaint = upload, _failed(self.strategy, "apply", error)
        filled = {Slot.OWN: own, Slot.ANCHOR: parent or own}
        if self.packing.sparse and parent is not None:
            filled[Slot.BASE] = root_of(parent)
        if kept is not None:
            filled[Slot.KEPT] = kept
        if self._deploys:
            filled[Slot.SHARE] = upload or own
        if order.agents and layout.doubled is not None:
            filled[Slot.ABOVE] = agents_above(order.agents)
        applied, deployment, failed = self.standing({**slots, **filled})
        return Installed(
            own=own, slots=filled, applied=applied, deployment=deployment, complaint=complaint or failed
        )

    def standing(self, slots: Slots) -> tuple[Parameters, Deployment, LearningError | None]:
        """Return the peer's whole model, what is deployed, and what the strategy failed at.

        The same from the slots of an earlier process; before the first update the genesis model.
        """
        kept, anchor = slots.get(Slot.KEPT), slots.get(Slot.ANCHOR)
        own = slots.get(Slot.OWN) or slots[Slot.REFERENCE]
        applied = self.layout.whole(own, kept)
        plain = Deployment(models=(applied,))
        if not self._deploys or anchor is None:
            return applied, plain, None
        try:
            deployment = self.strategy.deploy(
                trained=self.layout.whole(slots.get(Slot.SHARE, own), kept),
                applied=applied,
                result=self.layout.whole(anchor, kept),
                labels=self._labels,
                memory=memory_of(kept),
            )
        except Exception as error:
            return applied, plain, _failed(self.strategy, "deploy", error)
        return applied, deployment, None

    def _mixed_at_peer(self, order: Apply, upload: Model, parent: Model) -> Model:
        mixing = self.charter.scheduled("mixing", order.time)
        if mixing == 1.0 and self.mixes and parent.schema == self.layout.wire:
            return parent  # what eq. 10 says, without another copy
        if self.mixes and not self.layout.extras:
            return self._blend(upload.parameters, self.layout.plain(parent), mixing)
        mixed = self.strategy.apply(
            trained=self.layout.shared(upload), result=self.layout.shared(parent), mixing=mixing
        )
        return self.layout.uploaded(mixed, self.layout.extras_of(parent))

    def _blend(self, own: Parameters, parent: Parameters, mixing: float) -> Model:
        """Return what eq. 10 makes of two models of the wire's schema, written where it stays."""
        return model_written(lambda out: mix(own, parent, mixing, out=out), self.layout.wire)

    def _target(self, anchor: Model, above: Model | None) -> tuple[Parameters, float]:
        """Return what the pull pulls towards, and the factor on its weight."""
        if self.layout.doubled is None or above is None:
            return self.layout.shared(anchor), 1.0
        agents = above.parameters["agents"].tolist()
        sums = self.layout.sums(anchor)
        if sums is None:  # the root's result, or that of a group cut off from those above it
            return self.layout.shared(anchor), 2.0 / agents[0]
        target, share = pull_target({s.name: sums[s.name] for s in self.layout.travelling}, agents)
        return target, 2.0 * share


def in_thousandths(loss: float) -> int:
    """Return a loss as digests carry it: 0 when not known, else 1 to 2^32 - 1 thousandths."""
    if math.isnan(loss) or loss < 0:
        return 0
    return max(1, round(min(loss * 1000, LOSS_MILLI_MAX)))


def _failed(strategy: Strategy, hook: str, error: Exception) -> LearningError:
    _log.warning("strategy_failed strategy=%s hook=%s error=%r", strategy.name, hook, error)
    _log.debug("strategy_failed", exc_info=error)
    return LearningError(f"strategy {strategy.name}: {hook}: {type(error).__name__}: {error}")
