"""One peer's models in the making: trains, averages, mixes and applies on the worker threads.

Every order of the core is answered on the event loop with one input. The learner is touched by the
training thread alone, the running sums by the tensor thread alone, shelf and slots by the loop.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from swarmdem.errors import MisuseError
from swarmdem.identifiers import GroupId, Micros, PlanId, Round
from swarmdem.learning import digest
from swarmdem.learning.aggregation import RunningMean, mix
from swarmdem.learning.learner import Learner, Parameters
from swarmdem.node.models import Model, ModelShelf, model_of
from swarmdem.node.store import Store
from swarmdem.node.trainer import Hooks, Trainer, TrainingCounters, TrainingFinished
from swarmdem.protocol.events import (
    Accumulate,
    Applied,
    Apply,
    Averaged,
    FinishMean,
    Input,
    Mix,
    Mixed,
    SaveModel,
    Slot,
    Train,
    Trained,
    TrainingFailed,
)
from swarmdem.wire.charter import Charter

_log = logging.getLogger("swarmdem.node.bench")


class Deliver(Protocol):
    """Hands an input to the core."""

    def __call__(self, answer: Input, model: Model | None, /) -> None:
        """Queue *answer*; the shelf takes *model* in the moment the core hears of it.

        Not earlier: until then a `Keep` of the core could not name it.
        """


class Bench:
    """One peer's models in the making.

    Args:
        charter: Schema, mixing, pull and start.
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
        charter: Charter,
        learner: Learner,
        shelf: ModelShelf,
        store: Store,
        trainer: Trainer,
        hooks: Hooks,
        deliver: Deliver,
        report: Callable[[TrainingFinished], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._charter = charter
        self._learner = learner
        self._shelf = shelf
        self._store = store
        self._trainer = trainer
        self._hooks = hooks
        self._deliver = deliver
        self._report = report
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._jobs: set[Future[None]] = set()
        self._training: Future[None] | None = None
        self._sums: dict[tuple[PlanId, GroupId], RunningMean] = {}
        self._closed = False
        self.counters = TrainingCounters()

    def train(self, order: Train) -> None:
        """Train and sketch; answers `Trained` or `TrainingFailed`."""
        ordered_us = _now_us()
        reference = self._shelf.get(order.reference)
        genesis = self._shelf.slot(Slot.REFERENCE) or reference
        anchor = self._shelf.slot(Slot.ANCHOR)
        start = anchor if self._charter.start == "group" else self._shelf.slot(Slot.OWN)
        start = start or genesis
        if reference is None or start is None:
            self._deliver(TrainingFailed(order.base, "the reference model is not here"), None)
            return

        def work() -> None:
            try:
                finished, parameters = self._train(order, start, anchor if order.pull else None)
            except Exception as error:
                _log.warning("training_failed round=%d error=%r", order.round, error)
                _log.debug("training_failed", exc_info=error)
                self._answer(TrainingFailed(order.base, f"{type(error).__name__}: {error}"))
                return
            self._soon(self._publishable, order, ordered_us, finished, parameters, reference)

        if self._training is not None:
            self._training.cancel()  # for an older base and still waiting: nobody wants it any more
        self._training = self._submit(self._trainer.training, work)

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

        self._submit(self._trainer.tensors, work)

    def finish_mean(self, order: FinishMean) -> None:
        """Eq. 9; answers `Averaged`."""

        def work() -> None:
            total = self._sums.pop((order.plan, order.group), None)
            if total is None:
                raise MisuseError("a mean of no models")
            mean = model_of(total.result(), self._charter.schema)
            answer = Averaged(order.plan, order.group, mean.name, mean.info.total_bytes)
            self._soon(self._deliver, answer, mean)

        self._submit(self._trainer.tensors, work)

    def mix(self, order: Mix) -> None:
        """Eq. 10 for a group; answers `Mixed`."""
        mean, parent = self._shelf.get(order.mean), self._shelf.get(order.parent)
        if mean is None or parent is None:
            self._failed(MisuseError("a mix of models that are not here"))
            return

        def work() -> None:
            mixed = self._mixed(mean, parent)
            answer = Mixed(order.plan, order.group, mixed.name, mixed.info.total_bytes)
            self._soon(self._deliver, answer, mixed)

        self._submit(self._trainer.tensors, work)

    def apply(self, order: Apply) -> None:
        """Eq. 10 at the peer, saved with its anchor; answers `Applied`."""
        parent = self._shelf.get(order.parent)
        upload = self._shelf.get(order.upload) if order.upload is not None else None
        if parent is None or (upload is None and order.upload is not None):
            self._failed(MisuseError("an update with models that are not here"))
            return

        def work() -> None:
            own = parent if upload is None else self._mixed(upload, parent)
            self._soon(self._install, order, own, parent)

        self._submit(self._trainer.tensors, work)

    def end_update(self, plan: PlanId) -> None:
        """Drop the running sums of *plan*."""

        def work() -> None:
            for key in [key for key in self._sums if key[0] == plan]:
                del self._sums[key]

        self._submit(self._trainer.tensors, work)

    async def save(self, order: SaveModel) -> None:
        """Put a model held into a slot, on disk first.

        Raises:
            StoreError: The disk refused.
        """
        model = self._shelf.get(order.model)
        if model is None:
            raise MisuseError(f"slot {order.slot}: model {order.model.hex()} is not here")
        await self._save({order.slot: model})

    async def close(self) -> None:
        """Drop what waits and wait for what runs: afterwards nothing touches the learner."""
        self._closed = True
        running = [job for job in self._jobs if not job.cancel()]
        await asyncio.gather(*(asyncio.wrap_future(job) for job in running), return_exceptions=True)

    def _train(self, order: Train, start: Model, anchor: Model | None) -> tuple[TrainingFinished, Parameters]:
        """In the training thread: load, train, hand out the parameters."""
        learner = self._learner
        begun_us, pull = _now_us(), self._charter.pull if anchor is not None else 0.0
        learner.load(start.parameters)
        begun_s = time.thread_time()
        loss = learner.train(
            round=order.round, anchor=anchor.parameters if anchor is not None else None, pull=pull
        )
        cpu_s = time.thread_time() - begun_s
        self.counters.train_cpu_s += cpu_s
        parameters = learner.parameters()
        self._measure(self._hooks.after_training, order.round, parameters)
        duration_s = (_now_us() - begun_us) / 1e6
        return TrainingFinished(order.round, loss, learner.samples, cpu_s, duration_s), parameters

    def _publishable(
        self,
        order: Train,
        ordered_us: Micros,
        finished: TrainingFinished,
        parameters: Parameters,
        reference: Model,
    ) -> None:
        """On the loop: have the trained parameters checked, named and sketched."""
        self._report(finished)

        def work() -> None:
            try:
                model = model_of(parameters, self._charter.schema)
                scale, sketch = digest.sketch(
                    model.parameters, reference.parameters, seed=order.seed, size=self._charter.digest
                )
            except Exception as error:
                _log.warning("training_failed round=%d error=%r", order.round, error)
                self._answer(TrainingFailed(order.base, f"{type(error).__name__}: {error}"))
                return
            weight = finished.samples if self._charter.weights == "samples" else 1
            # Waiting for the training thread counts: others size their patience by this number.
            duration_us = _now_us() - ordered_us
            name, size_bytes = model.name, model.info.total_bytes
            self._soon(
                self._deliver,
                Trained(order.base, name, size_bytes, weight, scale, sketch, duration_us),
                model,
            )

        self._submit(self._trainer.tensors, work)

    def _mixed(self, mean: Model, parent: Model) -> Model:
        mixed = mix(mean.parameters, parent.parameters, self._charter.mixing)
        return model_of(mixed, self._charter.schema)

    def _install(self, order: Apply, own: Model, parent: Model) -> None:
        """On the loop: save both models, then let the hook and the core know."""
        slots = {Slot.OWN: own, Slot.ANCHOR: parent}

        def installed() -> None:
            self._shelf.fill(slots)
            hook = self._hooks.after_update
            if hook is not None:
                self._submit(self._trainer.training, lambda: self._measure(hook, order.round, own.parameters))
            self._deliver(Applied(order.plan, own.name), None)

        if self._store.in_memory:
            installed()
            return

        def work() -> None:
            self._store.save(slots)
            self._soon(installed)

        self._submit(self._trainer.disk, work)

    async def _save(self, slots: dict[Slot, Model]) -> None:
        if not self._store.in_memory:
            await self._loop.run_in_executor(self._trainer.disk, self._store.save, slots)
        self._shelf.fill(slots)

    def _measure(
        self, hook: Callable[[Round, Parameters], None] | None, round: Round, parameters: Parameters
    ) -> None:
        if hook is None:
            return
        begun_s = time.thread_time()
        try:
            hook(round, parameters)
        except Exception:
            _log.exception("hook_failed round=%d", round)
        self.counters.evaluate_cpu_s += time.thread_time() - begun_s

    def _submit(self, threads: ThreadPoolExecutor, work: Callable[[], None]) -> Future[None] | None:
        if self._closed:
            return None
        job = threads.submit(work)
        self._jobs.add(job)
        job.add_done_callback(lambda done: self._soon(self._finished, done))
        return job

    def _finished(self, job: Future[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self._failed(error)

    def _answer(self, answer: Input) -> None:
        self._soon(self._deliver, answer, None)

    def _soon(self, call: Callable[..., None], *args: object) -> None:
        """From a thread: have *call* made on the event loop, unless the peer is gone by then."""
        # The loop may be closed already when a process is torn down in the middle of a training.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._unless_closed, call, args)

    def _unless_closed(self, call: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self._closed:
            call(*args)


def _now_us() -> Micros:
    return time.monotonic_ns() // 1_000
