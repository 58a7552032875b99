"""Fetches with each model the base that it is a difference to.

Between the core and the downloads: a model that arrives sealed, because its base is not here, waits until
the base was fetched, raw, from whoever was asked for the model: a sender holds what it encodes against. So
a peer that was away, or comes from another group, costs one more transfer and nothing else. A model that a
peer of this process had opened waits as well: traffic is counted as between separate machines.

Bounds: as many models wait as the core fetches at a time.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from swarmdem.identifiers import ModelHash, PeerId, brief
from swarmdem.node.delivery import Deliver
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.packing import Packing
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed, Input
from swarmdem.wire.charter import Charter

_log = logging.getLogger("swarmdem.node.unpacking")


class Unpacking:
    """One peer's fetches of models and bases; all methods are called on the event loop.

    Args:
        charter: Says how long a raw model is.
        packing: Opens models.
        shelf: Holds the bases.
        trainer: In whose thread models are opened.
        fetch: Begins a download.
        stop: Ends one.
        deliver: Takes `Fetched` with a model that is open, or `FetchFailed`.
    """

    def __init__(
        self,
        *,
        charter: Charter,
        packing: Packing,
        shelf: ModelShelf,
        trainer: Trainer,
        fetch: Callable[[Fetch], None],
        stop: Callable[[ModelHash], None],
        deliver: Deliver,
    ) -> None:
        self._base_bytes = charter.model_bytes
        self._packing = packing
        self._shelf = shelf
        self._trainer = trainer
        self._fetch = fetch
        self._stop = stop
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._sources: dict[ModelHash, tuple[PeerId, ...]] = {}
        """Of the models that the core wants."""
        self._waiting: dict[ModelHash, dict[ModelHash, Model]] = {}
        """By base: the models that wait for it."""

    def fetch(self, order: Fetch) -> None:
        """Get a model, open."""
        self._sources[order.model] = order.sources
        for base, models in self._waiting.items():
            if order.model in models:
                self._fetch(Fetch(base, self._base_bytes, order.sources))
                return
        self._fetch(order)

    def stop(self, model: ModelHash) -> None:
        """Forget a fetch."""
        self._sources.pop(model, None)
        for base in [base for base, models in self._waiting.items() if models.pop(model, None) is not None]:
            if not self._waiting[base]:
                del self._waiting[base]
                if base not in self._sources:
                    self._stop(base)
        if model not in self._waiting:
            self._stop(model)

    def arrived(self, event: Input, model: Model | None = None, /) -> None:
        """Take what a download came to."""
        assert isinstance(event, Fetched | FetchFailed)
        wanted = event.model in self._sources
        waiting = self._waiting.pop(event.model, {})
        if isinstance(event, FetchFailed):
            for name in waiting:
                self._fail(name, f"its base: {event.reason}")
        elif waiting and model is not None:
            self._shelf.keep_base(model.content())
            for each in waiting.values():
                self._open(each)
        if wanted and isinstance(event, FetchFailed):
            self._fail(event.model, event.reason)
        elif wanted and model is not None:
            self._pass_on(model)

    def _pass_on(self, model: Model) -> None:
        """Hand *model* to the core, once its base is here."""
        base = model.head.base if model.head is not None else None
        if base is None or base in self._shelf.bases:
            self._open(model)
            return
        first = base not in self._waiting
        self._waiting.setdefault(base, {})[model.name] = model
        if first:
            _log.debug("base_wanted base=%s model=%s", brief(base), brief(model.name))
            self._fetch(Fetch(base, self._base_bytes, self._sources.get(model.name, ())))

    def _open(self, model: Model) -> None:
        if model.sealed:
            model = self._shelf.pooled_model(model.name) or model
        if not model.sealed:
            self._done(model)
            return
        opening = partial(self._packing.opened, model.data, model.info, self._shelf.bases)
        job = self._loop.run_in_executor(self._trainer.tensors, opening)
        job.add_done_callback(lambda done: self._opened(model.name, done))

    def _opened(self, name: ModelHash, job: "asyncio.Future[Model]") -> None:
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            _log.warning("model_refused model=%s reason=%s", brief(name), error)
            self._fail(name, str(error))
        else:
            self._done(job.result())

    def _done(self, model: Model) -> None:
        if self._sources.pop(model.name, None) is not None:
            self._deliver(Fetched(model.name), model)

    def _fail(self, name: ModelHash, reason: str) -> None:
        if self._sources.pop(name, None) is not None:
            self._deliver(FetchFailed(name, reason), None)
