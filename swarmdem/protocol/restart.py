"""What a peer remembers over a restart: the records that `Persist` put on disk."""

from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.errors import WireError
from swarmdem.identifiers import ModelHash, Round
from swarmdem.protocol.plans import Base, base_of
from swarmdem.wire import codec
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Certificate, Digest


@dataclass(slots=True)
class Memory:
    """The durable state of the core; every change is ordered with `Persist` by whoever makes it."""

    base: Base | None = None
    """The certificate this peer stood on."""
    digest: Frame | None = None
    """The standing digest: retraining would give two for one base."""
    presence: Frame | None = None
    """The digest that says that this founder is there; told anew it would be a second one. Not on disk."""
    ballots: bytes = b""
    founding: bytes = b""
    """The ballots of the founding: whoever founds anew must not vote twice in a term."""
    reference: ModelHash | None = None
    """The model in slot `REFERENCE`."""
    highest_round: Round = 0
    applied_round: Round = 0
    applied_plan: bytes = b""


def recall(stored: Mapping[str, bytes], sealer: Sealer) -> Memory:
    """Return what *stored* records say; a record that cannot be read counts as absent."""
    memory = Memory(ballots=stored.get("ballots", b""), founding=stored.get("founding", b""))
    try:
        certificate = codec.decode_body(Certificate, stored.get("certificate", b""))
        memory.base = base_of(certificate, codec.decode_plan(certificate.plan))
    except WireError:
        memory.base = None
    try:
        frame = sealer.open(stored.get("digest", b""))
        memory.digest = frame if isinstance(frame.message, Digest) else None
    except WireError:
        memory.digest = None
    if len(stored.get("reference", b"")) == 32:
        memory.reference = ModelHash(stored["reference"])
    memory.highest_round = int.from_bytes(stored.get("round", b""), "big")
    applied = stored.get("applied", b"")
    memory.applied_round = int.from_bytes(applied[:8], "big")
    memory.applied_plan = applied[8:]
    return memory
