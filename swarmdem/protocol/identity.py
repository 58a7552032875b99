"""Which group is which from round to round.

A new group inherits the name of the previous group of its level with which it shares most members;
when a group splits its larger part keeps the name, when two merge that of the larger survives. Names
go by (members shared, most first; previous name), each once, so all peers hand out the same ones.
A group that inherits none gets a new name from the base, which never comes back. The root keeps its.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from swarmdem.identifiers import GroupId, Level, PeerId
from swarmdem.protocol.branches import Branch
from swarmdem.protocol.hierarchy import Hierarchy, assemble, group_id


@dataclass(frozen=True, slots=True)
class _Nameless:
    level: Level
    parent: int
    """Number of the group above; the root's own, 0."""
    leaves: tuple[PeerId, ...]
    members: tuple[PeerId, ...]
    """Sorted."""


def named(root: Branch, *, base: bytes, previous: Hierarchy | None) -> Hierarchy:
    """Return the tree of *root* with a name for every group.

    Args:
        root: Well-formed: every peer once, levels rise, no group is empty.
        base: Plan id that the round follows; in every new name.
        previous: The tree whose names are inherited.
    """
    groups: list[_Nameless] = []
    pending = [(root, 0)]
    while pending:
        branch, parent = pending.pop()
        pending.extend((below, len(groups)) for below in branch.branches)
        groups.append(_Nameless(branch.level, parent, branch.leaves, tuple(sorted(branch.members()))))
    names = _inherited(groups, previous) if previous is not None else {}
    for number, group in enumerate(groups):
        names.setdefault(number, group_id(base, group.level, group.members))
    return assemble(
        {
            names[number]: (group.level, names[group.parent] if number else None)
            for number, group in enumerate(groups)
        },
        {peer: names[number] for number, group in enumerate(groups) for peer in group.leaves},
    )


def _inherited(groups: Sequence[_Nameless], previous: Hierarchy) -> dict[int, GroupId]:
    names = {0: previous.root.id}
    before = {(group.level, peer): group.id for group in previous.groups[1:] for peer in group.members}
    shared: list[tuple[int, GroupId, tuple[PeerId, ...], int]] = []
    for number, group in enumerate(groups[1:], start=1):
        overlaps = Counter(
            before[group.level, peer] for peer in group.members if (group.level, peer) in before
        )
        shared.extend((-count, name, group.members, number) for name, count in overlaps.items())
    taken = {previous.root.id}
    for _, name, _, number in sorted(shared):
        if number not in names and name not in taken:
            names[number] = name
            taken.add(name)
    return names
