"""A peer's private key on disk: PKCS #8 PEM, readable by its owner alone.

A peer's state folder keeps a copy beside it, so that a damaged file does not cost the peer its identity.
The key itself wins; a new identity takes a new state folder.
"""

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
    try:
        write_atomic(path, _pem(identity), mode=0o600)
    except OSError as error:
        raise StoreError(f"key {path}: {error.strerror}") from error


def kept_key(path: Path, *, durable: bool = True) -> tuple[Identity, str]:
    """Return the identity of a state folder, made when there is none, and what was damaged in plain words.

    Args:
        path: The key; its copy lies beside it.
        durable: Wait for the disk.

    Raises:
        StoreError: Neither the key nor its copy can be read, others may read it, or the disk refuses.
    """
    copy = path.with_suffix(f".copy{path.suffix}")
    if not path.exists() and not copy.exists():
        identity, damage = Identity.generate(), ""
        targets: tuple[Path, ...] = (path, copy)
    else:
        identity, damage = _surviving(path, copy)
        targets = (path,) if damage else (copy,) if not _holds(copy, identity) else ()
    try:
        for target in targets:
            write_atomic(target, _pem(identity), mode=0o600, durable=durable)
    except OSError as error:
        raise StoreError(f"key {path}: {error.strerror}") from error
    return identity, damage


def _surviving(path: Path, copy: Path) -> tuple[Identity, str]:
    try:
        return read_key(path), ""
    except StoreError as error:
        open_to_others = path.exists() and os.stat(path).st_mode & _OTHERS
        if open_to_others or not copy.exists():
            raise
        return read_key(copy), f"{error}; its copy {copy.name} is used"


def _holds(path: Path, identity: Identity) -> bool:
    try:
        return read_key(path).peer == identity.peer
    except StoreError:
        return False


def _pem(identity: Identity) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(identity.private_bytes())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


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
