"""What pretended models, frames and trees of a test of the update are made of.

A model is a mapping from label to the share (a Fraction) that the upload of that label has in it; its
hash is that of its content. A result that carries the sum over the groups above (`pull_to = all`) has
that sum under the same labels with `SUM` before them. Frames are signed by being known to the registry.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from hashlib import blake2b, sha256

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import FrameId, GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol.hierarchy import Group, Hierarchy, group_id
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import STANDING, Message, SignedVote

Model = tuple[tuple[bytes, Fraction], ...]
SECOND = 1_000_000
BASE = b"b" * 32
PLAN_ID = PlanId(b"p" * 32)
MODEL_BYTES = 1000
SUM = b"sum of "


def peer_name(index: int) -> PeerId:
    return PeerId(blake2b(b"peer %d" % index, digest_size=16).digest())


def mixture(parts: Iterable[tuple[Fraction, Model]]) -> Model:
    shares: dict[bytes, Fraction] = {}
    for factor, model in parts:
        for peer, share in model:
            shares[peer] = shares.get(peer, Fraction(0)) + factor * share
    return tuple(sorted((peer, share) for peer, share in shares.items() if share))


def plain(model: Model) -> Model:
    """The model itself, without the sum it may carry."""
    return tuple((label, share) for label, share in model if not label.startswith(SUM))


def sums(model: Model) -> Model:
    """The sum it carries; empty when it carries none."""
    return tuple((label.removeprefix(SUM), share) for label, share in model if label.startswith(SUM))


def with_sums(model: Model, summed: Model) -> Model:
    return tuple(sorted([*model, *((SUM + label, share) for label, share in summed)]))


class Models:
    """Content by hash: the truth behind every hash in the swarm."""

    def __init__(self) -> None:
        self._contents: dict[ModelHash, Model] = {}

    def add(self, model: Model) -> ModelHash:
        name = ModelHash(sha256(repr(model).encode()).digest())
        self._contents[name] = model
        return name

    def __getitem__(self, name: ModelHash) -> Model:
        return self._contents[name]


class FakeSealer:
    """Signs by registering: a frame is genuine if this swarm's registry knows its bytes."""

    def __init__(self, peer: PeerId, registry: dict[bytes, Frame], session: int = 1) -> None:
        self.peer = peer
        self.session = session
        self._registry = registry
        self._sequence = 0

    def seal(self, message: Message) -> Frame:
        standing = isinstance(message, STANDING)
        self._sequence += not standing
        session, sequence = (0, 0) if standing else (self.session, self._sequence)
        raw = sha256(repr((self.peer, session, sequence, message)).encode()).digest()
        frame = Frame(
            raw=raw,
            id=FrameId(raw),
            sender=self.peer,
            public_key=self.peer * 2,
            session=session,
            sequence=sequence,
            scope=b"s" * 32,
            signature=raw * 2,
            message=message,
        )
        self._registry[raw] = frame
        return frame

    def open(self, raw: bytes) -> Frame:
        if raw not in self._registry:
            raise MalformedFrameError("not a frame")
        return self._registry[raw]

    def rebuilt(
        self, message: Message, public_key: bytes, numbers: tuple[int, int], signature: bytes
    ) -> Frame:
        raise NotImplementedError

    def proves(self, vote: SignedVote, content: Message) -> PeerId | None:
        raise NotImplementedError


Shape = Sequence["int | Shape"]
"""A tree as nested lists: a number is a peer, a list is a group."""


def tree(shape: Shape) -> Hierarchy:
    groups: list[Group] = []

    def grow(node: Shape) -> tuple[int, GroupId, list[PeerId]]:
        leaves = [peer_name(part) for part in node if isinstance(part, int)]
        grown = [grow(part) for part in node if not isinstance(part, int)]
        members = sorted(leaves + [peer for _, _, below in grown for peer in below])
        level = 1 + max((level for level, _, _ in grown), default=0)
        name = group_id(BASE, level, members)
        children = tuple(sorted(child for _, child, _ in grown))
        groups.append(Group(name, level, None, tuple(sorted(leaves)), children, tuple(members)))
        return level, name, members

    grow(shape)
    parents = {child: group.id for group in groups for child in group.children}
    rooted = [Group(g.id, g.level, parents.get(g.id), g.leaves, g.children, g.members) for g in groups]
    return Hierarchy(tuple(sorted(rooted, key=lambda g: (-g.level, g.id))))
