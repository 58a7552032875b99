"""What a peer remembers over a restart: the records that `Persist` put on disk.

Where some of them were lost (the shell found damage and left the record `DOUBT`) this peer may have voted
on what it stands on and not know it. It abstains on every base, neither proposing nor voting nor skipping,
until one lists a digest that it signed since: nobody can have voted on that one before. Where its vote is
needed, two peers would wait for each other for ever; so a base on which nothing came of it within
`ABSTENTION` is voted on all the same, but not in the mode `bft`, which would rather wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.errors import WireError
from swarmdem.identifiers import Micros, ModelHash, Round
from swarmdem.protocol.events import Effect, Persist
from swarmdem.protocol.plans import Base, base_of
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Certificate, Digest

Records = Mapping[str, bytes]
"""What `Persist` put on disk, by key."""
DOUBT = "doubt"
"""Key of the record that says that others were lost; the shell writes it, the core deletes it."""
ABSTENTION = 4
"""Patiences of connected time for which a peer in doubt abstains on one base."""
_NEVER = 2**62


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
    doubt: bool = False
    """This peer may have voted on its base and forgotten it."""

    def silent_until(self, charter: Charter, now: Micros) -> Micros:
        """Return until when this peer abstains on a base that it stands on from *now*."""
        if not self.doubt:
            return 0
        return _NEVER if charter.agreement == "bft" else now + ABSTENTION * charter.patience_us

    def reassured(self, base: Base, session: int) -> list[Effect]:
        """Return what to write now that *base* is stood on.

        Doubt ends where it lists a digest that was signed in this *session*.
        """
        mine = {f.id for f in (self.digest, self.presence) if f is not None and f.session == session}
        assert base.plan is not None
        if not self.doubt or mine.isdisjoint(entry.digest for entry in base.plan.entries if entry.listed):
            return []
        self.doubt = False
        return [Persist(DOUBT, b"")]


def recall(stored: Records, sealer: Sealer) -> Memory:
    """Return what *stored* records say; a record that cannot be read counts as absent."""
    memory = Memory(ballots=stored.get("ballots", b""), founding=stored.get("founding", b""))
    memory.doubt = bool(stored.get(DOUBT))
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
