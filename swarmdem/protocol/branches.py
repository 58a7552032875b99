"""A tree of groups while it is made: levels and peers, no names yet.

A group is worth its aggregator only when it joins something. `trimmed` takes out the others: a group
of one peer, or of fewer than the charter's least, is dissolved into the group above; a group with one
group below and no peers of its own is replaced by that one, which keeps its level.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from swarmdem.identifiers import Level, PeerId
from swarmdem.protocol.hierarchy import Group, Hierarchy

SMALLEST = 2
"""Peers of the smallest group that joins something."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One group and all below it."""

    level: Level
    leaves: tuple[PeerId, ...]
    """Peers attached to this very group, in any order."""
    branches: tuple["Branch", ...] = ()
    """Groups right below, each of a lower level."""

    def members(self) -> Iterator[PeerId]:
        """Yield the peers at any depth below."""
        yield from self.leaves
        for branch in self.branches:
            yield from branch.members()

    def walk(self) -> Iterator["Branch"]:
        """Yield this group and all below it, each before those below it."""
        yield self
        for branch in self.branches:
            yield from branch.walk()

    def joined_by(self, peers: Collection[PeerId]) -> "Branch":
        """Return this group with *peers* attached to it."""
        return Branch(self.level, (*self.leaves, *peers), self.branches)


def trimmed(root: Branch, *, min_size: int) -> Branch:
    """Return the tree without groups that join nothing, or fewer than *min_size* peers; the root stays."""
    found = _trimmed(root, max(min_size, SMALLEST))
    while len(found.branches) == 1 and not found.leaves:
        only = found.branches[0]
        found = Branch(root.level, only.leaves, only.branches)
    return found


def _trimmed(branch: Branch, least: int) -> Branch:
    leaves, branches = list(branch.leaves), []
    for below in branch.branches:
        found = _trimmed(below, least)
        members = tuple(found.members())
        if len(members) < least:
            leaves.extend(members)
        elif len(found.branches) == 1 and not found.leaves:
            branches.append(found.branches[0])
        else:
            branches.append(found)
    return Branch(branch.level, tuple(leaves), tuple(branches))


def lifted(root: Branch, depths: Mapping[PeerId, int]) -> Branch:
    """Return the tree with every peer of *depths* at most that many levels below the root.

    Such a peer hangs on the lowest of the groups above it that is high enough.
    """
    lowest = {peer: root.level - depth for peer, depth in depths.items()}
    found, rising = _lifted(root, lowest)
    assert not rising, "no level is above the root's"
    return found


def _lifted(branch: Branch, lowest: Mapping[PeerId, Level]) -> tuple[Branch, list[PeerId]]:
    leaves, branches = list(branch.leaves), []
    for below in branch.branches:
        found, rising = _lifted(below, lowest)
        branches.append(found)
        leaves.extend(rising)
    staying = tuple(peer for peer in leaves if lowest.get(peer, 0) <= branch.level)
    return (
        Branch(branch.level, staying, tuple(branches)),
        [peer for peer in leaves if lowest.get(peer, 0) > branch.level],
    )


def kept(hierarchy: Hierarchy, peers: Collection[PeerId]) -> Branch:
    """Return the tree of *hierarchy* with those of its peers that are among *peers*."""
    here = frozenset(peers)

    def branch(group: Group) -> Branch:
        return Branch(
            group.level,
            tuple(peer for peer in group.leaves if peer in here),
            tuple(branch(hierarchy.group(child)) for child in group.children),
        )

    return branch(hierarchy.root)
