"""A peer's private key on disk: PKCS #8 PEM, readable by its owner alone."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarmdem.errors import StoreError
from swarmdem.node.files import write_atomic
from swarmdem.wire.signing import Identity

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def write_key(path: Path, identity: Identity) -> None:
    """Write *identity* to a new file with mode 0600.

    Raises:
        StoreError: The file exists already (a key is never overwritten) or cannot be written.
    """
    if path.exists():
        raise StoreError(f"key {path}: exists already and is not overwritten")
    key = Ed25519PrivateKey.from_private_bytes(identity.private_bytes())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        write_atomic(path, pem, mode=0o600)
    except OSError as error:
        raise StoreError(f"key {path}: {error.strerror}") from error


def read_key(path: Path) -> Identity:
    """Return the identity in *path*.

    Raises:
        StoreError: It is missing, open to others than its owner, or not an Ed25519 key.
    """
    try:
        if os.stat(path).st_mode & _OTHERS:
            raise StoreError(f"key {path}: others than its owner may access it; run: chmod 600 {path}")
        pem = path.read_bytes()
    except OSError as error:
        raise StoreError(f"key {path}: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StoreError(f"key {path}: not an unencrypted PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"key {path}: not an Ed25519 key")
    return Identity.from_private_bytes(key.private_bytes_raw())
