"""One peer's models in the making: trains, averages, mixes and applies on the worker threads.

Every order of the core is answered on the event loop with one input; `craft.py` does the arithmetic.
The learner is touched by the training thread alone, the running sums where `Bench._sums_in` says, shelf
and slots by the loop. What training leaves with the peer (private arrays, the strategy's memory) is saved
together with the upload and comes into force together with the result.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, MisuseError
from swarmdem.identifiers import GroupId, Micros, ModelHash, PlanId, Round
from swarmdem.learning import meeting
from swarmdem.learning.aggregation import RunningMean
from swarmdem.learning.deployment import predict
from swarmdem.learning.learner import Learner, Parameters, Scoring
from swarmdem.learning.strategy import Deployment, Outcome, Task
from swarmdem.node.counters import TrainingCounters
from swarmdem.node.craft import Against, Craft, Installed, Slots, Upload
from swarmdem.node.delivery import DeliverSeveral
from swarmdem.node.jobs import Jobs
from swarmdem.node.layout import belongs
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.store import Store
from swarmdem.node.trainer import Hooks, Trainer, TrainingFinished
from swarmdem.protocol.events import (
    Accumulate,
    Applied,
    Apply,
    Averaged,
    FinishMean,
    Mix,
    Mixed,
    SaveModel,
    Slot,
    Train,
    Trained,
    TrainingFailed,
)

_log = logging.getLogger("swarmdem.node.bench")

SHORT_BYTES = 1 << 19
"""Up to this length of a model plain sums are done on the event loop, and the upload is made in the training
thread: a millisecond or two. Longer ones, codecs and a strategy's own hooks have the tensor thread."""


@dataclass(slots=True)
class _Training:
    """An order to train that is being carried out."""

    order: Train
    ordered_us: Micros
    reference: Model
    slots: Slots
    """What the peer stood on."""
    task: Task | None = None
    outcome: Outcome | None = None
    finished: TrainingFinished | None = None
    upload: Upload | None = None
    failure: Exception | None = None
    duration_us: Micros = 0
    """From the order to the upload: waiting for the thread counts, others size their patience by it."""


class Bench:
    """One peer's models in the making.

    Args:
        craft: The arithmetic, with charter and strategy.
        learner: The peer's training loop.
        shelf: Where models are found and put.
        store: Where slots are saved.
        trainer: The threads.
        hooks: An experiment's measurements.
        deliver: Takes the answer to an order, on the event loop.
        report: Takes `TrainingFinished`, on the event loop.
        failed: Takes what went wrong with an order that has no other answer, on the event loop.
    """

    def __init__(
        self,
        *,
        craft: Craft,
        learner: Learner,
        shelf: ModelShelf,
        store: Store,
        trainer: Trainer,
        hooks: Hooks,
        deliver: DeliverSeveral,
        report: Callable[[TrainingFinished], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._charter = craft.charter
        self._craft = craft
        self._learner = learner
        self._shelf = shelf
        self._store = store
        self._trainer = trainer
        self._hooks = hooks
        self._deliver = deliver
        self._report = report
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._jobs = Jobs(failed)
        self._short = craft.plain and craft.charter.model_bytes <= SHORT_BYTES
        self._sums_in = None if self._short else trainer.tensors
        self._saves_in = None if store.in_memory or (self._short and store.quick) else trainer.disk
        self._training: Future[None] | None = None
        self._aside: Model | None = None  # of the last training; saved with its upload
        self._sums: dict[tuple[PlanId, GroupId], RunningMean] = {}
        self._inputs: dict[tuple[PlanId, GroupId], Counter[ModelHash]] = {}  # bases of the models summed up
        self.counters = TrainingCounters()
        initial = craft.layout.initial
        self.standing: tuple[Parameters, Deployment] = (initial, Deployment(models=(initial,)))
        """The whole model after the last update, and what answers questions."""
        if shelf.slots.keys() & {Slot.OWN, Slot.REFERENCE}:
            self._stand(*craft.standing(shelf.slots))

    def train(self, order: Train) -> None:
        """Train and sketch; answers `Trained` or `TrainingFailed`."""
        ordered_us = _now_us()
        reference = self._shelf.get(order.reference)
        if reference is None:
            self._deliver(TrainingFailed(order.base, "the reference model is not here"), None)
            return
        slots = self._shelf.slots
        training = _Training(order, ordered_us, reference, slots)

        def local() -> None:
            try:
                training.task = self._craft.task(order, slots, reference)
                self._train(training, training.task)
            except Exception as error:
                training.failure = error

        if self._training is not None:
            self._training.cancel()  # for an older base and still waiting: nobody wants it any more
        if not self._jobs.closed:
            self._training = self._jobs.follow(
                self._trainer.together.submit(self._learner, local, lambda: self._locally_done(training)),
                lambda _: self._trained(training),
            )

    def accumulate(self, order: Accumulate) -> None:
        """Add a model held to the running sum of its group; no answer."""
        model = self._shelf.get(order.model)
        if model is None:
            self._failed(MisuseError(f"a mean of a model that is not here: {order.model.hex()}"))
            return

        def work() -> None:
            key = (order.plan, order.group)
            if key not in self._sums:
                self._sums[key] = RunningMean(self._charter.schema)
            self._sums[key].add(model.parameters, order.weight)
            if model.head is not None and model.head.base is not None:
                self._inputs.setdefault(key, Counter())[model.head.base] += 1

        self._jobs.begin(self._sums_in, work, _nothing)

    def finish_mean(self, order: FinishMean) -> None:
        """Eq. 9, then Dem-AI eq. 3 with the group's last mean, eq. 10 with what is above; `Averaged`."""
        previous = self._shelf.get(order.previous) if order.previous is not None else None
        above = self._shelf.get(order.above) if order.above is not None else None
        reference, bases = self._shelf.slot(Slot.REFERENCE), self._shelf.bases

        def work() -> tuple[Model, Model]:
            total = self._sums.pop((order.plan, order.group), None)
            if total is None:
                raise MisuseError("a mean of no models")
            against = Against(reference, self._inputs.pop((order.plan, order.group), Counter()), bases)
            mean = self._craft.mean(total.result(), order, against, previous=previous)
            return self._craft.topped(order, mean, above, reference), mean

        def done(made: tuple[Model, Model]) -> None:
            result, mean = made
            below = mean.name if order.above is not None else None
            answer = Averaged(order.plan, order.group, result.name, result.info.total_bytes, below)
            self._deliver(answer, result, mean)

        self._jobs.begin(self._sums_in, work, done)

    def mix(self, order: Mix) -> None:
        """Eq. 10 for a group; answers `Mixed`."""
        mean, parent = self._shelf.get(order.mean), self._shelf.get(order.parent)
        if mean is None or parent is None:
            self._failed(MisuseError("a mix of models that are not here"))
            return
        reference = self._shelf.slot(Slot.REFERENCE)

        def done(mixed: Model) -> None:
            self._deliver(Mixed(order.plan, order.group, mixed.name, mixed.info.total_bytes), mixed)

        work = partial(self._craft.mixed, order, mean, parent, reference)
        self._jobs.begin(self._sums_in, work, done)

    def apply(self, order: Apply) -> None:
        """Eq. 10 at the peer, saved with its anchor; answers `Applied`."""
        parent = None if order.alone else self._shelf.get(order.parent)
        upload = None if order.upload is None else self._shelf.get(order.upload)
        if (parent is None and not order.alone) or (upload is None and order.upload is not None):
            self._failed(MisuseError("an update with models that are not here"))
            return
        work = partial(self._craft.applied, order, parent, upload, self._shelf.slots)
        self._jobs.begin(self._sums_in, work, partial(self._install, order))

    def end_update(self, plan: PlanId) -> None:
        """Drop the running sums of *plan*."""

        def work() -> None:
            for key in [key for key in self._sums if key[0] == plan]:
                del self._sums[key]
                self._inputs.pop(key, None)

        self._jobs.begin(self._sums_in, work, _nothing)

    async def save(self, order: SaveModel) -> None:
        """Put a model held into a slot, on disk first; with an upload what its training left here.

        Raises:
            StoreError: The disk refused.
        """
        model = self._shelf.get(order.model)
        if model is None:
            raise MisuseError(f"slot {order.slot}: model {order.model.hex()} is not here")
        slots: dict[Slot, Model] = {order.slot: model}
        aside = self._aside
        if order.slot is Slot.UPLOAD and aside is not None and belongs(aside, model.name):
            slots[Slot.TRAINED] = aside
        if self._saves_in is not None:
            await self._loop.run_in_executor(self._saves_in, self._store.save, slots)
        else:
            self._store.save(slots)
        self._shelf.fill(slots)
        if order.slot is Slot.REFERENCE and self._shelf.slot(Slot.OWN) is None:
            self._stand(*self._craft.standing(self._shelf.slots))

    async def predict(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Answer with what is deployed; see `Peer.predict`.

        Raises:
            ConfigError: The learner has no method `scores`.
            MisuseError: The peer left meanwhile.
        """
        learner = self._learner
        if not isinstance(learner, Scoring):
            raise ConfigError(f"predict: {type(learner).__name__} has no method scores(x)")
        return await self._jobs.result(self._trainer.training.submit(predict, learner, self.standing[1], x))

    async def close(self) -> None:
        """Drop what waits and wait for what runs: afterwards nothing touches the learner."""
        await self._jobs.close()

    def _train(self, training: _Training, task: Task) -> None:
        """Where learners may be touched: have the strategy train."""
        begun_us, begun_s = _now_us(), time.thread_time()
        outcome = self._craft.strategy.train(self._learner, task)
        cpu_s = time.thread_time() - begun_s + meeting.shared_cpu_s()
        self.counters.train_cpu_s += cpu_s
        duration_s = (_now_us() - begun_us) / 1e6
        training.outcome = outcome
        training.finished = TrainingFinished(
            task.round, outcome.loss, self._learner.samples, cpu_s, duration_s
        )

    def _locally_done(self, training: _Training) -> None:
        """In the training thread: measure, and of a short model make the upload."""
        task, outcome, hook = training.task, training.outcome, self._hooks.after_training
        if training.failure is not None or task is None or outcome is None:
            return
        if hook is not None:
            self._measure(lambda: hook(task.round, outcome.model), task.round)
        if self._short:
            self._make_upload(training)

    def _make_upload(self, training: _Training) -> None:
        """Have the trained parameters checked, sketched and named."""
        order, task, outcome = training.order, training.task, training.outcome
        assert task is not None
        assert outcome is not None
        try:
            training.upload = self._craft.upload(order, task, outcome, training.reference, training.slots)
        except Exception as error:
            training.failure = error
        training.duration_us = _now_us() - training.ordered_us

    def _trained(self, training: _Training) -> None:
        """On the loop: answer; the core orders the upload saved if it still wants it."""
        # A job that has ended still knows what came of it: three models, until the next training is ordered.
        if self._training is not None and self._training.done():
            self._training = None
        if training.finished is not None:
            self._report(training.finished)
        if training.failure is None and training.upload is None:
            self._jobs.begin(
                self._sums_in, partial(self._make_upload, training), lambda _: self._offer(training)
            )
        else:
            self._offer(training)

    def _offer(self, training: _Training) -> None:
        order, finished, upload = training.order, training.finished, training.upload
        if upload is None or finished is None:
            assert training.failure is not None
            self._training_failed(order, training.failure)
            return
        self._aside = upload.aside
        answer = Trained(
            base=order.base,
            model=upload.model.name,
            model_bytes=upload.model.info.total_bytes,
            weight=finished.samples if self._charter.weights == "samples" else 1,
            scale=upload.scale,
            sketch=upload.sketch,
            duration_us=training.duration_us,
            loss_milli=upload.loss_milli,
        )
        self._deliver(answer, upload.model)

    def _training_failed(self, order: Train, error: Exception) -> None:
        _log.warning("training_failed round=%d error=%r", order.round, error)
        _log.debug("training_failed", exc_info=error)
        if self._hooks.training_failed is not None:
            self._hooks.training_failed(order.round, error)
        self._deliver(TrainingFailed(order.base, f"{type(error).__name__}: {error}"), None)

    def _install(self, order: Apply, installed: Installed) -> None:
        """On the loop: save all or nothing, then let the hook and the core know."""
        slots = self._shelf.pooled(installed.slots)

        def done(_: None) -> None:
            self._shelf.fill(slots)
            self._stand(installed.applied, installed.deployment, installed.complaint)
            hook = self._hooks.after_update
            if hook is not None:
                measured = partial(hook, order.round, installed.deployment)
                self._jobs.begin(
                    self._trainer.training, lambda: self._measure(measured, order.round), _nothing
                )
            self._deliver(Applied(order.plan, installed.own.name), None)

        self._jobs.begin(self._saves_in, partial(self._store.save, slots), done)

    def _stand(self, applied: Parameters, deployment: Deployment, complaint: Exception | None) -> None:
        self.standing = (applied, deployment)
        if complaint is not None:
            self._failed(complaint)

    def _measure(self, hook: Callable[[], None], round: Round) -> None:
        begun_s = time.thread_time()
        try:
            hook()
        except Exception:
            _log.exception("hook_failed round=%d", round)
        self.counters.evaluate_cpu_s += time.thread_time() - begun_s


def _nothing(_: None) -> None:
    """The answer to a job that has none."""


def _now_us() -> Micros:
    return time.monotonic_ns() // 1_000
