"""Frames of others inside a bundle: verified again, because the forwarder's word is worth nothing.

Only what anybody may hand on is opened: digests, proposals, votes, skips and certificates.
"""

from collections.abc import Iterator, Sequence

from swarmdem.errors import WireError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.events import Effect, Reject, Send
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import LISTED_MAX, Bundle, Certificate, Digest, Proposal, Skip, Vote

BUNDLE_BYTES_MAX = 131_072
"""Frames forwarded in one bundle; more go into further bundles."""


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


def bundled(sealer: Sealer, receiver: PeerId, raws: Sequence[bytes]) -> list[Effect]:
    """Return the frames *raws* sent to *receiver*, in bundles that fit a frame."""
    effects: list[Effect] = []
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        if batch and (size + len(raw) > BUNDLE_BYTES_MAX or len(batch) >= LISTED_MAX):
            effects.append(Send(receiver, sealer.seal(Bundle(tuple(batch)))))
            batch, size = [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        effects.append(Send(receiver, sealer.seal(Bundle(tuple(batch)))))
    return effects
