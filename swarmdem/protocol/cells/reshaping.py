"""How cells keep their size and who speaks for one: pure functions of certificates and their digests.

A cell of more than `limit` peers splits by its own certificate: every holder finds the same two parts in the
certified tree. The larger part, at most three quarters, stays and has the majority that its next
certificate needs; the smaller founds a cell named after the certificate. A cell of less than a quarter of
the limit is merged into the nearest that has room, by the certificate of the region. So a cell that split
is not merged at once, and the sizes lie between a quarter of the limit and the limit in the long run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from swarmdem.identifiers import CellId, PeerId
from swarmdem.protocol.cells.centroids import distances
from swarmdem.protocol.cells.entries import NO_SITE, CellEntry, cell_entry
from swarmdem.protocol.election import rank
from swarmdem.protocol.hierarchy import Group, Hierarchy
from swarmdem.protocol.plans import Base
from swarmdem.protocol.sketches import Sketch
from swarmdem.wire.messages import NORMAL, Digest


def speakers(base: Base, cell: CellId) -> tuple[PeerId, ...]:
    """Return the peers of a cell's certificate in the order in which they speak for it.

    The order is drawn from the cell's name, not from the certificate: the first keeps its place as long as
    it is listed, and the region's electorate with it. Who is not listed any more is succeeded by the next.
    """
    return rank(base.electorate, cell)


def movers(base: Base, limit: int) -> tuple[PeerId, ...]:
    """Return who leaves the cell that stands on *base* for a new one; empty while it is not above *limit*.

    Only a normal certificate divides a cell: of that there is one.
    """
    plan, tree = base.plan, base.hierarchy
    if plan is None or tree is None or plan.mode != NORMAL or len(tree.root.members) <= limit:
        return ()
    order = list(_walk(tree, tree.root))
    stay = _boundary(tree, order)
    return tuple(sorted(order[stay:]))


def _walk(tree: Hierarchy, group: Group) -> Iterator[PeerId]:
    """Yield the peers so that each group is one stretch: larger groups first, direct leaves last."""
    for child in sorted(group.children, key=lambda g: (-len(tree.group(g).members), g)):
        yield from _walk(tree, tree.group(child))
    yield from group.leaves


def _boundary(tree: Hierarchy, order: list[PeerId]) -> int:
    """Return how many stay: the end of a group, the higher the better, above half and up to 3/4 of all."""
    count = len(order)
    low, high = count // 2 + 1, 3 * count // 4
    place = {peer: position for position, peer in enumerate(order)}
    for group in tree.groups:
        end = 1 + max(place[peer] for peer in group.members)
        if low <= end <= high:
            return end
    return max(low, 5 * count // 8)


@dataclass(frozen=True, slots=True)
class KnownCell:
    """One cell as a certificate of the region shows it."""

    entry: CellEntry
    speaker: PeerId
    centroid: Sketch


def known_cells(base: Base, digests: Mapping[PeerId, Digest]) -> dict[CellId, KnownCell]:
    """Return the cells that the region's certificate of *base* lists, by name, in the order of names.

    Args:
        base: What the region stands on.
        digests: The listed ones, as far as held.
    """
    cells = {}
    for peer in base.electorate:
        told = cell_entry(digests[peer]) if peer in digests else None
        if told is not None:
            digest = digests[peer]
            cells[told.cell] = KnownCell(told, peer, Sketch(peer, digest.scale, digest.sketch))
    return dict(sorted(cells.items()))


def merges(cells: Mapping[CellId, KnownCell], limit: int) -> dict[CellId, CellId]:
    """Return which cells are merged into which others: smallest first, each into the nearest with room.

    A cell that another is merged into stays itself, and only cells of one site are merged. Distances are
    mean squared ones between the cells' peers.
    """
    peers = {name: cell.entry.peers for name, cell in cells.items()}
    into: dict[CellId, CellId] = {}
    for name in sorted(cells, key=lambda cell: (peers[cell], cell)):
        if 4 * peers[name] >= limit or name in into.values():
            continue
        room = [
            other
            for other in cells
            if other != name
            and other not in into
            and peers[other] + peers[name] <= limit
            and cells[other].entry.site == cells[name].entry.site
        ]
        if room:
            target = nearest(cells[name].centroid, {other: cells[other] for other in room})
            into[name] = target
            peers[target] += peers[name]
    return into


def nearest(point: Sketch, cells: Mapping[CellId, KnownCell]) -> CellId:
    """Return which of *cells*, at least one, is nearest to *point* by mean squared distance; ties by name."""
    names = sorted(cells)
    found = distances(point, [(cells[name].centroid, cells[name].entry.scatter) for name in names])
    return min(zip(found, names, strict=True))[1]


def descend(
    point: Sketch, base: Base, cells: Mapping[CellId, KnownCell], limit: int, site: bytes = NO_SITE
) -> CellId | None:
    """Return the cell of *site* that a newcomer with the sketch *point* enters, from the region's root down.

    At each group it goes on with the nearest of the child groups and direct cells that have room anywhere
    below (Dem-AI, arXiv 2003.09301: new agents join a top-level group first). A group is as far as its
    cells are on the average, weighted by their peers.

    Returns:
        None when no cell there has room, or nothing is known of any.
    """
    there = {name: cell for name, cell in cells.items() if cell.entry.site == site}
    names = {cell.speaker: name for name, cell in there.items() if cell.entry.peers < limit}
    if not names or base.hierarchy is None:
        return None
    listed = sorted(names.items())
    found = distances(point, [(cells[n].centroid, cells[n].entry.scatter) for _, n in listed])
    far = {
        peer: (distance, cells[name].entry.peers)
        for (peer, name), distance in zip(listed, found, strict=True)
    }
    group = base.hierarchy.root
    while True:
        ways: list[tuple[bytes, tuple[PeerId, ...]]] = [(peer, (peer,)) for peer in group.leaves]
        ways += [(child, base.hierarchy.group(child).members) for child in group.children]
        open_ways = [(way, [far[p] for p in below if p in far]) for way, below in ways]
        best = min((_mean(there), way) for way, there in open_ways if there)[1]
        if PeerId(best) in names:
            return names[PeerId(best)]
        group = next(base.hierarchy.group(child) for child in group.children if child == best)


def _mean(there: list[tuple[int, int]]) -> int:
    """Return the mean of distances by their weights, rounded down."""
    return sum(distance * peers for distance, peers in there) // sum(peers for _, peers in there)
