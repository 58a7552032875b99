"""Signatures that cost a microsecond: anybody who knows a public key can forge them.

They keep frames real bytes of the real length without the price of Ed25519. For simulations only;
nothing outside this folder may use them.
"""

from hashlib import blake2b

from swarmdem.identifiers import PeerId
from swarmdem.wire.signing import peer_id


class PretendedIdentity:
    """The key of simulated peer number *index*; a `signing.Signer`."""

    def __init__(self, index: int) -> None:
        self.public_key = blake2b(index.to_bytes(8, "little"), digest_size=32, person=b"sd/sim-key").digest()
        self.peer: PeerId = peer_id(self.public_key)

    def sign(self, data: bytes) -> bytes:
        """Return 64 bytes that `PretendedVerifier` accepts."""
        return blake2b(data, digest_size=64, key=self.public_key).digest()


class PretendedVerifier:
    """Checks what `PretendedIdentity` signs; a `signing.Verifier`."""

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        """Say whether *signature* belongs to *data*."""
        return blake2b(data, digest_size=64, key=public_key).digest() == signature


VERIFIER = PretendedVerifier()
