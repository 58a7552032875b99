"""The evidence of every round on disk, from which a script can recompute what peers computed.

In `round-NNNN/`: `certificate.json` (digests, settings of the tree, votes, what the plan before handed
on), and as float32 safetensors what this peer sent (`upload-PEER`), made as aggregator
(`mean-LEVEL-ID`, `group-LEVEL-ID`; with `-1` those of the
second leader) or with its neighbours (`gossip-PEER`) and applied (`applied-PEER`).
The head of a mean names what went in. `reference-HASH` lies beside the rounds. Peers of
a run share the directory; all write the same certificate. For studies: nothing is synced, and a failure
to write is logged, never fatal. Private arrays are not recorded.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any

from swarmdem.identifiers import ModelHash, PeerId, Round
from swarmdem.node.craft import Craft
from swarmdem.node.driver import NodeEvent
from swarmdem.node.files import write_atomic
from swarmdem.node.models import Model, ModelShelf, to_file
from swarmdem.node.trainer import Trainer
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import (
    Certified,
    GroupAveraged,
    GroupFinished,
    NeighboursAveraged,
    RoundFinished,
    Slot,
)
from swarmdem.protocol.plans import Base, plan_time
from swarmdem.protocol.state import loss_of
from swarmdem.protocol.status import RoundRecord
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import FOUNDING
from swarmdem.wire.signing import peer_id

_log = logging.getLogger("swarmdem.node.recording")

NOTHING: Mapping[str, str] = MappingProxyType({})


class Recorder:
    """Writes one peer's part of the record.

    Args:
        directory: Where; made when absent.
        craft: Settings of trees and of the arithmetic.
        me: Whose part.
        core: Knows the evidence of the round.
        shelf: Holds the models that events name.
        trainer: Whose disk thread writes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        craft: Craft,
        me: PeerId,
        core: Core,
        shelf: ModelShelf,
        trainer: Trainer,
    ) -> None:
        self._directory = directory
        self._craft = craft
        self._charter = craft.charter
        self._me = me
        self._core = core
        self._shelf = shelf
        self._trainer = trainer
        self._writes: set[Future[None]] = set()
        self._reference: ModelHash | None = None
        before = core.round_record()
        self._base = before.base if before is not None else None

    def note(self, event: NodeEvent) -> None:
        """Record what *event* tells of; on the event loop."""
        match event:
            case Certified():
                self._certified(event)
            case GroupAveraged(model=model) if model is not None:
                previous = event.previous.hex() if event.previous is not None else ""
                inputs = ",".join(f"{name.hex()}:{weight}" for name, weight in event.inputs)
                self._model(
                    event.round, f"mean-{_group(event)}", model, {"previous": previous, "inputs": inputs}
                )
            case GroupFinished(model=model):
                self._model(event.round, f"group-{_group(event)}", model)
            case NeighboursAveraged(model=model):
                included = ",".join(peer.hex() for peer in event.included)
                self._model(event.round, f"gossip-{self._me.hex()}", model, {"included": included})
            case RoundFinished(model=model) if model is not None and event.applied:
                self._model(event.round, f"applied-{self._me.hex()}", model)

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*(asyncio.wrap_future(write) for write in self._writes), return_exceptions=True)

    def _certified(self, event: Certified) -> None:
        record, before = self._core.round_record(), self._base
        if record is None or record.plan_id != event.plan:
            return
        self._base = record.base
        if event.mode == FOUNDING:
            return
        upload = self._shelf.slot(Slot.UPLOAD)
        if upload is not None and self._me in event.peers:
            self._write(event.round, f"upload-{self._me.hex()}.safetensors", upload)
        self._keep_reference()
        whole = set(record.digests) == set(event.peers)  # whoever was away may lack some
        if not whole or before is None or record.base.plan is None or before.id != record.base.plan.base:
            return
        evidence = {
            **_plan(record.base, self._charter),
            **_digests(record),
            "settings": _settings(self._craft, plan_time(self._charter, record.base)),
            "previous": _plan(before, self._charter) if before.hierarchy is not None else None,
        }
        self._write(event.round, "certificate.json", evidence)

    def _keep_reference(self) -> None:
        """Record the model that digests and the gain of means are taken against, once."""
        model = self._shelf.slot(Slot.REFERENCE)
        if model is not None and model.name != self._reference:
            self._reference = model.name
            self._write(None, f"reference-{model.name.hex()}.safetensors", model)

    def _model(self, round: Round, name: str, model: ModelHash, head: Mapping[str, str] = NOTHING) -> None:
        held = self._shelf.get(model)
        if held is None:
            _log.warning("record_incomplete round=%d file=%s", round, name)
            return
        self._write(round, f"{name}.safetensors", held, head)

    def _write(
        self,
        round: Round | None,
        name: str,
        content: Model | dict[str, Any],
        head: Mapping[str, str] = NOTHING,
    ) -> None:
        path = self._directory / (f"round-{round:04d}" if round is not None else "") / name

        def work() -> None:
            if path.exists():
                return
            data: tuple[bytes | memoryview, ...]
            if isinstance(content, Model):
                data = to_file(content, head)
            else:
                data = (json.dumps(content, sort_keys=True).encode(),)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, *data, durable=False)
            except OSError as error:
                _log.warning("record_failed file=%s reason=%s", path, error.strerror)

        write = self._trainer.disk.submit(work)
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)


def _group(event: GroupAveraged | GroupFinished) -> str:
    """Return the part of a file's name for one leader's term in a group."""
    name = f"{event.level}-{event.group.hex()}"
    return f"{name}-{event.term}" if event.term else name


def _settings(craft: Craft, time: int) -> dict[str, Any]:
    """Return what trees and models of a round were made with; schedules at their value then."""
    charter = craft.charter
    fixed = (
        "metric", "linkage", "cut", "cuts", "levels", "min_size", "grouping", "newcomers", "outliers",
        "basis", "update", "neighbours", "pull_to", "drift", "strategy",
    )  # fmt: skip
    return {
        **{name: getattr(charter, name) for name in fixed},
        **{name: charter.scheduled(name, time) for name in ("mixing", "gamma", "gain")},
        "hysteresis": charter.hysteresis_at(time),
        "tau": int(charter.scheduled("tau", time)),
        "time": time,
        "tables": [list(charter.hysteresis), *(list(table) for _, table in charter.schedules)],
        "extras": [spec.name for spec in craft.layout.extras],
        "mixes": craft.mixes,
    }


def _plan(base: Base, charter: Charter) -> dict[str, Any]:
    """Return a plan's tree and what it hands on."""
    plan, state = base.plan, base.state
    assert plan is not None
    clock = state.clock
    return {
        "certificate": base.id.hex(),
        "base": plan.base.hex(),
        "round": plan.round,
        "mode": plan.mode,
        "time": plan_time(charter, base),
        "hysteresis": plan.hysteresis,
        "tau": plan.tau,
        "seed": plan.seed,
        "reference": plan.reference.hex(),
        "sketch": base64.b64encode(state.sketch).decode(),
        "clock": [clock.tick, clock.streak, clock.loss] if clock is not None else None,
        "standing": {
            peer.hex(): [place.depth, place.streak, place.apart] for peer, place in state.standing.items()
        },
        "groups": [
            {"id": entry.group.hex(), "level": entry.level, "parent": entry.parent.hex() or None}
            for entry in plan.groups
        ],
        "parents": {
            entry.peer.hex(): entry.parent.hex() for entry in plan.entries if entry.listed and entry.parent
        },
    }


def _digests(record: RoundRecord) -> dict[str, Any]:
    """Return the digests a plan lists and the votes for it."""
    return {
        "term": record.certificate.term,
        "digests": [
            {
                "peer": peer.hex(),
                "scale": digest.scale,
                "sketch": base64.b64encode(digest.sketch).decode(),
                "weight": digest.weight,
                "model": digest.model.hex(),
                "seed": digest.seed,
                "reference": digest.reference.hex(),
                "round": digest.round,
                "loss": loss_of(digest),
            }
            for peer, digest in sorted(record.digests.items())
        ],
        "votes": [
            {
                "peer": peer_id(vote.public_key).hex(),
                "public_key": vote.public_key.hex(),
                "signature": vote.signature.hex(),
            }
            for vote in record.certificate.votes
        ],
    }
