"""The topic tree, written once.

    swarmdem/1/SCOPE/all/KIND/SENDER        to every peer
    swarmdem/1/SCOPE/to/RECEIVER/SENDER     to one peer, control connection
    swarmdem/1/SCOPE/bulk/RECEIVER/SENDER   to one peer, bulk connection: blobs and the wants for them
    swarmdem/1/SCOPE/blob/BLOB/SENDER       to all who fetch this blob, bulk connection: its chunks

SCOPE is the first 32 hex digits of the charter's hash, or of the swarm's for `Hello` and `Refusal`;
KIND is the message's name in lower case; BLOB the first 32 hex digits of a blob's name; SENDER and RECEIVER
are peer ids in hex. The sender is always the last level, so that a broker can let each user write under its
own name only. A topic is a hint: what counts is the signed scope and sender inside the frame.
"""

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.wire.charter import swarm_hash
from swarmdem.wire.messages import BlobOffer, BlobWant, Hello, Message

ROOT = "swarmdem/1"
_SCOPE_DIGITS = 32


def scope_level(scope: bytes) -> str:
    """Return the topic level of a charter's or a swarm's hash (32 bytes)."""
    return scope.hex()[:_SCOPE_DIGITS]


def hello(swarm: str, peer: PeerId) -> str:
    """Return where *peer* introduces itself to the swarm of that name."""
    return everyone(swarm_hash(swarm), Hello, peer)


def hello_all(swarm: str) -> str:
    """Return the pattern of all introductions to the swarm of that name."""
    return everyone_all(swarm_hash(swarm))


def everyone(scope: bytes, kind: type[Message], sender: PeerId) -> str:
    """Return where *sender* says something of this kind to all peers."""
    return f"{ROOT}/{scope_level(scope)}/all/{kind.__name__.lower()}/{sender.hex()}"


def everyone_all(scope: bytes) -> str:
    """Return the pattern of all that is said to every peer under this scope."""
    return f"{ROOT}/{scope_level(scope)}/all/+/+"


def inbox(scope: bytes, receiver: PeerId, sender: PeerId) -> str:
    """Return where *sender* writes to *receiver* alone."""
    return f"{ROOT}/{scope_level(scope)}/to/{receiver.hex()}/{sender.hex()}"


def inbox_all(scope: bytes, me: PeerId) -> str:
    """Return the pattern of all that is written to *me*."""
    return f"{ROOT}/{scope_level(scope)}/to/{me.hex()}/+"


def bulk(scope: bytes, receiver: PeerId, sender: PeerId) -> str:
    """Return where *sender* passes chunks, offers and wants of blobs to *receiver*."""
    return f"{ROOT}/{scope_level(scope)}/bulk/{receiver.hex()}/{sender.hex()}"


def bulk_all(scope: bytes, me: PeerId) -> str:
    """Return the pattern of all bulk traffic to *me*."""
    return f"{ROOT}/{scope_level(scope)}/bulk/{me.hex()}/+"


def blob(scope: bytes, name: ModelHash, sender: PeerId) -> str:
    """Return where *sender* passes the chunks of a blob to all who fetch it."""
    return f"{ROOT}/{scope_level(scope)}/blob/{scope_level(name)}/{sender.hex()}"


def blob_all(scope: bytes, name: ModelHash) -> str:
    """Return the pattern of what is passed to all who fetch a blob."""
    return f"{ROOT}/{scope_level(scope)}/blob/{scope_level(name)}/+"


def topic_of(message: Message, scope: bytes, sender: PeerId, receiver: PeerId | None = None) -> str:
    """Return where *message* goes: to all peers, or to *receiver* alone.

    Args:
        message: Its kind decides between the connections.
        scope: The scope of its frame (`Frame.scope`).
        sender: Who signed it.
        receiver: None for everybody.
    """
    if receiver is None:
        return everyone(scope, type(message), sender)
    if isinstance(message, (BlobWant, BlobOffer)):
        return bulk(scope, receiver, sender)
    return inbox(scope, receiver, sender)


def scope_of(topic: str) -> str:
    """Return the level of *topic* that stands for a charter or a swarm; empty where there is none."""
    levels = topic.removeprefix(f"{ROOT}/").split("/", 1)
    return levels[0] if len(levels) == 2 and topic.startswith(f"{ROOT}/") else ""


def sender_of(topic: str) -> PeerId:
    """Return the sender that the last level of *topic* names.

    Raises:
        MalformedFrameError: It names none.
    """
    level = topic.rpartition("/")[2]
    if len(level) == 32 and level.strip("0123456789abcdef") == "":
        return PeerId(bytes.fromhex(level))
    raise MalformedFrameError(f"topic names no sender: {topic!r}")
