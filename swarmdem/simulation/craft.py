"""What a simulated peer does with models: train, fetch, average, mix, apply, in virtual time.

As `node` does it with tensors, but every model is four exact numbers and every blob arrives whole. An
order names only models at hand; what is missing shows a core that lost count of what it holds.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

from swarmdem.identifiers import MILLISECOND, SECOND, Micros, ModelHash
from swarmdem.protocol import events
from swarmdem.protocol.events import Effect, Slot
from swarmdem.protocol.state import pack_sketch
from swarmdem.simulation import models
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.models import Vector
from swarmdem.simulation.trace import record

if TYPE_CHECKING:
    from swarmdem.simulation.peer import SimulatedPeer

TENSOR_WORK: Micros = 5 * MILLISECOND
"""Time that averaging, mixing or applying takes."""
RETRY: Micros = SECOND // 2
"""Pause before a download that found no holder looks again."""


class Craft:
    """The hands of one peer."""

    def __init__(self, peer: "SimulatedPeer") -> None:
        self.peer = peer
        self.world = peer.world

    def _has(self, effect: Effect, *models: ModelHash) -> bool:
        """Check that *models*, which an effect names, are in memory.

        A liar whose own lie was listed may be asked for what it never had: its process fails.
        """
        if self.peer.memory.models.issuperset(models):
            return True
        if self.peer.id not in self.world.checkers.liars:
            raise Broken("an effect names only models at hand", f"peer {self.peer.index}: {record(effect)}")
        self.world.after(0, self.world.fail, self.peer, self.peer.life)
        return False

    def save(self, order: events.SaveModel) -> None:
        """Put a model into a slot."""
        if self._has(order, order.model):
            self.peer.disk.save({order.slot: order.model})

    def keep(self, order: events.Keep) -> None:
        """Forget all models but these and the saved ones."""
        self.peer.memory.models &= {*order.models, *self.peer.disk.slots.values()}

    def train(self, order: events.Train) -> None:
        """Train for a while, then answer with a model and its sketch."""
        if not self._has(order, order.reference):
            return
        slots = self.peer.disk.slots
        start = slots.get(Slot.OWN if self.world.charter.start == "own" else Slot.ANCHOR, order.reference)
        if order.pull and Slot.ANCHOR not in slots:
            raise Broken("no pull before the first anchor", f"peer {self.peer.index}: {record(order)}")
        low, high = self.world.training
        duration = int((low + self.world.rng.random() * (high - low)) * self.peer.slowness)
        self.peer.later(duration, self._trained, order, start, duration)

    def _trained(self, order: events.Train, start: ModelHash, duration: Micros) -> None:
        if self.peer.failing:
            self.peer.feed(events.TrainingFailed(order.base, "loss is NaN"))
            return
        book = self.world.book
        vector = models.trained(book[start], self.peer.index, self.world.rng)
        model = book.enter(vector)
        self.peer.memory.models.add(model)
        charter = self.world.charter
        origin = start if charter.basis == "updates" else order.reference
        scale, sketch = models.sketch(vector, book[origin], charter.digest)
        samples = (self.peer.index + 1) % 4 * 10  # one in four has none
        weight = 1 if charter.weights == "agents" else samples
        loss = self.world.rng.randrange(200, 800) if charter.drift else 0
        self.peer.feed(
            events.Trained(order.base, model, models.MODEL_BYTES, weight, scale, sketch, duration, loss)
        )

    def fetch(self, order: events.Fetch) -> None:
        """Look for a holder until there is one."""
        known = order.model in self.peer.memory.fetching
        self.peer.memory.fetching[order.model] = order
        if not known:
            self.peer.later(self.world.network.delay(), self._look, order.model, 0)

    def stop_fetching(self, order: events.StopFetching) -> None:
        """Give a download up."""
        self.peer.memory.fetching.pop(order.model, None)

    def _look(self, model: ModelHash, turn: int) -> None:
        """Ask the holders in turn; the first that lives, is reachable and has the model serves it."""
        order = self.peer.memory.fetching.get(model)
        if order is None:
            return
        if model in self.peer.memory.models:
            self._arrived(model)
            return
        for offset in range(len(order.sources)):
            source = self.world.by_id.get(order.sources[(turn + offset) % len(order.sources)])
            if source and source.holds(model) and self.world.network.reachable(self.peer.index, source.index):
                network = self.world.network
                span = network.transfer_time(self.peer.index, source.index, models.MODEL_BYTES)
                span += 2 * network.delay()
                self.peer.later(span, self._transferred, model, source, source.life, turn)
                return
        self.peer.later(RETRY, self._look, model, turn + 1)

    def _transferred(self, model: ModelHash, source: "SimulatedPeer", life: int, turn: int) -> None:
        connected = self.world.network.reachable(self.peer.index, source.index)
        if source.life != life or source.stopped or not connected:
            self._look(model, turn + 1)
        elif model in self.peer.memory.fetching:
            self._arrived(model)

    def _arrived(self, model: ModelHash) -> None:
        claim = self.peer.memory.fetching.pop(model).sketch
        if claim:
            scale, sketch = models.sketch(
                self.world.book[model], models.ZERO, self.world.charter.digest, bits=16
            )
            if claim != pack_sketch(scale, sketch):
                self.peer.feed(
                    events.FetchFailed(model, "its founder gave a sketch that is not of this model")
                )
                return
        self.peer.memory.models.add(model)
        self.peer.feed(events.Fetched(model))

    def accumulate(self, order: events.Accumulate) -> None:
        """Add to a running sum."""
        if not self._has(order, order.model):
            return
        self.peer.memory.sums.setdefault((order.plan, order.group), []).append(
            (self.world.book[order.model], order.weight)
        )

    def finish_mean(self, order: events.FinishMean) -> None:
        """Divide a running sum by its weight."""
        inputs = self.peer.memory.sums.get((order.plan, order.group), [])
        if not sum(weight for _, weight in inputs):
            if self.peer.id in self.world.checkers.liars:
                return
            raise Broken("a mean has inputs", f"peer {self.peer.index}: {record(order)}")
        gain = self._scheduled("gain", order.time) if order.amplified else Fraction(1)
        vector = models.amplified(models.mean(inputs), gain)
        if order.previous is not None:
            if not self._has(order, order.previous):
                return
            before = self.world.book[order.previous]
            vector = models.moved(before, vector, self._scheduled("gamma", order.time))
        if order.above is None or self._has(order, order.above):
            self.peer.later(TENSOR_WORK, self._averaged, order, vector)

    def _averaged(self, order: events.FinishMean, vector: Vector) -> None:
        book, below = self.world.book, None
        if order.above is not None:
            below = book.enter(vector)
            self.peer.memory.models.add(below)
            vector = models.mixed(book[order.above], vector, self._scheduled("mixing", order.time))
        model = book.enter(vector)
        self.peer.memory.models.add(model)
        self.peer.feed(events.Averaged(order.plan, order.group, model, models.MODEL_BYTES, below))

    def mix(self, order: events.Mix) -> None:
        """Mix a mean with the parent's result (eq. 10)."""
        if not self._has(order, order.mean, order.parent):
            return
        book = self.world.book
        alpha = self._scheduled("mixing", order.time)
        vector = models.mixed(book[order.parent], book[order.mean], alpha)
        self.peer.later(TENSOR_WORK, self._mixed, order, vector)

    def _mixed(self, order: events.Mix, vector: Vector) -> None:
        model = self.world.book.enter(vector)
        self.peer.memory.models.add(model)
        self.peer.feed(events.Mixed(order.plan, order.group, model, models.MODEL_BYTES))

    def apply(self, order: events.Apply) -> None:
        """Mix the parent's result into the own model and install it."""
        if self._has(order, order.parent, *([order.upload] if order.upload is not None else [])):
            self.peer.later(TENSOR_WORK, self._applied, order)

    def _applied(self, order: events.Apply) -> None:
        book = self.world.book
        model = order.parent
        if order.upload is not None and not order.alone:
            alpha = self._scheduled("mixing", order.time)
            model = book.enter(models.mixed(book[order.parent], book[order.upload], alpha))
        self.peer.memory.models |= {model, order.parent}
        self.peer.disk.save({Slot.OWN: model, Slot.ANCHOR: order.parent})
        self.world.checkers.on_applied(self.peer.id, order)
        self.peer.feed(events.Applied(order.plan, model))

    def end_update(self, order: events.EndUpdate) -> None:
        """Drop the running sums of a plan."""
        sums = self.peer.memory.sums
        self.peer.memory.sums = {key: value for key, value in sums.items() if key[0] != order.plan}

    def _scheduled(self, name: str, time: int) -> Fraction:
        """Return a schedule's value as the decimal fraction a person wrote."""
        return Fraction(str(self.world.charter.scheduled(name, time)))
