"""What a run in cells came to, from the journals of its peers: cells, moves, rounds of the region."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

_TOLD = (b'"cell_entered"', b'"region_certified"', b'"region_handed_down"')


class _Line(msgspec.Struct):
    event: str
    cell: str = ""
    round: int = 0


def cells_of_run(peers: Path) -> dict[str, Any]:
    """Return what the journals in the folder *peers* tell of cells and region.

    Files and lines that cannot be read count for nothing: a run that ends must not fail over its bookkeeping.

    Returns:
        `peers` by cell at the end, the largest cell first; `moves` from cell to cell; of the region
        `rounds` that were certified, and `handed_down`, the times that its result came down to a cell.
    """
    last: dict[str, str] = {}
    moves = handed_down = rounds = 0
    for journal in sorted(peers.glob("*.jsonl")):
        for line in _lines_of(journal):
            if line.event == "cell_entered":
                moves += last.get(journal.stem, line.cell) != line.cell
                last[journal.stem] = line.cell
            elif line.event == "region_certified":
                rounds = max(rounds, line.round)
            else:
                handed_down += 1
    sizes = Counter(last.values())
    ordered = sorted(sizes.items(), key=lambda cell: (-cell[1], cell[0]))
    return {"peers": dict(ordered), "moves": moves, "rounds": rounds, "handed_down": handed_down}


def cell_line(cells: Mapping[str, Any]) -> str:
    """Return what a person wants to know of `cells_of_run` at the end of a run."""
    sizes = sorted(cells["peers"].values())
    if not sizes:
        return "no peer found its cell"
    size = f"{sizes[0]} to {sizes[-1]} peers" if sizes[0] < sizes[-1] else f"{sizes[0]} peers each"
    learned = f"rounds of the region {cells['rounds']}, its results came down {cells['handed_down']} times"
    if not cells["handed_down"]:
        learned += ": a run too short for cells to learn from each other"
    return f"cells {len(sizes)}, of {size}, moves {cells['moves']}; {learned}"


def _lines_of(journal: Path) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    with contextlib.suppress(OSError), journal.open("rb") as file:
        for line in file:
            if not any(told in line for told in _TOLD):
                continue
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError:
                continue
