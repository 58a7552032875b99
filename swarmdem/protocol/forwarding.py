"""Frames of others inside a bundle: verified again, because the forwarder's word is worth nothing.

Only what anybody may hand on is opened: digests, proposals, votes, skips and certificates.
"""

from collections.abc import Iterator, Sequence

from swarmdem.errors import WireError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.events import Reject
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import Certificate, Digest, Proposal, Skip, Vote


def opened(sealer: Sealer, forwarder: PeerId, frames: Sequence[bytes]) -> Iterator[Frame | Reject]:
    """Yield each of *frames* as it was signed, or why it is refused."""
    for raw in frames:
        try:
            frame = sealer.open(raw)
        except WireError as error:
            yield Reject(forwarder, f"forwarded frame: {error}")
            continue
        may = isinstance(frame.message, Digest | Proposal | Vote | Skip | Certificate)
        yield frame if may else Reject(forwarder, "forwards what may not be forwarded")
