"""Opens the blobs that have arrived whole, off the event loop, and hands them over.

A raw model up to `AT_ONCE_BYTES` is opened at once: looking for NaN in it takes .1 ms, less than handing it
to a thread and back.
"""

import asyncio
import logging
from functools import partial

from swarmdem.errors import LearningError
from swarmdem.identifiers import ModelHash, brief
from swarmdem.node.delivery import Deliver
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.packing import Packing
from swarmdem.node.sharing import Neighbour, Neighbours, Wanted
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.events import Fetched, FetchFailed
from swarmdem.wire.blobs import Assembly

AT_ONCE_BYTES = 4 * 2**20

_log = logging.getLogger("swarmdem.node.opening")


class Opening:
    """The blobs of one peer that are being opened; all methods are called on the event loop.

    Args:
        packing: Opens them.
        shelf: Holds their bases.
        trainer: In whose thread.
        deliver: Takes `Fetched` with its model, or `FetchFailed`.
    """

    def __init__(self, packing: Packing, shelf: ModelShelf, trainer: Trainer, deliver: Deliver) -> None:
        self._packing = packing
        self._shelf = shelf
        self._trainer = trainer
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._wanted: set[ModelHash] = set()

    def __contains__(self, model: ModelHash) -> bool:
        return model in self._wanted

    def stop(self, model: ModelHash) -> None:
        """Deliver nothing about a model any more."""
        self._wanted.discard(model)

    def clear(self) -> None:
        """Deliver nothing any more."""
        self._wanted.clear()

    def open(self, assembly: Assembly, neighbours: Neighbours, member: Neighbour) -> None:
        """Open a whole blob; tell the core, unless it stopped the fetch, and *neighbours* in any case.

        Args:
            assembly: The blob.
            neighbours: May wait for it.
            member: Who received it.
        """
        info = assembly.info
        wanted = info.name, info.total_bytes
        self._wanted.add(info.name)
        opening = partial(self._packing.opened, assembly.data(), info, self._shelf.bases)
        if info.total_bytes <= AT_ONCE_BYTES and self._packing.is_raw(info.total_bytes):
            try:
                model: Model | LearningError = opening()
            except LearningError as error:
                model = error
            self._opened(wanted, neighbours, member, model)
            return

        def opened(job: "asyncio.Future[Model]") -> None:
            if not job.cancelled():
                self._opened(wanted, neighbours, member, job.exception() or job.result())

        self._loop.run_in_executor(self._trainer.tensors, opening).add_done_callback(opened)

    def _opened(
        self, wanted: Wanted, neighbours: Neighbours, member: Neighbour, result: Model | BaseException
    ) -> None:
        name = wanted[0]
        still = name in self._wanted
        self._wanted.discard(name)
        if isinstance(result, BaseException):
            _log.warning("model_refused model=%s reason=%s", brief(name), result)
            if still:
                self._deliver(FetchFailed(name, str(result)), None)
            neighbours.failed(wanted, member, str(result))
        else:
            if still:
                self._deliver(Fetched(name), result)
            neighbours.arrived(result, member)
