"""The digests a peer publishes: of its presence, of what it has trained, of an upload that came too late.

A digest is made for one base. One that came too late to be listed is not wasted: its model went into
nothing, so the peer offers it again on the next base, as old as it is (`age`), instead of training once
more. Whether an older upload was counted cannot be told here, as a plan may have been missed: those are
never offered again, so no model is counted in two rounds. Where the next plan keeps its tree a digest has no
sketch: it is the short word that a model is trained, and which.
"""

from msgspec import structs

from swarmdem.identifiers import MILLISECOND, Micros
from swarmdem.protocol import events
from swarmdem.protocol.conduct import Report
from swarmdem.protocol.plans import Base, digest_kind, digest_of, sketched
from swarmdem.protocol.restart import Memory
from swarmdem.protocol.situation import Situation
from swarmdem.protocol.state import digest_ext
from swarmdem.wire.extensions import CONDUCT_REPORT
from swarmdem.wire.messages import PRESENCE, Digest


def presence(situation: Situation, memory: Memory) -> Digest:
    """Return the digest that says only that this peer is there (founding)."""
    number, age = _dated(memory)
    return Digest(
        base=situation.base.id, round=number, kind=PRESENCE, seed=situation.base.seed, reference=b"",
        weight=0, model=b"", model_bytes=0, age=age, training_ms=0, scale=0.0, sketch=b"",
    )  # fmt: skip


def upload(
    situation: Situation, memory: Memory, trained: events.Trained, duration: Micros, report: Report
) -> Digest:
    """Return the digest of what was *trained* in *duration*, with what is reported beside it."""
    charter, base = situation.charter, situation.base
    number, age = _dated(memory)
    compared = sketched(charter, base)
    return Digest(
        base=base.id,
        round=number,
        kind=digest_kind(charter),
        seed=base.seed if compared else 0,
        reference=base.reference if compared else b"",
        weight=1 if charter.weights == "agents" else min(trained.weight, 0xFFFFFFFF),
        model=trained.model,
        model_bytes=trained.model_bytes,
        age=age,
        training_ms=min(duration // MILLISECOND, 0xFFFFFFFF),
        scale=trained.scale if compared else 0.0,
        sketch=trained.sketch if compared else b"",
        ext=(*digest_ext(trained.loss_milli), *report.ext()),
    )


def again(situation: Situation, memory: Memory, report: Report) -> Digest | None:
    """Return a digest of this peer's standing upload for the present base; None where it was not too late.

    It was when its digest is for the base before and the plan in between does not list this peer.
    """
    base = situation.base
    late = digest_of(memory.digest) if memory.digest is not None else None
    if late is None or base.plan is None or not late.model or _listed(base, situation):
        return None
    if late.base != base.plan.base or (late.sketch and not _comparable(late, base)):
        return None
    if not late.sketch and sketched(situation.charter, base):
        return None  # what a kept tree did not need is wanted now
    number, age = _dated(memory)
    ext = tuple(each for each in late.ext if each[0] != CONDUCT_REPORT)
    return structs.replace(late, base=base.id, round=number, age=age, ext=(*ext, *report.ext()))


def _comparable(digest: Digest, base: Base) -> bool:
    return (digest.seed, digest.reference) == (base.seed, base.reference)


def _listed(base: Base, situation: Situation) -> bool:
    return base.plan is not None and any(e.peer == situation.me and e.listed for e in base.plan.entries)


def _dated(memory: Memory) -> tuple[int, int]:
    """Return round and age of a digest published now."""
    return 1 + memory.highest_round, max(0, memory.highest_round - memory.applied_round)
