"""Ed25519 over the exact bytes sent, and the peer ids that follow from the keys.

A peer is its key: its id is BLAKE2b-128 of the public key, with no personalisation (everything else
that is hashed here carries a tag). Keys that are not canonical points, or whose order divides 8, are
refused: a signature by one of those proves nothing, because many messages verify under it.

Limits: keys are held in plain memory; keeping them on disk is the store's business.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_FIELD = 2**255 - 19
_SMALL_ORDER_Y = frozenset({
    0,  # order 4
    1,  # the neutral element
    _FIELD - 1,  # order 2
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,  # order 8
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,  # order 8
})  # fmt: skip


class Signer(Protocol):
    """Holds a private key."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that others verify with."""

    @property
    def peer(self) -> PeerId:
        """The id that follows from the public key."""

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature of *data*."""


class Verifier(Protocol):
    """Checks signatures of any peer."""

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        """Return whether the owner of *public_key* signed *data*; never raises."""


def peer_id(public_key: bytes) -> PeerId:
    """Return the id of the peer that owns *public_key* (32 bytes)."""
    return PeerId(blake2b(public_key, digest_size=16).digest())


class Identity:
    """A peer's Ed25519 key pair."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()
        self.peer: PeerId = peer_id(self.public_key)

    @classmethod
    def generate(cls) -> "Identity":
        """Return a new identity, drawn from the system's source of chance."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, private_bytes: bytes) -> "Identity":
        """Return the identity of a stored key.

        Raises:
            MisuseError: *private_bytes* are not 32 bytes.
        """
        if len(private_bytes) != 32:
            raise MisuseError(f"a private key has 32 bytes, not {len(private_bytes)}")
        return cls(Ed25519PrivateKey.from_private_bytes(private_bytes))

    def private_bytes(self) -> bytes:
        """Return the 32 secret bytes, for the store and nobody else."""
        return self._private_key.private_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature of *data*; the same data gives the same signature."""
        return self._private_key.sign(data)

    def __repr__(self) -> str:
        """Show the peer id, never the key."""
        return f"Identity({self.peer.hex()})"


class _Ed25519:
    """RFC 8032 verification that also refuses unsound keys."""

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        key = _sound_key(public_key)
        if key is None:
            return False
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


@lru_cache(maxsize=4096)
def _sound_key(public_key: bytes) -> Ed25519PublicKey | None:
    if len(public_key) != PUBLIC_KEY_BYTES:
        return None
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD or y in _SMALL_ORDER_Y:
        return None
    return Ed25519PublicKey.from_public_bytes(public_key)


ED25519: Verifier = _Ed25519()
"""The real verifier."""
