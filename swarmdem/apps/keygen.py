"""`swarmdem keygen`: a new identity in a file only its owner may read."""

from pathlib import Path

from swarmdem.errors import StoreError
from swarmdem.identifiers import PeerId, text
from swarmdem.node.keys import read_key, write_key
from swarmdem.node.store import KEY_FILE
from swarmdem.wire.signing import Identity


def make_key(path: Path) -> tuple[Path, PeerId]:
    """Write a new private key and return where, and whom it names.

    Args:
        path: A file to be, or a state directory if it has no suffix; folders that are absent are made.

    Raises:
        StoreError: A key is there already, or the file cannot be written.
    """
    if path.is_dir() or not path.suffix:
        path = path / KEY_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"key {path}: the folder {path.parent} cannot be made: {error.strerror}") from error
    identity = Identity.generate()
    write_key(path, identity)
    return path, identity.peer


def describe_key(path: Path) -> str:
    """Return the peer id (32 hex digits) of an existing key.

    Raises:
        StoreError: The file cannot be read or is not a key.
    """
    return text(read_key(path / KEY_FILE if path.is_dir() else path).peer)
