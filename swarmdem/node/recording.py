"""The evidence of every round on disk, from which a script can recompute what peers computed.

In `round-NNNN/`: `certificate.json` (digests, settings of the tree, votes), and as float32 safetensors
what this peer sent (`upload-PEER`), made as aggregator (`mean-LEVEL-ID`, `group-LEVEL-ID`) and applied
(`applied-PEER`). Peers of a run share the directory; all write the same certificate. For studies:
nothing is synced, and a failure to write is logged, never fatal.
"""

import asyncio
import base64
import json
import logging
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from swarmdem.identifiers import ModelHash, PeerId, Round
from swarmdem.learning.parameters import to_safetensors
from swarmdem.node.driver import NodeEvent
from swarmdem.node.files import write_atomic
from swarmdem.node.models import Model, ModelShelf
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Certified, GroupAveraged, GroupFinished, RoundFinished, Slot
from swarmdem.protocol.status import RoundRecord
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import FOUNDING, Plan
from swarmdem.wire.signing import peer_id

_log = logging.getLogger("swarmdem.node.recording")


class Recorder:
    """Writes one peer's part of the record.

    Args:
        directory: Where; made when absent.
        charter: Settings of the tree.
        me: Whose part.
        core: Knows the evidence of the round.
        shelf: Holds the models that events name.
        trainer: Whose disk thread writes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        charter: Charter,
        me: PeerId,
        core: Core,
        shelf: ModelShelf,
        trainer: Trainer,
    ) -> None:
        self._directory = directory
        self._charter = charter
        self._me = me
        self._core = core
        self._shelf = shelf
        self._trainer = trainer
        self._writes: set[Future[None]] = set()
        self._parents: dict[str, str] = {}  # of the certificate before the present one

    def note(self, event: NodeEvent) -> None:
        """Record what *event* tells of; on the event loop."""
        match event:
            case Certified() if event.mode != FOUNDING:
                self._certified(event)
            case GroupAveraged(model=model) if model is not None:
                self._model(event.round, f"mean-{event.level}-{event.group.hex()}", model)
            case GroupFinished(model=model):
                self._model(event.round, f"group-{event.level}-{event.group.hex()}", model)
            case RoundFinished(model=model) if model is not None and event.applied:
                self._model(event.round, f"applied-{self._me.hex()}", model)

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*(asyncio.wrap_future(write) for write in self._writes), return_exceptions=True)

    def _certified(self, event: Certified) -> None:
        upload = self._shelf.slot(Slot.UPLOAD)
        if upload is not None and self._me in event.peers:
            self._write(event.round, f"upload-{self._me.hex()}.safetensors", upload)
        record = self._core.round_record()
        if record is None or record.plan_id != event.plan or record.base.plan is None:
            return
        evidence = {**_evidence(record, self._charter), "previous_parents": self._parents}
        self._parents = _parents(record.base.plan)
        if set(record.digests) == set(event.peers):  # whoever was away may lack some
            self._write(event.round, "certificate.json", evidence)

    def _model(self, round: Round, name: str, model: ModelHash) -> None:
        held = self._shelf.get(model)
        if held is None:
            _log.warning("record_incomplete round=%d file=%s", round, name)
            return
        self._write(round, f"{name}.safetensors", held)

    def _write(self, round: Round, name: str, content: Model | dict[str, Any]) -> None:
        path = self._directory / f"round-{round:04d}" / name

        def work() -> None:
            if path.exists():
                return
            if isinstance(content, Model):
                data = to_safetensors(content.parameters, {"model": content.name.hex()})
            else:
                data = json.dumps(content, sort_keys=True).encode()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, data, durable=False)
            except OSError as error:
                _log.warning("record_failed file=%s reason=%s", path, error.strerror)

        write = self._trainer.disk.submit(work)
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)


def _evidence(record: RoundRecord, charter: Charter) -> dict[str, Any]:
    plan = record.base.plan
    assert plan is not None
    return {
        "certificate": record.plan_id.hex(),
        "base": plan.base.hex(),
        "round": plan.round,
        "mode": plan.mode,
        "term": record.certificate.term,
        "metric": charter.metric,
        "cut": charter.cut,
        "levels": charter.levels,
        "mixing": charter.mixing,
        "hysteresis": plan.hysteresis,
        "digests": [
            {
                "peer": peer.hex(),
                "scale": digest.scale,
                "sketch": base64.b64encode(digest.sketch).decode(),
                "weight": digest.weight,
                "model": digest.model.hex(),
                "seed": digest.seed,
                "reference": digest.reference.hex(),
            }
            for peer, digest in sorted(record.digests.items())
        ],
        "seed": plan.seed,
        "reference": plan.reference.hex(),
        "groups": [
            {"id": entry.group.hex(), "level": entry.level, "parent": entry.parent.hex() or None}
            for entry in plan.groups
        ],
        "parents": _parents(plan),
        "votes": [
            {
                "peer": peer_id(vote.public_key).hex(),
                "public_key": vote.public_key.hex(),
                "signature": vote.signature.hex(),
            }
            for vote in record.certificate.votes
        ],
    }


def _parents(plan: Plan) -> dict[str, str]:
    return {entry.peer.hex(): entry.parent.hex() for entry in plan.entries if entry.listed and entry.parent}
