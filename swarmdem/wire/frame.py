"""A frame: one signed message as it crossed the wire, and who may make one.

`Sealer` is how the protocol core turns a message into a frame. The real one signs with Ed25519
(`codec.FrameSealer` over `signing.Identity`); the simulation swaps the signature for a cheap hash.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from swarmdem.identifiers import FrameId, PeerId
from swarmdem.wire.messages import Message, SignedVote

if TYPE_CHECKING:
    from swarmdem.wire.charter import Charter

MAGIC = b"SD"
"""First two bytes of everything sent."""
WIRE_VERSION = 1
"""Third byte of everything sent."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A verified frame; `raw` is exactly what was signed and sent."""

    raw: bytes
    id: FrameId
    sender: PeerId
    public_key: bytes
    session: int
    """Start counter of the sender; 0 in standing frames (votes and skips)."""
    sequence: int
    """Position within the session; filters duplicates, orders nothing; 0 in standing frames."""
    scope: bytes
    """Charter hash, or the hash of the swarm's name in `Hello` and `Refusal`."""
    signature: bytes
    message: Message


class Sealer(Protocol):
    """Signs what one peer says and proves what others said."""

    @property
    def peer(self) -> PeerId:
        """The peer whose key signs."""

    @property
    def session(self) -> int:
        """Start counter of this peer's current run; at least 1."""

    def seal(self, message: Message) -> Frame:
        """Return *message* encoded and signed with the next sequence number.

        Kinds in `messages.STANDING` get session = sequence = 0, so sealing one content twice
        gives one frame. `Hello` and `Refusal` are signed under the swarm's name.
        """

    def under(self, charter: "Charter") -> Self:
        """Return a sealer of the same peer and session for the frames of another *charter*.

        Both count in one sequence.
        """

    def open(self, raw: bytes) -> Frame:
        """Verify and decode *raw* (a forwarded frame).

        Raises:
            WireError: It is not a well-formed, correctly signed frame of this swarm.
        """

    def rebuilt(
        self, message: Message, public_key: bytes, numbers: tuple[int, int], signature: bytes
    ) -> Frame:
        """Return the frame of *message* as the holder of *public_key* signed it.

        Raises:
            WireError: It did not sign this.
        """

    def proves(self, vote: SignedVote, content: Message) -> PeerId | None:
        """Return who signed the standing *content* with *vote*, or None if the signature is wrong."""
