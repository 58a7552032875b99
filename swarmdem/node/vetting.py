"""Holds a fetched reference against the sketch that its founder gave of it (metric `cosine`).

Between the downloads and the core: what a plan claims of a model is checked in the tensor thread before
the core hears that the model is here. Of other models nothing is claimed; they pass at once.
"""

import asyncio
import logging

from swarmdem.identifiers import ModelHash, brief
from swarmdem.node.craft import Craft
from swarmdem.node.delivery import Deliver
from swarmdem.node.models import Model
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.events import Fetch, Fetched, FetchFailed, Input

_log = logging.getLogger("swarmdem.node.vetting")


class Vetting:
    """The check of one peer; all methods are called on the event loop.

    Args:
        craft: Knows the sketch of a model.
        trainer: Whose thread computes it.
        deliver: Takes `Fetched` with its model, or `FetchFailed`.
    """

    def __init__(self, craft: Craft, trainer: Trainer, deliver: Deliver) -> None:
        self._craft = craft
        self._trainer = trainer
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._claims: dict[ModelHash, bytes] = {}
        """The claim of the reference that is fetched; there is one at a time."""

    def expect(self, order: Fetch) -> None:
        """Note what *order* says of its model."""
        if order.sketch:
            self._claims = {order.model: order.sketch}

    def deliver(self, event: Input, model: Model | None = None) -> None:
        """Pass *event* on, once nothing speaks against its model."""
        claim = self._claims.pop(event.model, None) if isinstance(event, Fetched) else None
        if claim is None or model is None:
            self._deliver(event, model)
            return
        job = self._loop.run_in_executor(self._trainer.tensors, self._craft.refusal, model, claim)
        job.add_done_callback(lambda done: self._vetted(model, done))

    def _vetted(self, model: Model, job: "asyncio.Future[str]") -> None:
        if job.cancelled():
            return
        refusal = job.result()
        if not refusal:
            self._deliver(Fetched(model.name), model)
            return
        _log.warning("model_refused model=%s reason=%s", brief(model.name), refusal)
        self._deliver(FetchFailed(model.name, refusal), None)
