"""Who is in which group, round by round: names and colours of groups, moves, bands, the tree view's data.

Groups keep their ids over rounds, and get one short name for the page: `root` (in cells, which have one
each: `cell 1`, `cell 2`, ...), then A, B, ... in the order of their first round, top level first. Groups
that exist at the same time have different colours as far as there are: eight colours, then the same ones
striped, then dotted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swarmdem.apps.reading import GroupRow, Run, TreeRow
from swarmdem.apps.report.html import Html, element, joined

COLOURS = 8
_SHADES = 3 * COLOURS
_ROOT = -1
"""Stands for the colour of the root: grey, whatever its rounds."""
_LEFT, _TOP, _ROW = 76, 30, 15
_WIDTH = 860


@dataclass(frozen=True)
class Forest:
    """All trees of a run by round; a round in cells, or that ended under several lists, has several."""

    rounds: Mapping[int, tuple[TreeRow, ...]]
    peers: tuple[str, ...]
    in_cells: bool = False
    """A tree is a cell's."""

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Short names by id."""
        roots: dict[str, str] = {}
        others: dict[str, str] = {}
        for tree in self._all():
            for group in sorted(tree.groups, key=lambda group: -group.level):
                if group.id in roots or group.id in others:
                    continue
                if group.parent is None:
                    roots[group.id] = f"cell {len(roots) + 1}" if self.in_cells else "root"
                else:
                    others[group.id] = _letters(len(others))
        return roots | others

    @cached_property
    def colours(self) -> Mapping[str, int]:
        """Colour by id: the one that has been out of use for longest, at a group's first round."""
        found: dict[str, int] = {}
        used = dict.fromkeys(range(_SHADES), 0)
        for round, trees in self.rounds.items():
            for group in (group for tree in trees for group in tree.groups):
                if group.parent is None and not self.in_cells:
                    found[group.id] = _ROOT
                elif group.id in found:
                    used[found[group.id]] = round
            for group in (group for tree in trees for group in tree.groups):
                if group.id not in found:
                    fresh = sorted(range(_SHADES), key=lambda colour: (used[colour] >= round, colour))
                    free = [colour for colour in fresh if used[colour] < round - 1] or fresh
                    found[group.id] = free[0]
                    used[free[0]] = round
        return found

    @property
    def depth(self) -> int:
        """Levels of groups below the root."""
        return max((tree.root.level - 1 for tree in self._all() if tree.root is not None), default=0)

    @cached_property
    def last(self) -> tuple[TreeRow, ...]:
        """The trees of the last round, the one with the most peers first."""
        trees = self.rounds[max(self.rounds)] if self.rounds else ()
        return tuple(sorted(trees, key=lambda tree: -len(tree.root.members) if tree.root else 0))

    def group(self, round: int, peer: str, level: int = 1) -> GroupRow | None:
        """Return the smallest group of *peer* of at least this level; level 1: the one it hangs from."""
        chain = self._chains.get((round, peer), ())
        return next((group for group in chain if group.level >= level), None)

    @cached_property
    def _chains(self) -> Mapping[tuple[int, str], Sequence[GroupRow]]:
        """Groups of a peer in a round, smallest first; of several trees, those of the first that has it."""
        found: dict[tuple[int, str], list[GroupRow]] = {}
        for round, trees in self.rounds.items():
            for tree in trees:
                fresh: dict[str, list[GroupRow]] = {}
                for group in sorted(tree.groups, key=lambda group: group.level):
                    for peer in group.members:
                        fresh.setdefault(peer, []).append(group)
                for peer, chain in fresh.items():
                    found.setdefault((round, peer), chain)
        return found

    @cached_property
    def moves(self) -> Mapping[str, Sequence[tuple[int, str, str]]]:
        """By peer: (round, id of the group before, id of the group now) of its own group."""
        found: dict[str, list[tuple[int, str, str]]] = {peer: [] for peer in self.peers}
        for peer in self.peers:
            before: GroupRow | None = None
            for round in self.rounds:
                now = self.group(round, peer)
                if before is not None and now is not None and now.id != before.id:
                    found[peer].append((round, before.id, now.id))
                before = now or before
        return found

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Peers so that members of a group of the last trees stand together, the rest behind."""
        placed = [peer for tree in self.last if tree.root is not None for peer in _leaves(tree, tree.root)]
        return tuple(dict.fromkeys((*placed, *self.peers)))

    def _all(self) -> Iterator[TreeRow]:
        return (tree for trees in self.rounds.values() for tree in trees)


def forest(run: Run) -> Forest:
    """Return the trees of a run."""
    rounds: dict[int, list[TreeRow]] = {}
    for tree in sorted(run.trees, key=lambda tree: tree.round):
        rounds.setdefault(tree.round, []).append(tree)
    in_cells = any(row.in_cells for row in run.rounds)
    return Forest({round: tuple(trees) for round, trees in rounds.items()}, run.peers, in_cells)


def _letters(number: int) -> str:
    """Return A to Z, then AA, AB, ..."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("A") + digit) + text
    return text


def _leaves(tree: TreeRow, group: GroupRow) -> Iterator[str]:
    for child in sorted((g for g in tree.groups if g.parent == group.id), key=lambda g: (-g.level, g.id)):
        yield from _leaves(tree, child)
    yield from sorted(group.leaves)


def chip(woods: Forest, group: str) -> Html:
    """Return a group's name with its colour."""
    colour, name = woods.colours.get(group, _ROOT), woods.names.get(group, group[:6])
    shown = element("i", class_=f"g {_tint(colour)} {_pattern(colour) or ''}".rstrip(), aria_hidden="true")
    return element("span", shown, name, class_="chip", title=f"group {group}")


def _tint(colour: int) -> str:
    return "groot" if colour == _ROOT else f"g{colour % COLOURS}"


def _pattern(colour: int) -> str | None:
    return (None, "striped", "dotted")[max(colour, 0) // COLOURS]


def bands(woods: Forest, level: int) -> Html:
    """Return peers by rounds as an `<svg>`: each cell has the colour of the peer's group of this level."""
    rounds = list(woods.rounds)
    first, last = rounds[0], rounds[-1]
    cell = min(max(_WIDTH / (last - first + 1), 5.0), 64.0)
    width = _LEFT + cell * (last - first + 1) + 8
    height = _TOP + _ROW * len(woods.order) + 26
    drawn = [_moves_strip(woods, first, cell)]
    for place, peer in enumerate(woods.order):
        y = _TOP + _ROW * place
        drawn.append(element("text", peer[:8], x=_LEFT - 6, y=y + 11, class_="peer"))
        drawn += _band(woods, level, peer, (y, first, cell))
    step = max(1, round(48 / cell))
    for number in range(first, last + 1):
        if number == first or number % step == 0:
            x = _LEFT + cell * (number - first + 0.5)
            drawn.append(element("text", str(number), x=f"{x:.1f}", y=height - 12, class_="round"))
    label = f"Groups of {len(woods.order)} peers in rounds {first} to {last}, a row a peer, a column a round"
    return element(
        "svg", *drawn, class_="bands", viewBox=f"0 0 {width:.0f} {height}", role="img", aria_label=label,
        style=f"--w:{width:.0f}px",
    )  # fmt: skip


def _band(woods: Forest, level: int, peer: str, place: tuple[int, int, float]) -> Iterator[Html]:
    """Yield a peer's row: one bar for as long as it stays in a group."""
    y, first, cell = place
    spells: list[tuple[str, int, int]] = []
    for round in woods.rounds:
        group = woods.group(round, peer, level)
        if group is None:
            continue
        if spells and spells[-1][0] == group.id and spells[-1][2] == round - 1:
            spells[-1] = (group.id, spells[-1][1], round)
        else:
            spells.append((group.id, round, round))
    for group_id, begin, end in spells:
        x, width = _LEFT + cell * (begin - first), cell * (end - begin + 1)
        name = woods.names[group_id]
        when = f"round {begin}" if begin == end else f"rounds {begin} to {end}"
        title = element("title", f"{peer[:8]}: {name} ({when})")
        size: dict[str, str | float] = {
            "x": f"{x:.1f}",
            "y": y,
            "width": f"{max(width - 1, 1):.1f}",
            "height": _ROW - 2,
        }
        colour = woods.colours[group_id]
        yield element("rect", title, class_=f"g {_tint(colour)}", **size)
        if pattern := _pattern(colour):
            yield element("rect", class_="over", fill=f"url(#{pattern})", **size)
        if width >= 8 * len(name) + 6:
            yield element("text", name, x=f"{x + width / 2:.1f}", y=y + 10.5, class_="name")


def _moves_strip(woods: Forest, first: int, cell: float) -> Html:
    """Return how many peers changed their own group in each round, as bars above the bands."""
    counts: dict[int, int] = {}
    for moves in woods.moves.values():
        for round, _, _ in moves:
            counts[round] = counts.get(round, 0) + 1
    most = max(counts.values(), default=0)
    bars = [element("text", "moves", x=_LEFT - 6, y=_TOP - 7, class_="peer")]
    for round, count in counts.items():
        tall = 22 * count / most
        bars.append(
            element(
                "rect",
                element("title", f"round {round}: {count} of {len(woods.peers)} peers moved"),
                class_="moves",
                x=f"{_LEFT + cell * (round - first):.1f}",
                y=f"{_TOP - 4 - tall:.1f}",
                width=f"{max(cell - 1, 1):.1f}",
                height=f"{tall:.1f}",
            )
        )
    return joined(bars)


def patterns() -> Html:
    """Return what tells groups of one colour apart; once a page."""
    stripes = element("path", d="M0 6L6 0", class_="ink")
    dots = element("circle", cx=3, cy=3, r=1.1, class_="dot")
    size: dict[str, str | float] = {"width": 6, "height": 6, "patternUnits": "userSpaceOnUse"}
    defs = element(
        "defs",
        element("pattern", stripes, id="striped", **size),
        element("pattern", dots, id="dotted", **size),
    )
    return element("svg", defs, width=0, height=0, class_="defs", aria_hidden="true")


def view_data(woods: Forest) -> dict[str, Any]:
    """Return what the page's script draws trees from.

    `rounds` holds [round, certified, groups of all its trees]; a group is [name, colour, level, parent's
    place or -1, places of the peers attached, the aggregator's place or -1, members, included, cut].
    """
    place = {peer: number for number, peer in enumerate(woods.peers)}
    rounds = []
    for round, trees in woods.rounds.items():
        groups: list[list[Any]] = []
        for tree in trees:
            groups += _group_data(woods, tree, place, first=len(groups))
        rounds.append([round, int(all(tree.certified for tree in trees)), groups])
    return {"peers": [peer[:8] for peer in woods.peers], "rounds": rounds}


def _group_data(woods: Forest, tree: TreeRow, place: Mapping[str, int], *, first: int) -> list[list[Any]]:
    """Return the groups of a tree as `view_data` does; *first* is the place of its root."""
    ordered = sorted(tree.groups, key=lambda group: (-group.level, group.id))
    position = {group.id: number for number, group in enumerate(ordered, first)}
    return [
        [
            woods.names[group.id], woods.colours[group.id], group.level,
            position.get(group.parent or "", -1), [place[peer] for peer in group.leaves if peer in place],
            place.get(group.aggregator or "", -1), len(group.members), len(group.included), int(group.cut),
        ]
        for group in ordered
    ]  # fmt: skip


def outline(woods: Forest, tree: TreeRow) -> Html:
    """Return a tree as nested lists: what is read where no script runs."""

    def branch(group: GroupRow) -> Html:
        led = f", led by {group.aggregator[:8]}" if group.aggregator else ""
        children = [branch(child) for child in tree.groups if child.parent == group.id]
        leaves = [element("li", peer[:8]) for peer in sorted(group.leaves)]
        title = f" level {group.level}, {len(group.members)} peers{led}"
        return element("li", chip(woods, group.id), title, element("ul", *children, *leaves))

    return element("ul", *([branch(tree.root)] if tree.root is not None else []), class_="outline")
