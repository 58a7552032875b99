"""Who learns with whom: K levels of groups over the peers of one plan.

A tree is made of digests (`forming.form`, at every voter) or read from a plan (`hierarchy_of`,
network input). Both go through one assembly, so a tree written into a plan and read back is equal to
the first. A hierarchy is immutable and its order is canonical: equal trees have equal hashes in every
process. A group keeps its name while it keeps most of its members (`identity`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

from swarmdem.identifiers import GroupId, Level, PeerId
from swarmdem.protocol.recent import Recent
from swarmdem.wire.messages import GroupEntry, Plan


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a tree."""

    id: GroupId
    level: Level
    parent: GroupId | None
    """None for the root."""
    leaves: tuple[PeerId, ...]
    """Peers attached to this very group; sorted."""
    children: tuple[GroupId, ...]
    """Groups right below; sorted."""
    members: tuple[PeerId, ...]
    """All peers at any depth below; sorted."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The tree of one plan; equal when all groups are equal."""

    groups: tuple[Group, ...]
    """Highest level first, then by id; the root is the first."""
    _groups: dict[GroupId, Group] = field(init=False, repr=False, compare=False)
    _parents: dict[PeerId, GroupId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the groups by id and the peers by the group they are attached to."""
        object.__setattr__(self, "_groups", {group.id: group for group in self.groups})
        object.__setattr__(
            self, "_parents", {peer: group.id for group in self.groups for peer in group.leaves}
        )

    def __contains__(self, group: GroupId) -> bool:
        return group in self._groups

    @property
    def root(self) -> Group:
        """The group of all peers."""
        return self.groups[0]

    def group(self, group: GroupId) -> Group:
        """Return the group of this id; raises `KeyError` when the tree has none."""
        return self._groups[group]

    def parent_of(self, peer: PeerId) -> GroupId | None:
        """Return the group *peer* is attached to; None when it is not in the tree."""
        return self._parents.get(peer)

    def tree_hash(self) -> bytes:
        """Return BLAKE2b-256 over all groups and attachments.

        Per group: id, level (1 byte), parent (zeros for the root), number of leaves (4 bytes,
        big-endian), leaves. Personalised with `sd/tree`.
        """
        digest = blake2b(digest_size=32, person=b"sd/tree")
        for group in self.groups:
            digest.update(group.id + bytes([group.level]) + (group.parent or bytes(16)))
            digest.update(len(group.leaves).to_bytes(4, "big") + b"".join(group.leaves))
        return digest.digest()


def group_id(base: bytes, level: Level, members: Sequence[PeerId]) -> GroupId:
    """Return a new name for the group of *members* (sorted) at *level* in the plan that follows *base*.

    BLAKE2b-128, personalised with `sd/group`, of the length of the base (1 byte), base, level (1 byte)
    and members: no two groups of a tree have one name, and the names of a gone group do not come back.
    """
    digest = blake2b(bytes([len(base)]) + base + bytes([level]), digest_size=16, person=b"sd/group")
    digest.update(b"".join(members))
    return GroupId(digest.digest())


def assemble(
    groups: Mapping[GroupId, tuple[Level, GroupId | None]], parents: Mapping[PeerId, GroupId]
) -> Hierarchy:
    """Return the tree of groups (level, parent) and attachments; levels must rise towards the root."""
    leaves: dict[GroupId, list[PeerId]] = {group: [] for group in groups}
    children: dict[GroupId, list[GroupId]] = {group: [] for group in groups}
    for peer, group in parents.items():
        leaves[group].append(peer)
    members = {group: list(peers) for group, peers in leaves.items()}
    order = sorted(groups, key=lambda group: (-groups[group][0], group))
    for group in reversed(order):
        above = groups[group][1]
        if above is not None:
            children[above].append(group)
            members[above].extend(members[group])
    return Hierarchy(
        tuple(
            Group(
                id=group,
                level=groups[group][0],
                parent=groups[group][1],
                leaves=tuple(sorted(leaves[group])),
                children=tuple(sorted(children[group])),
                members=tuple(sorted(members[group])),
            )
            for group in order
        )
    )


def plan_groups(hierarchy: Hierarchy | None) -> tuple[GroupEntry, ...]:
    """Return the tree as a plan's `groups`; empty while founding (None)."""
    if hierarchy is None:
        return ()
    return tuple(GroupEntry(group.id, group.level, group.parent or b"") for group in hierarchy.groups)


def hierarchy_of(plan: Plan) -> Hierarchy | None:
    """Return the tree a plan describes, or None when it is not one well-formed tree over its listed.

    Well-formed: entries sorted by peer, each once; groups in canonical order, each once; the root
    first, the only one without a parent; every other group under a group of a higher level; every
    listed peer attached to one of the groups and no other peer to any; no group without a peer below.
    Whether it is the *right* tree only a voter that holds the digests can tell. A founding plan has
    no tree.
    """
    return _trees.get(plan, lambda: _assembled(plan), about=plan.base)


_trees: Recent[Plan, Hierarchy | None] = Recent()


def _assembled(plan: Plan) -> Hierarchy | None:
    if not plan.groups or not _rising(entry.peer for entry in plan.entries):
        return None
    if not _rising(bytes([255 - group.level]) + group.group for group in plan.groups):
        return None
    levels = {group.group: group.level for group in plan.groups}
    root, *lower = plan.groups
    if len(levels) != len(plan.groups) or root.parent or root.level < 1:
        return None
    if not all(1 <= group.level < levels.get(GroupId(group.parent), 0) for group in lower):
        return None
    if not all(entry.parent in levels if entry.listed else not entry.parent for entry in plan.entries):
        return None
    tree = assemble(
        {
            group.group: (group.level, GroupId(group.parent) if group.parent else None)
            for group in plan.groups
        },
        {entry.peer: GroupId(entry.parent) for entry in plan.entries if entry.listed},
    )
    return tree if all(group.members for group in tree.groups) else None


def _rising(keys: Iterable[bytes]) -> bool:
    return all(a < b for a, b in pairwise(keys))
